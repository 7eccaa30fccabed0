//! What DASH players must not notice: periods and numbers over renewals.

use super::super::numbering::tests::fragment;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const START: u64 = 1_767_225_600_000;

/// Number and start of each fragment; 2 s each.
#[derive(Default)]
struct Camera {
    made: Vec<(String, u64)>,
    clock: u64,
}

impl Camera {
    fn new() -> Self {
        let mut camera = Self { made: Vec::new(), clock: START };
        camera.record(1);
        camera
    }

    fn record(&mut self, fragments: u64) {
        for _ in 0..fragments {
            self.made.push((fragment(4_000 + self.made.len() as u64, self.clock, 7).to_string(), self.clock));
            self.clock += 2000;
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock)
    }
}

/// One upstream session, as KVS.md 5.6 and the documentation have it: numbers count from 1, gaps are closed.
struct Upstream {
    generation: Generation,
    from: usize,
    n: usize,
    /// The session's clock is off by so much.
    skew: u64,
}

impl Upstream {
    fn open(generation: Generation, camera: &Camera, n: usize, skew: u64) -> Self {
        Self { generation, from: camera.made.len().saturating_sub(n), n, skew }
    }

    fn manifest(&self, camera: &Camera, told: Told) -> String {
        let first = self.from.max(camera.made.len().saturating_sub(self.n));
        let available = Timestamp::from_millis(camera.made[self.from].1 + self.skew);
        let mut text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"urn:example:kvs\" type=\"dynamic\" \
             availabilityStartTime=\"{available}\" minimumUpdatePeriod=\"PT1S\" minBufferTime=\"PT2S\"><Period id=\"0\" start=\"PT0S\">"
        );
        for track in [1, 2] {
            text += &format!(
                "<AdaptationSet><SegmentTemplate timescale=\"{}\" startNumber=\"{}\" \
                 initialization=\"getMP4InitFragment.mp4?TrackNumber={track}\" \
                 media=\"getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;TrackNumber={track}\"><SegmentTimeline>",
                track * 1000,
                first - self.from + 1
            );
            for (at, (number, start)) in camera.made.iter().enumerate().skip(first) {
                let time = (at - self.from) as u64 * 2000 * track;
                text += &format!("<S t=\"{time}\" d=\"{}\"", 2000 * track);
                if told != Told::Nothing {
                    text += &format!(" kvs:ts=\"{start}\"");
                }
                if told == Told::All {
                    text += &format!(" kvs:fn=\"{number}\"");
                }
                text += "/>";
            }
            text += "</SegmentTimeline></SegmentTemplate><Representation id=\"1\"/></AdaptationSet>";
        }
        text + "</Period></MPD>"
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Told {
    All,
    Times,
    Nothing,
}

/// What a player makes of a manifest.
#[derive(Debug)]
struct Seen {
    /// Number, start and end by the wall clock, of each fragment, by track.
    fragments: [Vec<(u64, u64, u64)>; 2],
    periods: Vec<(String, u64)>,
    published: Timestamp,
    inits: Vec<Resource>,
}

fn seen(text: &str) -> Seen {
    let published = Element::parse(text).unwrap().1.get("publishTime").unwrap().to_owned();
    let manifest = Manifest::parse(text).unwrap();
    assert_eq!(manifest.available.millis(), 0);
    let mut seen = Seen {
        fragments: [Vec::new(), Vec::new()],
        periods: Vec::new(),
        published: Timestamp::parse(&published).unwrap(),
        inits: Vec::new(),
    };
    for period in &manifest.periods {
        seen.periods.push((period.element.get("id").unwrap().to_owned(), period.start));
        for (fragments, template) in seen.fragments.iter_mut().zip(&period.templates) {
            seen.inits.push(template.init.clone());
            for s in &template.segments {
                let start = period.start + template.millis(s.time - template.offset);
                fragments.push((s.number, start, start + template.millis(s.duration)));
            }
        }
    }
    seen
}

#[test]
fn a_renewed_session_becomes_a_period_that_goes_on() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut periods = Periods::new(5, false, false);
    let one = Upstream::open(1, &camera, 5, 0);
    let first = periods.merge(1, &one.manifest(&camera, Told::All), camera.now()).unwrap();
    let before = seen(&first.text);
    assert_eq!(before.fragments[0].len(), 5);
    assert!(!first.text.contains("kvs:fn") && !first.text.contains("kvs:ts"), "not asked for");
    camera.record(2);
    let two = Upstream::open(2, &camera, 5, 700);
    let second = periods.merge(2, &two.manifest(&camera, Told::All), camera.now()).unwrap();
    let after = seen(&second.text);
    assert_eq!(after.periods.len(), 2);
    assert_eq!(after.fragments[0][..3], before.fragments[0][2..], "what was listed stays as it was");
    for track in &after.fragments {
        assert_eq!(track.len(), 5);
        for pair in track.windows(2) {
            assert_eq!(pair[0].2, pair[1].1, "without a gap: {track:?}");
        }
    }
    let number = |at: usize| FragmentNumber::parse(&after.fragments[0][at].0.to_string()).unwrap();
    let there = |number: &str| FragmentNumber::parse(number).unwrap();
    assert_eq!(periods.behind(&number(2)), Some((1, there("5"))));
    assert_eq!(periods.behind(&number(3)), Some((2, there("4"))));
    assert_eq!(periods.behind(&number(4)), Some((2, there("5"))));
    assert_eq!(periods.behind(&there("1")), None);
    assert_eq!(periods.init(&after.inits[0]).unwrap().0, 1);
    assert_eq!(periods.init(&after.inits[2]).unwrap().0, 2);
    assert!(second.text.trim_end().ends_with("value=\"getDASHManifest.mpd\"/></MPD>"), "{}", second.text);
    // Asked again, nothing has changed, and it says so.
    let again =
        periods.merge(2, &two.manifest(&camera, Told::All), camera.now().plus(Duration::from_secs(1)));
    assert_eq!(again.unwrap().text, second.text);
}

#[test]
fn footage_that_is_listed_already_begins_no_period() {
    let mut camera = Camera::new();
    camera.record(6);
    for told in [Told::All, Told::Times, Told::Nothing] {
        let mut periods = Periods::new(5, true, true);
        let merge = |periods: &mut Periods, generation| {
            let upstream = Upstream::open(generation, &camera, 5, 0);
            periods.merge(generation, &upstream.manifest(&camera, told), camera.now()).unwrap().text
        };
        let first = merge(&mut periods, 1);
        assert_eq!(merge(&mut periods, 2), first, "{told:?}");
    }
}

#[test]
fn a_camera_that_was_away_comes_back_by_the_clock() {
    let mut camera = Camera::new();
    camera.record(4);
    let mut periods = Periods::new(5, false, false);
    let upstream = Upstream::open(1, &camera, 5, 0);
    let before = seen(&periods.merge(1, &upstream.manifest(&camera, Told::All), camera.now()).unwrap().text);
    camera.clock += 30_000;
    for away in 0..6 {
        camera.record(1);
        let after =
            seen(&periods.merge(1, &upstream.manifest(&camera, Told::All), camera.now()).unwrap().text);
        // KVS closes the gap; a live player expects the newest fragment where the clock is.
        assert_eq!(after.fragments[0].last().unwrap().2, camera.clock, "{away}");
        assert_eq!(after.fragments[1], after.fragments[0]);
        assert_eq!(after.periods.len(), if away < 4 { 2 } else { 1 }, "{away}: {after:?}");
        if away == 0 {
            assert_eq!(after.fragments[0][..4], before.fragments[0][1..]);
        }
    }
}

#[test]
fn a_replay_that_is_over_says_how_long_it_was() {
    let camera = Camera::new();
    let mut periods = Periods::new(5, false, false);
    let manifest = Upstream::open(1, &camera, 5, 0).manifest(&camera, Told::All);
    let text = manifest.replace("type=\"dynamic\"", "type=\"static\"");
    let published = periods.merge(1, &text, camera.now()).unwrap();
    assert!(published.ended && published.text.contains("type=\"dynamic\""));
    assert!(
        published.text.contains("mediaPresentationDuration")
            && !published.text.contains("minimumUpdatePeriod")
    );
}

#[test]
fn a_manifest_of_another_shape_is_refused() {
    let mut periods = Periods::new(5, false, false);
    let now = Timestamp::from_millis(START);
    for bad in
        ["", "<MPD/>", "<MPD type='dynamic' availabilityStartTime='2026-01-01T00:00:00Z'><Period/></MPD>"]
    {
        assert!(periods.merge(1, bad, now).is_err(), "{bad}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Record(u64),
    Pause(u64),
    Poll,
    Renew(u64),
    Restart,
}

proptest! {
    #[test]
    fn numbers_and_times_go_on_over_renewals_gaps_and_restarts(
        steps in proptest::collection::vec(prop_oneof![
            3 => (1..4_u64).prop_map(Step::Record),
            1 => (3..90_u64).prop_map(Step::Pause),
            5 => Just(Step::Poll),
            2 => (0..900_u64).prop_map(Step::Renew),
            1 => Just(Step::Restart),
        ], 1..50),
        told in prop_oneof![Just(Told::All), Just(Told::Times)],
    ) {
        let mut camera = Camera::new();
        let mut periods = Periods::new(5, false, false);
        let mut upstream = Upstream::open(1, &camera, 5, 0);
        let (mut known, mut highest, mut published) = (BTreeMap::new(), 0, Timestamp::from_millis(0));
        for step in steps {
            match step {
                Step::Record(fragments) => camera.record(fragments),
                Step::Pause(seconds) => camera.clock += seconds * 1000,
                Step::Renew(skew) => upstream = Upstream::open(upstream.generation + 1, &camera, 5, skew),
                Step::Restart => {
                    // A process takes its time.
                    camera.clock += 2_000;
                    periods = Periods::new(5, false, false);
                    upstream = Upstream::open(1, &camera, 5, 0);
                    known.clear();
                    highest += 1;
                }
                Step::Poll => {
                    let text = periods.merge(upstream.generation, &upstream.manifest(&camera, told), camera.now()).unwrap().text;
                    let seen = seen(&text);
                    prop_assert!(seen.published >= published);
                    published = seen.published;
                    prop_assert!(seen.periods.windows(2).all(|pair| pair[0].1 < pair[1].1));
                    let [video, audio] = &seen.fragments;
                    prop_assert_eq!(video, audio);
                    prop_assert!(video.len() <= 5 && !video.is_empty());
                    prop_assert!(video.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].2 <= pair[1].1), "{:?}", video);
                    if known.is_empty() {
                        prop_assert!(video[0].0 >= highest, "after a restart: {} then {}", highest, video[0].0);
                    }
                    for (number, start, end) in video {
                        prop_assert_eq!(*known.entry(*number).or_insert((*start, *end)), (*start, *end));
                        let (generation, there) = periods.behind(&FragmentNumber::parse(&number.to_string()).unwrap()).unwrap();
                        prop_assert!(generation <= upstream.generation);
                        if generation == upstream.generation {
                            let at = upstream.from + there.as_str().parse::<usize>().unwrap() - 1;
                            prop_assert!(at < camera.made.len());
                        }
                    }
                    // The newest there is the newest here.
                    let (_, there) = periods.behind(&FragmentNumber::parse(&video.last().unwrap().0.to_string()).unwrap()).unwrap();
                    let there: usize = there.as_str().parse().unwrap();
                    let newest = periods.periods.back().unwrap();
                    if newest.generation == upstream.generation {
                        prop_assert_eq!(upstream.from + there, camera.made.len());
                    }
                    highest = highest.max(video.last().unwrap().0);
                    for init in &seen.inits {
                        prop_assert!(periods.init(init).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn a_damaged_manifest_is_merged_or_refused_without_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 32..127_u8), 1..4), generation in 1..3_u32
    ) {
        let mut camera = Camera::new();
        camera.record(4);
        let mut periods = Periods::new(5, true, true);
        let good = Upstream::open(1, &camera, 5, 0).manifest(&camera, Told::All);
        periods.merge(1, &good, camera.now()).unwrap();
        let mut bytes = good.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = periods.merge(generation, &String::from_utf8_lossy(&bytes), camera.now());
        let _ = periods.behind(&FragmentNumber::parse("99999999999999999999999999").unwrap());
    }
}

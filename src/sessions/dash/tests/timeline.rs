//! What DASH players must not notice: periods and times over renewals, gaps and restarts.

use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::mp4;
use crate::sessions::dash::manifest::Manifest;
use crate::sessions::dash::timeline::*;
use crate::sessions::dash::xml::Element;
use crate::sessions::numbering::{Generation, tests::fragment};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

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

/// One upstream session, as docs/KVS.md 5.6 and the documentation have it: numbers count from 1, gaps are
/// closed.
struct FakeSession {
    generation: Generation,
    from: usize,
    n: usize,
    /// The session's clock is off by so much.
    skew: u64,
}

impl FakeSession {
    fn open(generation: Generation, camera: &Camera, n: usize, skew: u64) -> Self {
        Self { generation, from: camera.made.len().saturating_sub(n), n, skew }
    }

    fn manifest(&self, camera: &Camera, told: ShownTimes) -> String {
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
                if told != ShownTimes::Nothing {
                    text += &format!(" kvs:ts=\"{start}\"");
                }
                if told == ShownTimes::All {
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
enum ShownTimes {
    All,
    Times,
    Nothing,
}

/// What a player makes of a manifest.
#[derive(Debug)]
struct SeenManifest {
    /// Start and end by the wall clock, of each fragment, by track.
    fragments: [Vec<(u64, u64)>; 2],
    /// Id and start.
    periods: Vec<(String, u64)>,
    published: Timestamp,
    inits: Vec<Resource>,
}

/// Takes a published manifest apart, by its own rules: fragments are called by their times.
fn seen(text: &str) -> SeenManifest {
    assert!(text.contains("FragmentNumber=$Time$") && !text.contains("startNumber"), "{text}");
    let published = Element::parse(text).unwrap().1.get("publishTime").unwrap().to_owned();
    let manifest = Manifest::parse(&text.replace("$Time$", "$Number$")).unwrap();
    assert_eq!(manifest.available.millis(), 0);
    let mut seen = SeenManifest {
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
                fragments.push((start, start + template.millis(s.duration)));
            }
        }
    }
    seen
}

/// Media counts sixteen ticks a millisecond, whatever the manifest counts.
fn merge(
    periods: &mut Timeline,
    generation: Generation,
    text: &str,
    now: Timestamp,
) -> Result<Published, &'static str> {
    for init in periods.unknown_inits(generation, text)? {
        periods.learn(generation, &init, mp4::Init { timescale: 16_000, digest: 77 });
    }
    periods.merge(generation, text, now, None)
}

fn number(time: u64) -> FragmentNumber {
    FragmentNumber::parse(&time.to_string()).unwrap()
}

#[test]
fn a_renewed_session_goes_on_in_the_same_period() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut periods = Timeline::new(5, (false, false), true);
    let one = FakeSession::open(1, &camera, 5, 0);
    let first = merge(&mut periods, 1, &one.manifest(&camera, ShownTimes::All), camera.now()).unwrap();
    let before = seen(&first.text);
    assert_eq!(before.fragments[0].len(), 5);
    assert_eq!(before.fragments[0][4].1, camera.clock, "the clock is the server's");
    assert!(!first.text.contains("kvs:fn") && !first.text.contains("kvs:ts"), "not asked for");
    camera.record(2);
    let two = FakeSession::open(2, &camera, 5, 700);
    let second = merge(&mut periods, 2, &two.manifest(&camera, ShownTimes::All), camera.now()).unwrap();
    let after = seen(&second.text);
    assert_eq!((after.periods.len(), &after.periods), (1, &before.periods));
    assert_eq!(after.fragments[0][..3], before.fragments[0][2..], "what was listed stays as it was");
    for track in &after.fragments {
        assert_eq!(track.len(), 5);
        for pair in track.windows(2) {
            assert_eq!(pair[0].1, pair[1].0, "without a gap: {track:?}");
        }
    }
    // Session 1 began with fragment 2, session 2 with fragment 4; both have the third listed.
    let time = |at: usize| after.fragments[0][at].0;
    let moved =
        |fragment: usize, from: usize| (camera.made[fragment].1 - (fragment - from) as u64 * 2000) * 16;
    let behind = |generation, n: u64, ticks| FragmentAt { generation, number: number(n), ticks };
    assert_eq!(periods.locate(&number(time(2)), 1), [behind(1, 5, moved(6, 2)), behind(2, 3, moved(6, 4))]);
    assert_eq!(periods.locate(&number(time(3)), 1), [behind(2, 4, moved(7, 4))]);
    // The other track counts twice as fast in the manifest.
    assert_eq!(periods.locate(&number(time(3) * 2), 2), [behind(2, 4, moved(7, 4))]);
    assert_eq!(periods.locate(&number(time(3) + 900), 1), [behind(2, 4, moved(7, 4))], "another clock");
    assert_eq!(periods.locate(&number(1), 1), []);
    assert_eq!(periods.init(&after.inits[0]).unwrap().0, 2, "in the session that lives longest");
    assert!(second.text.trim_end().ends_with("value=\"getDASHManifest.mpd\"/></MPD>"), "{}", second.text);
    // Asked again, nothing has changed, and it says so.
    let later = camera.now().plus(Duration::from_secs(1));
    let again = merge(&mut periods, 2, &two.manifest(&camera, ShownTimes::All), later);
    assert_eq!(again.unwrap().text, second.text);
}

#[test]
fn what_was_kept_goes_on_in_a_period_that_nothing_tells_of() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut periods = Timeline::new(5, (false, false), true);
    let other = |periods: &mut Timeline, generation, text: &str, now| {
        for init in periods.unknown_inits(generation, text).unwrap() {
            periods.learn(generation, &init, mp4::Init { timescale: 16_000, digest: 78 });
        }
        seen(&merge(periods, generation, text, now).unwrap().text)
    };
    let one = FakeSession::open(1, &camera, 5, 0);
    merge(&mut periods, 1, &one.manifest(&camera, ShownTimes::All), camera.now()).unwrap();
    // The camera's settings change; then all that was before slides out.
    camera.record(5);
    let two = FakeSession::open(2, &camera, 5, 700);
    let before = other(&mut periods, 2, &two.manifest(&camera, ShownTimes::All), camera.now());
    let kept = serde_json::to_string(&periods.saved().unwrap()).unwrap();
    camera.record(1);
    let mut next = Timeline::new(5, (false, false), true);
    next.resume(serde_json::from_str(&kept).unwrap());
    let three = FakeSession::open(1, &camera, 5, 300);
    let after = other(&mut next, 1, &three.manifest(&camera, ShownTimes::All), camera.now());
    assert_ne!(before.periods[0].1, 0);
    assert_eq!(after.periods, before.periods);
    assert_eq!(after.fragments[0][..4], before.fragments[0][1..]);
}

#[test]
fn a_restarted_process_says_what_the_one_before_said() {
    let mut camera = Camera::new();
    camera.record(9);
    let mut first = Timeline::new(5, (true, true), true);
    let one = FakeSession::open(1, &camera, 5, 0);
    merge(&mut first, 1, &one.manifest(&camera, ShownTimes::All), camera.now()).unwrap();
    camera.record(4);
    let before = merge(&mut first, 1, &one.manifest(&camera, ShownTimes::All), camera.now()).unwrap().text;
    let mut second = Timeline::new(5, (true, true), true);
    let two = FakeSession::open(1, &camera, 5, 900);
    let after = merge(&mut second, 1, &two.manifest(&camera, ShownTimes::All), camera.now()).unwrap().text;
    assert_eq!(after, before);
}

#[test]
fn other_codec_settings_begin_a_period() {
    let mut camera = Camera::new();
    camera.record(6);
    let mut periods = Timeline::new(5, (false, false), true);
    let one = FakeSession::open(1, &camera, 5, 0).manifest(&camera, ShownTimes::All);
    let before = seen(&merge(&mut periods, 1, &one, camera.now()).unwrap().text);
    camera.record(2);
    let two = FakeSession::open(2, &camera, 5, 0).manifest(&camera, ShownTimes::All);
    for init in periods.unknown_inits(2, &two).unwrap() {
        periods.learn(2, &init, mp4::Init { timescale: 90_000, digest: 78 });
    }
    let text = periods.merge(2, &two, camera.now(), None).unwrap().text;
    let after = seen(&text);
    assert_eq!(after.periods.len(), 2, "{text}");
    assert_eq!((&after.periods[0], after.periods[1].1), (&before.periods[0], after.fragments[0][3].0));
    assert_ne!(after.inits[2], after.inits[0]);
    assert_eq!(periods.locate(&number(after.fragments[0][4].0), 1)[0].ticks % 90, 0);
    assert!(text.contains("duration=\"PT"), "{text}");
}

#[test]
fn footage_that_is_listed_already_is_not_listed_again() {
    let mut camera = Camera::new();
    camera.record(6);
    for told in [ShownTimes::All, ShownTimes::Times, ShownTimes::Nothing] {
        let mut periods = Timeline::new(5, (true, true), true);
        let mut list = |generation| {
            let upstream = FakeSession::open(generation, &camera, 5, 0);
            merge(&mut periods, generation, &upstream.manifest(&camera, told), camera.now()).unwrap().text
        };
        let first = list(1);
        assert_eq!(list(2), first, "{told:?}");
    }
}

#[test]
fn a_camera_that_was_away_comes_back_by_the_clock() {
    let mut camera = Camera::new();
    camera.record(4);
    let mut periods = Timeline::new(5, (false, false), true);
    let upstream = FakeSession::open(1, &camera, 5, 0);
    let first = merge(&mut periods, 1, &upstream.manifest(&camera, ShownTimes::All), camera.now()).unwrap();
    let before = seen(&first.text);
    camera.clock += 30_000;
    for away in 0..6 {
        camera.record(1);
        let text =
            merge(&mut periods, 1, &upstream.manifest(&camera, ShownTimes::All), camera.now()).unwrap().text;
        let after = seen(&text);
        // KVS closes the gap; a live player expects the newest fragment where the clock is.
        assert_eq!(after.fragments[0].last().unwrap().1, camera.clock, "{away}");
        assert_eq!(after.fragments[1], after.fragments[0]);
        assert_eq!(after.periods, before.periods, "{away}: {after:?}");
        // A hole in a timeline is filled by players with the fragment ahead of it.
        assert_eq!(after.fragments[0].len(), 5.min(away + 1));
        // Who has fallen behind goes to where something is, and not to its very beginning.
        let depth = if away < 4 { away * 2 + 1 } else { 10 };
        assert!(text.contains(&format!("timeShiftBufferDepth=\"PT{depth}.000S\"")), "{text}");
    }
}

#[test]
fn a_replay_that_is_over_says_how_long_it_was() {
    let camera = Camera::new();
    let mut periods = Timeline::new(5, (false, false), false);
    let manifest = FakeSession::open(1, &camera, 5, 0).manifest(&camera, ShownTimes::All);
    let text = manifest.replace("type=\"dynamic\"", "type=\"static\"");
    let published = merge(&mut periods, 1, &text, camera.now()).unwrap();
    assert!(published.ended && published.text.contains("type=\"dynamic\""));
    assert!(
        published.text.contains("mediaPresentationDuration")
            && !published.text.contains("minimumUpdatePeriod")
    );
}

#[test]
fn a_manifest_of_another_shape_is_refused() {
    let mut periods = Timeline::new(5, (false, false), true);
    let now = Timestamp::from_millis(START);
    for bad in
        ["", "<MPD/>", "<MPD type='dynamic' availabilityStartTime='2026-01-01T00:00:00Z'><Period/></MPD>"]
    {
        assert!(merge(&mut periods, 1, bad, now).is_err(), "{bad}");
    }
    // Nothing is known of its init segments.
    let good = FakeSession::open(1, &Camera::new(), 5, 0).manifest(&Camera::new(), ShownTimes::All);
    assert!(periods.merge(1, &good, now, None).is_err());
}

#[derive(Clone, Debug)]
enum CameraStep {
    Record(u64),
    Pause(u64),
    Poll,
    Renew(u64),
    Restart,
}

proptest! {
    #[test]
    fn times_go_on_over_renewals_gaps_and_restarts(
        steps in proptest::collection::vec(prop_oneof![
            3 => (1..4_u64).prop_map(CameraStep::Record),
            1 => (3..90_u64).prop_map(CameraStep::Pause),
            5 => Just(CameraStep::Poll),
            2 => (0..900_u64).prop_map(CameraStep::Renew),
            1 => Just(CameraStep::Restart),
        ], 1..50),
        told in prop_oneof![Just(ShownTimes::All), Just(ShownTimes::Times)],
    ) {
        let mut camera = Camera::new();
        let new = || Timeline::new(5, (false, false), true);
        let mut periods = new();
        let mut upstream = FakeSession::open(1, &camera, 5, 0);
        let (mut known, mut highest, mut published) = (BTreeMap::new(), 0, Timestamp::from_millis(0));
        let mut ids = None;
        for step in steps {
            match step {
                CameraStep::Record(fragments) => camera.record(fragments),
                CameraStep::Pause(seconds) => camera.clock += seconds * 1000,
                CameraStep::Renew(skew) => {
                    upstream = FakeSession::open(upstream.generation + 1, &camera, 5, skew);
                }
                CameraStep::Restart => {
                    // A process takes its time.
                    camera.clock += 2_000;
                    periods = new();
                    upstream = FakeSession::open(1, &camera, 5, 0);
                }
                CameraStep::Poll => {
                    let manifest = upstream.manifest(&camera, told);
                    let merged = merge(&mut periods, upstream.generation, &manifest, camera.now());
                    let text = merged.unwrap().text;
                    let seen = seen(&text);
                    prop_assert!(seen.published >= published);
                    published = seen.published;
                    // One period, the same in every process.
                    prop_assert_eq!(ids.get_or_insert_with(|| seen.periods.clone()), &seen.periods);
                    let [video, audio] = &seen.fragments;
                    prop_assert_eq!(video, audio);
                    prop_assert!(video.len() <= 5 && !video.is_empty());
                    prop_assert!(video.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{:?}", video);
                    for (start, end) in video {
                        let behind = periods.locate(&number(*start), 1);
                        prop_assert!(!behind.is_empty());
                        for behind in &behind {
                            if behind.generation != upstream.generation {
                                continue;
                            }
                            let there: usize = behind.number.as_str().parse().unwrap();
                            let at = upstream.from + there - 1;
                            // Moved, its media says what the manifest says.
                            prop_assert_eq!(behind.ticks + (there as u64 - 1) * 32_000, start * 16);
                            // The same fragment has the same time in every process that knows the server's
                            // clock.
                            if told == ShownTimes::All {
                                prop_assert_eq!(*known.entry(at).or_insert((*start, *end)), (*start, *end));
                            }
                        }
                    }
                    let newest = video.last().unwrap();
                    if told == ShownTimes::All {
                        prop_assert!(newest.0 >= highest);
                        highest = newest.0;
                    }
                    for init in &seen.inits {
                        prop_assert!(periods.init(init).is_some());
                    }
                }
            }
        }
    }

    #[test]
    fn a_damaged_manifest_is_merged_or_refused_without_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 32..127_u8), 1..4),
        generation in 1..3_u32
    ) {
        let mut camera = Camera::new();
        camera.record(4);
        let mut periods = Timeline::new(5, (true, true), true);
        let good = FakeSession::open(1, &camera, 5, 0).manifest(&camera, ShownTimes::All);
        merge(&mut periods, 1, &good, camera.now()).unwrap();
        let mut bytes = good.into_bytes();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = merge(&mut periods, generation, &String::from_utf8_lossy(&bytes), camera.now());
        let _ = periods.locate(&FragmentNumber::parse("99999999999999999999999999").unwrap(), 1);
        let _ = periods.fragments();
    }
}

#[test]
fn a_manifest_that_another_replica_takes_over_goes_on_as_it_was() {
    let mut camera = Camera::new();
    camera.record(6);
    let new = || Timeline::new(5, (false, false), true);
    let (mut one, mut turns) = (new(), [new(), new()]);
    for round in 0..30_usize {
        camera.record(1 + u64::try_from(round % 3).unwrap());
        let generation = 1 + u32::try_from(round).unwrap() / 10;
        let skew = u64::from(generation) * 100;
        let text = FakeSession::open(generation, &camera, 5, skew).manifest(&camera, ShownTimes::All);
        let expected = merge(&mut one, generation, &text, camera.now()).unwrap().text;
        let merged = merge(&mut turns[round % 2], generation, &text, camera.now()).unwrap().text;
        assert_eq!(merged, expected, "round {round}");
        let left = serde_json::to_string(&turns[round % 2].recent()).unwrap();
        turns[(round + 1) % 2].take_over(serde_json::from_str(&left).unwrap());
    }
}

//! A live manifest in parts: its periods, and in each the segments of every template.
//!
//! Reads the shape that KVS is known to write (docs/KVS.md 5.6): `SegmentTemplate` with `$Number$` and a
//! `SegmentTimeline`. A manifest of another shape cannot be kept continuous and is an error.

use super::xml::{Element, Node};
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use serde::{Deserialize, Serialize};

/// A manifest as one upstream session gave it.
pub(in crate::sessions) struct Manifest {
    /// `<?xml … ?>`.
    pub declaration: String,
    /// The `MPD` element without its periods.
    pub root: Element,
    /// When the timeline of periods begins.
    pub available: Timestamp,
    /// `type="static"`: nothing will be added.
    pub ended: bool,
    pub periods: Vec<Period>,
}

/// A `Period`.
pub(in crate::sessions) struct Period {
    /// Without the segments.
    pub element: Element,
    /// Its start on the timeline, milliseconds.
    pub start: u64,
    /// In the order in which the `SegmentTemplate` elements stand. Never empty.
    pub templates: Vec<Template>,
}

/// A `SegmentTemplate`.
#[derive(Clone)]
pub(in crate::sessions) struct Template {
    /// Ticks per second.
    pub timescale: u64,
    /// Where on the media timeline the period begins, ticks.
    pub offset: u64,
    pub init: Resource,
    pub segments: Vec<TimelineSegment>,
}

/// An `S`, repeats written out.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(in crate::sessions) struct TimelineSegment {
    /// What `$Number$` becomes.
    pub number: u64,
    /// Start on the media timeline, ticks.
    pub time: u64,
    /// Ticks.
    pub duration: u64,
    /// The fragment's own number, if shown.
    pub fragment: Option<FragmentNumber>,
    /// Other attributes, `kvs:ts` and `kvs:fn` among them.
    pub attributes: Vec<(String, String)>,
}

const SHAPE: &str = "KVS's manifest has a shape that cannot be kept continuous";
/// KVS lists 5,000 at most. A repeat count must not make millions of it.
const MOST_SEGMENTS: usize = 20_000;

/// The number of fragments that a manifest of any shape lists: those of the longest track of each period.
pub(in crate::sessions) fn listed(text: &str) -> usize {
    let Ok((_, mut root)) = Element::parse(text) else { return 0 };
    let mut all = 0;
    root.visit_mut(&mut |period| {
        if period.local() != "Period" {
            return;
        }
        let mut longest = 0;
        period.visit_mut(&mut |timeline| {
            if timeline.local() == "SegmentTimeline" {
                let repeats = |s: &Element| s.get("r").and_then(|r| r.parse().ok()).unwrap_or(0_usize);
                let fragments = timeline.children("S").map(|s| repeats(s).saturating_add(1));
                longest = longest.max(fragments.fold(0, usize::saturating_add));
            }
        });
        all += longest;
    });
    all
}

impl Manifest {
    pub(in crate::sessions) fn parse(text: &str) -> Result<Self, &'static str> {
        let (declaration, mut root) = Element::parse(text)?;
        let available = root.get("availabilityStartTime").ok_or(SHAPE)?;
        let available = Timestamp::parse(available).map_err(|_| SHAPE)?;
        let ended = root.get("type") != Some("dynamic");
        let mut periods = Vec::new();
        let mut next_start = 0;
        for period in root.children("Period") {
            let start = match period.get("start") {
                Some(start) => duration(start).ok_or(SHAPE)?,
                None => next_start,
            };
            let period = Period::parse(period.clone(), start)?;
            let last = &period.templates[0];
            let end = last.segments.last().map_or(last.offset, |s| s.time.saturating_add(s.duration));
            next_start = (start + last.millis(end.saturating_sub(last.offset))).min(FAR);
            periods.push(period);
        }
        root.children.retain(|node| !matches!(node, Node::Element(element) if element.local() == "Period"));
        if periods.is_empty() {
            return Err(SHAPE);
        }
        Ok(Self { declaration, root, available, ended, periods })
    }
}

impl Period {
    fn parse(mut element: Element, start: u64) -> Result<Self, &'static str> {
        let mut templates = Vec::new();
        let mut failure = None;
        element.visit_mut(&mut |found| {
            if found.local() == "SegmentTemplate" {
                match Template::parse(found) {
                    Ok(template) => templates.push(template),
                    Err(error) => failure = Some(error),
                }
                found.children.clear();
            }
        });
        let whole = failure.is_none() && !templates.is_empty();
        if whole { Ok(Self { element, start, templates }) } else { Err(failure.unwrap_or(SHAPE)) }
    }
}

impl Template {
    fn parse(element: &Element) -> Result<Self, &'static str> {
        let number = |name: &str, default: u64| match element.get(name) {
            None => Ok(default),
            Some(text) => small(text).ok_or(SHAPE),
        };
        let timescale = number("timescale", 1)?;
        if timescale == 0
            || timescale > 1_000_000_000
            || !element.get("media").is_some_and(|media| media.contains("FragmentNumber=$Number$"))
        {
            return Err(SHAPE);
        }
        let init = element.get("initialization").ok_or(SHAPE)?.replace("&amp;", "&");
        let (file, query) = init.split_once('?').unwrap_or((&init, ""));
        let init = Resource::parse(Protocol::Dash, file, query).ok_or(SHAPE)?;
        let timeline = element.children("SegmentTimeline").next().ok_or(SHAPE)?;
        let mut segments = Vec::new();
        let (mut next, mut time) = (number("startNumber", 1)?, 0);
        for s in timeline.children("S") {
            let ticks = |name: &str| s.get(name).map(|text| small(text).ok_or(SHAPE)).transpose();
            time = ticks("t")?.unwrap_or(time);
            let duration = ticks("d")?.ok_or(SHAPE)?;
            let repeats = ticks("r")?.unwrap_or(0);
            if repeats >= MOST_SEGMENTS as u64 || segments.len() >= MOST_SEGMENTS {
                return Err(SHAPE);
            }
            let fragment = s.get("fn").and_then(|digits| FragmentNumber::parse(digits).ok());
            let plain = |name: &String| !matches!(name.as_str(), "t" | "d" | "r" | "n");
            let attributes: Vec<_> = s.attributes.iter().filter(|(name, _)| plain(name)).cloned().collect();
            for _ in 0..=repeats {
                let (fragment, attributes) = (fragment.clone(), attributes.clone());
                segments.push(TimelineSegment { number: next, time, duration, fragment, attributes });
                next += 1;
                time = time.saturating_add(duration);
            }
        }
        let offset = number("presentationTimeOffset", 0)?;
        Ok(Self { timescale, offset, init, segments })
    }

    /// Ticks in milliseconds. What lies beyond any date is cut off, so that sums stay in range.
    pub(in crate::sessions) fn millis(&self, ticks: u64) -> u64 {
        u64::try_from(u128::from(ticks) * 1000 / u128::from(self.timescale)).unwrap_or(FAR).min(FAR)
    }

    /// Milliseconds in ticks.
    pub(in crate::sessions) fn ticks(&self, millis: u64) -> u64 {
        u64::try_from(u128::from(millis) * u128::from(self.timescale) / 1000).unwrap_or(u64::MAX)
    }
}

/// A few values of this size can be added without overflow.
const FAR: u64 = 1 << 52;

/// A number of which a few can be added without overflow.
fn small(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number < 1 << 52)
}

/// `PT1H2M3.004S` in milliseconds; days too, no months or years.
pub(in crate::sessions) fn duration(text: &str) -> Option<u64> {
    let (mut rest, mut in_time, mut total) = (text.strip_prefix('P')?, false, 0_f64);
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            (rest, in_time) = (time, true);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        total += number
            * match (in_time, rest[end..].chars().next()?) {
                (false, 'D') => 86_400_000.0,
                (true, 'H') => 3_600_000.0,
                (true, 'M') => 60_000.0,
                (true, 'S') => 1000.0,
                _ => return None,
            };
        rest = &rest[end + 1..];
    }
    (0.0..4e15).contains(&total).then(|| total.round() as u64)
}

/// The inverse, in seconds alone.
pub(in crate::sessions) fn shown(millis: u64) -> String {
    format!("PT{}.{:03}S", millis / 1000, millis % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector(name: &str) -> String {
        let path = format!("{}/tests/vectors/manifests/{name}/after.mpd", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_parts_are_found() {
        let manifest = Manifest::parse(&vector("live_video_and_audio")).unwrap();
        assert_eq!(manifest.available.to_string(), "2026-01-01T00:00:00.123Z");
        assert!(!manifest.ended && manifest.periods.len() == 1);
        let [video, audio] = &manifest.periods[0].templates[..] else { panic!("two tracks") };
        assert_eq!(
            video.segments.iter().map(|s| (s.number, s.time)).collect::<Vec<_>>(),
            [(4, 6000), (5, 8000)]
        );
        assert_eq!(audio.segments[1].duration, 2016);
        assert_eq!(audio.init.to_string(), "getMP4InitFragment.mp4?TrackNumber=2");
        assert!(Manifest::parse(&vector("on_demand_video")).unwrap().ended);
    }

    #[test]
    fn repeats_are_written_out_and_bounded() {
        let with = |s: &str| {
            format!(
                "<MPD type='dynamic' availabilityStartTime='2026-01-01T00:00:00Z'><Period><SegmentTemplate \
                 media='getMP4MediaFragment.mp4?FragmentNumber=$Number$&amp;TrackNumber=1' \
                 initialization='getMP4InitFragment.mp4?TrackNumber=1'><SegmentTimeline>{s}</SegmentTimeline>\
                 </SegmentTemplate></Period></MPD>"
            )
        };
        let manifest = Manifest::parse(&with("<S t='5' d='2' r='2'/><S d='3'/>")).unwrap();
        let segments = &manifest.periods[0].templates[0].segments;
        let times: Vec<_> = segments.iter().map(|s| (s.number, s.time, s.duration)).collect();
        assert_eq!(times, [(1, 5, 2), (2, 7, 2), (3, 9, 2), (4, 11, 3)]);
        for bad in
            ["<S t='5'/>", "<S d='1' r='99999999'/>", "<S d='1' r='-1'/>", "<S d='99999999999999999999'/>"]
        {
            assert!(Manifest::parse(&with(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_are_read_and_shown() {
        for (text, millis) in
            [("PT0S", 0), ("PT4.004S", 4004), ("PT1H2M3S", 3_723_000), ("P1DT0.5S", 86_400_500)]
        {
            assert_eq!(duration(text), Some(millis), "{text}");
        }
        for bad in ["", "P1Y", "4S", "PT", "PTS", "PT1", "P1S", "PT-1S"] {
            assert!(duration(bad).is_none_or(|millis| millis == 0), "{bad}");
        }
        assert_eq!(shown(4004), "PT4.004S");
    }

    proptest! {
        #[test]
        fn any_duration_is_read_or_refused_without_panic(text in "P?T?[0-9.DHMST]{0,12}") { let _ = duration(&text); }

        #[test]
        fn a_damaged_manifest_is_read_or_refused_without_panic(at: prop::sample::Index, byte in 32..127_u8) {
            let mut bytes = vector("live_video_and_audio").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Manifest::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}

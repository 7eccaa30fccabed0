//! Footage longer than one session of KVS shows (24 h, 5,000 fragments): consecutive ranges joined into one
//! playlist.
//!
//! A range is cut into days, and a day that holds more than 5,000 fragments is cut where each playlist ended.
//! Ranges are inclusive at both ends and hold fragments by their start (docs/KVS.md 4.1), so the next begins
//! a millisecond after the one before ends, and no fragment is in two. A discontinuity stands between two
//! parts, since their times and init segments are not proven equal. The address of an init segment says which
//! part it belongs to; for a fragment that follows from its number.
//!
//! There is no I/O here. `session::parts` loads the parts.

use crate::kvs::bounds::{LONGEST_RANGE as DAY, PLAYLIST_FRAGMENTS};
use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::playback::hls::{Map, MediaPlaylist};
use crate::sessions::error::Unplayable;
use std::time::Duration;

/// Most fragments of one joined playlist: more than two days at two seconds each, some 18 MB.
const MOST_JOINED: usize = 100_000;
/// Most days of a range.
const MOST_DAYS: usize = 62;
const NEXT: Duration = Duration::from_millis(1);

/// First and last instant, both inclusive.
pub(in crate::sessions) type Range = (Timestamp, Timestamp);

/// A range cut into days.
pub(in crate::sessions) fn days((start, end): Range) -> Result<Vec<Range>, Unplayable> {
    let mut days = Vec::new();
    let mut from = start;
    while from <= end {
        if days.len() == MOST_DAYS {
            return Err(Unplayable::TooLong("the range is longer than 62 days: ask for a shorter one"));
        }
        let to = from.plus(DAY).min(end);
        days.push((from, to));
        from = to.plus(NEXT);
    }
    Ok(days)
}

/// What is left of a range after a playlist of it; `None` if that listed all.
pub(in crate::sessions) fn rest((_, end): Range, playlist: &MediaPlaylist) -> Option<Range> {
    if playlist.segments.len() < usize::from(PLAYLIST_FRAGMENTS) {
        return None;
    }
    let from = playlist.segments.last()?.date?.plus(NEXT);
    (from <= end).then_some((from, end))
}

/// Which parts there are: their ranges, and the first and last fragment of each.
#[derive(Default)]
pub(in crate::sessions) struct Plan {
    pub parts: Vec<(Range, FragmentNumber, FragmentNumber)>,
}

impl Plan {
    /// The parts that hold fragments, in order.
    pub(in crate::sessions) fn of(parts: &[(Range, MediaPlaylist)]) -> Self {
        let parts = parts.iter().filter_map(|(range, playlist)| {
            let mut numbers: Vec<_> =
                playlist.segments.iter().filter_map(|s| s.resource.fragment_number()).collect();
            numbers.sort();
            Some((*range, (*numbers.first()?).clone(), (*numbers.last()?).clone()))
        });
        Self { parts: parts.collect() }
    }

    /// The part that a published address leads to, and the resource by its name there.
    pub(in crate::sessions) fn locate(&self, published: &Resource) -> Option<(Range, Resource)> {
        if let Resource::InitSegment { protocol, track, sequence: Some(id) } = published {
            let (range, ..) = self.parts.get(usize::try_from(id / EPOCHS).ok()?)?;
            let sequence = (id % EPOCHS).checked_sub(1);
            return Some((*range, Resource::InitSegment { protocol: *protocol, track: *track, sequence }));
        }
        let number = published.fragment_number()?;
        let (range, ..) = self.parts.iter().find(|(_, first, last)| first <= number && number <= last)?;
        Some((*range, published.clone()))
    }
}

/// One playlist of all parts.
pub(in crate::sessions) fn join(parts: Vec<(Range, MediaPlaylist)>) -> Result<MediaPlaylist, Unplayable> {
    let mut parts: Vec<MediaPlaylist> = parts.into_iter().map(|(_, playlist)| playlist).collect();
    parts.retain(|playlist| !playlist.segments.is_empty());
    let count: usize = parts.iter().map(|playlist| playlist.segments.len()).sum();
    if count > MOST_JOINED {
        return Err(Unplayable::TooLong(
            "the range holds more than 100,000 fragments: ask for a shorter one",
        ));
    }
    let target = parts.iter().map(|playlist| playlist.target).max().unwrap_or_default();
    let mut segments = Vec::with_capacity(count);
    for (part, playlist) in parts.iter_mut().enumerate() {
        for (at, mut segment) in std::mem::take(&mut playlist.segments).into_iter().enumerate() {
            if part > 0 && at == 0 {
                segment.discontinuities = segment.discontinuities.max(1);
            }
            segment.map = segment
                .map
                .map(|map| address(part, map))
                .transpose()
                .map_err(Unplayable::UnusablePlaylist)?;
            segments.push(segment);
        }
    }
    let first = parts.first().ok_or(Unplayable::UnusablePlaylist("KVS's playlists list nothing"))?;
    // Nothing was listed before, so discontinuities are counted from here.
    let mut joined = first.with(target, 0, 0, segments);
    joined.ended = true;
    Ok(joined)
}

/// Init segments that a part may have: KVS allows 500 changes of codec-private data.
const EPOCHS: u32 = 1000;

fn address(part: usize, map: Map) -> Result<Map, &'static str> {
    let Resource::InitSegment { protocol, track, sequence } = map.resource else {
        return Err("KVS's playlist has an init segment that is none");
    };
    let epoch = sequence.map_or(0, |sequence| sequence + 1);
    let part = u32::try_from(part).ok().filter(|_| epoch < EPOCHS).ok_or("too many init segments")?;
    Ok(map.at(Resource::InitSegment { protocol, track, sequence: Some(part * EPOCHS + epoch) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::numbering::tests::fragment;
    use proptest::prelude::*;

    const START: u64 = 1_767_225_600_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(START + seconds * 1000)
    }

    /// Fragments of `every` seconds that start within a range, the oldest 5,000, as KVS lists them.
    fn playlist((from, to): Range, every: u64) -> MediaPlaylist {
        let mut text = String::from(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber=1\"\n",
        );
        let first = (from.millis() - START).div_ceil(every * 1000);
        let starts = (first..).map(|n| START + n * every * 1000).take_while(|start| *start <= to.millis());
        for start in starts.take(usize::from(PLAYLIST_FRAGMENTS)) {
            let number = fragment((start - START) / 1000, start, 1);
            text += &format!(
                "#EXT-X-PROGRAM-DATE-TIME:{}\n#EXTINF:{every},\ngetMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1\n",
                Timestamp::from_millis(start)
            );
        }
        MediaPlaylist::parse(&text).unwrap()
    }

    fn load(range: Range, every: u64) -> Vec<(Range, MediaPlaylist)> {
        let mut parts = Vec::new();
        for day in days(range).unwrap() {
            let mut next = Some(day);
            while let Some(range) = next {
                let playlist = playlist(range, every);
                next = rest(range, &playlist);
                parts.push((range, playlist));
            }
        }
        parts
    }

    #[test]
    fn two_days_become_one_playlist_with_every_fragment_once() {
        let range = (at(0), at(2 * 86_400));
        let parts = load(range, 10);
        assert_eq!(parts.len(), 4, "two parts a day of 8,640 fragments");
        let joined = join(parts.clone()).unwrap();
        assert_eq!(joined.segments.len(), 17_281);
        let discontinuities = joined.segments.iter().filter(|segment| segment.discontinuities > 0).count();
        assert_eq!(discontinuities, 3);
        let text = joined.render(false);
        assert!(text.ends_with("#EXT-X-ENDLIST\n") && text.contains("PLAYLIST-TYPE:VOD"));
        assert_eq!(text.matches("#EXT-X-MAP").count(), 4);
        let plan = Plan::of(&parts);
        for (part, segment) in [(0, 0), (0, 4999), (1, 5000), (3, 17_280)] {
            let segment = &joined.segments[segment];
            assert_eq!(plan.locate(&segment.resource), Some((parts[part].0, segment.resource.clone())));
            let map = &segment.map.as_ref().unwrap().resource;
            let (range, init) = plan.locate(map).unwrap();
            assert_eq!(
                (range, init.to_string()),
                (parts[part].0, "getMP4InitFragment.mp4?TrackNumber=1".into())
            );
        }
    }

    #[test]
    fn too_much_is_refused_with_the_remedy() {
        assert!(
            matches!(days((at(0), at(63 * 86_400))), Err(Unplayable::TooLong(bound)) if bound.contains("62 days"))
        );
        let fragments = join(load((at(0), at(100_100)), 1));
        assert!(matches!(fragments, Err(Unplayable::TooLong(bound)) if bound.contains("100,000")));
        assert!(matches!(join(Vec::new()), Err(Unplayable::UnusablePlaylist(_))));
        assert_eq!(days((at(5), at(0))), Ok(vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_fragment_is_lost_or_twice(seconds in 0..250_000_u64, every in 15..300_u64) {
            let parts = load((at(0), at(seconds)), every);
            let joined = join(parts.clone()).unwrap();
            let dates: Vec<_> = joined.segments.iter().map(|segment| segment.date.unwrap()).collect();
            let all: Vec<_> = (0..=seconds / every).map(|n| at(n * every)).collect();
            prop_assert_eq!(dates, all);
        }
    }
}

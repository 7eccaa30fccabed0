//! Which fragments are read for their times, and where they belong: `media_times`, for what a timeline lists.

use super::mark::Position;
use super::media_times::{MediaPlace, Step};
use super::timeline::Timeline;
use super::track_playlist::Listed;
use crate::kvs::{FragmentNumber, Resource};
use crate::playback::hls::{MediaPlaylist, Segment};
use crate::playback::mp4;
use crate::sessions::numbering::Generation;
use std::collections::BTreeMap;

/// A fragment whose media is read to find out its time.
pub(in crate::sessions) struct UnreadFragment {
    pub number: FragmentNumber,
    pub resource: Resource,
    pub generation: Generation,
    /// None if its session is that of an earlier process.
    pub init: Option<mp4::Init>,
    pub place: MediaPlace,
    /// Its length as KVS lists it, milliseconds.
    pub millis: u64,
}

impl Timeline {
    /// The fragment to read next so that the time of `number` becomes known; `None` if it is known, or cannot
    /// be.
    pub(in crate::sessions) fn next_unread(&self, number: &FragmentNumber) -> Option<UnreadFragment> {
        if self.media_times.of(number).is_some() {
            return None;
        }
        // A track may lack a fragment that another one has. The first one that has it gives the times of all.
        let mut all: BTreeMap<&Position, (u8, &Listed)> = BTreeMap::new();
        for (track, state) in &self.tracks {
            for listed in &state.listed {
                all.entry(&listed.position).or_insert((*track, listed));
            }
        }
        let steps: Vec<Step<'_>> = all
            .values()
            .map(|(_, listed)| Step {
                number: &listed.position.number,
                date: listed.segment.date,
                tagged: listed.numbered.count.tags > 0,
            })
            .collect();
        let (at, place) = self.media_times.next_read(&steps, number)?;
        let (track, listed) = all.into_values().nth(at)?;
        let generation = self.marks.get(&listed.position)?.generation;
        Some(UnreadFragment {
            number: listed.position.number.clone(),
            resource: listed.segment.resource.clone(),
            generation,
            init: self.init_segments.newest(generation, track),
            place,
            millis: listed.segment.millis,
        })
    }

    /// Where the fragment at an index of a playlist belongs, in milliseconds since 1970: behind the nearest
    /// one before it whose time is known, else at its PROGRAM-DATE-TIME.
    pub(in crate::sessions) fn begin_of(&self, playlist: &MediaPlaylist, index: usize) -> Option<u64> {
        let mut between = 0;
        let time = |segment: &Segment| self.media_times.of(segment.resource.fragment_number()?);
        for (back, segment) in playlist.segments.get(..=index)?.iter().rev().enumerate() {
            match time(segment) {
                Some(time) if back == 0 => return Some(time.start),
                Some(time) => return Some(time.end + between),
                // Behind a discontinuity it stands at its date.
                None if segment.discontinuities > 0 => break,
                None => between += if back == 0 { 0 } else { segment.millis },
            }
        }
        Some(playlist.segments.get(index)?.date?.millis())
    }
}

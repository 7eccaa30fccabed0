//! What a process leaves to the next one: what was decided about the fragments that players know.
//!
//! MEDIA-SEQUENCE and the times of media follow from the fragments themselves. The number of discontinuities
//! does not, and hls.js and video.js choose the timeline of a fragment by that count.

use super::mark::{Mark, Position, REMEMBERED};
use super::timeline::Timeline;
use super::track_playlist::TrackPlaylist;
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use crate::sessions::numbering;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What is saved of a [`Timeline`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sessions) struct SavedTimeline {
    /// The fragments listed last, oldest first.
    marks: Vec<SavedMark>,
    tracks: BTreeMap<u8, SavedTrack>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedMark {
    number: String,
    sequence: u64,
    index: u64,
    tagged: bool,
    moved: bool,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SavedTrack {
    target: u64,
    /// The number in the address of the init segment.
    init: Option<u32>,
    /// MEDIA-SEQUENCE of each fragment listed. Tracks may differ in it.
    listed: BTreeMap<String, u64>,
}

/// More than any LIVE window.
const MOST: usize = 64;
/// No number of ours is larger, and sums stay in range.
const LARGEST: u64 = 1 << 52;

impl Timeline {
    /// What the next process needs; `None` if it could recognise nothing of it.
    pub(in crate::sessions) fn saved(&self) -> Option<SavedTimeline> {
        let oldest =
            self.tracks.values().filter_map(|track| track.listed.front()).map(|l| &l.position).min()?;
        let listed = self.marks.range(oldest..).filter(|(position, _)| position.era == 0);
        let mut marks: Vec<_> = listed
            .rev()
            .take(MOST)
            .map(|(position, mark)| SavedMark {
                number: position.number.to_string(),
                sequence: mark.sequence,
                index: mark.index,
                tagged: mark.tagged,
                moved: mark.shifted,
            })
            .collect();
        marks.reverse();
        let tracks = self.tracks.iter().map(|(track, state)| {
            let init = match state.map {
                Some(Resource::InitSegment { sequence, .. }) => sequence,
                _ => None,
            };
            // A track without requests since the last start is saved as it was resumed.
            let listed = state.listed.iter().map(|listed| (&listed.position, listed.sequence));
            let known = state.resumed.iter().map(|(position, sequence)| (position, *sequence));
            let newest = listed.rev().chain(known.rev()).take(MOST);
            let listed = newest.map(|(at, sequence)| (at.number.to_string(), sequence)).collect();
            (*track, SavedTrack { target: state.target, init, listed })
        });
        (!marks.is_empty()).then(|| SavedTimeline { marks, tracks: tracks.collect() })
    }

    /// Continues what an earlier process saved. Its sessions are unknown here: their generation is 0.
    pub(in crate::sessions) fn resume(&mut self, saved: &SavedTimeline, now: Timestamp) {
        for mark in saved.marks.iter().take(REMEMBERED) {
            let Ok(number) = FragmentNumber::parse(&mark.number) else { continue };
            if !numbering::is_global(&number) || mark.sequence > LARGEST || mark.index > LARGEST {
                continue;
            }
            let SavedMark { sequence, index, tagged, moved: shifted, .. } = *mark;
            let mark = Mark { generation: 0, upstream: 0, sequence, tagged, index, shifted };
            self.marks.insert(Position { era: 0, number }, mark);
            self.resumed = true;
        }
        for (track, saved) in &saved.tracks {
            let init = |sequence| Resource::InitSegment {
                protocol: Protocol::Hls,
                track: *track,
                sequence: Some(sequence),
            };
            let number = |(number, sequence): (&String, &u64)| {
                let number = FragmentNumber::parse(number).ok().filter(numbering::is_global)?;
                (*sequence <= LARGEST).then_some((Position { era: 0, number }, *sequence))
            };
            let state = TrackPlaylist {
                target: saved.target.min(LARGEST),
                listed: VecDeque::new(),
                map: saved.init.map(init),
                resumed: saved.listed.iter().take(REMEMBERED).filter_map(number).collect(),
                upstream: (0, 0),
                changed: now,
                ended: false,
            };
            self.tracks.insert(*track, state);
        }
    }
}

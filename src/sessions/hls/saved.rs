//! What a process leaves to the one that follows it: what was decided about the fragments that players know.
//!
//! MEDIA-SEQUENCE and the times of media follow from the fragments themselves. How many discontinuities there were does
//! not, and hls.js and video.js tell by that count which timeline to lay a fragment on.

use super::timeline::{Mark, Position, REMEMBERED, Timeline, Track};
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use crate::sessions::numbering;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What is kept of a [`Timeline`].
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
    /// The number in the init segment's address.
    init: Option<u32>,
    /// MEDIA-SEQUENCE of each fragment listed. Tracks may differ in it.
    listed: BTreeMap<String, u64>,
}

/// More than any LIVE window.
const MOST: usize = 64;
/// Beyond lies no number of ours, and sums stay in range.
const LARGEST: u64 = 1 << 52;

impl Timeline {
    /// What the next process needs; `None` if nothing that it could know again.
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
                moved: mark.moved,
            })
            .collect();
        marks.reverse();
        let tracks = self.tracks.iter().map(|(track, state)| {
            let init = match state.map {
                Some(Resource::InitSegment { sequence, .. }) => sequence,
                _ => None,
            };
            // A track that nobody has asked for since the last start is as it was.
            let listed = state.listed.iter().map(|listed| (&listed.position, listed.sequence));
            let known = state.kept.iter().map(|(position, sequence)| (position, *sequence));
            let newest = listed.rev().chain(known.rev()).take(MOST);
            let listed = newest.map(|(at, sequence)| (at.number.to_string(), sequence)).collect();
            (*track, SavedTrack { target: state.target, init, listed })
        });
        (!marks.is_empty()).then(|| SavedTimeline { marks, tracks: tracks.collect() })
    }

    /// Goes on from what an earlier process kept. Its sessions are unknown here: their generation is 0.
    pub(in crate::sessions) fn resume(&mut self, kept: &SavedTimeline, now: Timestamp) {
        for mark in kept.marks.iter().take(REMEMBERED) {
            let Ok(number) = FragmentNumber::parse(&mark.number) else { continue };
            if !numbering::is_global(&number) || mark.sequence > LARGEST || mark.index > LARGEST {
                continue;
            }
            let SavedMark { sequence, index, tagged, moved, .. } = *mark;
            let mark = Mark { generation: 0, upstream: 0, sequence, tagged, index, moved };
            self.marks.insert(Position { era: 0, number }, mark);
            self.resumed = true;
        }
        for (track, kept) in &kept.tracks {
            let init = |sequence| Resource::InitSegment {
                protocol: Protocol::Hls,
                track: *track,
                sequence: Some(sequence),
            };
            let number = |(number, sequence): (&String, &u64)| {
                let number = FragmentNumber::parse(number).ok().filter(numbering::is_global)?;
                (*sequence <= LARGEST).then_some((Position { era: 0, number }, *sequence))
            };
            let state = Track {
                target: kept.target.min(LARGEST),
                listed: VecDeque::new(),
                map: kept.init.map(init),
                kept: kept.listed.iter().take(REMEMBERED).filter_map(number).collect(),
                upstream: (0, 0),
                changed: now,
                ended: false,
            };
            self.tracks.insert(*track, state);
        }
    }
}

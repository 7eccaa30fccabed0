//! What a process leaves to the next one: what was decided about the fragments that players know.
//!
//! MEDIA-SEQUENCE and the times of media follow from the fragments themselves. The number of discontinuities
//! does not, and hls.js and video.js choose the timeline of a fragment by that count.

use super::discontinuity::{Count, MOST_TAGS};
use super::mark::{Mark, Position, REMEMBERED};
use super::media_times::FragmentTime;
use super::target_duration::TargetDuration;
use super::timeline::Timeline;
use super::track_playlist::{Numbered, TrackPlaylist};
use crate::kvs::{FragmentNumber, Protocol, Resource, Timestamp};
use crate::sessions::numbering;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// What is saved of a [`Timeline`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sessions) struct SavedTimeline {
    /// TARGETDURATION, seconds.
    target: u64,
    /// The fragments listed last, oldest first.
    marks: Vec<SavedMark>,
    tracks: BTreeMap<u8, SavedTrack>,
    /// When the newest fragments are presented: from, to, milliseconds since 1970.
    times: BTreeMap<String, (u64, u64)>,
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
    /// The number in the address of the init segment.
    init: Option<u32>,
    /// MEDIA-SEQUENCE of each fragment listed, its count of discontinuities, and how many of those stand
    /// ahead of it. Tracks may differ in all three.
    listed: BTreeMap<String, (u64, u64, u64)>,
}

/// More than any LIVE window.
const MOST: usize = 64;
/// Fragments whose times are saved: the next one is placed behind them.
const TIMES: usize = 8;
/// No number of ours is larger, and sums stay in range.
const LARGEST: u64 = 1 << 52;
/// No fragment lasts longer than some 20 s.
const LONGEST_TARGET: u64 = 60;

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
            let listed = state.listed.iter().map(|listed| (&listed.position, listed.numbered));
            let known = state.resumed.iter().map(|(position, numbered)| (position, *numbered));
            let newest = listed.rev().chain(known.rev()).take(MOST);
            let numbers = |(at, Numbered { sequence, count }): (&Position, Numbered)| {
                (at.number.to_string(), (sequence, count.index, count.tags))
            };
            (*track, SavedTrack { init, listed: newest.map(numbers).collect() })
        });
        let times =
            self.media_times.newest(TIMES).map(|(number, time)| (number.to_string(), (time.start, time.end)));
        (!marks.is_empty()).then(|| SavedTimeline {
            target: self.target.seconds(),
            marks,
            tracks: tracks.collect(),
            times: times.collect(),
        })
    }

    /// Continues what an earlier process saved. Its sessions are unknown here: their generation is 0.
    pub(in crate::sessions) fn resume(&mut self, saved: &SavedTimeline, now: Timestamp) {
        self.target = TargetDuration::of(saved.target.min(LONGEST_TARGET));
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
        for (number, &(start, end)) in saved.times.iter().take(TIMES) {
            let Ok(number) = FragmentNumber::parse(number) else { continue };
            if start <= end && end <= LARGEST {
                self.media_times.note(number, FragmentTime { start, end, generation: 0, delay: None });
            }
        }
        for (track, saved) in &saved.tracks {
            let init = |sequence| Resource::InitSegment {
                protocol: Protocol::Hls,
                track: *track,
                sequence: Some(sequence),
            };
            let number = |(number, &(sequence, index, tags)): (&String, &(u64, u64, u64))| {
                let number = FragmentNumber::parse(number).ok().filter(numbering::is_global)?;
                let numbered = Numbered { sequence, count: Count { index, tags } };
                (sequence <= LARGEST && index <= LARGEST && tags <= index.min(MOST_TAGS))
                    .then_some((Position { era: 0, number }, numbered))
            };
            let state = TrackPlaylist {
                listed: VecDeque::new(),
                last: None,
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

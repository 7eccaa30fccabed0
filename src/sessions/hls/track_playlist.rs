//! The published playlist of one track, and how what a session lists compares with it.

use super::discontinuity::Count;
use super::mark::Position;
use super::offered::{Offered, absence, is_absence};
use super::pairs;
use crate::kvs::{Resource, Timestamp};
use crate::playback::hls::{MediaPlaylist, Segment};
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The published playlist of one track.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TrackPlaylist {
    pub(super) listed: VecDeque<Listed>,
    /// The newest fragment that was ever listed.
    pub(super) last: Option<Last>,
    /// The init segment of the last fragment listed, as published.
    pub(super) map: Option<Resource>,
    /// What an earlier process listed last, with the numbers it gave.
    #[serde(with = "pairs")]
    pub(super) resumed: BTreeMap<Position, Numbered>,
    /// The session of the last fragment listed, and the sequence number that KVS gave it there.
    pub(super) upstream: (Generation, u64),
    /// When a fragment was listed last.
    pub(super) changed: Timestamp,
    pub(super) ended: bool,
}

/// A fragment in a published playlist.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Listed {
    pub(super) position: Position,
    pub(super) numbered: Numbered,
    pub(super) segment: Segment,
    /// Its EXTINF is at most this, milliseconds.
    pub(super) most_millis: u64,
}

impl Listed {
    /// The segment as players get it.
    pub(super) fn published(&self) -> Segment {
        self.segment.lasting(self.most_millis)
    }
}

/// The numbers of a fragment on one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Numbered {
    pub(super) sequence: u64,
    pub(super) count: Count,
}

/// The newest fragment of a track, whether or not it is still listed.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Last {
    pub(super) numbered: Numbered,
    /// The session that its media comes from.
    pub(super) generation: Generation,
    /// Its times are shifted onto the one timeline.
    pub(super) shifted: bool,
}

impl TrackPlaylist {
    /// A track that has listed nothing yet; `generation` is the first session that does.
    pub(super) fn new(generation: Generation, now: Timestamp) -> Self {
        Self {
            listed: VecDeque::new(),
            last: None,
            map: None,
            resumed: BTreeMap::new(),
            upstream: (generation, 0),
            changed: now,
            ended: false,
        }
    }

    /// True if nothing was recorded between the last fragment listed and this one for more than two target
    /// durations.
    pub(super) fn is_gap(&self, next: &Offered<'_>, target: u64) -> bool {
        self.listed.back().is_some_and(|last| is_absence(&last.position, &last.segment, next, target))
    }

    /// True if the camera was away: nothing was recorded between what is listed and `first`, and nothing was
    /// listed, for more than two target durations.
    pub(super) fn was_away(&self, first: &Offered<'_>, target: u64, now: Timestamp) -> bool {
        let Some(last) = self.listed.back() else { return false };
        is_absence(&last.position, &last.segment, first, target)
            && self.changed.age(now).as_millis() > absence(target)
    }

    /// True if the session listed fragments between what is listed here and `first`, by its own count.
    pub(super) fn has_skipped(&self, generation: Generation, first: &Offered<'_>) -> bool {
        let (known, number) = self.upstream;
        known == generation && first.upstream > number.saturating_add(1)
    }

    /// True if fragments may have been listed meanwhile, between what is listed here and what is offered.
    pub(super) fn may_have_missed(&self, offered: &[Offered<'_>]) -> bool {
        self.listed.back().zip(offered.first()).is_some_and(|(last, first)| {
            first.position.era == last.position.era && first.position > last.position
        })
    }

    /// Index of the first offered fragment that comes after everything listed; the number of them if none
    /// does. `newest` is the index of the first that a list without anything before would hold.
    pub(super) fn first_unseen(
        &self,
        offered: &[Offered<'_>],
        playlist: &MediaPlaylist,
        now: Timestamp,
        newest: usize,
    ) -> usize {
        if self.ended {
            return offered.len();
        }
        let Some(last) = self.listed.back() else { return newest };
        let by_number = offered.iter().rposition(|offered| offered.position <= last.position);
        if let Some(at) = by_number {
            return at + 1;
        }
        if offered.first().is_none_or(|offered| offered.position.era == last.position.era) {
            return newest;
        }
        // The numbers of another session cannot be compared. Times can, if they are shown.
        if let Some(date) = last.segment.date
            && offered.iter().all(|offered| offered.segment.date.is_some())
        {
            let seen = offered.iter().rposition(|offered| offered.segment.date.is_some_and(|d| d <= date));
            return seen.map_or(newest, |at| at + 1).max(newest);
        }
        // What can have been recorded since, by its length.
        let since = u64::try_from(self.changed.age(now).as_millis()).unwrap_or(u64::MAX);
        let mut room = since.saturating_add(playlist.target * 500);
        let fits = |offered: &&Offered<'_>| {
            let fits = room >= offered.segment.millis;
            room = room.saturating_sub(offered.segment.millis);
            fits
        };
        (offered.len() - offered.iter().rev().take_while(fits).count()).max(newest)
    }
}

//! The published playlist of one track, and how what a session lists compares with it.

use super::mark::Position;
use super::offered::{Offered, absence, is_absence};
use crate::kvs::{Resource, Timestamp};
use crate::playback::hls::{MediaPlaylist, Segment};
use crate::sessions::numbering::Generation;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The published playlist of one track.
pub(super) struct TrackPlaylist {
    pub(super) target: u64,
    pub(super) listed: VecDeque<Listed>,
    /// The init segment of the last fragment listed, as published.
    pub(super) map: Option<Resource>,
    /// What an earlier process listed last, with the numbers it gave.
    pub(super) resumed: BTreeMap<Position, u64>,
    /// The session of the last fragment listed, and the sequence number that KVS gave it there.
    pub(super) upstream: (Generation, u64),
    /// When a fragment was listed last.
    pub(super) changed: Timestamp,
    pub(super) ended: bool,
}

/// A fragment in a published playlist.
pub(super) struct Listed {
    pub(super) position: Position,
    pub(super) sequence: u64,
    pub(super) segment: Segment,
}

impl TrackPlaylist {
    /// A track that has listed nothing yet; `generation` is the first session that does.
    pub(super) fn new(generation: Generation, now: Timestamp) -> Self {
        Self {
            target: 0,
            listed: VecDeque::new(),
            map: None,
            resumed: BTreeMap::new(),
            upstream: (generation, 0),
            changed: now,
            ended: false,
        }
    }

    /// True if the time between the last fragment listed and this one is longer than two target durations.
    pub(super) fn is_gap(&self, segment: &Segment) -> bool {
        let Some((last, date)) = self.listed.back().and_then(|l| Some((&l.segment, l.segment.date?))) else {
            return false;
        };
        let end = date.plus(Duration::from_millis(last.millis));
        segment.date.is_some_and(|start| end.age(start).as_millis() > absence(self.target))
    }

    /// True if the camera was away: nothing was recorded between what is listed and `first`, and nothing was
    /// listed, for more than two target durations.
    pub(super) fn was_away(&self, first: &Offered<'_>, now: Timestamp) -> bool {
        let Some(last) = self.listed.back() else { return false };
        is_absence(&last.position, &last.segment, first, self.target)
            && self.changed.age(now).as_millis() > absence(self.target)
    }

    /// True if fragments may have been listed meanwhile, between what is listed here and what is offered.
    pub(super) fn may_have_missed(&self, offered: &[Offered<'_>]) -> bool {
        self.listed.back().zip(offered.first()).is_some_and(|(last, first)| {
            first.position.era == last.position.era && first.position > last.position
        })
    }

    /// Index of the first offered fragment that comes after everything listed; the number of them if none
    /// does.
    pub(super) fn first_unseen(
        &self,
        offered: &[Offered<'_>],
        playlist: &MediaPlaylist,
        now: Timestamp,
        window: usize,
    ) -> usize {
        let newest = offered.len().saturating_sub(window);
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

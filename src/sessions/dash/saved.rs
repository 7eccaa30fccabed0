//! What a process leaves to the one that follows it, so that DASH players stay in the period that they are in.

use super::offered::Offer;
use super::timeline::Timeline;
use serde::{Deserialize, Serialize};

/// What a process leaves to the one that follows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sessions) struct SavedTimeline {
    /// The newest period: its name and start.
    pub(in crate::sessions) period: (String, u64),
    /// The newest fragments, oldest first: number, start.
    fragments: Vec<(String, u64)>,
}

/// Fragments told to the next process.
const KEPT: usize = 16;
/// The year 2100, in milliseconds since 1970.
const LATEST: u64 = 4_102_444_800_000;

impl Timeline {
    /// What the next process needs to go on with the same period and the same times; `None` if nothing is listed.
    pub(in crate::sessions) fn saved(&self) -> Option<SavedTimeline> {
        let period = self.periods.back()?;
        let from = self.fragments.len().saturating_sub(KEPT);
        let newest = self.fragments.range(from..);
        let fragments = newest.filter_map(|f| Some((f.number.as_ref()?.to_string(), f.start))).collect();
        Some(SavedTimeline { period: (period.id.clone(), period.start), fragments })
    }

    /// Goes on from what an earlier process kept.
    pub(in crate::sessions) fn resume(&mut self, kept: SavedTimeline) {
        let in_range = |start: u64| start < LATEST;
        if in_range(kept.period.1) && kept.fragments.iter().all(|(_, start)| in_range(*start)) {
            self.resumed = Some(kept);
        }
    }

    /// When the first fragment here began by an earlier process.
    pub(in crate::sessions) fn resumed_start(&self, offer: &Offer<'_>) -> Option<u64> {
        let number = offer.segment.fragment.as_ref()?.as_str();
        let known = &self.resumed.as_ref()?.fragments;
        known.iter().find(|(known, _)| known == number).map(|(_, start)| *start)
    }
}

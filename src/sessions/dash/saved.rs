//! What a process leaves to the next one, so that DASH players stay in their period.

use serde::{Deserialize, Serialize};

/// The newest period and fragments of a [`Timeline`](super::Timeline).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sessions) struct SavedTimeline {
    /// The newest period: its name, and its start in milliseconds since 1970.
    pub(super) period: (String, u64),
    /// The newest fragments, oldest first: number, and start in milliseconds since 1970.
    pub(super) fragments: Vec<(String, u64)>,
}

/// Fragments that are saved.
pub(super) const SAVED: usize = 16;
/// The year 2100, in milliseconds since 1970.
const LATEST: u64 = 4_102_444_800_000;

impl SavedTimeline {
    /// True if all times lie in a range in which sums cannot overflow.
    pub(super) fn is_plausible(&self) -> bool {
        let in_range = |start: u64| start < LATEST;
        in_range(self.period.1) && self.fragments.iter().all(|(_, start)| in_range(*start))
    }

    /// When a fragment began for the process that saved this.
    pub(super) fn start(&self, number: &str) -> Option<u64> {
        self.fragments.iter().find(|(known, _)| known == number).map(|(_, start)| *start)
    }
}

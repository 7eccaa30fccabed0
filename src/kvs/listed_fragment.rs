//! One row of ListFragments (docs/KVS.md 4.2).

use super::{FragmentNumber, SelectorType, Timestamp};
use std::time::Duration;

/// A stored fragment as KVS lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedFragment {
    /// Its number.
    pub number: FragmentNumber,
    /// When it reached KVS.
    pub server: Timestamp,
    /// When its first frame was recorded, by the producer's clock.
    pub producer: Timestamp,
    /// From its first frame to its last one; shorter than it plays, and 0 for some producers.
    pub length: Duration,
    /// `FragmentSizeInBytes`: of its payload or of its whole chunk, which KVS does not document.
    pub size: u64,
}

impl ListedFragment {
    /// Bytes of memory that one takes: itself, and the digits of its number with their counters, as
    /// allocators round them up.
    pub const WEIGHT: usize = size_of::<Self>() + 80;

    /// When it begins, on a clock.
    #[must_use]
    pub fn start(&self, clock: SelectorType) -> Timestamp {
        match clock {
            SelectorType::Server => self.server,
            SelectorType::Producer => self.producer,
        }
    }
}

//! What was decided about a fragment, for all tracks, and the order of fragments.

use crate::kvs::FragmentNumber;
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};

/// The order of fragments: by number where numbers are the same in every session, else by session first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct Position {
    /// The session whose numbers these are; 0 for numbers that every session has.
    pub(super) era: Generation,
    pub(super) number: FragmentNumber,
}

/// What was decided about a fragment, for all tracks.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The session that first listed it, and the sequence number that KVS gave it there.
    pub(super) generation: Generation,
    pub(super) upstream: u64,
    /// Its MEDIA-SEQUENCE on the track that first listed it.
    pub(super) sequence: u64,
    /// A DISCONTINUITY stands ahead of it, on the track that first listed it.
    pub(super) tagged: bool,
    /// The number of discontinuities up to and including those ahead of it, on the track that has most.
    pub(super) index: u64,
    /// Its times are shifted onto the one timeline.
    pub(super) shifted: bool,
}

/// Marks older than the window that are remembered for requests under way.
pub(super) const REMEMBERED: usize = 256;

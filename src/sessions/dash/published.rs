//! What is published of one stream: its periods, their tracks, and the fragments on them.

use super::manifest::TimelineSegment;
use super::xml::Element;
use crate::kvs::{FragmentNumber, Resource, Timestamp};
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};

/// A period, as published.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Period {
    /// Number in the order in which periods began.
    pub(super) order: u64,
    /// Which tracks, with which codec settings.
    pub(super) id: String,
    /// Milliseconds since 1970. 0 for the first period, which is the same in every process.
    pub(super) start: u64,
    /// As KVS wrote it, without segments.
    pub(super) element: Element,
    pub(super) tracks: Vec<PublishedTrack>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct PublishedTrack {
    pub(super) track: u8,
    /// Ticks per second in the manifest.
    pub(super) timescale: u64,
    pub(super) init: Resource,
}

/// A fragment, on all tracks of its period.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Fragment {
    pub(super) period: u64,
    pub(super) number: Option<FragmentNumber>,
    pub(super) kvs_time: Option<Timestamp>,
    /// Milliseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    /// Its segments, with times counted from 1970. `None` where a track has none.
    pub(super) tracks: Vec<Option<TimelineSegment>>,
    /// Where it can be fetched, oldest session first.
    pub(super) sources: Vec<FragmentSource>,
}

/// What a session calls a fragment.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct FragmentSource {
    pub(super) generation: Generation,
    /// Which of that session's periods.
    pub(super) period_index: usize,
    pub(super) number: u64,
    /// Published time minus the time there, in milliseconds, by track.
    pub(super) shift: Vec<u64>,
}

impl Fragment {
    pub(super) fn length(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

//! Which footage a request means: the mode of playback, the clock that selects, and from when to when
//! (docs/KVS.md 4.1).

use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// `LIVE`, `LIVE_REPLAY` or `ON_DEMAND` (with an underscore: docs/KVS.md trap 17).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum PlaybackMode {
    /// The newest fragments, sliding.
    #[serde(rename = "l")]
    Live,
    /// A range, shown as if it were live.
    #[serde(rename = "r")]
    LiveReplay,
    /// A range, whole.
    #[serde(rename = "o")]
    OnDemand,
}

impl PlaybackMode {
    /// As it is written on the wire and in policies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::LiveReplay => "LIVE_REPLAY",
            Self::OnDemand => "ON_DEMAND",
        }
    }
}

/// The clock that selects and orders fragments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SelectorType {
    /// `PRODUCER_TIMESTAMP`.
    #[serde(rename = "p")]
    Producer,
    /// `SERVER_TIMESTAMP`.
    #[serde(rename = "s")]
    Server,
}

impl SelectorType {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "PRODUCER_TIMESTAMP",
            Self::Server => "SERVER_TIMESTAMP",
        }
    }
}

/// A range of footage. `end` is absent only for LIVE_REPLAY that runs on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimeRange {
    /// First instant, inclusive.
    pub start: Timestamp,
    /// Last instant, inclusive.
    pub end: Option<Timestamp>,
}

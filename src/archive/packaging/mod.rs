//! Files made of stored fragments: clips of any length, whose bytes are the same for everybody.

mod body;
mod clip;
pub mod metrics;
mod pieces;
mod presentation;
mod presented;
mod written;
mod written_parts;

pub use clip::PackagedClip;
pub use metrics::Metrics;
use presented::Presentations;
pub use presented::{FoundPresentation, FoundSegment, Presented, PresentedRange, TextKind};

use crate::base::room::Room;
use crate::cache::Cache;
use crate::kvs::StreamArn;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use written_parts::WrittenParts;

/// Streams whose fragments once needed more room.
const STREAMS: u64 = 10_000;
/// How long that is remembered.
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most memory for the indexes of ordinary MP4s.
const TRAILERS: u64 = 32 << 20;
/// The most room for what a fragment grows by: 4 to this power as much as usual.
const MOST_SLACK: u8 = 4;

/// What is remembered beside the cache; outlives reloads. Clones share it.
#[derive(Clone)]
pub struct Packaging {
    metrics: Metrics,
    /// The room that a stream's fragments need, where it is more than usual.
    slack: moka::sync::Cache<StreamArn, u8>,
    /// The last part of ordinary MP4s by entity tag: it is made of every fragment.
    trailers: moka::sync::Cache<Arc<str>, Bytes>,
    presentations: Presentations,
    parts: WrittenParts,
}

impl Packaging {
    /// With nothing remembered; presentations are kept in `room`, and small parts of files in the budget of
    /// `cache`, which has `memory` bytes.
    #[must_use]
    pub fn new(metrics: Metrics, room: Room, cache: Cache, memory: u64) -> Self {
        let slack = moka::sync::Cache::builder().max_capacity(STREAMS).time_to_live(REMEMBERED).build();
        let trailers = moka::sync::Cache::builder()
            .max_capacity(TRAILERS)
            .weigher(|_, bytes: &Bytes| u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .build();
        let (presentations, parts) = (Presentations::new(room), WrittenParts::new(cache, memory));
        Self { metrics, slack, trailers, presentations, parts }
    }

    /// Counts what is packaged.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Forgets what is known of a stream's footage.
    pub fn purge(&self, stream: &str) {
        self.presentations.purge(stream);
        self.parts.purge(stream);
    }

    fn slack(&self, stream: &StreamArn) -> u8 {
        self.slack.get(stream).unwrap_or(0)
    }

    /// The next clip of a stream gets more room than `slack`, in which a fragment did not fit.
    fn raise_slack(&self, stream: &StreamArn, slack: u8) {
        self.slack.insert(stream.clone(), slack.saturating_add(1).min(MOST_SLACK));
    }
}

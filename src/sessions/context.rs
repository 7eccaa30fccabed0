//! What all sessions of a pool use: KVS, the cache, the settings, the metrics, and the bound on open
//! sessions.

use super::config::Config;
use super::kvs::SessionSource;
use super::metrics::Metrics;
use super::places::Places;
use crate::base::fair_slots::FairSlots;
use crate::base::room::Room;
use crate::cache::Cache;
use crate::cache::freshness::Rules;
use crate::fleet::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all sessions of a pool use.
pub(super) struct Context {
    pub(super) source: Arc<dyn SessionSource>,
    pub(super) cache: Cache,
    /// How long media is kept in the cache.
    pub(super) rules: Rules,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    /// Where long playlists are kept, and what can be made of them.
    pub(super) room: Room,
    /// Playlists that may be joined of many at a time, by their days.
    pub(super) joined_days: Arc<FairSlots>,
    /// One for each upstream session that may be open.
    pub(super) places: Places,
    /// What all replicas share.
    pub(super) store: Option<Store>,
    /// Sessions that were made so far.
    numbered: AtomicU64,
}

/// Days of footage whose playlists are joined at a time, in all and for one caller. A day of two-second
/// fragments takes some 30 MB meanwhile.
const JOINED_DAYS: u32 = 6;
const JOINED_DAYS_OF_ONE: u32 = 3;

impl Context {
    pub(super) fn new(
        source: Arc<dyn SessionSource>,
        cache: Cache,
        rules: Rules,
        config: Config,
        metrics: Metrics,
        room: Room,
        store: Option<Store>,
    ) -> Self {
        let places = Places::new(config.most, config.most_per_caller);
        let joined_days = FairSlots::new(JOINED_DAYS, JOINED_DAYS_OF_ONE);
        let numbered = AtomicU64::new(0);
        Self { source, cache, rules, config, metrics, room, joined_days, places, store, numbered }
    }

    /// A number that no other session of this process has.
    pub(super) fn next_number(&self) -> u64 {
        self.numbered.fetch_add(1, Ordering::Relaxed)
    }
}

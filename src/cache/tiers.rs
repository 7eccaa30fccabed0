//! Everything that the cache consists of: memory, disk, the fills in progress, and the budget that bounds
//! them.

use super::config::Config;
use super::disk::{Disk, DiskLoaded};
use super::entry::Entry;
use super::fill::in_flight::InFlight;
use super::key::Key;
use super::memory::Memory;
use super::memory::budget::Budget;
use super::metrics::Metrics;
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::kvs::Timestamp;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The tiers, the fills in progress, and the budget that bounds them.
pub(super) struct Tiers {
    pub(super) config: Config,
    /// The largest body that is kept.
    pub(super) largest: u64,
    pub(super) memory: Memory,
    pub(super) in_flight: InFlight,
    pub(super) budget: Budget,
    pub(super) disk: Option<Disk>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

impl Tiers {
    /// Opens the tiers and begins to look after them. Must be called on a runtime.
    pub(super) fn open(config: &Config, metrics: Metrics, clock: Clock) -> Arc<Self> {
        let budget = Budget::new(config.for_bodies(), metrics.filling.clone());
        let tiers = Arc::new(Self {
            config: config.clone(),
            largest: config.largest(),
            memory: Memory::new(config.for_entries(), metrics.memory.clone()),
            in_flight: InFlight::default(),
            disk: config.disk.as_ref().map(|disk| Disk::open(disk, &budget, &metrics)),
            budget,
            metrics,
            clock,
        });
        spawn_self_ending(tidy(Arc::downgrade(&tiers)));
        tiers
    }

    /// What memory holds.
    pub(super) fn lookup(&self, key: &Key) -> Option<Arc<Entry>> {
        self.memory.get(key, self.clock.now())
    }

    pub(super) async fn load(&self, key: Key) -> Option<DiskLoaded> {
        self.disk.as_ref()?.load(key, self.clock.now()).await
    }

    pub(super) fn store(&self, entry: &Arc<Entry>) {
        self.memory.insert(Arc::clone(entry));
        if let Some(disk) = &self.disk {
            disk.store(entry, self.clock.now());
        }
    }
}

/// Housekeeping, once a second, for as long as there is a cache.
async fn tidy(cache: Weak<Tiers>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        let Some(tiers) = cache.upgrade() else { return };
        tiers.memory.tidy();
        tiers.budget.tidy();
        let leaving = tiers.budget.used().saturating_sub(tiers.memory.bytes());
        let leaving = i64::try_from(leaving).unwrap_or(i64::MAX) - tiers.metrics.filling.get();
        tiers.metrics.leaving.set(leaving.max(0));
    }
}

/// The wall clock; tests bring their own.
pub(super) enum Clock {
    Wall,
    #[cfg(test)]
    Set(Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::Wall => Timestamp::from(clock::now()),
            #[cfg(test)]
            Self::Set(millis) => Timestamp::from_millis(millis.load(std::sync::atomic::Ordering::Relaxed)),
        }
    }
}

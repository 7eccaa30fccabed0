//! Everything that the cache consists of: memory, the tiers below it, the fills in progress, and the budget
//! that bounds them.

use super::config::Config;
use super::disk::Disk;
use super::entry::{Entry, Sharing, Tier};
use super::fill::in_flight::InFlight;
use super::key::Key;
use super::memory::Memory;
use super::memory::budget::Budget;
use super::metrics::Metrics;
use super::purges::Purges;
use super::store::{Claim, Loaded, Lookup, Store};
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
    pub(super) disk: Option<Arc<Disk>>,
    /// The tiers below memory, in the order in which they are asked.
    pub(super) below: Vec<Arc<dyn Store>>,
    pub(super) purges: Arc<Purges>,
    pub(super) metrics: Metrics,
    pub(super) clock: Clock,
}

/// What was claimed of an object that no tier had.
pub(super) type Claims = Vec<Box<dyn Claim>>;

impl Tiers {
    /// Opens the tiers and begins to look after them. Must be called on a runtime.
    pub(super) fn open(
        config: &Config,
        metrics: Metrics,
        clock: Clock,
        lowest: impl FnOnce(&Budget, &Arc<Purges>, &Metrics) -> Vec<Arc<dyn Store>>,
    ) -> Arc<Self> {
        let budget = Budget::new(config.for_bodies(), metrics.filling.clone());
        let purges = Arc::default();
        let disk = config.disk.as_ref().map(|disk| Arc::new(Disk::open(disk, &budget, &metrics)));
        let below = disk
            .iter()
            .map(|disk| Arc::clone(disk) as Arc<dyn Store>)
            .chain(lowest(&budget, &purges, &metrics))
            .collect();
        let tiers = Arc::new(Self {
            config: config.clone(),
            largest: config.largest(),
            memory: Memory::new(config.for_entries(), metrics.memory.clone()),
            in_flight: InFlight::default(),
            disk,
            below,
            purges,
            budget,
            metrics,
            clock,
        });
        spawn_self_ending(tidy(Arc::downgrade(&tiers)));
        tiers
    }

    /// What memory holds.
    pub(super) fn lookup(&self, key: &Key) -> Option<Arc<Entry>> {
        let entry = self.memory.get(key, self.clock.now())?;
        (!self.purges.cover(key, entry.began)).then_some(entry)
    }

    /// What the first tier below memory has that has it.
    ///
    /// # Errors
    /// None has; what was claimed, to be fetched.
    pub(super) async fn load(&self, key: Key, sharing: Sharing) -> Result<(Tier, Loaded), Claims> {
        let mut claims = Vec::new();
        for store in &self.below {
            match store.load(key, sharing, self.clock.now()).await {
                Lookup::Found(tier, loaded) if !self.purges.cover(&key, began(&loaded)) => {
                    return Ok((tier, loaded));
                }
                Lookup::Found(..) => {}
                Lookup::Missing(claim) => claims.extend(claim),
            }
        }
        Err(claims)
    }

    /// Keeps what has been fetched, in every tier.
    pub(super) fn store(&self, entry: &Arc<Entry>, claims: Claims) {
        self.memory.insert(Arc::clone(entry));
        self.below.iter().for_each(|store| store.store(entry, self.clock.now()));
        claims.into_iter().for_each(|claim| claim.commit(entry));
    }

    /// Keeps what `tier` had in the tiers above it.
    pub(super) fn keep_above(&self, tier: Tier, entry: &Arc<Entry>) {
        self.memory.insert(Arc::clone(entry));
        if let (Some(disk), true) = (&self.disk, tier != Tier::Disk) {
            disk.store(entry, self.clock.now());
        }
    }
}

fn began(loaded: &Loaded) -> Timestamp {
    match loaded {
        Loaded::Whole(entry) => entry.began,
        Loaded::Open(object) => object.began(),
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
        tiers.purges.tidy(tiers.clock.now(), tiers.config.max_age.0);
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

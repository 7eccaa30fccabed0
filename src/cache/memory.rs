//! The first tier: whole bodies in memory, weighed in bytes.
//!
//! moka keeps what is asked for often (TinyLFU), so that a scan of cold clips does not wash out hot fragments. It has
//! no thread of its own: after large inserts and once a second [`Memory::tidy`] makes it do its work, otherwise a
//! burst would hold several times the budget (DEPENDENCIES.md 2.5).

use super::Key;
use super::entry::Entry;
use super::key::{Spread, Target};
use super::metrics::TierMetrics;
use crate::kvs::Timestamp;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whole bodies in memory.
pub(super) struct Memory {
    entries: Cache<Key, Arc<Entry>, Spread>,
    capacity: u64,
    /// Bytes taken in since moka last did its work.
    unsettled: AtomicU64,
    metrics: TierMetrics,
}

/// So many new bytes make moka do its work at once.
const UNSETTLED: u64 = 256 << 10;

/// Entries leave when they expire, without waiting to be asked for.
struct AtTheirEnd;

impl moka::Expiry<Key, Arc<Entry>> for AtTheirEnd {
    fn expire_after_create(&self, _: &Key, entry: &Arc<Entry>, _: Instant) -> Option<Duration> {
        left(entry)
    }

    // Without this an overwrite would keep the old deadline.
    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Arc<Entry>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        left(entry)
    }
}

/// How long from its making; a little more than it may be given out, which `get` decides by the wall clock.
fn left(entry: &Arc<Entry>) -> Option<Duration> {
    Some(entry.life.map_or(Duration::ZERO, |life| entry.head.stored.age(life.expires)))
}

impl Memory {
    /// A tier of at most `capacity` bytes.
    pub(super) fn new(capacity: u64, metrics: TierMetrics) -> Self {
        let evicted = metrics.evicted.clone();
        let entries = Cache::builder()
            .name("memory")
            .max_capacity(capacity)
            .weigher(|_: &Key, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
            .expire_after(AtTheirEnd)
            .eviction_listener(move |_, _, cause| match cause {
                RemovalCause::Expired => evicted.expired.inc(),
                RemovalCause::Explicit => evicted.purged.inc(),
                RemovalCause::Replaced => evicted.replaced.inc(),
                RemovalCause::Size => evicted.size.inc(),
            })
            .build_with_hasher(Spread);
        Self { entries, capacity, unsettled: AtomicU64::new(0), metrics }
    }

    /// The entry, if it may be given out at `now`.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<Arc<Entry>> {
        self.entries.get(key).filter(|entry| entry.life.is_some_and(|life| now < life.expires))
    }

    /// Takes an entry in, unless it alone would be too large.
    pub(super) fn insert(&self, entry: Arc<Entry>) {
        if entry.life.is_some() && entry.weight() <= self.capacity.min(u64::from(u32::MAX)) {
            self.unsettled.fetch_add(entry.weight(), Ordering::Relaxed);
            self.entries.insert(entry.key, entry);
        }
    }

    /// To be called after inserts, without a lock held: keeps the excess over the capacity small.
    pub(super) fn settle(&self) {
        if self.unsettled.load(Ordering::Relaxed) >= UNSETTLED {
            self.tidy();
        }
    }

    /// Removes what belongs to `target`; tells how many entries that were.
    pub(super) fn purge(&self, target: Target) -> usize {
        let keys: Vec<Key> =
            self.entries.iter().map(|(key, _)| *key).filter(|key| key.is_of(target)).collect();
        keys.iter().for_each(|key| self.entries.invalidate(key));
        self.tidy();
        keys.len()
    }

    /// Removes one entry.
    pub(super) fn remove(&self, key: &Key) {
        self.entries.invalidate(key);
    }

    /// Evicts and expires what is due.
    pub(super) fn tidy(&self) {
        self.unsettled.store(0, Ordering::Relaxed);
        self.entries.run_pending_tasks();
        self.metrics.bytes.set(i64::try_from(self.entries.weighted_size()).unwrap_or(i64::MAX));
        self.metrics.entries.set(i64::try_from(self.entries.entry_count()).unwrap_or(i64::MAX));
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> u64 {
        self.entries.weighted_size()
    }
}

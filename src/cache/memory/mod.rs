//! The first tier: whole bodies in memory, weighed in bytes.
//!
//! Two generations, as in W-TinyLFU. New entries go to `recent`, where the least recently used is evicted
//! first. What is evicted there is offered to `proven`, which takes it only if it is requested more often
//! than what it would displace. A scan of cold clips therefore passes through a third of the memory and
//! leaves the hot fragments in place, and a new fragment is held for its viewers before it has been
//! requested twice, which TinyLFU alone would refuse.
//!
//! moka has no thread of its own: after large inserts and once a second [`Memory::tidy`] makes it do its
//! work, otherwise a burst would hold several times the budget.

pub(super) mod account;
pub(super) mod block;
pub(super) mod budget;

use super::entry::Entry;
use super::key::{DigestHash, Key, PurgeTarget};
use super::metrics::{Evicted, TierMetrics};
use crate::kvs::Timestamp;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::{Cache, CacheBuilder};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Entries = Cache<Key, Arc<Entry>, DigestHash>;

/// What a builder builds before it is given the hasher.
type Plain = Cache<Key, Arc<Entry>>;

/// Whole bodies in memory.
pub(super) struct Memory {
    recent: Entries,
    proven: Entries,
    /// The largest weight taken in.
    largest: u64,
    /// Bytes taken in since moka last did its work.
    unsettled: AtomicU64,
    metrics: TierMetrics,
}

/// So many new bytes make moka do its work at once.
const UNSETTLED: u64 = 256 << 10;

/// Entries are removed when they expire, whether or not they are requested.
struct ByExpiry;

impl moka::Expiry<Key, Arc<Entry>> for ByExpiry {
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

/// How long from being taken in; perhaps longer than it may be given out, which `get` decides by the wall
/// clock.
fn left(entry: &Arc<Entry>) -> Option<Duration> {
    Some(entry.expires.map_or(Duration::ZERO, |expires| entry.head.stored.age(expires)))
}

fn entries(name: &str, capacity: u64, policy: EvictionPolicy) -> CacheBuilder<Key, Arc<Entry>, Plain> {
    Cache::builder()
        .name(name)
        .max_capacity(capacity)
        .weigher(|_: &Key, entry: &Arc<Entry>| u32::try_from(entry.weight()).unwrap_or(u32::MAX))
        .expire_after(ByExpiry)
        .eviction_policy(policy)
}

impl Memory {
    /// A tier of at most `capacity` bytes, a third of it for what is new.
    pub(super) fn new(capacity: u64, metrics: TierMetrics) -> Self {
        let evicted = metrics.evicted.clone();
        let proven = entries("proven", capacity - capacity / 3, EvictionPolicy::tiny_lfu())
            .eviction_listener(move |_, _, cause| count(&evicted, cause))
            .build_with_hasher(DigestHash);
        let (evicted, next) = (metrics.evicted.clone(), proven.clone());
        let recent = entries("recent", capacity / 3, EvictionPolicy::lru())
            .eviction_listener(move |key, entry, cause| match cause {
                RemovalCause::Size => next.insert(*key, entry),
                _ => count(&evicted, cause),
            })
            .build_with_hasher(DigestHash);
        let largest = (capacity / 3).min(u64::from(u32::MAX));
        Self { recent, proven, largest, unsettled: AtomicU64::new(0), metrics }
    }

    /// The entry, if it may be given out at `now`. Asking `proven` first lets it count how often a key is
    /// wanted, also while it does not hold it.
    pub(super) fn get(&self, key: &Key, now: Timestamp) -> Option<Arc<Entry>> {
        let entry = self.proven.get(key).or_else(|| self.recent.get(key));
        entry.filter(|entry| entry.expires.is_some_and(|expires| now < expires))
    }

    /// Whether there is an entry; does not count as asking for it.
    pub(super) fn holds(&self, key: &Key) -> bool {
        self.proven.contains_key(key) || self.recent.contains_key(key)
    }

    /// Takes an entry in, unless it is too large by itself.
    pub(super) fn insert(&self, entry: Arc<Entry>) {
        if entry.expires.is_some() && entry.weight() <= self.largest {
            self.unsettled.fetch_add(entry.weight(), Ordering::Relaxed);
            // Never updated in place: moka 0.12.16 loses count of an entry's weight if that changes and the
            // entry is removed before moka has done its work (`handle_upsert` returns early on a retired
            // entry).
            if self.proven.remove(&entry.key).or_else(|| self.recent.remove(&entry.key)).is_some() {
                self.metrics.evicted.replaced.inc();
            }
            self.recent.insert(entry.key, entry);
        }
    }

    /// To be called after inserts, without a lock held: keeps the excess over the capacity small.
    pub(super) fn settle(&self) {
        if self.unsettled.load(Ordering::Relaxed) >= UNSETTLED {
            self.tidy();
        }
    }

    /// Removes the entries of `target`; gives their number.
    pub(super) fn purge(&self, target: PurgeTarget) -> usize {
        let remove = |entries: &Entries| {
            let keys: Vec<Key> =
                entries.iter().map(|(key, _)| *key).filter(|key| key.is_of(target)).collect();
            keys.iter().for_each(|key| entries.invalidate(key));
            keys.len()
        };
        let gone = remove(&self.recent) + remove(&self.proven);
        // An entry may just be moving from one to the other; that is done when moka has done its work.
        self.tidy();
        let gone = gone + remove(&self.proven);
        self.tidy();
        self.metrics.evicted.purged.inc_by(gone as u64);
        gone
    }

    /// Evicts and expires what is due.
    pub(super) fn tidy(&self) {
        self.unsettled.store(0, Ordering::Relaxed);
        self.recent.run_pending_tasks();
        self.proven.run_pending_tasks();
        let entries = self.recent.entry_count() + self.proven.entry_count();
        self.metrics.bytes.set(i64::try_from(self.bytes()).unwrap_or(i64::MAX));
        self.metrics.entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.recent.weighted_size() + self.proven.weighted_size()
    }
}

fn count(evicted: &Evicted, cause: RemovalCause) {
    match cause {
        RemovalCause::Expired => evicted.expired.inc(),
        RemovalCause::Size => evicted.size.inc(),
        RemovalCause::Replaced => evicted.replaced.inc(),
        // Counted where it is decided.
        RemovalCause::Explicit => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::Head;
    use crate::cache::key::tests_support::key;
    use bytes::Bytes;
    use http::HeaderValue;

    fn memory(capacity: u64) -> Memory {
        let metrics = crate::cache::Metrics::register(&prometheus::Registry::new()).unwrap();
        Memory::new(capacity, metrics.memory)
    }

    const NOW: Timestamp = Timestamp::from_millis(1000);

    fn entry(number: u64, size: usize) -> Arc<Entry> {
        let head = Head::new(HeaderValue::from_static("a/b"), None, NOW);
        let end = NOW.plus(Duration::from_secs(3600));
        let expires = Some(end);
        Arc::new(Entry::new(key(number), &head, expires, [Bytes::from(vec![0; size])].into(), None))
    }

    #[test]
    fn a_scan_of_cold_clips_does_not_wash_out_hot_fragments() {
        let memory = memory(3 << 20);
        let mut cold = 1000;
        for round in 0..20 {
            for hot in 0..10 {
                if memory.get(&key(hot), NOW).is_none() {
                    memory.insert(entry(hot, 100 << 10));
                }
            }
            memory.tidy();
            for _ in 0..100 {
                cold += 1;
                assert!(memory.get(&key(cold), NOW).is_none());
                memory.insert(entry(cold, 100 << 10));
                memory.tidy();
            }
            let held = (0..10).filter(|hot| memory.get(&key(*hot), NOW).is_some()).count();
            assert!(round < 5 || held >= 8, "round {round}: {held} of 10 hot ones are held");
        }
    }

    #[test]
    fn what_is_new_is_held_even_when_memory_is_full_of_what_was_wanted_as_often() {
        let memory = memory(3 << 20);
        for number in 0..100 {
            memory.get(&key(number), NOW);
            memory.insert(entry(number, 100 << 10));
            memory.tidy();
            assert!(memory.get(&key(number), NOW).is_some());
            assert!(memory.bytes() <= 3 << 20);
        }
    }

    #[test]
    fn what_is_larger_than_its_place_is_refused_and_what_is_newer_replaces() {
        let memory = memory(3 << 20);
        memory.insert(entry(1, 1 << 20));
        assert!(memory.get(&key(1), NOW).is_none());
        for number in 2..40 {
            memory.insert(entry(number, 100 << 10));
            memory.tidy();
        }
        for number in 2..40 {
            memory.insert(entry(number, 7));
            assert_eq!(memory.get(&key(number), NOW).unwrap().length(), 7);
        }
        assert_eq!(memory.purge(PurgeTarget::of("cam")), 38);
        assert_eq!(memory.bytes(), 0);
    }
}

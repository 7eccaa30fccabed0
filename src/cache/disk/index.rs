//! The index of the disk tier, and what its lookups and its writer share.

use super::file::Stamp;
use super::health::Health;
use crate::base::clock;
use crate::cache::config::DiskConfig;
use crate::cache::key::DigestHash;
use crate::cache::key::Key;
use crate::cache::memory::budget::Budget;
use crate::cache::metrics::Metrics;
use crate::cache::sync::{Mutex, lock};
use crate::kvs::Timestamp;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What lookups and the writer share.
pub(super) struct DiskState {
    pub(super) root: PathBuf,
    pub(super) index: Cache<Key, Arc<IndexEntry>, DigestHash>,
    /// In KiB.
    capacity: u64,
    /// Files that no index entry refers to any more, to be deleted.
    pub(super) to_delete: Arc<Mutex<Vec<u64>>>,
    /// The folder is claimed and searched.
    pub(super) open: AtomicBool,
    pub(super) next: AtomicU64,
    /// Bytes waiting to be written.
    pub(super) queued: AtomicU64,
    /// How many may.
    pub(super) most_queued: u64,
    /// Why the folder could not be claimed at the last try.
    pub(super) unclaimed: Mutex<Option<String>>,
    pub(super) writes: Health,
    pub(super) reads: Health,
    pub(super) gate: Arc<Semaphore>,
    pub(super) timeout: Duration,
    pub(super) budget: Budget,
    pub(super) metrics: Metrics,
}

/// What the index holds of a file; the rest is in its header.
pub(super) struct IndexEntry {
    pub(super) id: u64,
    /// Its size in bytes.
    pub(super) size: u64,
    /// In milliseconds since 1970.
    pub(super) expires: u64,
    /// The file is there; until then the indexed holds its place in the budget.
    pub(super) ready: AtomicBool,
    /// As it was when it was last known to be sound.
    pub(super) checked: Mutex<Option<Stamp>>,
    pub(super) hits: AtomicU32,
}

/// Reads at the same time; more would only queue up in the device.
pub(super) const READS: usize = 8;

/// Entries that wait to be written keep their memory even if they have been evicted meanwhile. Beyond this
/// many bytes, or an eighth of the cache's memory, further entries are not written.
const MOST_QUEUED: u64 = 32 << 20;

impl IndexEntry {
    pub(super) fn new(id: u64, size: u64, expires: Timestamp, ready: bool) -> Arc<Self> {
        Arc::new(Self {
            id,
            size,
            expires: expires.millis(),
            ready: AtomicBool::new(ready),
            checked: Mutex::new(None),
            hits: AtomicU32::new(0),
        })
    }

    /// KiB on the disk, as file systems count, and a little for the name.
    fn weight(&self) -> u32 {
        u32::try_from(self.size.div_ceil(4096) * 4 + 4).unwrap_or(u32::MAX)
    }
}

struct ByExpiry;

impl moka::Expiry<Key, Arc<IndexEntry>> for ByExpiry {
    fn expire_after_create(&self, _: &Key, indexed: &Arc<IndexEntry>, _: Instant) -> Option<Duration> {
        Some(Timestamp::from(clock::now()).age(Timestamp::from_millis(indexed.expires)))
    }

    fn expire_after_update(
        &self,
        key: &Key,
        indexed: &Arc<IndexEntry>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, indexed, at)
    }
}

impl DiskState {
    /// Notes how the last try to claim the folder went.
    pub(super) fn note_claim(&self, failed: Option<&std::io::Error>) {
        let problem = failed.map(ToString::to_string);
        *lock(&self.unclaimed) = problem;
    }

    /// Why the tier is not used at the moment.
    pub(super) fn problem(&self) -> Option<String> {
        let folder = self.root.display();
        if let Some(problem) = &*lock(&self.unclaimed) {
            return Some(format!("the disk tier is off, since {folder} cannot be used: {problem}"));
        }
        let fails = |health: &Health, what: &str| {
            health.is_paused().then(|| format!("the disk tier rests, since {folder} fails {what}"))
        };
        fails(&self.writes, "writes").or_else(|| fails(&self.reads, "reads"))
    }

    /// A tier whose folder has yet to be claimed and searched.
    pub(super) fn new(config: &DiskConfig, budget: &Budget, metrics: &Metrics) -> Arc<Self> {
        let to_delete = Arc::new(Mutex::new(Vec::new()));
        Arc::new(Self {
            root: config.path.clone(),
            index: index(config.size.0 / 1024, metrics, &to_delete),
            capacity: config.size.0 / 1024,
            to_delete,
            open: AtomicBool::new(false),
            next: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            most_queued: MOST_QUEUED.min(budget.limit() / 8),
            unclaimed: Mutex::default(),
            writes: Health::default(),
            reads: Health::default(),
            gate: Arc::new(Semaphore::new(READS)),
            timeout: config.timeout.0,
            budget: budget.clone(),
            metrics: metrics.clone(),
        })
    }

    /// Where an object's file is.
    pub(super) fn path(&self, id: u64) -> PathBuf {
        self.root.join(format!("{:02x}", id & 0xff)).join(format!("{id:016x}"))
    }

    pub(super) fn forget(&self, key: &Key, indexed: &Arc<IndexEntry>) {
        if self.index.get(key).is_some_and(|known| Arc::ptr_eq(&known, indexed)) {
            self.index.invalidate(key);
        }
    }

    /// Makes moka do its work, and shows what there is.
    pub(super) fn tidy(&self) {
        // It evicts in batches.
        for _ in 0..16 {
            self.index.run_pending_tasks();
            if self.index.weighted_size() <= self.capacity {
                break;
            }
        }
        let show = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.disk.bytes.set(show(self.index.weighted_size() * 1024));
        self.metrics.disk.entries.set(show(self.index.entry_count()));
    }
}

/// The index. Least recently used goes first: what makes an entry popular happens in memory, where this
/// tier does not see it, so frequency would be a poor guide here.
fn index(
    capacity: u64,
    metrics: &Metrics,
    to_delete: &Arc<Mutex<Vec<u64>>>,
) -> Cache<Key, Arc<IndexEntry>, DigestHash> {
    let (evicted, to_delete) = (metrics.disk.evicted.clone(), Arc::clone(to_delete));
    Cache::builder()
        .name("disk")
        .max_capacity(capacity) // KiB: an object may be larger than a weight can say in bytes
        .weigher(|_: &Key, indexed: &Arc<IndexEntry>| indexed.weight())
        .expire_after(ByExpiry)
        .eviction_policy(EvictionPolicy::lru())
        .eviction_listener(move |_, indexed: Arc<IndexEntry>, cause| {
            // Whatever thread this is, the file is deleted by the writer.
            lock(&to_delete).push(indexed.id);
            match cause {
                RemovalCause::Expired => evicted.expired.inc(),
                RemovalCause::Size => evicted.size.inc(),
                RemovalCause::Replaced => evicted.replaced.inc(),
                // Counted where it is decided.
                RemovalCause::Explicit => {}
            }
        })
        .build_with_hasher(DigestHash)
}

//! Looking things up on the disk, and asking for them to be kept there.
//!
//! Nothing here lets the disk slow a request down or fail it: reads run beside the runtime, a few at a time; one that
//! takes too long, finds no place at the gate or comes back with an error is a miss. A disk that keeps failing is left
//! alone for a while.

use super::file::{Header, PIECE, Stamp};
use super::health::Health;
use super::keeper::{self, Order};
use crate::cache::budget::Budget;
use crate::cache::entry::{Entry, Life};
use crate::cache::key::{Spread, Target};
use crate::cache::metrics::Metrics;
use crate::cache::sync::{Mutex, lock};
use crate::cache::{DiskConfig, Key};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The disk tier.
pub(in crate::cache) struct Disk {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
}

/// What readers and the keeper share.
pub(super) struct Shared {
    pub(super) root: PathBuf,
    pub(super) index: Cache<Key, Arc<Record>, Spread>,
    /// In KiB.
    capacity: u64,
    /// Files that nobody refers to any more, for the keeper to delete.
    pub(super) doomed: Arc<Mutex<Vec<u64>>>,
    /// The folder is claimed and searched.
    pub(super) open: AtomicBool,
    pub(super) next: AtomicU64,
    /// Bytes waiting to be written.
    pub(super) queued: AtomicU64,
    /// How many may.
    most_queued: u64,
    pub(super) writes: Health,
    reads: Health,
    gate: Arc<Semaphore>,
    timeout: Duration,
    pub(super) metrics: Metrics,
}

/// What the index knows of a file; the rest is in its header.
pub(super) struct Record {
    pub(super) id: u64,
    /// Its size in bytes.
    pub(super) size: u64,
    /// In milliseconds since 1970.
    pub(super) expires: u64,
    /// The file is there; until then the record holds its place in the budget.
    pub(super) ready: AtomicBool,
    /// As it was when it was last known to be sound.
    pub(super) checked: Mutex<Option<Stamp>>,
    hits: AtomicU32,
}

/// What a lookup gives.
#[derive(Clone)]
pub(in crate::cache) enum Loaded {
    /// The whole body, checked.
    Whole(Arc<Entry>),
    /// A checked file to read from.
    Open(Arc<OpenFile>),
}

/// A file that is being served from. It can be read on after its eviction.
pub(in crate::cache) struct OpenFile {
    file: File,
    pub(in crate::cache) header: Header,
    record: Arc<Record>,
    shared: Arc<Shared>,
}

/// Up to this size a body is loaded whole at once; a larger one when it is asked for again.
const SMALL: u64 = 4 << 20;

/// Reads at the same time; more would only queue up in the device.
const READS: usize = 8;

/// What expires sooner is not worth a file.
const SHORT_LIVED: Duration = Duration::from_secs(60);

/// Entries waiting to be written hold memory beyond the budget of their tier; more than this many bytes are let go, or than
/// an eighth of the memory that the cache has.
const MOST_QUEUED: u64 = 32 << 20;

impl Record {
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

struct AtTheirEnd;

impl moka::Expiry<Key, Arc<Record>> for AtTheirEnd {
    fn expire_after_create(&self, _: &Key, record: &Arc<Record>, _: Instant) -> Option<Duration> {
        Some(Timestamp::now().age(Timestamp::from_millis(record.expires)))
    }

    fn expire_after_update(
        &self,
        key: &Key,
        record: &Arc<Record>,
        at: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, record, at)
    }
}

impl Disk {
    /// Opens the tier below `memory` bytes of memory. It begins to answer once its keeper has claimed and searched the folder; until then, and if
    /// that never comes, everything is a miss.
    pub(in crate::cache) fn open(config: &DiskConfig, memory: u64, metrics: &Metrics) -> Self {
        let doomed = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::new(Shared {
            root: config.path.clone(),
            index: index(config.size.0 / 1024, metrics, &doomed),
            capacity: config.size.0 / 1024,
            doomed,
            open: AtomicBool::new(false),
            next: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            most_queued: MOST_QUEUED.min(memory / 8),
            writes: Health::default(),
            reads: Health::default(),
            gate: Arc::new(Semaphore::new(READS)),
            timeout: config.timeout.0,
            metrics: metrics.clone(),
        });
        let orders = keeper::start(&shared);
        Self { shared, orders }
    }

    /// Whatever the disk has under `key` that may be given out at `now`.
    pub(in crate::cache) async fn load(&self, key: Key, now: Timestamp, growing: &Budget) -> Option<Loaded> {
        let shared = &self.shared;
        if !shared.open.load(Ordering::Acquire) {
            return None;
        }
        let found = shared.index.get(&key).filter(|record| {
            record.ready.load(Ordering::Acquire) && now < Timestamp::from_millis(record.expires)
        });
        let Some(record) = found else {
            shared.metrics.disk.miss.inc();
            return None;
        };
        let permit =
            if shared.reads.resting() { None } else { Arc::clone(&shared.gate).try_acquire_owned().ok() };
        let Some(permit) = permit else {
            shared.metrics.trouble.skipped.inc();
            return None;
        };
        let hot = record.hits.fetch_add(1, Ordering::Relaxed) > 0;
        let mut share = growing.share();
        let whole = (record.size <= SMALL || hot) && share.grow_to(record.size);
        let reading = tokio::task::spawn_blocking({
            let (shared, record) = (Arc::clone(shared), Arc::clone(&record));
            move || {
                let _permit = permit;
                shared.read(key, &record, whole)
            }
        });
        let read = match tokio::time::timeout(shared.timeout, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(io::Error::other("the read was dropped")),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match read {
            Ok(loaded) => {
                shared.reads.well();
                shared.metrics.disk.hit.inc();
                Some(loaded)
            }
            Err(error) => {
                shared.trouble(&key, &record, &error);
                None
            }
        }
    }

    /// Whether there should be a file under `key` that may be given out at `now`.
    pub(in crate::cache) fn holds(&self, key: &Key, now: Timestamp) -> bool {
        let usable = |record: Arc<Record>| {
            record.ready.load(Ordering::Acquire) && now < Timestamp::from_millis(record.expires)
        };
        self.shared.open.load(Ordering::Acquire) && self.shared.index.get(key).is_some_and(usable)
    }

    /// Has an entry written, if it is worth it and the disk keeps up. Neither waits nor fails.
    pub(in crate::cache) fn store(&self, entry: &Arc<Entry>, now: Timestamp) {
        let shared = &self.shared;
        // What is refreshed as it ages is short-lived too, and a restart refreshes it anyway.
        let lasts = |life: &Life| life.expires > now.plus(SHORT_LIVED) && life.fresh_until == life.expires;
        let Some(life) = entry.life.filter(lasts) else { return };
        let texts = entry.head.content_type.len() + entry.head.note.as_deref().map_or(0, str::len);
        if !shared.open.load(Ordering::Acquire) || texts > 1280 {
            return;
        }
        let bytes = entry.length();
        let queued = shared.queued.load(Ordering::Relaxed);
        let behind = queued > 0 && queued + bytes > shared.most_queued;
        if shared.writes.resting() || behind {
            shared.metrics.trouble.skipped.inc();
            return;
        }
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let record = Record::new(id, super::file::size(entry), life.expires, false);
        shared.queued.fetch_add(bytes, Ordering::Relaxed);
        // Never updated in place; see `memory::Memory::insert`.
        if shared.index.remove(&entry.key).is_some() {
            shared.metrics.disk.evicted.replaced.inc();
        }
        shared.index.insert(entry.key, Arc::clone(&record));
        let order = Order { entry: Arc::clone(entry), life, record };
        if self.orders.send(order).is_err() {
            shared.index.invalidate(&entry.key);
        }
    }

    /// Its folder is claimed and searched.
    #[cfg(test)]
    pub(super) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Takes every place at the gate, as a disk that hangs would.
    #[cfg(test)]
    pub(super) fn hang(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.shared.gate).try_acquire_many_owned(READS as u32).unwrap()
    }

    /// Nothing waits to be written.
    pub(in crate::cache) fn idle(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) == 0
    }

    /// Removes what belongs to `target`, files included, so that not even a crash brings them back; tells how many
    /// entries that were. Blocks for as long as the deleting takes.
    pub(in crate::cache) fn purge(&self, target: Target) -> usize {
        let index = &self.shared.index;
        let keys: Vec<Key> = index.iter().map(|(key, _)| *key).filter(|key| key.is_of(target)).collect();
        keys.iter().for_each(|key| index.invalidate(key));
        self.shared.metrics.disk.evicted.purged.inc_by(keys.len() as u64);
        keeper::delete(&self.shared);
        keys.len()
    }
}

/// The index. Least recently used goes first: what makes an entry popular happens in memory, where this tier does not
/// see it, so frequency would be a poor guide here.
fn index(capacity: u64, metrics: &Metrics, doomed: &Arc<Mutex<Vec<u64>>>) -> Cache<Key, Arc<Record>, Spread> {
    let (evicted, doomed) = (metrics.disk.evicted.clone(), Arc::clone(doomed));
    Cache::builder()
        .name("disk")
        .max_capacity(capacity) // KiB: an object may be larger than a weight can say in bytes
        .weigher(|_: &Key, record: &Arc<Record>| record.weight())
        .expire_after(AtTheirEnd)
        .eviction_policy(EvictionPolicy::lru())
        .eviction_listener(move |_, record: Arc<Record>, cause| {
            // Whatever thread this is, the file is deleted by the keeper.
            lock(&doomed).push(record.id);
            match cause {
                RemovalCause::Expired => evicted.expired.inc(),
                RemovalCause::Size => evicted.size.inc(),
                RemovalCause::Replaced => evicted.replaced.inc(),
                // Counted where it is decided.
                RemovalCause::Explicit => {}
            }
        })
        .build_with_hasher(Spread)
}

impl Shared {
    /// Where an object's file is.
    pub(super) fn path(&self, id: u64) -> PathBuf {
        self.root.join(format!("{:02x}", id & 0xff)).join(format!("{id:016x}"))
    }

    /// Blocking.
    fn read(self: &Arc<Self>, key: Key, record: &Arc<Record>, whole: bool) -> io::Result<Loaded> {
        let file = File::open(self.path(record.id))?;
        let header = Header::read(&file)?;
        if header.key != key || header.life.expires.millis() != record.expires {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another object's file"));
        }
        if whole {
            return Ok(Loaded::Whole(Arc::new(header.read_whole(&file)?)));
        }
        // A range is checked block by block as it is read. Damage that is already there is found now, before anything
        // is promised to a client.
        let stamp = Stamp::of(&file)?;
        if *lock(&record.checked) != Some(stamp) {
            header.check(&file)?;
            *lock(&record.checked) = Some(stamp);
        }
        let (record, shared) = (Arc::clone(record), Arc::clone(self));
        Ok(Loaded::Open(Arc::new(OpenFile { file, header, record, shared })))
    }

    /// Notes what went wrong, and forgets an object that is of no use.
    fn trouble(&self, key: &Key, record: &Arc<Record>, error: &io::Error) {
        let trouble = &self.metrics.trouble;
        match error.kind() {
            io::ErrorKind::NotFound => self.forget(key, record),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                trouble.damaged.inc();
                self.metrics.disk.evicted.damaged.inc();
                self.forget(key, record);
            }
            io::ErrorKind::TimedOut => {
                trouble.slow.inc();
                self.reads.ill();
            }
            _ => {
                trouble.error.inc();
                self.reads.ill();
            }
        }
        if let Some(silenced) = self.reads.may_complain() {
            tracing::warn!(?key, %error, silenced, "the disk tier could not give an object; it is fetched instead");
        }
    }

    fn forget(&self, key: &Key, record: &Arc<Record>) {
        if self.index.get(key).is_some_and(|known| Arc::ptr_eq(&known, record)) {
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

impl OpenFile {
    /// The beginning of `range`, checked.
    pub(in crate::cache) async fn read(self: Arc<Self>, range: Range<u64>) -> Result<Bytes, Broken> {
        let cut = |what: &str| Broken::Cut(format!("the disk tier: {what}"));
        let permit = Arc::clone(&self.shared.gate).acquire_owned().await.map_err(|_| cut("closed"))?;
        let open = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            open.header.read_range(&open.file, range, PIECE)
        });
        let read = reading.await.map_err(|_| cut("the read was dropped"))?;
        read.map_err(|error| {
            self.shared.trouble(&self.header.key, &self.record, &error);
            cut("a file went bad while it was read")
        })
    }
}

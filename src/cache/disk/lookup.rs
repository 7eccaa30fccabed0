//! Looking things up on the disk, and asking for them to be kept there.
//!
//! Nothing here lets the disk slow a request down or fail it: reads run beside the runtime, a few at a time; one that
//! takes too long, finds no place at the gate or comes back with an error is a miss. A disk that keeps failing is left
//! alone for a while.

use super::file::{Header, PIECE, Stamp};
use super::index::{Record, Shared};
use super::writer::{self, Order};
use crate::cache::config::DiskConfig;
use crate::cache::entry::{Entry, Life};
use crate::cache::key::Key;
use crate::cache::key::Target;
use crate::cache::memory::budget::{Budget, Share};
use crate::cache::metrics::Metrics;
use crate::cache::sync::lock;
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The disk tier.
pub(in crate::cache) struct Disk {
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
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

/// What expires sooner is not worth a file.
const SHORT_LIVED: Duration = Duration::from_secs(60);

impl Disk {
    /// Opens the tier. It begins to answer once its keeper has claimed and searched the folder; until then, and if that
    /// never comes, everything is a miss.
    pub(in crate::cache) fn open(config: &DiskConfig, budget: &Budget, metrics: &Metrics) -> Self {
        let shared = Shared::new(config, budget, metrics);
        let orders = writer::start(&shared);
        Self { shared, orders }
    }

    /// Whatever the disk has under `key` that may be given out at `now`.
    pub(in crate::cache) async fn load(&self, key: Key, now: Timestamp) -> Option<Loaded> {
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
        let mut share = shared.budget.share();
        let whole = (record.size <= SMALL || hot) && share.grow_to(record.size);
        let reading = tokio::task::spawn_blocking({
            let (shared, record) = (Arc::clone(shared), Arc::clone(&record));
            move || {
                let _permit = permit;
                shared.read(key, &record, whole.then_some(share))
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
            shared.queued.fetch_sub(bytes, Ordering::Relaxed);
            shared.index.invalidate(&entry.key);
        }
    }

    /// Its folder is claimed and searched.
    #[cfg(test)]
    pub(in crate::cache) fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Takes every place at the gate, as a disk that hangs would.
    #[cfg(test)]
    pub(in crate::cache) fn hang(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.shared.gate).try_acquire_many_owned(super::index::READS as u32).unwrap()
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
        writer::delete(&self.shared);
        keys.len()
    }
}

impl Shared {
    /// Blocking.
    fn read(self: &Arc<Self>, key: Key, record: &Arc<Record>, whole: Option<Share>) -> io::Result<Loaded> {
        let file = File::open(self.path(record.id))?;
        let header = Header::read(&file)?;
        if header.key != key || header.life.expires.millis() != record.expires {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another object's file"));
        }
        if let Some(mut share) = whole {
            return Ok(Loaded::Whole(Arc::new(header.read_whole(&file, &mut share)?)));
        }
        // A range is checked block by block as it is read. Damage that is already there is found now, before anything
        // is promised to a client.
        let stamp = Stamp::of(&file)?;
        if *lock(&record.checked) != Some(stamp) {
            header.check(&file, &mut self.budget.share())?;
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
}

impl OpenFile {
    /// The beginning of `range`, checked.
    pub(in crate::cache) async fn read(
        self: Arc<Self>,
        range: Range<u64>,
    ) -> Result<VecDeque<Bytes>, Broken> {
        let cut = |what: &str| Broken::Cut(format!("the disk tier: {what}"));
        let permit = Arc::clone(&self.shared.gate).acquire_owned().await.map_err(|_| cut("closed"))?;
        let open = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut share = open.shared.budget.share();
            open.header.read_range(&open.file, range, PIECE, &mut share)
        });
        let read = reading.await.map_err(|_| cut("the read was dropped"))?;
        read.map_err(|error| {
            self.shared.trouble(&self.header.key, &self.record, &error);
            cut("a file went bad while it was read")
        })
    }
}

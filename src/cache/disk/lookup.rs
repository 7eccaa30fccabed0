//! Lookups in the disk tier, and orders to write to it.
//!
//! Nothing here lets the disk slow a request down or fail it. Reads run on threads for blocking work, a few
//! at a time. One that takes too long, finds no free place or fails is a miss. A disk that keeps failing is
//! not used for a while.

use super::file::{Header, PIECE, Stamp};
use super::index::{DiskState, IndexEntry};
use super::writer::{self, WriteOrder};
use crate::cache::config::DiskConfig;
use crate::cache::entry::{Entry, Head, Sharing, Tier};
use crate::cache::key::Key;
use crate::cache::key::PurgeTarget;
use crate::cache::memory::budget::{Budget, Reservation};
use crate::cache::metrics::Metrics;
use crate::cache::store::{Loaded, Lookup, OpenObject, Store, Work};
use crate::cache::sync::lock;
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use http::HeaderValue;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The disk tier.
pub(in crate::cache) struct Disk {
    state: Arc<DiskState>,
    orders: mpsc::Sender<WriteOrder>,
}

/// A file that is being served from. It can be read on after its eviction.
struct OpenFile {
    file: File,
    header: Header,
    indexed: Arc<IndexEntry>,
    state: Arc<DiskState>,
}

/// Up to this size a body is loaded whole at once; a larger one when it is requested again.
const SMALL: u64 = 4 << 20;

/// What expires sooner is not worth a file.
const SHORT_LIVED: Duration = Duration::from_secs(60);

impl Disk {
    /// Opens the tier. It begins to answer once its writer has claimed and scanned the folder; until then
    /// everything is a miss.
    pub(in crate::cache) fn open(config: &DiskConfig, budget: &Budget, metrics: &Metrics) -> Self {
        let state = DiskState::new(config, budget, metrics);
        let orders = writer::start(&state);
        Self { state, orders }
    }

    /// Whatever the disk has under `key` that may be given out at `now`.
    async fn find(&self, key: Key, now: Timestamp) -> Option<Loaded> {
        let state = &self.state;
        if !state.open.load(Ordering::Acquire) {
            return None;
        }
        let found = state.index.get(&key).filter(|indexed| {
            indexed.ready.load(Ordering::Acquire) && now < Timestamp::from_millis(indexed.expires)
        });
        let Some(indexed) = found else {
            state.metrics.disk.miss.inc();
            return None;
        };
        let permit =
            if state.reads.is_paused() { None } else { Arc::clone(&state.gate).try_acquire_owned().ok() };
        let Some(permit) = permit else {
            state.metrics.trouble.skipped.inc();
            return None;
        };
        let hot = indexed.hits.fetch_add(1, Ordering::Relaxed) > 0;
        let mut reservation = state.budget.reserve();
        let whole = (indexed.size <= SMALL || hot) && reservation.grow_to(indexed.size);
        let reading = tokio::task::spawn_blocking({
            let (state, indexed) = (Arc::clone(state), Arc::clone(&indexed));
            move || {
                let _permit = permit;
                state.read(key, &indexed, whole.then_some(reservation))
            }
        });
        let read = match tokio::time::timeout(state.timeout, reading).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(io::Error::other("the read was dropped")),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match read {
            Ok(loaded) => {
                state.reads.healthy();
                state.metrics.disk.hit.inc();
                Some(loaded)
            }
            Err(error) => {
                state.trouble(&key, &indexed, &error);
                None
            }
        }
    }

    /// Its folder is claimed and searched.
    #[cfg(test)]
    pub(in crate::cache) fn is_open(&self) -> bool {
        self.state.open.load(Ordering::Acquire)
    }

    /// Takes every place at the gate, as a disk that hangs would.
    #[cfg(test)]
    pub(in crate::cache) fn hang(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.state.gate).try_acquire_many_owned(super::index::READS as u32).unwrap()
    }
}

impl Store for Disk {
    fn load(&self, key: Key, _: Sharing, now: Timestamp) -> Work<'_, Lookup> {
        Box::pin(async move {
            self.find(key, now)
                .await
                .map_or(Lookup::Missing(None), |loaded| Lookup::Found(Tier::Disk, loaded))
        })
    }

    fn store(&self, entry: &Arc<Entry>, now: Timestamp) {
        let state = &self.state;
        let lasts = |expires: &Timestamp| *expires > now.plus(SHORT_LIVED);
        let Some(expires) = entry.expires.filter(lasts) else { return };
        let texts = entry.head.content_type.len() + entry.head.note.as_deref().map_or(0, str::len);
        if !state.open.load(Ordering::Acquire) || texts > 1280 {
            return;
        }
        let bytes = entry.length();
        let queued = state.queued.load(Ordering::Relaxed);
        let behind = queued > 0 && queued + bytes > state.most_queued;
        if state.writes.is_paused() || behind {
            state.metrics.trouble.skipped.inc();
            return;
        }
        let id = state.next.fetch_add(1, Ordering::Relaxed);
        let indexed = IndexEntry::new(id, super::file::size(entry), expires, false);
        state.queued.fetch_add(bytes, Ordering::Relaxed);
        // Never updated in place; see `memory::Memory::insert`.
        if state.index.remove(&entry.key).is_some() {
            state.metrics.disk.evicted.replaced.inc();
        }
        state.index.insert(entry.key, Arc::clone(&indexed));
        let order = WriteOrder { entry: Arc::clone(entry), expires, indexed };
        if self.orders.send(order).is_err() {
            state.queued.fetch_sub(bytes, Ordering::Relaxed);
            state.index.invalidate(&entry.key);
        }
    }

    fn holds(&self, key: &Key, now: Timestamp) -> bool {
        let usable = |indexed: Arc<IndexEntry>| {
            indexed.ready.load(Ordering::Acquire) && now < Timestamp::from_millis(indexed.expires)
        };
        self.state.open.load(Ordering::Acquire) && self.state.index.get(key).is_some_and(usable)
    }

    fn problem(&self) -> Option<String> {
        self.state.problem()
    }

    fn idle(&self) -> bool {
        self.state.queued.load(Ordering::Relaxed) == 0
    }

    /// Removes their files too, so that they do not come back after a crash. Blocks for as long as the
    /// deleting takes.
    fn purge(&self, target: PurgeTarget) -> usize {
        let index = &self.state.index;
        let keys: Vec<Key> = index.iter().map(|(key, _)| *key).filter(|key| key.is_of(target)).collect();
        keys.iter().for_each(|key| index.invalidate(key));
        self.state.metrics.disk.evicted.purged.inc_by(keys.len() as u64);
        writer::delete(&self.state);
        keys.len()
    }
}

impl DiskState {
    /// Blocking.
    fn read(
        self: &Arc<Self>,
        key: Key,
        indexed: &Arc<IndexEntry>,
        whole: Option<Reservation>,
    ) -> io::Result<Loaded> {
        let file = File::open(self.path(indexed.id))?;
        let header = Header::read(&file)?;
        if header.key != key || header.expires.millis() != indexed.expires {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another object's file"));
        }
        if let Some(mut reservation) = whole {
            return Ok(Loaded::Whole(Arc::new(header.read_whole(&file, &mut reservation)?)));
        }
        // A range is checked block by block as it is read. Damage that is already there is found now,
        // before anything is promised to a client.
        let stamp = Stamp::of(&file)?;
        if *lock(&indexed.checked) != Some(stamp) {
            header.check(&file, &mut self.budget.reserve())?;
            *lock(&indexed.checked) = Some(stamp);
        }
        let (indexed, state) = (Arc::clone(indexed), Arc::clone(self));
        Ok(Loaded::Open(Arc::new(OpenFile { file, header, indexed, state })))
    }

    /// Notes what went wrong, and forgets an object that is of no use.
    fn trouble(&self, key: &Key, indexed: &Arc<IndexEntry>, error: &io::Error) {
        let trouble = &self.metrics.trouble;
        match error.kind() {
            io::ErrorKind::NotFound => self.forget(key, indexed),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                trouble.damaged.inc();
                self.metrics.disk.evicted.damaged.inc();
                self.forget(key, indexed);
            }
            io::ErrorKind::TimedOut => {
                trouble.slow.inc();
                self.reads.unhealthy();
            }
            _ => {
                trouble.error.inc();
                self.reads.unhealthy();
            }
        }
        if let Some(silenced) = self.reads.may_warn() {
            let message = "the disk tier could not give an object; it is fetched instead";
            tracing::warn!(?key, %error, silenced, "{message}");
        }
    }
}

impl OpenObject for OpenFile {
    fn head(&self) -> &Head {
        &self.header.head
    }

    fn expires(&self) -> Timestamp {
        self.header.expires
    }

    fn began(&self) -> Timestamp {
        self.header.began
    }

    fn etag(&self) -> &HeaderValue {
        &self.header.etag
    }

    fn read(self: Arc<Self>, range: Range<u64>) -> Work<'static, Result<VecDeque<Bytes>, Broken>> {
        Box::pin(self.read_blocks(range))
    }
}

impl OpenFile {
    async fn read_blocks(self: Arc<Self>, range: Range<u64>) -> Result<VecDeque<Bytes>, Broken> {
        let cut = |what: &str| Broken::Cut(format!("the disk tier: {what}"));
        let permit = Arc::clone(&self.state.gate).acquire_owned().await.map_err(|_| cut("closed"))?;
        let open = Arc::clone(&self);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut reservation = open.state.budget.reserve();
            open.header.read_range(&open.file, range, PIECE, &mut reservation)
        });
        let read = reading.await.map_err(|_| cut("the read was dropped"))?;
        read.map_err(|error| {
            self.state.trouble(&self.header.key, &self.indexed, &error);
            cut("a file went bad while it was read")
        })
    }
}

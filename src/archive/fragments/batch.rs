//! Fragments on their way: one call to KVS for those that a request lacks, shared with every request that lacks them.
//!
//! A [`Batch`] is owned by the request that started it and runs a few fragments ahead of that client. Other requests
//! join it: one that waits for a fragment moves the batch on, however slow its owner is. Every fragment goes to the
//! cache as it arrives. What the owner has not taken yet is held up to a bound, so memory stays small and no request
//! stalls another.

use crate::archive::Stream;
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Cache, Fetched, Head, Key, freshness};
use crate::kvs::operations::GetMediaForFragmentList;
use crate::kvs::{StreamArn, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Chunk, InBand, OnBehalfOf, Upstream};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// The type of KVS's Matroska documents.
pub const MATROSKA: &str = "video/webm";

/// How far a batch runs ahead of its owner, in fragments.
const AHEAD: usize = 4;
/// How far a batch runs ahead of its owner, in bytes; the fragment that passes it is still taken.
const WINDOW: usize = 8 << 20;
/// A batch that no reader has waited on for so long closes its connection; a later reader calls KVS anew.
const IDLE: Duration = Duration::from_secs(30);

/// The batches under way, by the fragments that they will bring.
#[derive(Clone, Default)]
pub struct Batches(Arc<Mutex<HashMap<Key, Weak<Batch>>>>);

/// One call to KVS and what has come of it.
pub struct Batch {
    state: Mutex<BatchState>,
    changed: Notify,
    stream: StreamArn,
    purged: AtomicBool,
}

struct BatchState {
    fragments: HashMap<Key, Fragment>,
    /// Fragments and bytes that are here for the owner.
    ready: (usize, usize),
    /// A fragment beyond the owner's window, here for whoever waited for it.
    over: Option<Key>,
    /// How many wait for a fragment.
    waiting: usize,
    readers: usize,
    owned: bool,
    /// KVS has begun to answer.
    answered: bool,
    ended: Option<Ending>,
}

enum Fragment {
    /// KVS has not given it yet.
    Coming,
    /// It is here for those who joined.
    Ready(Bytes),
    /// It has been here; the cache has it, if anybody.
    Passed,
    Failed(InBand),
}

/// How a batch ended.
#[derive(Clone)]
enum Ending {
    /// KVS's answer came to its end, or broke.
    Over,
    /// KVS refused the call.
    Refused(Arc<upstream::Error>),
}

/// What has become of a fragment.
pub enum Taken {
    /// It is here.
    Bytes(Bytes),
    /// KVS has an error in its place.
    Failed(InBand),
    /// There is no answer at all.
    Refused(Arc<upstream::Error>),
    /// It is not here, or no longer.
    Missed,
}

/// One reader of a batch. The batch ends with its last reader.
pub struct BatchReader {
    batch: Arc<Batch>,
    owner: bool,
}

/// What a batch is made with.
pub struct Source {
    /// The way to KVS.
    pub upstream: Upstream,
    /// The stream.
    pub stream: Stream,
    /// On whose behalf KVS is called.
    pub on_behalf_of: OnBehalfOf,
    /// Where fragments go.
    pub cache: Cache,
    /// How long they stay.
    pub rules: Rules,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batches {
    /// The batch that will bring this fragment, if there is one.
    pub fn join(&self, key: &Key) -> Option<BatchReader> {
        let batch = lock(&self.0).get(key)?.upgrade()?;
        batch.join()
    }

    /// Splits fragments into those that others are bringing already and the rest, which `start` makes one call for.
    pub fn plan<'a>(
        &self,
        missing: impl Iterator<Item = &'a Key>,
        stream: &StreamArn,
    ) -> (Option<BatchReader>, Vec<BatchReader>) {
        let mut under_way = lock(&self.0);
        let (mut own, mut joined): (Vec<Key>, Vec<BatchReader>) = (Vec::new(), Vec::new());
        for key in missing {
            match under_way.get(key).and_then(Weak::upgrade) {
                Some(batch) if joined.iter().any(|place| Arc::ptr_eq(&place.batch, &batch)) => {}
                Some(batch) => match batch.join() {
                    Some(place) => joined.push(place),
                    None => own.push(*key),
                },
                None => own.push(*key),
            }
        }
        if own.is_empty() {
            return (None, joined);
        }
        let batch = Arc::new(Batch::new(&own, stream));
        for key in own {
            under_way.insert(key, Arc::downgrade(&batch));
        }
        (Some(BatchReader { batch, owner: true }), joined)
    }

    /// What is on its way of a stream will not be kept.
    pub fn purge(&self, stream: &str) {
        for batch in lock(&self.0).values().filter_map(Weak::upgrade) {
            if batch.stream.as_str() == stream {
                batch.purged.store(true, Ordering::SeqCst);
            }
        }
    }

    fn forget(&self, batch: &Batch, key: &Key) {
        let mut under_way = lock(&self.0);
        if under_way.get(key).is_some_and(|held| std::ptr::eq(held.as_ptr(), batch)) {
            under_way.remove(key);
        }
    }
}

impl BatchReader {
    /// Asks KVS, in a task of its own.
    pub fn start(&self, batches: &Batches, source: Source, list: GetMediaForFragmentList) {
        let (batch, batches) = (self.batch.clone(), batches.clone());
        tokio::spawn(async move {
            let ending = EndGuard { batch: &batch, batches: &batches };
            let refused = batch.drive(&batches, &source, &list).await.err();
            drop(source);
            if let Some(error) = refused {
                lock(&batch.state).ended = Some(Ending::Refused(Arc::new(error)));
            }
            drop(ending);
        });
    }

    /// How many fragments the batch was made for.
    pub fn fragments(&self) -> u32 {
        u32::try_from(lock(&self.batch.state).fragments.len()).unwrap_or(u32::MAX)
    }

    /// Whether the batch was made for this fragment too.
    pub fn brings(&self, key: &Key) -> bool {
        lock(&self.batch.state).fragments.contains_key(key)
    }

    /// Waits until KVS has taken the call, or refused it: why.
    pub async fn refused(&self) -> Option<Arc<upstream::Error>> {
        self.batch.until(|state| state.answered || state.ended.is_some()).await;
        match &lock(&self.batch.state).ended {
            Some(Ending::Refused(error)) => Some(error.clone()),
            Some(Ending::Over) | None => None,
        }
    }

    /// Waits for a fragment.
    pub async fn take(&self, key: &Key) -> Taken {
        let mut waiting = None;
        loop {
            let mut changed = pin!(self.batch.changed.notified());
            changed.as_mut().enable();
            {
                let mut state = lock(&self.batch.state);
                if let Some(taken) = state.take(key, self.owner) {
                    if self.owner {
                        self.batch.changed.notify_waiters();
                    }
                    return taken;
                }
                if waiting.is_none() {
                    state.waiting += 1;
                    waiting = Some(Waiting(&self.batch));
                    self.batch.changed.notify_waiters();
                    continue;
                }
            }
            changed.await;
        }
    }
}

impl Drop for BatchReader {
    fn drop(&mut self) {
        let mut state = lock(&self.batch.state);
        state.readers -= 1;
        if self.owner {
            state.disown();
        }
        drop(state);
        self.batch.changed.notify_waiters();
    }
}

/// Somebody waits.
struct Waiting<'a>(&'a Batch);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).waiting -= 1;
    }
}

impl BatchState {
    fn take(&mut self, key: &Key, owner: bool) -> Option<Taken> {
        let fragment = self.fragments.get_mut(key);
        match fragment {
            Some(Fragment::Ready(bytes)) => {
                let bytes = bytes.clone();
                if owner && self.over != Some(*key) {
                    self.ready = (self.ready.0 - 1, self.ready.1 - bytes.len());
                    self.fragments.insert(*key, Fragment::Passed);
                }
                Some(Taken::Bytes(bytes))
            }
            Some(Fragment::Failed(error)) => Some(Taken::Failed(error.clone())),
            Some(Fragment::Passed) | None => Some(Taken::Missed),
            Some(Fragment::Coming) => match &self.ended {
                None => None,
                Some(Ending::Over) => Some(Taken::Missed),
                Some(Ending::Refused(error)) => Some(Taken::Refused(error.clone())),
            },
        }
    }

    /// Takes a fragment in. Returns whether it is held here for a reader.
    fn arrive(&mut self, key: Key, bytes: &Bytes) -> bool {
        if self.owned && self.ready.0 < AHEAD && self.ready.1 < WINDOW {
            self.ready = (self.ready.0 + 1, self.ready.1 + bytes.len());
        } else if self.waiting > 0 {
            if let Some(before) = self.over.replace(key) {
                self.fragments.insert(before, Fragment::Passed);
            }
        } else {
            return false;
        }
        self.fragments.insert(key, Fragment::Ready(bytes.clone()));
        true
    }

    /// The owner has gone, and what was held for it goes.
    fn disown(&mut self) {
        self.owned = false;
        let over = self.over;
        for (key, fragment) in &mut self.fragments {
            if matches!(fragment, Fragment::Ready(_)) && Some(*key) != over {
                *fragment = Fragment::Passed;
            }
        }
        self.ready = (0, 0);
    }

    fn has_room(&self) -> bool {
        self.waiting > 0 || (self.owned && self.ready.0 < AHEAD && self.ready.1 < WINDOW)
    }
}

impl Batch {
    fn new(keys: &[Key], stream: &StreamArn) -> Self {
        let fragments = keys.iter().map(|key| (*key, Fragment::Coming)).collect();
        let state = BatchState {
            fragments,
            ready: (0, 0),
            over: None,
            waiting: 0,
            readers: 1,
            owned: true,
            answered: false,
            ended: None,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
            stream: stream.clone(),
            purged: AtomicBool::new(false),
        }
    }

    fn join(self: &Arc<Self>) -> Option<BatchReader> {
        let mut state = lock(&self.state);
        // Nobody else is on it: it is being given up.
        if state.readers == 0 || state.ended.is_some() {
            return None;
        }
        state.readers += 1;
        Some(BatchReader { batch: self.clone(), owner: false })
    }

    async fn drive(
        &self,
        batches: &Batches,
        source: &Source,
        list: &GetMediaForFragmentList,
    ) -> Result<(), upstream::Error> {
        let asking = source.upstream.media(source.stream.located(), list, &source.on_behalf_of);
        let mut chunks = tokio::select! {
            chunks = asking => chunks?,
            () = self.until(|state| state.readers == 0) => return Ok(()),
        };
        lock(&self.state).answered = true;
        self.changed.notify_waiters();
        loop {
            let room = self.until(|state| state.readers == 0 || state.has_room());
            if tokio::time::timeout(IDLE, room).await.is_err() {
                return Ok(());
            }
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = self.until(|state| state.readers == 0) => return Ok(()),
            };
            match chunk {
                None => return Ok(()),
                Some(Ok(chunk)) => self.deliver(batches, source, list, chunk).await,
                Some(Err(broken)) => {
                    tracing::warn!(stream = %source.stream.located().stream.name(), %broken, "a list of fragments broke");
                    return Ok(());
                }
            }
        }
    }

    async fn until(&self, mut holds: impl FnMut(&BatchState) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(&lock(&self.state)) {
                return;
            }
            changed.await;
        }
    }

    async fn deliver(
        &self,
        batches: &Batches,
        source: &Source,
        list: &GetMediaForFragmentList,
        chunk: Chunk,
    ) {
        let is_coming = |key: &Key| matches!(lock(&self.state).fragments.get(key), Some(Fragment::Coming));
        let key = match &chunk.number {
            Some(number) => Some(Key::mkv(source.stream.arn(), number)),
            // An error that does not say whose it is stands where its fragment would.
            None if chunk.error.is_some() => {
                list.fragments.iter().map(|number| Key::mkv(source.stream.arn(), number)).find(is_coming)
            }
            None => None,
        };
        let Some(key) = key.filter(is_coming) else { return };
        if let Some(error) = chunk.error {
            lock(&self.state).fragments.insert(key, Fragment::Failed(error));
            batches.forget(self, &key);
            self.changed.notify_waiters();
            return;
        }
        // First into the cache: whoever finds it gone from here looks there next.
        if !self.purged.load(Ordering::SeqCst) {
            keep(source, key, chunk.bytes.clone()).await;
        }
        batches.forget(self, &key);
        let mut state = lock(&self.state);
        if !state.arrive(key, &chunk.bytes) {
            state.fragments.insert(key, Fragment::Passed);
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

/// Puts a fragment into the cache.
async fn keep(source: &Source, key: Key, bytes: Bytes) {
    let now = Timestamp::now();
    let keep = freshness::keep(Kind::Mkv, StatusCode::OK, now, &source.rules);
    let fetch = move || {
        let head = Head::new(HeaderValue::from_static(MATROSKA), Some(bytes.len() as u64), now);
        let body = whole(bytes.clone());
        std::future::ready(Ok::<_, upstream::Error>(Fetched { head, keep, body }))
    };
    // Twice, because another request may just be looking for it on the disk. Otherwise it is only not kept.
    for _ in 0..2 {
        if source.cache.warm(key, fetch.clone()).await.is_ok() {
            return;
        }
    }
}

/// Whatever ends the task ends the batch.
struct EndGuard<'a> {
    batch: &'a Batch,
    batches: &'a Batches,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let left: Vec<Key> = {
            let mut state = lock(&self.batch.state);
            state.ended.get_or_insert(Ending::Over);
            let coming =
                |(key, fragment): (&Key, &Fragment)| matches!(fragment, Fragment::Coming).then_some(*key);
            state.fragments.iter().filter_map(coming).collect()
        };
        for key in left {
            self.batches.forget(self.batch, &key);
        }
        self.batch.changed.notify_waiters();
    }
}

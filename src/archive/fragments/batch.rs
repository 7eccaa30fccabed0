//! Fragments on their way: one call to KVS for those that a request lacks, shared with every request that
//! lacks them.
//!
//! A [`Batch`] is owned by the reader that started it. Other readers join it. Every fragment goes to the
//! cache as it arrives, and what the owner has not taken yet is held for it, in the same memory if the cache
//! has it too. A call for up to [`WINDOW`] bytes therefore runs to its end, however slow its owner is. A
//! longer one, which only GetMediaForFragmentList makes, waits for its owner at the bound; a reader that
//! waits for a fragment moves it on, so no reader stalls another.

use crate::cache::Key;
use crate::kvs::StreamArn;
use crate::package::Document;
use crate::upstream::{self, InBand};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How far a batch runs ahead of its owner, in bytes; the fragment that passes it is still taken. More than a
/// portion of a reader has (`reader`), whose fragments may be a little larger than KVS lists.
const WINDOW: usize = 18 << 20;

/// A batch that no reader has waited on for so long closes its connection; a later reader calls KVS anew.
const IDLE: Duration = Duration::from_secs(30);

/// The batches under way, by the fragments that they will bring.
#[derive(Clone, Default)]
pub struct Batches(Arc<Mutex<HashMap<Key, Weak<Batch>>>>);

/// One call to KVS and what has come of it.
pub struct Batch {
    pub(super) state: Mutex<BatchState>,
    pub(super) changed: Notify,
    stream: StreamArn,
    pub(super) purged: AtomicBool,
}

pub(super) struct BatchState {
    pub(super) fragments: HashMap<Key, FragmentState>,
    /// Bytes that are here for the owner.
    ready: usize,
    /// The cache holds what arrives, so that readers find it there.
    pub(super) cached: bool,
    /// A fragment beyond the owner's window, here for the reader that waited for it.
    over: Option<Key>,
    /// How many wait for a fragment.
    waiting: usize,
    pub(super) readers: usize,
    owned: bool,
    /// KVS has begun to answer.
    pub(super) answered: bool,
    pub(super) ended: Option<Ending>,
}

pub(super) enum FragmentState {
    /// KVS has not given it yet.
    Coming,
    /// It is here for those who joined.
    Ready(Document),
    /// It has been here. If it is still held, the cache has it.
    Passed,
    Failed(InBand),
}

/// How a batch ended.
#[derive(Clone)]
pub(super) enum Ending {
    /// KVS's answer came to its end, or broke.
    Over,
    /// KVS refused the call.
    Refused(Arc<upstream::Error>),
}

/// What has become of a fragment.
pub enum Taken {
    /// It is here.
    Document(Document),
    /// KVS has an error in its place.
    Failed(InBand),
    /// There is no answer at all.
    Refused(Arc<upstream::Error>),
    /// It is not here, or no longer.
    Missed,
}

/// One reader of a batch. The batch ends with its last reader.
pub struct BatchReader {
    pub(super) batch: Arc<Batch>,
    owner: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Batches {
    /// The batch that will bring this fragment, if there is one.
    pub fn join(&self, key: &Key) -> Option<BatchReader> {
        let batch = lock(&self.0).get(key)?.upgrade()?;
        batch.join()
    }

    /// Splits fragments into those that the cache holds, those that others are bringing already, and the
    /// rest, which `start` makes one call for.
    ///
    /// `holds` looks into the cache. It is called under the lock for what no batch will bring: a batch puts a
    /// fragment into the cache before it gives its place here up, so what is in neither was never fetched.
    pub fn plan<'a>(
        &self,
        missing: impl Iterator<Item = &'a Key>,
        holds: impl Fn(&Key) -> bool,
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
                None if holds(key) => {}
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

    pub(super) fn forget(&self, batch: &Batch, key: &Key) {
        let mut under_way = lock(&self.0);
        if under_way.get(key).is_some_and(|held| std::ptr::eq(held.as_ptr(), batch)) {
            under_way.remove(key);
        }
    }
}

impl BatchReader {
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

    /// Keeps the batch going to its end, without taking anything of it.
    pub async fn run_to_end(mut self) {
        self.owner = false;
        lock(&self.batch.state).disown();
        self.batch.changed.notify_waiters();
        self.batch.until(|state| state.ended.is_some()).await;
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

/// A reader waits for a fragment.
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
            Some(FragmentState::Ready(document)) => {
                let document = document.clone();
                if owner && self.over != Some(*key) {
                    self.ready -= document.len();
                    self.fragments.insert(*key, FragmentState::Passed);
                }
                Some(Taken::Document(document))
            }
            Some(FragmentState::Failed(error)) => Some(Taken::Failed(error.clone())),
            Some(FragmentState::Passed) | None => Some(Taken::Missed),
            Some(FragmentState::Coming) => match &self.ended {
                None => None,
                Some(Ending::Over) => Some(Taken::Missed),
                Some(Ending::Refused(error)) => Some(Taken::Refused(error.clone())),
            },
        }
    }

    /// Takes a fragment in. Returns whether it is held here for a reader.
    pub(super) fn arrive(&mut self, key: Key, document: &Document) -> bool {
        if self.owned && self.ready < WINDOW {
            self.ready += document.len();
        } else if self.waiting > 0 {
            if let Some(before) = self.over.replace(key) {
                self.fragments.insert(before, FragmentState::Passed);
            }
        } else {
            return false;
        }
        self.fragments.insert(key, FragmentState::Ready(document.clone()));
        true
    }

    /// The owner has gone, and what was held for it goes.
    fn disown(&mut self) {
        self.owned = false;
        let over = self.over;
        for (key, fragment) in &mut self.fragments {
            if matches!(fragment, FragmentState::Ready(_)) && Some(*key) != over {
                *fragment = FragmentState::Passed;
            }
        }
        self.ready = 0;
    }

    /// Whether the next fragment is to be taken in. Without an owner there is always room in a cache that
    /// holds what arrives.
    pub(super) fn has_room(&self) -> bool {
        self.waiting > 0 || if self.owned { self.ready < WINDOW } else { self.cached }
    }
}

impl Batch {
    fn new(keys: &[Key], stream: &StreamArn) -> Self {
        let fragments = keys.iter().map(|key| (*key, FragmentState::Coming)).collect();
        let state = BatchState {
            fragments,
            ready: 0,
            cached: true,
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

    /// KVS, or another replica, has begun to give fragments.
    pub(super) fn begins(&self) {
        lock(&self.state).answered = true;
        self.changed.notify_waiters();
    }

    /// Waits until the next fragment may be taken in. False: it has no reader, or its owner does not read on.
    pub(super) async fn waits_for_room(&self) -> bool {
        let room = self.until(|state| state.readers == 0 || state.has_room());
        tokio::time::timeout(IDLE, room).await.is_ok() && lock(&self.state).readers > 0
    }

    pub(super) async fn until(&self, mut holds: impl FnMut(&BatchState) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(&lock(&self.state)) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;
    use bytes::Bytes;

    fn key(arn: &StreamArn, number: u64) -> Key {
        Key::mkv(arn, &FragmentNumber::parse(&number.to_string()).unwrap())
    }

    #[test]
    fn what_arrived_between_the_look_and_the_plan_is_not_fetched_again() {
        let arn = StreamArn::parse("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1").unwrap();
        let keys: Vec<Key> = (0..2).map(|number| key(&arn, number)).collect();
        let batches = Batches::default();
        let (first, _) = batches.plan(keys.iter(), |_| false, &arn);
        let first = first.unwrap();
        // It arrives: into the cache, and then out of the list.
        batches.forget(&first.batch, &keys[0]);
        let (own, others) = batches.plan(keys.iter(), |key| *key == keys[0], &arn);
        assert!(own.is_none() && others.len() == 1, "one is held and the other on its way");
        batches.forget(&first.batch, &keys[1]);
        let (own, others) = batches.plan(keys.iter(), |key| *key == keys[0], &arn);
        assert!(others.is_empty() && own.is_some_and(|own| own.brings(&keys[1]) && !own.brings(&keys[0])));
    }

    #[test]
    fn a_batch_runs_ahead_of_its_owner_to_a_bound_and_without_one_as_long_as_the_cache_holds_it() {
        let arn = StreamArn::parse("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1").unwrap();
        let keys: Vec<Key> = (0..4).map(|number| key(&arn, number)).collect();
        let batches = Batches::default();
        let (own, _) = batches.plan(keys.iter(), |_| false, &arn);
        let own = own.unwrap();
        let (again, others) = batches.plan(keys.iter(), |_| false, &arn);
        assert!(again.is_none() && others.len() == 1, "another reader joins it");
        let large = Document::from(Bytes::from(vec![0; WINDOW / 2 + 1]));
        let mut state = lock(&own.batch.state);
        assert!(state.has_room() && state.arrive(keys[0], &large));
        assert!(state.has_room() && state.arrive(keys[1], &large));
        assert!(!state.has_room(), "its owner has not taken them");
        assert!(matches!(state.take(&keys[0], true), Some(Taken::Document(_))));
        assert!(matches!(state.take(&keys[0], false), Some(Taken::Missed)), "the cache has it");
        assert!(state.has_room());
        state.disown();
        assert!(matches!(state.take(&keys[1], false), Some(Taken::Missed)));
        assert!(state.has_room());
        state.cached = false;
        assert!(!state.has_room(), "nothing would hold what arrives");
        state.waiting = 1;
        assert!(state.has_room() && state.arrive(keys[2], &large));
        assert!(matches!(state.take(&keys[2], false), Some(Taken::Document(_))));
    }
}

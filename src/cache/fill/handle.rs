//! A fill as its writer and its readers hold it: the lock around its [`FillState`].
//!
//! Nothing here depends on tasks or time, so that `tests/model` can run this file, `state.rs`, `writer.rs`
//! and `in_flight.rs` through every order in which threads may meet.

use super::state::{Answer, FillState, Opening, Read, ReaderId, Wakes};
use crate::cache::entry::{Entry, Tier};
use crate::cache::key::Key;
use crate::cache::store::Loaded;
use crate::cache::sync::{Mutex, lock};
use crate::net::body::Broken;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One fetch in progress, and what has arrived of its body.
pub(in crate::cache) struct Fill {
    pub(in crate::cache) key: Key,
    pub(in crate::cache) state: Mutex<FillState>,
}

impl Fill {
    /// A fill that has just begun.
    pub(in crate::cache) fn new(key: Key) -> Arc<Self> {
        Arc::new(Self { key, state: Mutex::new(FillState::new()) })
    }

    /// Takes a reader, if the body can still be read from its first byte.
    pub(in crate::cache) fn join(self: &Arc<Self>) -> Option<ReaderHandle> {
        let id = self.with(FillState::join)?;
        Some(ReaderHandle { fill: Arc::clone(self), id })
    }

    /// Stores nothing from here on. Entries stored before this are the caller's to remove.
    pub(in crate::cache) fn purge(&self) {
        lock(&self.state).purge();
    }

    /// Changes the state, then wakes the tasks that the change concerns.
    pub(in crate::cache) fn with<T>(&self, change: impl FnOnce(&mut FillState, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::new();
        let result = change(&mut lock(&self.state), &mut wakes);
        wakes.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// The body is whole: it is stored unless its stream was purged, and the readers are woken. Both happen
    /// under the lock, so that a purge comes either before, and nothing is stored, or after, and finds the
    /// entry.
    pub(in crate::cache) fn become_whole(&self, entry: Arc<Entry>, store: impl FnOnce(&Arc<Entry>)) {
        self.with(|state, wakes| {
            if entry.expires.is_some() && !state.purged() {
                store(&entry);
            }
            state.finish(Some(entry), wakes);
        });
    }

    /// A tier below memory has it. A body that was loaded whole is stored in the tiers above, under the same
    /// rule.
    pub(in crate::cache) fn answer_from(&self, tier: Tier, loaded: Loaded, store: impl FnOnce(&Arc<Entry>)) {
        self.with(|state, wakes| {
            if let Loaded::Whole(entry) = &loaded
                && !state.purged()
            {
                store(entry);
            }
            state.answer(Answer::Stored(tier, loaded), wakes);
        });
    }

    /// Ends the fill when its task ends for any reason; without effect if it has ended already.
    pub(in crate::cache) fn end(&self) {
        let broken = Broken::Cut("the fetch was dropped".into());
        self.with(|state, wakes| state.fail(&broken, false, wakes));
    }
}

/// A reader of a fill; dropping it leaves the fill.
pub(in crate::cache) struct ReaderHandle {
    fill: Arc<Fill>,
    id: ReaderId,
}

impl ReaderHandle {
    /// Waits for the fill to open.
    pub(in crate::cache) async fn opening(&self) -> Opening {
        poll_fn(|cx| match lock(&self.fill.state).opening(self.id, cx.waker()) {
            Some(opening) => Poll::Ready(opening),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until the length is certain; see [`FillState::length`].
    pub(in crate::cache) async fn length(&self) -> Result<u64, Option<Broken>> {
        poll_fn(|cx| match lock(&self.fill.state).length(self.id, cx.waker()) {
            Some(length) => Poll::Ready(length),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until the first `end` bytes are here; see [`FillState::reaches`].
    pub(in crate::cache) async fn reaches(&self, end: u64) -> Result<bool, Broken> {
        poll_fn(|cx| match lock(&self.fill.state).reaches(self.id, end, cx.waker()) {
            Some(reached) => Poll::Ready(reached),
            None => Poll::Pending,
        })
        .await
    }

    /// Moves to where a range begins.
    pub(in crate::cache) fn start_at(&self, position: u64) {
        self.fill.with(|state, wakes| state.start_at(self.id, position, wakes));
    }

    /// Takes more chunks into `chunks`.
    pub(in crate::cache) fn read(&self, limit: u64, chunks: &mut VecDeque<Bytes>, cx: &Context<'_>) -> Read {
        self.fill.with(|state, wakes| state.read(self.id, limit, READ_AT_ONCE, chunks, cx.waker(), wakes))
    }

    /// The entry, once the body is whole and held.
    pub(in crate::cache) fn entry(&self) -> Option<Arc<Entry>> {
        lock(&self.fill.state).entry().cloned()
    }

    /// The fill that it is a place at.
    pub(in crate::cache) fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }
}

impl Drop for ReaderHandle {
    fn drop(&mut self) {
        self.fill.with(|state, wakes| state.leave(self.id, wakes));
    }
}

/// How much a reader takes at once beyond one chunk, so that it seldom takes the lock.
const READ_AT_ONCE: u64 = 256 << 10;

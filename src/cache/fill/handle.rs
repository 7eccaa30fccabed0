//! One fetch under way, shared: the lock around its [`Growth`], and its readers' places.
//!
//! Nothing here knows tasks or time, so that `tests/model` can run this file, `growth.rs`, `writer.rs` and `flights.rs`
//! through every order in which threads may meet.

use super::state::{Answer, Growth, Opening, Read, SeatId, Wakes};
use crate::cache::disk::Loaded;
use crate::cache::entry::Entry;
use crate::cache::key::Key;
use crate::cache::sync::{Mutex, lock};
use crate::net::body::Broken;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One fetch under way, and what has come of it.
pub(in crate::cache) struct Fill {
    pub(in crate::cache) key: Key,
    pub(in crate::cache) growth: Mutex<Growth>,
}

impl Fill {
    /// A fill that has just begun; `pinned` ones go on without readers.
    pub(in crate::cache) fn new(key: Key, pinned: bool) -> Arc<Self> {
        Arc::new(Self { key, growth: Mutex::new(Growth::new(pinned)) })
    }

    /// Takes a seat, if the body can still be read from its first byte.
    pub(in crate::cache) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let id = self.with(Growth::sit)?;
        Some(Seat { fill: Arc::clone(self), id })
    }

    /// Stores nothing from here on. Entries stored before this are the caller's to remove.
    pub(in crate::cache) fn purge(&self) {
        lock(&self.growth).purge();
    }

    /// Changes the state, then wakes whom the change concerns.
    pub(in crate::cache) fn with<T>(&self, change: impl FnOnce(&mut Growth, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::new();
        let result = change(&mut lock(&self.growth), &mut wakes);
        wakes.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// The body is whole: stored unless a purge came by, and the readers are told. Both under the lock, so that a purge
    /// comes either before, and nothing is stored, or after, and finds it.
    pub(in crate::cache) fn become_whole(&self, entry: Arc<Entry>, store: impl FnOnce(&Arc<Entry>)) {
        self.with(|growth, wakes| {
            if entry.life.is_some() && !growth.purged() {
                store(&entry);
            }
            growth.finish(Some(entry), wakes);
        });
    }

    /// The disk had it: what came whole is stored in memory, under the same rule.
    pub(in crate::cache) fn answer_from_disk(&self, loaded: Loaded, store: impl FnOnce(&Arc<Entry>)) {
        self.with(|growth, wakes| {
            if let Loaded::Whole(entry) = &loaded
                && !growth.purged()
            {
                store(entry);
            }
            growth.answer(Answer::OnDisk(loaded), wakes);
        });
    }

    /// Whatever ended the task that fetches ends the fill; without effect if it has come to its end.
    pub(in crate::cache) fn last_word(&self) {
        let broken = Broken::Cut("the fetch was dropped".into());
        self.with(|growth, wakes| growth.fail(&broken, false, wakes));
    }
}

/// A reader's place at a fill; dropping it leaves.
pub(in crate::cache) struct Seat {
    fill: Arc<Fill>,
    id: SeatId,
}

impl Seat {
    /// Waits for the fill to open.
    pub(in crate::cache) async fn opening(&self) -> Opening {
        poll_fn(|cx| match lock(&self.fill.growth).opening(self.id, cx.waker()) {
            Some(opening) => Poll::Ready(opening),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until the length is certain; see [`Growth::length`].
    pub(in crate::cache) async fn length(&self) -> Result<u64, Option<Broken>> {
        poll_fn(|cx| match lock(&self.fill.growth).length(self.id, cx.waker()) {
            Some(length) => Poll::Ready(length),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until the first `end` bytes are here; see [`Growth::reaches`].
    pub(in crate::cache) async fn reaches(&self, end: u64) -> Result<bool, Broken> {
        poll_fn(|cx| match lock(&self.fill.growth).reaches(self.id, end, cx.waker()) {
            Some(reached) => Poll::Ready(reached),
            None => Poll::Pending,
        })
        .await
    }

    /// Moves to where a range begins.
    pub(in crate::cache) fn start_at(&self, position: u64) {
        self.fill.with(|growth, wakes| growth.start_at(self.id, position, wakes));
    }

    /// Takes more chunks into `hands`.
    pub(in crate::cache) fn read(&self, limit: u64, hands: &mut VecDeque<Bytes>, cx: &Context<'_>) -> Read {
        self.fill.with(|growth, wakes| growth.read(self.id, limit, HANDFUL, hands, cx.waker(), wakes))
    }

    /// The entry, once the body is whole and held.
    pub(in crate::cache) fn entry(&self) -> Option<Arc<Entry>> {
        lock(&self.fill.growth).entry().cloned()
    }

    /// The fill that it is a place at.
    pub(in crate::cache) fn fill(&self) -> &Arc<Fill> {
        &self.fill
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fill.with(|growth, wakes| growth.leave(self.id, wakes));
    }
}

/// How much a reader takes at once beyond one chunk, so that it seldom takes the lock.
const HANDFUL: u64 = 256 << 10;

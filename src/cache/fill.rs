//! One fetch on behalf of everybody who asked: the task that fetches, and the lock around its [`Growth`].
//!
//! The task owns the fetch. A caller who goes away does not stop it; when the last one has gone it stops by itself
//! unless finishing is worth it. Whatever happens to the task, a panic included, its [`LastWord`] frees the key and
//! tells the readers.

use super::budget::Share;
use super::compact::Compactor;
use super::entry::{Entry, Fetched, Head, Life, entity_tag};
use super::flights::Flights;
use super::growth::{Answer, Failure, Growth, Opening, Read, SeatId, Wakes};
use super::store::Loaded;
use super::sync::{Mutex, lock};
use super::{Inner, Key};
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::Body as _;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Fetches anew at each call, its error's type put aside.
pub(super) type Fetch =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, Failure>> + Send>> + Send + Sync>;

/// One fetch under way, and what has come of it.
pub(super) struct Fill {
    pub(super) key: Key,
    growth: Mutex<Growth>,
}

/// How a fill came to its end without being stored.
enum End {
    /// It has told its readers already: an answer of another kind, or nobody listens.
    Told,
    /// The body broke.
    Broken(Broken),
}

impl Fill {
    /// A fill with its first seat taken; `pinned` ones go on without readers.
    pub(super) fn new(key: Key, pinned: bool) -> Arc<Self> {
        Arc::new(Self { key, growth: Mutex::new(Growth::new(pinned)) })
    }

    /// Takes a seat, if the body can still be read from its first byte.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Seat> {
        let id = self.with(Growth::sit)?;
        Some(Seat { fill: Arc::clone(self), id })
    }

    /// Stores nothing from here on. Entries stored before this are the caller's to remove.
    pub(super) fn purge(&self) {
        lock(&self.growth).purge();
    }

    /// Changes the state, then wakes whom the change concerns.
    fn with<T>(&self, change: impl FnOnce(&mut Growth, &mut Wakes) -> T) -> T {
        let mut wakes = Wakes::new();
        let result = change(&mut lock(&self.growth), &mut wakes);
        wakes.into_iter().for_each(std::task::Waker::wake);
        result
    }

    /// Fetches, at most twice, and stores.
    pub(super) async fn run(self: Arc<Self>, inner: Arc<Inner>, fetch: Fetch) {
        let _last_word = LastWord { fill: &self, inner: &inner };
        if let Some(loaded) = inner.load(self.key).await {
            self.answer_from_disk(&inner, loaded);
            return;
        }
        for again in [true, false] {
            match self.attempt(&inner, &fetch).await {
                Ok(()) | Err(End::Told) => return,
                Err(End::Broken(broken)) => {
                    tracing::warn!(key = ?self.key, %broken, again, "a body on its way into the cache broke");
                    if !self.with(|growth, wakes| growth.fail(&broken, again, wakes)) {
                        return;
                    }
                }
            }
        }
    }

    /// What came whole from the disk is in memory from here on.
    fn answer_from_disk(&self, inner: &Inner, loaded: Loaded) {
        self.with(|growth, wakes| {
            if let Loaded::Whole(entry) = &loaded
                && !growth.purged()
            {
                inner.memory.insert(Arc::clone(entry));
            }
            growth.answer(Answer::OnDisk(loaded), wakes);
        });
        inner.memory.settle();
    }

    async fn attempt(&self, inner: &Inner, fetch: &Fetch) -> Result<(), End> {
        let Fetched { head, keep, body } = self.fetch(inner, fetch).await?;
        let mut share = inner.growing.share();
        let fits = head.length.is_none_or(|length| length <= inner.largest && share.grow_to(length));
        let life = Life::new(keep, head.stored, inner.config.max_age.0).filter(|_| fits);
        self.with(|growth, wakes| {
            if !fits {
                growth.stream(wakes);
            }
            growth.open(head.clone(), life, wakes);
        });
        let mut compactor = Compactor::new(fits, life.is_some());
        self.pump(inner, body, &mut share, &mut compactor).await?;
        self.finish(inner, &head, life, compactor);
        Ok(())
    }

    /// Runs the fetch until it answers, everybody has left, or it took too long.
    async fn fetch(&self, inner: &Inner, fetch: &Fetch) -> Result<Fetched, End> {
        let mut fetching = fetch();
        // Whoever waits loses patience earlier; this is for fills that nobody waits for.
        let limit = inner.config.patience.0 * 2;
        let mut deadline = pin!(sleep(limit));
        let fetched = poll_fn(|cx| {
            if lock(&self.growth).abandoned(cx.waker()) {
                return Poll::Ready(Err(End::Told));
            }
            if let Poll::Ready(fetched) = fetching.as_mut().poll(cx) {
                return Poll::Ready(Ok(fetched));
            }
            deadline.as_mut().poll(cx).map(|()| Err(End::Broken(Broken::Stalled(limit))))
        });
        fetched.await?.map_err(|failure| {
            self.with(|growth, wakes| growth.answer(Answer::Failed(failure), wakes));
            End::Told
        })
    }

    /// Moves the body into the growth, chunk by chunk, to its good end.
    async fn pump(
        &self,
        inner: &Inner,
        body: ByteStream,
        share: &mut Share<'_>,
        compactor: &mut Compactor,
    ) -> Result<(), End> {
        let mut body = pin!(body);
        let mut patience = Patience::new(inner.config.stall.0);
        loop {
            self.room(inner).await?;
            let next = poll_fn(|cx| {
                if lock(&self.growth).abandoned(cx.waker()) {
                    return Poll::Ready(Err(End::Told));
                }
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(frame) => Poll::Ready(Ok(frame)),
                    Poll::Pending => patience.poll_out(cx).map(|b| Err(End::Broken(b))),
                }
            });
            let chunk = match next.await? {
                None => break,
                Some(Err(broken)) => return Err(End::Broken(broken)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => chunk,
                    Err(_trailers) => continue,
                },
            };
            patience.progress();
            self.take(inner, chunk, share, compactor).map_err(End::Broken)?;
        }
        lock(&self.growth).complete().map_err(End::Broken)
    }

    /// Takes one chunk in; a body that has become too large streams from here on.
    fn take(
        &self,
        inner: &Inner,
        chunk: Bytes,
        share: &mut Share<'_>,
        compactor: &mut Compactor,
    ) -> Result<(), Broken> {
        let size = chunk.len() as u64;
        let arrived = self.with(|growth, wakes| {
            growth.push(chunk, wakes)?;
            Ok::<_, Broken>(growth.arrived())
        })?;
        if compactor.holds() && (arrived > inner.largest || !share.grow_to(arrived)) {
            compactor.stop();
            self.with(|growth, wakes| growth.stream(wakes));
        }
        if compactor.due(size) {
            // The copying is done without the lock: only this task changes the pieces.
            let tail = lock(&self.growth).tail(compactor.done());
            let whole = compactor.join(&tail);
            lock(&self.growth).replace_tail(compactor.done(), whole.clone());
            compactor.advance(whole);
        }
        Ok(())
    }

    /// Waits until a body that streams has room for more; readers who hold others back pay for it.
    async fn room(&self, inner: &Inner) -> Result<(), End> {
        let has_room = || lock(&self.growth).has_room(WINDOW_ALONE, WINDOW_SHARED);
        while !has_room() {
            let begun = Instant::now();
            let mut tick = pin!(sleep(inner.config.lag.0 / 4));
            let waited = poll_fn(|cx| {
                if lock(&self.growth).abandoned(cx.waker()) {
                    return Poll::Ready(Err(End::Told));
                }
                if has_room() { Poll::Ready(Ok(())) } else { tick.as_mut().poll(cx).map(Ok) }
            });
            waited.await?;
            let waited = begun.elapsed();
            self.with(|growth, wakes| growth.charge(waited, inner.config.lag.0, wakes));
        }
        Ok(())
    }

    /// Makes the entry, stores it if it may be stored, and tells the readers.
    fn finish(&self, inner: &Inner, head: &Head, life: Option<Life>, mut compactor: Compactor) {
        if !compactor.holds() {
            self.with(|growth, wakes| growth.finish(None, wakes));
            return;
        }
        let tail = lock(&self.growth).tail(compactor.done());
        if compactor.due_at_end(&tail) {
            let whole = compactor.join(&tail);
            lock(&self.growth).replace_tail(compactor.done(), whole.clone());
            compactor.advance(whole);
        }
        let pieces = lock(&self.growth).tail(0).into_boxed_slice();
        let etag = compactor.digest().map(|digest| entity_tag(digest.as_ref()));
        let entry = Arc::new(Entry::new(self.key, head, life, pieces, etag));
        // Under the lock, so that a purge comes either before, and nothing is stored, or after, and finds it.
        self.with(|growth, wakes| {
            if life.is_some() && !growth.purged() {
                inner.store(&entry);
            }
            growth.finish(Some(entry), wakes);
        });
        inner.memory.settle();
    }
}

/// Whatever ends the task ends the fill.
struct LastWord<'a> {
    fill: &'a Arc<Fill>,
    inner: &'a Inner,
}

impl Drop for LastWord<'_> {
    fn drop(&mut self) {
        self.inner.flights.remove(self.fill);
        // Without effect if the fill has come to its end.
        let broken = Broken::Cut("the fetch was dropped".into());
        self.fill.with(|growth, wakes| growth.fail(&broken, false, wakes));
    }
}

/// A reader's place at a fill; dropping it leaves.
pub(super) struct Seat {
    fill: Arc<Fill>,
    id: SeatId,
}

impl Seat {
    /// Waits for the fill to open.
    pub(super) async fn opening(&self) -> Opening {
        poll_fn(|cx| match lock(&self.fill.growth).opening(self.id, cx.waker()) {
            Some(opening) => Poll::Ready(opening),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits until the length is certain; see [`Growth::length`].
    pub(super) async fn length(&self) -> Result<u64, Option<Broken>> {
        poll_fn(|cx| match lock(&self.fill.growth).length(self.id, cx.waker()) {
            Some(length) => Poll::Ready(length),
            None => Poll::Pending,
        })
        .await
    }

    /// Moves to where a range begins.
    pub(super) fn start_at(&self, position: u64) {
        self.fill.with(|growth, wakes| growth.start_at(self.id, position, wakes));
    }

    /// Takes more chunks into `hands`.
    pub(super) fn read(&self, limit: u64, hands: &mut VecDeque<Bytes>, cx: &Context<'_>) -> Read {
        self.fill.with(|growth, wakes| growth.read(self.id, limit, HANDFUL, hands, cx.waker(), wakes))
    }

    /// The entry, once the body is whole and held.
    pub(super) fn entry(&self) -> Option<Arc<Entry>> {
        lock(&self.fill.growth).entry().cloned()
    }

    /// Lets the next who asks start another fill.
    pub(super) fn free_key(&self, flights: &Flights) {
        flights.remove(&self.fill);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.fill.with(|growth, wakes| growth.leave(self.id, wakes));
    }
}

/// Notices when a body has made no progress for too long. The timer is set anew only when it fires, not per chunk.
struct Patience {
    limit: Duration,
    since: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, since: Instant::now(), sleep: Box::pin(sleep(limit)) }
    }

    fn progress(&mut self) {
        self.since = Instant::now();
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let due = self.since + self.limit;
            if Instant::now() >= due {
                return Poll::Ready(Broken::Stalled(self.limit));
            }
            self.sleep.as_mut().reset(due);
        }
    }
}

/// How far a body that streams runs ahead of its only reader: enough to keep both sides busy, and little, because
/// there may be thousands of such bodies.
const WINDOW_ALONE: u64 = 128 << 10;

/// How far apart several readers of one body that streams may be before the fastest waits.
const WINDOW_SHARED: u64 = 2 << 20;

/// How much a reader takes at once beyond one chunk, so that it seldom takes the lock.
const HANDFUL: u64 = 256 << 10;

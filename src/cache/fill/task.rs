//! The task of a fill: look in the tiers below memory, fetch, move the body into the state, store.
//!
//! The task owns the fetch. A caller that goes away does not stop it; without readers it stops by itself
//! unless finishing is worthwhile. However the task ends, a panic included, its [`EndGuard`] frees the key
//! and wakes the readers.

use super::compact::Compactor;
use super::handle::Fill;
use super::state::{Answer, FetchError};
use crate::cache::entry::{Entry, Fetched, Head, Sharing, entity_tag};
use crate::cache::memory::budget::Reservation;
use crate::cache::sync::lock;
use crate::cache::tiers::{Claims, Tiers};
use crate::kvs::Timestamp;
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::Body as _;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep};

/// Starts a fetch at each call; its error type is erased.
pub(in crate::cache) type Fetch =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send>> + Send + Sync>;

/// Why a fill ended without being stored.
enum End {
    /// The readers have their answer already, or there are none.
    Told,
    /// The body broke.
    Broken(Broken),
}

impl Fill {
    /// Fetches, at most twice, and stores.
    pub(in crate::cache) async fn run(self: Arc<Self>, tiers: Arc<Tiers>, fetch: Fetch, sharing: Sharing) {
        let _last_word = EndGuard { fill: &self, tiers: &tiers };
        let began = tiers.clock.now();
        let mut claims = match tiers.load(self.key, sharing).await {
            Ok((tier, loaded)) => {
                self.answer_from(tier, loaded, |entry| tiers.keep_above(tier, entry));
                tiers.memory.settle();
                return;
            }
            Err(claims) => claims,
        };
        for again in [true, false] {
            match self.attempt(&tiers, &fetch, began, &mut claims).await {
                Ok(()) | Err(End::Told) => return,
                Err(End::Broken(broken)) => {
                    tracing::warn!(key = ?self.key, %broken, again, "a body on its way into the cache broke");
                    if !self.with(|state, wakes| state.fail(&broken, again, wakes)) {
                        return;
                    }
                }
            }
        }
    }

    async fn attempt(
        &self,
        tiers: &Tiers,
        fetch: &Fetch,
        began: Timestamp,
        claims: &mut Claims,
    ) -> Result<(), End> {
        let Fetched { head, keep, body } = self.fetch(tiers, fetch).await?;
        let mut reservation = tiers.budget.reserve();
        let fits = head.length.is_none_or(|length| length <= tiers.largest && reservation.grow_to(length));
        let expires = keep.expiry(head.stored, tiers.config.max_age.0).filter(|_| fits);
        // What others will not get, they should not wait for.
        let given = expires.is_some();
        claims.retain(|claim| given && head.length.is_none_or(|length| claim.takes(length)));
        self.with(|state, wakes| {
            if !fits {
                state.stream(wakes);
            }
            state.open(head.clone(), expires, wakes);
        });
        if !fits {
            reservation.stretch_to(WINDOW_ALONE);
        }
        let mut compactor = Compactor::new(fits, expires.is_some());
        self.pump(tiers, body, &mut reservation, &mut compactor).await?;
        if let Some(entry) = self.finish(&head, expires, reservation, compactor) {
            let claims = std::mem::take(claims);
            self.become_whole(Arc::new(entry.since(began)), |entry| tiers.store(entry, claims));
            tiers.memory.settle();
        }
        Ok(())
    }

    /// Runs the fetch until it answers, all readers have left, or it took too long.
    async fn fetch(&self, tiers: &Tiers, fetch: &Fetch) -> Result<Fetched, End> {
        let mut fetching = fetch();
        // Waiting readers give up earlier; this bounds fills without readers.
        let limit = tiers.config.patience.0 * 2;
        let mut deadline = pin!(sleep(limit));
        let fetched = poll_fn(|cx| {
            if lock(&self.state).abandoned(cx.waker()) {
                return Poll::Ready(Err(End::Told));
            }
            if let Poll::Ready(fetched) = fetching.as_mut().poll(cx) {
                return Poll::Ready(Ok(fetched));
            }
            deadline.as_mut().poll(cx).map(|()| Err(End::Broken(Broken::Stalled(limit))))
        });
        fetched.await?.map_err(|failure| {
            self.with(|state, wakes| state.answer(Answer::Failed(failure), wakes));
            End::Told
        })
    }

    /// Moves the body into the state, chunk by chunk, to its good end.
    async fn pump(
        &self,
        tiers: &Tiers,
        body: ByteStream,
        reservation: &mut Reservation,
        compactor: &mut Compactor,
    ) -> Result<(), End> {
        let mut body = pin!(body);
        let mut patience = Patience::new(tiers.config.stall.0);
        loop {
            if self.room(tiers, reservation).await? {
                // No bytes were requested during the wait, so none could arrive.
                patience.progress();
            }
            let next = poll_fn(|cx| {
                if lock(&self.state).abandoned(cx.waker()) {
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
            self.take(tiers, chunk, reservation, compactor).map_err(End::Broken)?;
        }
        if lock(&self.state).complete().map_err(End::Broken)? { Ok(()) } else { Err(End::Told) }
    }

    /// Takes one chunk in; a body that has become too large streams from here on.
    fn take(
        &self,
        tiers: &Tiers,
        chunk: Bytes,
        reservation: &mut Reservation,
        compactor: &mut Compactor,
    ) -> Result<(), Broken> {
        let size = chunk.len();
        let arrived = self.with(|state, wakes| {
            state.push(chunk, wakes)?;
            Ok::<_, Broken>(state.arrived())
        })?;
        if compactor.holds() && (arrived > tiers.largest || !reservation.grow_to(arrived)) {
            compactor.stop();
            self.with(|state, wakes| state.stream(wakes));
        }
        if compactor.due(size) {
            self.compact(reservation, compactor, false);
        }
        Ok(())
    }

    /// The copying is done without the lock: only this task changes the pieces.
    fn compact(&self, reservation: &mut Reservation, compactor: &mut Compactor, at_end: bool) {
        let done = compactor.done();
        let tail = lock(&self.state).tail(done);
        let pieces = compactor.compact(tail, reservation, at_end);
        lock(&self.state).replace_tail(done, pieces);
    }

    /// Waits until a body that streams has room for more; readers that hold others back are charged for the
    /// wait. Gives whether it had to wait.
    async fn room(&self, tiers: &Tiers, reservation: &mut Reservation) -> Result<bool, End> {
        let mut has_room = || {
            let state = lock(&self.state);
            state.has_room(WINDOW_ALONE)
                || state.is_shared() && state.has_room(WINDOW_SHARED) && reservation.grow_to(WINDOW_SHARED)
        };
        let mut had_to = false;
        while !has_room() {
            had_to = true;
            let begun = Instant::now();
            let mut tick = pin!(sleep(tiers.config.lag.0 / 4));
            let waited = poll_fn(|cx| {
                if lock(&self.state).abandoned(cx.waker()) {
                    return Poll::Ready(Err(End::Told));
                }
                if has_room() { Poll::Ready(Ok(())) } else { tick.as_mut().poll(cx).map(Ok) }
            });
            waited.await?;
            let waited = begun.elapsed();
            self.with(|state, wakes| state.charge(waited, tiers.config.lag.0, wakes));
        }
        Ok(had_to)
    }

    /// Makes the entry. A body that streamed has none; its readers are woken.
    fn finish(
        &self,
        head: &Head,
        expires: Option<Timestamp>,
        mut reservation: Reservation,
        mut compactor: Compactor,
    ) -> Option<Entry> {
        if !compactor.holds() {
            self.with(|state, wakes| state.finish(None, wakes));
            return None;
        }
        if compactor.due_at_end() {
            self.compact(&mut reservation, &mut compactor, true);
        }
        let pieces: Vec<Bytes> = lock(&self.state).tail(0).into();
        let etag = compactor.digest().map(|digest| entity_tag(digest.as_ref()));
        Some(Entry::new(self.key, head, expires, pieces.into(), etag).counted(&mut reservation))
    }
}

/// Whatever ends the task ends the fill.
struct EndGuard<'a> {
    fill: &'a Arc<Fill>,
    tiers: &'a Tiers,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.tiers.in_flight.remove(self.fill);
        self.fill.end();
    }
}

/// Notices when a body has made no progress for too long. The timer is set anew only when it fires, not per
/// chunk.
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

/// How far a body that streams runs ahead of its only reader: enough to keep both sides busy, and little,
/// because there may be thousands of such bodies.
const WINDOW_ALONE: u64 = 128 << 10;

/// How far apart several readers of one body that streams may be before the fastest waits.
const WINDOW_SHARED: u64 = 2 << 20;

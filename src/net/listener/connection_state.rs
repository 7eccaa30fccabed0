//! What a connection is doing, noted by whoever sees it happen (socket, service, body) and judged by the watch.
//!
//! All notes are relaxed atomics on one clock that ticks a few times a second, so that noting costs next to nothing
//! on the path of a request and an idle connection costs no timer at all. [`super::connection_table`] reads the notes and gives
//! orders; the connection's own task obeys them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// Milliseconds since the listener started, from 1 (0 stands for "never"), as of the last tick.
pub(super) struct Clock {
    started: Instant,
    millis: AtomicU64,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), millis: AtomicU64::new(1) }
    }

    pub(super) fn tick(&self) -> u64 {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.millis.store(now, Relaxed);
        now
    }

    pub(super) fn now(&self) -> u64 {
        self.millis.load(Relaxed)
    }
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stage {
    /// PROXY protocol header and TLS handshake.
    Handshake = 0,
    /// HTTP.
    Open = 1,
    /// Answered and half closed: what the peer still sends is read and thrown away, so that he can read the answer.
    Lingering = 2,
}

/// What the watch wants of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Order {
    Stay = 0,
    /// The next answer is the last one. An HTTP/1 connection that does nothing stays until then, because to close it
    /// might cross a request that is on its way.
    Retire = 1,
    /// Finish what is under way, take nothing new.
    Leave = 2,
    /// End now.
    Cut = 3,
}

/// The notes on one connection.
pub(super) struct Pulse {
    clock: Arc<Clock>,
    stage: AtomicU8,
    stage_since: AtomicU64,
    /// Requests under way.
    active: AtomicU32,
    /// When `active` last fell to 0.
    idle_since: AtomicU64,
    /// When the first byte of a head that is not complete yet arrived.
    head_since: AtomicU64,
    /// When the socket stopped taking bytes that we want to write.
    blocked_since: AtomicU64,
    written: AtomicU64,
    /// Since when response bodies that have given a chunk wait to be asked for the next one, by request. Each has its
    /// own time: a peer who reads one answer must not hold a hundred others for it.
    offers: Mutex<Vec<(u32, u64)>>,
    requests: AtomicU32,
    ended: AtomicU32,
    /// Of `ended`: given up by the peer before the end.
    abandoned: AtomicU32,
    order: AtomicU8,
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
    refused: AtomicBool,
}

/// The notes at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notes {
    pub(super) stage: Stage,
    pub(super) stage_since: u64,
    pub(super) active: u32,
    pub(super) idle_since: u64,
    pub(super) head_since: u64,
    pub(super) blocked_since: u64,
    pub(super) written: u64,
    /// Since when the response body waits that has waited longest, or 0.
    pub(super) shut_since: u64,
    pub(super) requests: u32,
    pub(super) ended: u32,
    pub(super) abandoned: u32,
    pub(super) order: Order,
    pub(super) parked: bool,
}

impl Pulse {
    pub(super) fn new(clock: Arc<Clock>) -> Self {
        let now = clock.now();
        Self {
            clock,
            stage: AtomicU8::new(Stage::Handshake as u8),
            stage_since: AtomicU64::new(now),
            active: AtomicU32::new(0),
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            written: AtomicU64::new(0),
            offers: Mutex::new(Vec::new()),
            requests: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            order: AtomicU8::new(Order::Stay as u8),
            parked: AtomicBool::new(false),
            waker: Mutex::new(None),
            refused: AtomicBool::new(false),
        }
    }

    pub(super) fn notes(&self) -> Notes {
        Notes {
            stage: match self.stage.load(Relaxed) {
                0 => Stage::Handshake,
                1 => Stage::Open,
                _ => Stage::Lingering,
            },
            stage_since: self.stage_since.load(Relaxed),
            active: self.active.load(Relaxed),
            idle_since: self.idle_since.load(Relaxed),
            head_since: self.head_since.load(Relaxed),
            blocked_since: self.blocked_since.load(Relaxed),
            written: self.written.load(Relaxed),
            shut_since: self.offers().iter().map(|(_, since)| *since).min().unwrap_or(0),
            requests: self.requests.load(Relaxed),
            ended: self.ended.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            order: self.order(),
            parked: self.parked(),
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
        self.stage_since.store(self.clock.now(), Relaxed);
        self.idle_since.store(self.clock.now(), Relaxed);
    }

    /// Notes whether a head has begun and is not complete.
    pub(super) fn head(&self, partial: bool) {
        let noted = self.head_since.load(Relaxed) != 0;
        if partial != noted {
            self.head_since.store(if partial { self.clock.now() } else { 0 }, Relaxed);
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Relaxed);
        if self.blocked_since.load(Relaxed) != 0 {
            self.blocked_since.store(0, Relaxed);
        }
    }

    pub(super) fn blocked(&self) {
        if self.blocked_since.load(Relaxed) == 0 {
            self.blocked_since.store(self.clock.now(), Relaxed);
        }
    }

    /// Notes a new request and tells how many there were with it.
    pub(super) fn begin(&self) -> u32 {
        self.active.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed) + 1
    }

    pub(super) fn end(&self, whole: bool) {
        self.ended.fetch_add(1, Relaxed);
        if !whole {
            self.abandoned.fetch_add(1, Relaxed);
        }
        if self.active.fetch_sub(1, Relaxed) == 1 {
            self.idle_since.store(self.clock.now(), Relaxed);
        }
    }

    /// Notes that a request's body gave a chunk.
    pub(super) fn gave(&self, request: u32) {
        self.offers().push((request, self.clock.now()));
    }

    /// Notes that it was asked for the next one, or is gone.
    pub(super) fn asked(&self, request: u32) {
        self.offers().retain(|(waiting, _)| *waiting != request);
    }

    fn offers(&self) -> std::sync::MutexGuard<'_, Vec<(u32, u64)>> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the peer's bytes were refused: the connection is not to be used again.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Relaxed);
    }

    pub(super) fn refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    pub(super) fn order(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::Stay,
            1 => Order::Retire,
            2 => Order::Leave,
            _ => Order::Cut,
        }
    }

    /// Gives an order and wakes the connection to it; a milder one than before changes nothing.
    pub(super) fn give(&self, order: Order) {
        if self.order.fetch_max(order as u8, Relaxed) < order as u8 {
            self.wake();
        }
    }

    /// Asks a connection that does nothing to let its buffers go until its peer sends something.
    pub(super) fn park(&self) {
        if !self.parked.swap(true, Relaxed) {
            self.wake();
        }
    }

    pub(super) fn parked(&self) -> bool {
        self.parked.load(Relaxed)
    }

    /// Whether the connection was asked to park and still does nothing. One that has begun to do something meanwhile
    /// is not asked any more.
    pub(super) fn may_park(&self) -> bool {
        let rests = || {
            self.active.load(Relaxed) == 0
                && self.head_since.load(Relaxed) == 0
                && self.blocked_since.load(Relaxed) == 0
        };
        self.parked()
            && (rests() || {
                self.unpark();
                false
            })
    }

    pub(super) fn unpark(&self) {
        self.parked.store(false, Relaxed);
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }

    /// Runs a connection until it ends or is ordered to be cut; `None` is cut.
    ///
    /// The connection is borrowed, here and in [`super::connection`]: an async function keeps its arguments beside what
    /// it makes of them, so each level that took it by value would double what every idle connection holds.
    pub(super) async fn attend<F: Future>(&self, mut connection: Pin<&mut F>) -> Option<F::Output> {
        let mut known: Option<Waker> = None;
        std::future::poll_fn(|context| {
            self.listen(&mut known, context);
            match self.order() {
                Order::Cut => Poll::Ready(None),
                _ => connection.as_mut().poll(context).map(Some),
            }
        })
        .await
    }

    /// Makes sure that an order wakes the task that is polling now.
    fn listen(&self, known: &mut Option<Waker>, context: &Context<'_>) {
        if known.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return;
        }
        let waker = context.waker().clone();
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        *known = Some(waker);
    }
}

//! What a connection is doing, and what it is instructed to do.
//!
//! Socket, service and response body note what happens in relaxed atomics, with times of one clock that ticks
//! a few times a second. So a note costs next to nothing on the path of a request, and an idle connection
//! needs no timer. The table of connections reads the notes and gives instructions; the connection's own task
//! follows them.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// Milliseconds since the listener started, from 1 (0 stands for "never"), as of the last tick.
pub(super) struct TickingClock {
    started: Instant,
    millis: AtomicU64,
}

impl TickingClock {
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

/// The stage of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stage {
    /// PROXY protocol header and TLS handshake.
    Handshake = 0,
    /// HTTP.
    Open = 1,
    /// Answered and half closed: what the peer still sends is read and dropped, so that it can read the
    /// response.
    Lingering = 2,
}

/// What a connection is to do, in rising severity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(super) enum Instruction {
    Continue = 0,
    /// The next response is the last one. An idle HTTP/1 connection stays until then, because closing it
    /// might cross a request that is on its way.
    LastRequest = 1,
    /// Finish the requests in progress, accept no more.
    Finish = 2,
    /// Close at once.
    Close = 3,
}

/// The state of one connection.
pub(super) struct ConnectionState {
    clock: Arc<TickingClock>,
    stage: AtomicU8,
    stage_since: AtomicU64,
    /// Requests in progress.
    active: AtomicU32,
    /// When `active` last fell to 0.
    idle_since: AtomicU64,
    /// When the first byte of a head that is not complete yet arrived.
    head_since: AtomicU64,
    /// Since when the socket accepts no more bytes, or 0.
    blocked_since: AtomicU64,
    written: AtomicU64,
    /// By request: since when a response body that has given a chunk has not been polled for the next one.
    /// Each has its own time, so that a peer cannot hold a hundred responses open by reading one.
    offered_chunks: Mutex<Vec<(u32, u64)>>,
    requests: AtomicU32,
    ended: AtomicU32,
    /// Of `ended`: abandoned by the peer before the end.
    abandoned: AtomicU32,
    instruction: AtomicU8,
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
    refused: AtomicBool,
    /// HTTP/1: request heads that have come, and whether the body of the last one is incomplete.
    heads: AtomicU32,
    body_open: AtomicBool,
    /// HTTP/2: the paths of requests that had a fragment, which h2 has cut off, until they are refused.
    cut_paths: Mutex<Vec<Box<[u8]>>>,
    has_cut_paths: AtomicBool,
}

/// Requests with a fragment that may wait on one connection to be refused; with more it ends.
const MOST_CUT_PATHS: usize = 200;

/// The state at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    pub(super) stage: Stage,
    pub(super) stage_since: u64,
    pub(super) active: u32,
    pub(super) idle_since: u64,
    pub(super) head_since: u64,
    pub(super) blocked_since: u64,
    pub(super) written: u64,
    /// Since when the response body waits that has waited longest, or 0.
    pub(super) unpolled_since: u64,
    pub(super) requests: u32,
    pub(super) ended: u32,
    pub(super) abandoned: u32,
    pub(super) instruction: Instruction,
    pub(super) parked: bool,
}

impl ConnectionState {
    pub(super) fn new(clock: Arc<TickingClock>) -> Self {
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
            offered_chunks: Mutex::new(Vec::new()),
            requests: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            abandoned: AtomicU32::new(0),
            instruction: AtomicU8::new(Instruction::Continue as u8),
            parked: AtomicBool::new(false),
            waker: Mutex::new(None),
            refused: AtomicBool::new(false),
            heads: AtomicU32::new(0),
            body_open: AtomicBool::new(false),
            cut_paths: Mutex::new(Vec::new()),
            has_cut_paths: AtomicBool::new(false),
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
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
            unpolled_since: self.offered_chunks().iter().map(|(_, since)| *since).min().unwrap_or(0),
            requests: self.requests.load(Relaxed),
            ended: self.ended.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            instruction: self.instruction(),
            parked: self.parked(),
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
        self.stage_since.store(self.clock.now(), Relaxed);
        self.idle_since.store(self.clock.now(), Relaxed);
    }

    /// Notes whether a head has begun and is not complete.
    pub(super) fn head_partial(&self, partial: bool) {
        let noted = self.head_since.load(Relaxed) != 0;
        if partial != noted {
            self.head_since.store(if partial { self.clock.now() } else { 0 }, Relaxed);
        }
    }

    /// Notes how many heads have come on this HTTP/1 connection, and whether the last body is incomplete.
    pub(super) fn framed(&self, heads: u32, body_open: bool) {
        self.heads.store(heads, Relaxed);
        self.body_open.store(body_open, Relaxed);
    }

    /// Whether a part of this HTTP/1 request's body has not come yet. If a later request has begun, it has.
    pub(super) fn awaits_body(&self, request: u32) -> bool {
        self.body_open.load(Relaxed) && self.heads.load(Relaxed) == request
    }

    /// Notes that a request came with a fragment behind this path.
    pub(super) fn note_cut_path(&self, path: Box<[u8]>) {
        let mut cut = self.cut_paths.lock().unwrap_or_else(PoisonError::into_inner);
        if cut.len() < MOST_CUT_PATHS {
            cut.push(path);
        } else {
            self.instruct(Instruction::Close);
        }
        self.has_cut_paths.store(true, Relaxed);
    }

    /// Whether a request with this path came with a fragment; each is found once.
    pub(super) fn take_cut_path(&self, path: &[u8]) -> bool {
        if !self.has_cut_paths.load(Relaxed) {
            return false;
        }
        let mut cut = self.cut_paths.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cut.iter().position(|known| **known == *path).map(|at| cut.swap_remove(at));
        self.has_cut_paths.store(!cut.is_empty(), Relaxed);
        found.is_some()
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

    /// Notes a new request; returns its number on this connection, from 1.
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
    pub(super) fn offered(&self, request: u32) {
        self.offered_chunks().push((request, self.clock.now()));
    }

    /// Notes that it was polled for the next one, or is gone.
    pub(super) fn polled(&self, request: u32) {
        self.offered_chunks().retain(|(waiting, _)| *waiting != request);
    }

    fn offered_chunks(&self) -> std::sync::MutexGuard<'_, Vec<(u32, u64)>> {
        self.offered_chunks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the peer's bytes were refused: the connection is not used again.
    pub(super) fn refuse(&self) {
        self.refused.store(true, Relaxed);
    }

    pub(super) fn refused(&self) -> bool {
        self.refused.load(Relaxed)
    }

    pub(super) fn instruction(&self) -> Instruction {
        match self.instruction.load(Relaxed) {
            0 => Instruction::Continue,
            1 => Instruction::LastRequest,
            2 => Instruction::Finish,
            _ => Instruction::Close,
        }
    }

    /// Gives an instruction and wakes the connection. One that is milder than the last changes nothing.
    pub(super) fn instruct(&self, instruction: Instruction) {
        if self.instruction.fetch_max(instruction as u8, Relaxed) < instruction as u8 {
            self.wake();
        }
    }

    /// Instructs an idle connection to free its buffers until the peer sends something.
    pub(super) fn park(&self) {
        if !self.parked.swap(true, Relaxed) {
            self.wake();
        }
    }

    pub(super) fn parked(&self) -> bool {
        self.parked.load(Relaxed)
    }

    /// Whether the connection was instructed to park and is still idle. For one that is not, the instruction
    /// ends.
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

    /// Runs a connection until it ends or is instructed to close at once (`None`).
    ///
    /// The connection is borrowed, here and in `connection`: an async function keeps its arguments beside its
    /// own state, so each level that took it by value would double the memory of every idle connection.
    pub(super) async fn run<F: Future>(&self, mut connection: Pin<&mut F>) -> Option<F::Output> {
        let mut known: Option<Waker> = None;
        std::future::poll_fn(|context| {
            self.register_waker(&mut known, context);
            match self.instruction() {
                Instruction::Close => Poll::Ready(None),
                _ => connection.as_mut().poll(context).map(Some),
            }
        })
        .await
    }

    /// Makes sure that an instruction wakes the task that is polling now.
    fn register_waker(&self, known: &mut Option<Waker>, context: &Context<'_>) {
        if known.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return;
        }
        let waker = context.waker().clone();
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
        *known = Some(waker);
    }
}

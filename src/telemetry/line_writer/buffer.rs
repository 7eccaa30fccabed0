//! What a line writer and its thread share: the lines that wait, and the state of the writing.

use prometheus::IntCounter;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How long a write can take before it counts as failed.
pub(super) const HANGS: Duration = Duration::from_secs(2);
/// How lines are written.
pub struct Options {
    /// The name of the thread.
    pub thread: &'static str,
    /// What is written, for messages: "the audit log".
    pub name: &'static str,
    /// How many bytes wait at most.
    pub most_bytes: usize,
    /// How many lines wait at most.
    pub most_lines: usize,
    /// How long the thread rests after a write, so that lines gather. The first line after a pause is written
    /// at once.
    pub rest: Duration,
    /// What happens when lines cannot be written.
    pub on_failure: OnFailure,
    /// Appends lines that are due later, see [`LineWriter::defer`].
    pub deferred: Option<Deferred>,
}

/// What happens when a write fails.
pub enum OnFailure {
    /// The lines are dropped and counted, as are those that do not fit into the buffer.
    Drop(IntCounter),
    /// The write is repeated from the byte where it stopped until it succeeds. Nothing follows before. Lines
    /// that do not fit into the buffer are dropped, and a line made by this function reports how many as soon
    /// as it can be written.
    Retry(fn(u64) -> String),
}

/// Appends lines, with their line breaks.
pub type Deferred = Box<dyn Fn(&mut Vec<u8>) + Send>;

/// The state, and what wakes its two sides.
pub(super) struct Shared {
    pub(super) buffer: Mutex<Buffer>,
    /// There is something to do for the thread.
    pub(super) work: Condvar,
    /// A batch has been written.
    pub(super) progress: Condvar,
    pub(super) failing: watch::Sender<bool>,
    pub(super) name: &'static str,
    pub(super) most_bytes: usize,
    pub(super) most_lines: usize,
    pub(super) rest: Duration,
    pub(super) on_failure: OnFailure,
}

/// Lines that wait, and how far the thread is.
#[derive(Default)]
pub(super) struct Buffer {
    pub(super) lines: Vec<u8>,
    pub(super) line_count: usize,
    /// To be informed when these lines are written.
    pub(super) acknowledgements: Vec<oneshot::Sender<()>>,
    /// How many lines were accepted, and how many of them are written, since the start.
    pub(super) accepted: u64,
    pub(super) written: u64,
    /// Lines that did not fit, and that no line has reported yet.
    pub(super) lost: u64,
    /// When deferred lines are due.
    pub(super) deferred_until: Option<Instant>,
    /// The thread writes or rests, and looks at the buffer by itself.
    pub(super) busy: bool,
    /// The writer was dropped.
    pub(super) ended: bool,
    /// Since when a call of the system has not returned.
    pub(super) writing_since: Option<Instant>,
    /// Why the last write failed.
    pub(super) failure: Option<String>,
}

impl Shared {
    /// Locks the buffer. A panic elsewhere cannot leave it half changed.
    pub(super) fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffer {
    /// Whether a call of the system takes so long that it counts as failed.
    pub(super) fn hangs(&self) -> bool {
        self.writing_since.is_some_and(|since| since.elapsed() > HANGS)
    }
}

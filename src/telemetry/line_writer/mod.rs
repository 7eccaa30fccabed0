//! Writes lines from a thread of its own, so that a slow disk or pipe never delays a request: the log and the
//! audit log.
//!
//! Lines gather in a bounded buffer, and the thread writes what has gathered at once. It is not woken for
//! each line, which would cost a busy request path more than the line itself. Lines are written whole and in
//! order. What happens when they cannot be written is the choice of the log ([`OnFailure`]).

mod buffer;
mod output;
#[cfg(test)]
mod tests;
mod thread;

pub use buffer::{Deferred, OnFailure, Options};
pub use output::{AppendedFile, Output, StreamOutput};

use buffer::{Buffer, HANGS, Shared};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use thread::Thread;
use tokio::sync::{oneshot, watch};

/// The lines cannot be written now.
#[derive(Debug)]
pub struct Failed;

/// Writes lines. Dropping it ends its thread once the buffer is written, or at once if it cannot be.
pub struct LineWriter {
    shared: Arc<Shared>,
}

impl LineWriter {
    /// Starts the thread that writes to `output`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(output: impl Output + 'static, options: Options) -> io::Result<Self> {
        let Options { thread: thread_name, name, most_bytes, most_lines, rest, on_failure, deferred } =
            options;
        let shared = Arc::new(Shared {
            buffer: Mutex::default(),
            work: Condvar::new(),
            progress: Condvar::new(),
            failing: watch::Sender::new(false),
            name,
            most_bytes,
            most_lines,
            rest,
            on_failure,
        });
        let thread = Thread { shared: shared.clone(), output, deferred };
        std::thread::Builder::new().name(thread_name.to_owned()).spawn(move || thread.run())?;
        Ok(Self { shared })
    }

    /// Accepts a line with its line break, or drops and counts it. Never waits for a write.
    pub fn write(&self, line: &[u8]) {
        if self.push(line, None).is_err() {
            match &self.shared.on_failure {
                OnFailure::Drop(dropped) => dropped.inc(),
                OnFailure::Retry(_) => self.shared.buffer().lost += 1,
            }
        }
    }

    /// Accepts a line with its line break. What is returned resolves when it has been passed to the system.
    ///
    /// # Errors
    /// It does not fit into the buffer. It is not counted.
    pub fn write_acknowledged(&self, line: &[u8]) -> Result<oneshot::Receiver<()>, Failed> {
        let (sender, receiver) = oneshot::channel();
        self.push(line, Some(sender)).map(|()| receiver)
    }

    fn push(&self, line: &[u8], acknowledgement: Option<oneshot::Sender<()>>) -> Result<(), Failed> {
        let mut buffer = self.shared.buffer();
        let bytes = buffer.lines.len() + line.len();
        if bytes > self.shared.most_bytes || buffer.line_count >= self.shared.most_lines {
            return Err(Failed);
        }
        buffer.lines.extend_from_slice(line);
        buffer.line_count += 1;
        buffer.accepted += 1;
        buffer.acknowledgements.extend(acknowledgement);
        self.wake(buffer);
        Ok(())
    }

    /// Lets the thread append the deferred lines ([`Options::deferred`]) when this time has passed, unless
    /// they are due earlier already.
    pub fn defer(&self, by: Duration) {
        let mut buffer = self.shared.buffer();
        if buffer.deferred_until.is_none() {
            buffer.deferred_until = Some(Instant::now() + by);
            self.wake(buffer);
        }
    }

    fn wake(&self, mut buffer: MutexGuard<'_, Buffer>) {
        let rests = !std::mem::replace(&mut buffer.busy, true);
        drop(buffer);
        if rests {
            self.shared.work.notify_one();
        }
    }

    /// Waits until the line of this acknowledgement is written.
    ///
    /// # Errors
    /// It cannot be written now. It may be written later.
    pub async fn acknowledged(&self, acknowledgement: oneshot::Receiver<()>) -> Result<(), Failed> {
        let mut failing = self.shared.failing.subscribe();
        tokio::select! {
            biased;
            written = acknowledgement => written.map_err(|_| Failed),
            _ = failing.wait_for(|failing| *failing) => Err(Failed),
            () = tokio::time::sleep(2 * HANGS) => Err(Failed),
        }
    }

    /// Whether lines cannot be written now: the last write failed, or one hangs.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        *self.shared.failing.borrow() || self.shared.buffer().hangs()
    }

    /// Why lines cannot be written now; `None` if they can.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let (buffer, name) = (self.shared.buffer(), self.shared.name);
        let hangs = || format!("{name} cannot be written: a write has hung for {} s", HANGS.as_secs());
        buffer.failure.clone().or_else(|| buffer.hangs().then(hangs))
    }

    /// Waits until every line that was accepted so far is written, at most for `limit`. It blocks its thread.
    /// False if the lines are not written.
    pub fn flush(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        let mut buffer = self.shared.buffer();
        let accepted = buffer.accepted;
        while buffer.written < accepted {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.progress.wait_timeout(buffer, left);
            buffer = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !*self.shared.failing.borrow()
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.buffer().ended = true;
        self.shared.work.notify_one();
    }
}

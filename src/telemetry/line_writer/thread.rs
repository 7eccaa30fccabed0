//! The thread that writes the lines.

use super::buffer::{Deferred, OnFailure, Shared};
use super::output::Output;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::sync::oneshot;

/// The pause before a failed write is repeated.
const RETRY: Duration = Duration::from_millis(250);
/// The most bytes, about, in one call of the system. Each has [`HANGS`].
const BATCH: usize = 256 << 10;
/// The buffer's capacity that is kept between two writes.
const KEPT: usize = 64 << 10;

/// What the thread owns.
pub(super) struct Thread<O> {
    pub(super) shared: Arc<Shared>,
    pub(super) output: O,
    pub(super) deferred: Option<Deferred>,
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    lines: Vec<u8>,
    line_count: usize,
    acknowledgements: Vec<oneshot::Sender<()>>,
}

impl<O: Output> Thread<O> {
    /// Writes until the writer is dropped.
    pub(super) fn run(mut self) {
        let mut batch = Batch::default();
        while self.next(&mut batch) {
            if !self.write(&batch.lines) {
                return;
            }
            let mut buffer = self.shared.buffer();
            buffer.written += batch.line_count as u64;
            let (lost, ended) = (std::mem::take(&mut buffer.lost), buffer.ended);
            drop(buffer);
            self.shared.progress.notify_all();
            for acknowledgement in batch.acknowledgements.drain(..) {
                // The request may have been cancelled.
                let _ = acknowledgement.send(());
            }
            if let (OnFailure::Retry(report), 1..) = (&self.shared.on_failure, lost) {
                let report = report(lost);
                if !self.write(report.as_bytes()) {
                    return;
                }
            }
            batch.lines.clear();
            batch.lines.shrink_to(KEPT);
            if !ended {
                thread::sleep(self.shared.rest);
            }
        }
    }

    /// Waits for lines, or until deferred ones are due. False when the writer has been dropped and all is
    /// written.
    fn next(&self, batch: &mut Batch) -> bool {
        let mut buffer = self.shared.buffer();
        let is_due = loop {
            let due_in = buffer.deferred_until.map(|until| until.saturating_duration_since(Instant::now()));
            let is_due = due_in.is_some_and(|left| left.is_zero());
            if is_due || !buffer.lines.is_empty() {
                break is_due;
            }
            if buffer.ended {
                return false;
            }
            buffer.busy = false;
            buffer = match due_in {
                None => self.shared.work.wait(buffer).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.shared.work.wait_timeout(buffer, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        };
        buffer.busy = true;
        std::mem::swap(&mut buffer.lines, &mut batch.lines);
        std::mem::swap(&mut buffer.acknowledgements, &mut batch.acknowledgements);
        batch.line_count = std::mem::take(&mut buffer.line_count);
        if is_due {
            buffer.deferred_until = None;
            // They count as one line, so that `flush` waits for them.
            buffer.accepted += 1;
            batch.line_count += 1;
        }
        drop(buffer);
        if let (Some(deferred), true) = (&self.deferred, is_due) {
            deferred(&mut batch.lines);
        }
        true
    }

    /// Writes lines in parts. False if the writer was dropped before they could be written.
    fn write(&mut self, lines: &[u8]) -> bool {
        let mut rest = lines;
        while !rest.is_empty() {
            let end = match memchr::memrchr(b'\n', &rest[..rest.len().min(BATCH)]) {
                Some(last) => last + 1,
                None => memchr::memchr(b'\n', rest).map_or(rest.len(), |first| first + 1),
            };
            let (part, after) = rest.split_at(end);
            if !self.write_part(part) {
                return false;
            }
            rest = after;
        }
        true
    }

    fn write_part(&mut self, lines: &[u8]) -> bool {
        let mut written = 0;
        loop {
            self.shared.buffer().writing_since = Some(Instant::now());
            let appended = self.output.append(lines, &mut written);
            self.shared.buffer().writing_since = None;
            let error = match (appended, &self.shared.on_failure) {
                (Ok(()), _) => {
                    self.succeeded();
                    return true;
                }
                (Err(_), OnFailure::Drop(dropped)) => {
                    let lost = memchr::memchr_iter(b'\n', &lines[written..]).count();
                    dropped.inc_by(lost as u64);
                    return true;
                }
                (Err(error), OnFailure::Retry(_)) => error,
            };
            self.failed(&error);
            if self.shared.buffer().ended {
                return false;
            }
            thread::sleep(RETRY);
        }
    }

    fn succeeded(&self) {
        if self.shared.failing.send_replace(false) {
            self.shared.buffer().failure = None;
            tracing::warn!("{} can be written again", self.shared.name);
        }
    }

    fn failed(&self, error: &io::Error) {
        if !self.shared.failing.send_replace(true) {
            let name = self.shared.name;
            tracing::error!(%error, "{name} cannot be written");
            self.shared.buffer().failure = Some(format!("{name} cannot be written: {error}"));
        }
    }
}

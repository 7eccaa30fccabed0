//! Where lines go without anybody waiting: a buffer in memory and a thread that writes it out in batches.
//!
//! A log must never hold up a request. When the place to write to is slow and the buffer is full, lines are dropped
//! and counted. The thread writes at most a hundred times a second, so a busy process makes large writes, few of them.

use prometheus::IntCounter;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most that waits to be written.
const MOST: usize = 4 << 20;
/// What the thread rests between two writes, so that lines gather.
const REST: Duration = Duration::from_millis(10);

/// A place for lines. Clones share it; when the last one goes, what is left is written.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    _last: Arc<Last>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to write, or the end has come.
    work: Condvar,
    /// Everything is written.
    idle: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    /// The thread is writing or resting and will look again by itself.
    busy: bool,
    ended: bool,
}

/// Tells the thread that nobody will write any more.
struct Last(Arc<Shared>);

impl Sink {
    /// Lines go to `to`; those that do not fit are counted in `dropped`.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn new(mut to: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared =
            Arc::new(Shared { state: Mutex::default(), work: Condvar::new(), idle: Condvar::new(), dropped });
        let writer = shared.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.run(&mut to))?;
        Ok(Self { _last: Arc::new(Last(shared.clone())), shared })
    }

    /// Takes a line, its line break included, or drops it whole.
    pub fn write(&self, line: &[u8]) {
        let mut state = self.shared.state();
        if state.lines.len() + line.len() > MOST {
            drop(state);
            self.shared.dropped.inc();
            return;
        }
        state.lines.extend_from_slice(line);
        let asleep = !state.busy;
        state.busy = true;
        drop(state);
        if asleep {
            self.shared.work.notify_one();
        }
    }

    /// Waits until everything taken so far is written, at most for `limit`.
    pub fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.shared.state();
        while state.busy || !state.lines.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.idle.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, to: &mut impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.state();
            while state.lines.is_empty() {
                state.busy = false;
                self.idle.notify_all();
                if state.ended {
                    return;
                }
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut state.lines, &mut batch);
            let ended = state.ended;
            drop(state);
            if to.write_all(&batch).and_then(|()| to.flush()).is_err() {
                self.dropped.inc_by(batch.iter().filter(|b| **b == b'\n').count() as u64);
            }
            batch.clear();
            batch.shrink_to(1 << 16);
            if !ended {
                thread::sleep(REST);
            }
        }
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        drop(state);
        self.0.work.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "x").unwrap()
    }

    struct Kept(mpsc::Sender<Vec<u8>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::Error::other("gone"))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_arrives_once_and_in_order() {
        let (sender, received) = mpsc::channel();
        let dropped = counter();
        let sink = Sink::new(Kept(sender), dropped.clone()).unwrap();
        for n in 0..10_000 {
            sink.write(format!("{n}\n").as_bytes());
        }
        sink.flush(Duration::from_secs(60));
        let flushed: Vec<u8> = received.try_iter().flatten().collect();
        let expected: String = (0..10_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(String::from_utf8(flushed).unwrap(), expected);
        sink.write(b"last\n");
        drop(sink);
        let rest: Vec<u8> = received.iter().flatten().collect(); // ends when the thread does
        assert_eq!((rest, dropped.get()), (b"last\n".to_vec(), 0));
    }

    /// Blocks in its first write until told.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_place_costs_lines_and_never_time() {
        let (release, stuck) = mpsc::channel();
        let dropped = counter();
        let sink = Sink::new(Stuck(stuck), dropped.clone()).unwrap();
        let line = vec![b'x'; 1 << 20];
        for _ in 0..10 {
            sink.write(&line);
        }
        // Four wait, and the stuck write holds from none to four more, by when its thread woke.
        assert!((2..=6).contains(&dropped.get()), "four to eight fit: {}", dropped.get());
        drop(release);
    }
}

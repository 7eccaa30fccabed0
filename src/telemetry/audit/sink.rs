//! Where audit lines go: a bounded queue and one thread that writes, so that a slow disk never holds up a request.
//!
//! Lines that come close together are written together: the thread is not woken for each, which costs a busy request path
//! more than the line itself. A line is written whole: after a failure the thread tries again until it succeeds, from the byte where it stopped,
//! and nothing follows before. While it fails, a required log refuses further entries, which stops the requests
//! behind them; one that is not required drops them and tells how many once it can.
//!
//! A required log promises more than to try: a request goes on only when its line has been written ([`Sink::written`]), that is
//! handed to the system; that the disk has it by then is the system's affair. It is a wait for the thread on each such request, which
//! is what `required` costs. A write that hangs fails like one that is refused.

use super::output::{Appended, Output, Stdout};
use super::repeats::{Counted, Repeats};
use super::{Config, Decision, Event, Target};
use crate::kvs::Timestamp;
use std::fs::OpenOptions;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// The audit log. Dropping it ends its thread once the queue is written, or at once if it cannot be.
pub struct Sink {
    queue: SyncSender<Item>,
    shared: Arc<Shared>,
    repeats: Arc<Repeats>,
    required: bool,
}

enum Item {
    /// A line, and whom to tell that it is written.
    Line(String, Option<oneshot::Sender<()>>),
    /// Everything before it is written when this is dropped.
    Mark(SyncSender<()>),
    /// Repeated decisions have begun to be counted.
    Repeats,
}

/// The audit log cannot be written, and is required.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct Unavailable;

/// What to wait for before something happens that the log must have told of. Nothing, if the log is not required.
pub struct Receipt(Option<oneshot::Receiver<()>>);

impl Receipt {
    /// There was nothing to tell.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// Whether there is something to wait for.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        self.0.is_some()
    }
}

#[derive(Default)]
struct Shared {
    failing: watch::Sender<bool>,
    closing: AtomicBool,
    lost: AtomicU64,
    why: Mutex<Option<String>>,
    /// When the write under way began.
    writing: Mutex<Option<Instant>>,
}

impl Shared {
    /// Whether a write takes so long that it must be taken for failed.
    fn hangs(&self) -> bool {
        locked(&self.writing).is_some_and(|since| since.elapsed() > HANGS)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

/// Some 10 MB of lines: seconds of a busy edge.
const QUEUE: usize = 20_000;
/// How long a write may take.
const HANGS: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(250);
/// What the thread rests after a write, so that lines gather; the first after a pause is written at once.
const REST: Duration = Duration::from_millis(5);
/// How long repeated decisions are counted before a line is written for them.
const COUNTED: Duration = Duration::from_secs(1);
/// About the most that is written at once, in bytes.
const BATCH: usize = 256 << 10;

impl Sink {
    /// Opens the sink and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(config: &Config) -> io::Result<Self> {
        let output: Box<dyn Output> = match &config.to {
            Target::Stdout => Box::new(Stdout),
            Target::File(path) => Box::new(Appended::open(path)?),
        };
        Self::start(output, config.required)
    }

    /// Whether the sink could be opened, for a look ahead that leaves nothing behind.
    ///
    /// # Errors
    /// As for `open`.
    pub fn try_out(config: &Config) -> io::Result<()> {
        let Target::File(path) = &config.to else { return Ok(()) };
        match OpenOptions::new().append(true).create_new(true).open(path) {
            Ok(_) => std::fs::remove_file(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().append(true).open(path).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    fn start(output: Box<dyn Output>, required: bool) -> io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let repeats = Arc::new(Repeats::new());
        let (counted, gathers) = (repeats.clone(), !required);
        let writer = Writer { output, shared: shared.clone(), items, repeats: counted, due: None, gathers };
        std::thread::Builder::new().name("audit".into()).spawn(move || writer.run())?;
        Ok(Self { queue, shared, repeats, required })
    }

    /// Writes an entry, in the order of calls. Never waits.
    ///
    /// # Errors
    /// The log is required and cannot be written now: what the entry tells of must not happen.
    pub fn write(&self, event: &Event<'_>, time: Timestamp) -> Result<Receipt, Unavailable> {
        self.ready()?;
        let (tell, receipt) = if self.required { Some(oneshot::channel()).unzip() } else { (None, None) };
        let queued = self.queue.try_send(Item::Line(event.line(time), tell));
        match (queued.is_ok(), self.required) {
            (true, _) => Ok(Receipt(receipt)),
            (false, true) => Err(Unavailable),
            (false, false) => {
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                Ok(Receipt::nothing())
            }
        }
    }

    /// Writes the entry of a decision, or counts it if too many equal ones have come in this second. Never waits.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn decided(&self, decision: &Decision<'_>, at: Timestamp) -> Result<Receipt, Unavailable> {
        if !self.required {
            match self.repeats.count(decision, at) {
                Counted::Joined { wakes } => {
                    if wakes {
                        // A full queue keeps the thread awake as well.
                        let _ = self.queue.try_send(Item::Repeats);
                    }
                    return Ok(Receipt::nothing());
                }
                Counted::Line(None) => {}
                Counted::Line(Some(before)) => drop(self.write(&before.event(), before.at())?),
            }
        }
        self.write(&Event::Decision(decision.clone()), at)
    }

    /// Writes a line for the decisions that were only counted.
    fn write_repeats(&self) {
        // A log that counts is not required, so no entry is refused; what is lost is counted.
        self.repeats.drain(|event, at| drop(self.write(event, at)));
    }

    /// Waits until the entry has been written, if the log is required.
    ///
    /// # Errors
    /// It cannot be written now: what it tells of must not happen. It may still be written later.
    pub async fn written(&self, receipt: Receipt) -> Result<(), Unavailable> {
        let Some(written) = receipt.0 else { return Ok(()) };
        let mut failing = self.shared.failing.subscribe();
        tokio::select! {
            biased;
            written = written => written.map_err(|_| Unavailable),
            _ = failing.wait_for(|failing| *failing) => Err(Unavailable),
            () = tokio::time::sleep(2 * HANGS) => Err(Unavailable),
        }
    }

    /// For what needs no entry of its own, such as the next segment of a player.
    ///
    /// # Errors
    /// As for `write`.
    pub fn ready(&self) -> Result<(), Unavailable> {
        let unwritable = || *self.shared.failing.borrow() || self.shared.hangs();
        if self.required && unwritable() { Err(Unavailable) } else { Ok(()) }
    }

    /// Why lines cannot be written now, for `/readyz`; `None` if they can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let hangs = || format!("the audit log cannot be written: a write has hung for {} s", HANGS.as_secs());
        locked(&self.shared.why).clone().or_else(|| self.shared.hangs().then(hangs))
    }

    /// Whether requests must be refused while there is trouble.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Waits until everything is written that was accepted so far, at most so long; blocks its thread, for the end of
    /// the process. False if it was not written.
    pub fn flush(&self, patience: Duration) -> bool {
        self.write_repeats();
        let deadline = Instant::now() + patience;
        let (mark, passed) = sync_channel(1);
        let mut item = Item::Mark(mark);
        while let Err(full) = self.queue.try_send(item) {
            let (TrySendError::Full(back) | TrySendError::Disconnected(back)) = full;
            if Instant::now() >= deadline {
                return false;
            }
            item = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        matches!(passed.recv_timeout(left), Err(RecvTimeoutError::Disconnected))
            && !*self.shared.failing.borrow()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.write_repeats();
        self.shared.closing.store(true, Ordering::Release);
    }
}

struct Writer {
    output: Box<dyn Output>,
    shared: Arc<Shared>,
    items: Receiver<Item>,
    repeats: Arc<Repeats>,
    /// When the repeated decisions that were counted are to be written.
    due: Option<Instant>,
    /// Lines may wait a moment for others. Not where requests wait for them.
    gathers: bool,
}

impl Writer {
    fn run(mut self) {
        let (mut batch, mut waiting) = (String::new(), Vec::new());
        while let Ok(first) = self.next() {
            let mark = self.gather(first, &mut batch, &mut waiting);
            self.gather_repeats(&mut batch);
            if !batch.is_empty() && !self.insist(&batch) {
                return;
            }
            batch.clear();
            batch.shrink_to(1 << 16);
            drop(mark);
            for told in waiting.drain(..) {
                // Whoever has left meanwhile does not want to know.
                let _ = told.send(());
            }
            let lost = self.shared.lost.swap(0, Ordering::Relaxed);
            if lost > 0 && !self.insist(&(Event::Lost(lost).line(Timestamp::now()) + "\n")) {
                return;
            }
            if self.gathers && !self.shared.closing.load(Ordering::Acquire) {
                std::thread::sleep(REST);
            }
        }
    }

    /// Waits for an item, or until repeated decisions are to be written. Ends with the sink.
    fn next(&mut self) -> Result<Option<Item>, RecvTimeoutError> {
        if self.due.is_none() && self.repeats.take_pending() {
            self.due = Some(Instant::now() + COUNTED);
        }
        let received = match self.due {
            None => self.items.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => self.items.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        match received {
            Err(RecvTimeoutError::Timeout) => Ok(None),
            received => received.map(Some),
        }
    }

    /// Puts a line for the repeated decisions into a batch, if it is time.
    fn gather_repeats(&mut self, batch: &mut String) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.due = None;
            self.repeats.drain(|event, at| {
                batch.push_str(&event.line(at));
                batch.push('\n');
            });
        }
    }

    /// Puts lines that are here into a batch, up to a mark, which is to be dropped once they are written.
    fn gather(
        &self,
        first: Option<Item>,
        batch: &mut String,
        waiting: &mut Vec<oneshot::Sender<()>>,
    ) -> Option<SyncSender<()>> {
        let mut next = first;
        while let Some(item) = next {
            match item {
                Item::Line(line, told) => {
                    batch.push_str(&line);
                    batch.push('\n');
                    waiting.extend(told);
                }
                Item::Mark(mark) => return Some(mark),
                Item::Repeats => {}
            }
            next = if batch.len() < BATCH { self.items.try_recv().ok() } else { None };
        }
        None
    }

    /// Writes lines, however often it takes. False if the sink closes before it succeeds.
    fn insist(&mut self, lines: &str) -> bool {
        let mut written = 0;
        loop {
            *locked(&self.shared.writing) = Some(Instant::now());
            let appended = self.output.append(lines.as_bytes(), &mut written);
            *locked(&self.shared.writing) = None;
            match appended {
                Ok(()) => {
                    if self.shared.failing.send_replace(false) {
                        self.tell(None);
                        tracing::warn!("the audit log can be written again");
                    }
                    return true;
                }
                Err(error) => {
                    if !self.shared.failing.send_replace(true) {
                        tracing::error!(%error, "the audit log cannot be written");
                        self.tell(Some(format!("the audit log cannot be written: {error}")));
                    }
                }
            }
            if self.shared.closing.load(Ordering::Acquire) {
                return false;
            }
            std::thread::sleep(RETRY);
        }
    }

    fn tell(&self, why: Option<String>) {
        *locked(&self.shared.why) = why;
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::push;
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    /// Takes so many bytes, then fails until it may go on.
    struct Narrow {
        kept: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= count;
            self.kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Narrow {
        fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
            push(self, line, written)
        }
    }

    type Shared<T> = Arc<Mutex<T>>;

    fn narrow(room: usize, required: bool) -> (Sink, Shared<Vec<u8>>, Shared<usize>) {
        let (kept, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(room)));
        let output = Narrow { kept: kept.clone(), room: room.clone() };
        (Sink::start(Box::new(output), required).unwrap(), kept, room)
    }

    fn wait(condition: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < patience, "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(0);

    #[test]
    fn a_required_log_refuses_while_it_cannot_be_written_and_recovers_whole() {
        let (sink, kept, room) = narrow(10, true);
        drop(sink.write(&Event::Lost(1), NOW).unwrap());
        wait(|| sink.trouble().is_some());
        assert!(sink.write(&Event::Lost(2), NOW).is_err());
        *room.lock().unwrap() = usize::MAX;
        wait(|| sink.trouble().is_none());
        drop(sink.write(&Event::Lost(3), NOW).unwrap());
        assert!(sink.flush(Duration::from_secs(20)));
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = kept.lines().map(str::to_owned).collect();
        assert_eq!(lines, [Event::Lost(1).line(NOW), Event::Lost(3).line(NOW)]);
    }

    /// A pipe whose reader has stopped: the write neither succeeds nor fails.
    #[tokio::test]
    async fn a_write_that_hangs_is_a_failure() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Output for Stuck {
            fn append(&mut self, line: &[u8], written: &mut usize) -> io::Result<()> {
                let _ = self.0.recv();
                *written = line.len();
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let sink = Sink::start(Box::new(Stuck(stuck)), true).unwrap();
        let first = sink.write(&Event::Lost(1), NOW).unwrap();
        assert!(sink.written(first).await.is_err(), "it is not waited for without end");
        wait(|| sink.ready().is_err());
        assert!(sink.write(&Event::Lost(2), NOW).is_err());
        assert!(sink.trouble().unwrap().contains("hung"));
        drop(release);
        wait(|| sink.ready().is_ok() && sink.trouble().is_none());
    }

    #[tokio::test]
    async fn a_required_log_is_waited_for_and_one_that_cannot_be_written_is_not_waited_for_in_vain() {
        let (sink, kept, room) = narrow(0, true);
        let first = sink.write(&Event::Lost(1), NOW).unwrap();
        assert!(sink.written(first).await.is_err(), "nothing may happen that could not be told");
        *room.lock().unwrap() = usize::MAX;
        while sink.trouble().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second = sink.write(&Event::Lost(2), NOW).unwrap();
        sink.written(second).await.unwrap();
        assert!(String::from_utf8(kept.lock().unwrap().clone()).unwrap().ends_with("\"lines\":2}\n"));
        let (easy, ..) = narrow(0, false);
        let receipt = easy.write(&Event::Lost(1), NOW).unwrap();
        easy.written(receipt).await.unwrap();
    }

    #[test]
    fn a_log_that_is_not_required_counts_what_it_loses() {
        let (sink, kept, room) = narrow(10, false);
        drop(sink.write(&Event::Lost(1), NOW).unwrap());
        wait(|| sink.trouble().is_some());
        for _ in 0..QUEUE + 7 {
            drop(sink.write(&Event::Lost(2), NOW).unwrap());
        }
        *room.lock().unwrap() = usize::MAX;
        assert!(sink.flush(Duration::from_secs(60)));
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert!(kept.lines().nth(1).unwrap().ends_with(r#""event":"lost","lines":7}"#), "{kept:.300}");
        assert_eq!(kept.lines().count(), QUEUE + 2);
    }

    #[test]
    fn a_file_that_is_moved_away_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let sink = Sink::open(&Config { to: Target::File(path.clone()), required: true }).unwrap();
        drop(sink.write(&Event::Lost(1), NOW).unwrap());
        wait(|| std::fs::read_to_string(&path).unwrap().ends_with('\n'));
        std::fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        wait(|| {
            drop(sink.write(&Event::Lost(2), NOW).unwrap());
            path.exists()
        });
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640 & !umask());
        assert!(Sink::open(&Config { to: Target::File(folder.path().into()), required: true }).is_err());
    }

    #[test]
    fn trying_out_leaves_no_file_and_harms_none() {
        let folder = tempfile::tempdir().unwrap();
        let to = |path: &Path| Config { to: Target::File(path.to_owned()), required: true };
        let path = folder.path().join("audit.log");
        Sink::try_out(&to(&path)).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "a line\n").unwrap();
        Sink::try_out(&to(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a line\n");
        assert!(Sink::try_out(&to(folder.path())).is_err());
        assert!(Sink::try_out(&to(&folder.path().join("not/there.log"))).is_err());
    }

    /// What the test's environment takes off the mode of new files.
    fn umask() -> u32 {
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        !tempfile::Builder::new().permissions(all).tempfile().unwrap().as_file().metadata().unwrap().mode()
            & 0o777
    }
}

//! Where audit entries go: a line writer, and the promise of a log that is `required`.
//!
//! While lines cannot be written, a required log refuses further entries, and with them the requests that
//! they are for. One that is not required drops entries, and reports how many once it can.
//!
//! With a required log a request goes on only when its line has been written ([`Sink::written`]), which means
//! passed to the system, not that it has reached the disk. So each such request waits for the writer's
//! thread, which is the cost of `required`. A write that hangs counts as failed.

use super::config::{Config, Target};
use super::event::{Decision, Event};
use super::repeats::{DecisionCount, Repeats};
use crate::base::clock;
use crate::base::process_owner::ProcessOwner;
use crate::kvs::Timestamp;
use crate::telemetry::line_writer::{
    AppendedFile, Deferred, LineWriter, OnFailure, Options, Output, StreamOutput,
};
use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How many entries wait at most: some 10 MB, the entries of a few busy seconds.
const MOST_LINES: usize = 20_000;
/// How many bytes wait at most.
const MOST_BYTES: usize = 32 << 20;
/// How long the thread rests after a write. It does not where requests wait for their lines.
const REST: Duration = Duration::from_millis(5);
/// How long repeated decisions are counted before a line is written for them.
const COUNTED: Duration = Duration::from_secs(1);

/// The audit log. Dropping it ends its thread once all is written, or at once if it cannot be.
pub struct Sink {
    writer: LineWriter,
    repeats: Arc<Repeats>,
    required: bool,
    /// The attributes of callers that entries show.
    claims: Arc<[String]>,
}

/// The audit log cannot be written, and is required.
#[derive(Debug, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct Unavailable;

/// An entry that must be written before what it is about may happen. Empty if the log is not required.
pub struct Receipt(Option<oneshot::Receiver<()>>);

impl Receipt {
    /// There was no entry.
    #[must_use]
    pub const fn nothing() -> Self {
        Self(None)
    }

    /// Whether there is a write to wait for.
    #[must_use]
    pub const fn is_due(&self) -> bool {
        self.0.is_some()
    }
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Sink {
    /// Opens the sink and starts its thread. Entries show these attributes of callers.
    ///
    /// # Errors
    /// The file cannot be opened for appending.
    pub fn open(config: &Config, claims: &[String]) -> io::Result<Self> {
        match &config.to {
            Target::Stdout => Self::start(StreamOutput(io::stdout()), config.required, claims),
            Target::File(path) => Self::start(AppendedFile::open(path)?, config.required, claims),
        }
    }

    /// Checks whether the sink could be opened, and writes nothing: a file that is not there yet is not made.
    ///
    /// # Errors
    /// As for `open`, as far as the mode of its folder shows.
    pub fn try_out(config: &Config) -> io::Result<()> {
        let Target::File(path) = &config.to else { return Ok(()) };
        match OpenOptions::new().append(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let about = std::fs::metadata(folder.unwrap_or(Path::new(".")))?;
                if !about.is_dir() {
                    return Err(io::ErrorKind::NotADirectory.into());
                }
                let may = ProcessOwner::of_this_process()?.may_write(&about);
                if may { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
            }
            other => other.map(drop),
        }
    }

    fn start(output: impl Output + 'static, required: bool, claims: &[String]) -> io::Result<Self> {
        let (repeats, claims) = (Arc::new(Repeats::new()), Arc::<[String]>::from(claims));
        let (counted, shown) = (repeats.clone(), claims.clone());
        let deferred: Deferred = Box::new(move |lines| {
            // First the flag: what is counted from now on is due another time.
            counted.take_pending();
            counted.drain(|event, at| event.append(at, &shown, lines));
        });
        let options = Options {
            thread: "audit",
            name: "the audit log",
            most_bytes: MOST_BYTES,
            most_lines: MOST_LINES,
            rest: if required { Duration::ZERO } else { REST },
            on_failure: OnFailure::Retry(lost),
            deferred: Some(deferred),
        };
        Ok(Self { writer: LineWriter::start(output, options)?, repeats, required, claims })
    }

    /// Writes an entry, in the order of calls. Never waits.
    ///
    /// # Errors
    /// The log is required and cannot be written now: what the entry is about must not happen.
    pub fn write(&self, event: &Event<'_>, time: Timestamp) -> Result<Receipt, Unavailable> {
        self.ready()?;
        LINE.with_borrow_mut(|line| {
            line.clear();
            event.append(time, &self.claims, line);
            if self.required {
                let written = self.writer.write_acknowledged(line).map_err(|_| Unavailable)?;
                return Ok(Receipt(Some(written)));
            }
            self.writer.write(line);
            Ok(Receipt::nothing())
        })
    }

    /// Writes the entry of a decision, or counts it if too many equal ones have come in this second. Never
    /// waits.
    ///
    /// # Errors
    /// As [`Sink::write`].
    pub fn decided(&self, decision: &Decision<'_>, at: Timestamp) -> Result<Receipt, Unavailable> {
        if !self.required {
            match self.repeats.count(decision, at) {
                DecisionCount::Joined { wakes } => {
                    if wakes {
                        self.writer.defer(COUNTED);
                    }
                    return Ok(Receipt::nothing());
                }
                DecisionCount::Line(None) => {}
                DecisionCount::Line(Some(before)) => drop(self.write(&before.event(), before.at())?),
            }
        }
        self.write(&Event::Decision(decision.clone()), at)
    }

    /// Writes a line for the decisions that were only counted.
    fn write_repeats(&self) {
        // A log that counts is not required, so no entry is refused.
        self.repeats.drain(|event, at| drop(self.write(event, at)));
    }

    /// Waits until the entry has been written, if the log is required.
    ///
    /// # Errors
    /// It cannot be written now: what it is about must not happen. It may still be written later.
    pub async fn written(&self, receipt: Receipt) -> Result<(), Unavailable> {
        let Some(written) = receipt.0 else { return Ok(()) };
        self.writer.acknowledged(written).await.map_err(|_| Unavailable)
    }

    /// For what needs no entry of its own, such as the next segment of a player.
    ///
    /// # Errors
    /// As for `write`.
    pub fn ready(&self) -> Result<(), Unavailable> {
        if self.required && self.writer.is_failing() { Err(Unavailable) } else { Ok(()) }
    }

    /// Why lines cannot be written now, for `/readyz`; `None` if they can.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.writer.problem()
    }

    /// Whether requests must be refused while lines cannot be written.
    #[must_use]
    pub fn required(&self) -> bool {
        self.required
    }

    /// Waits until every entry that was accepted so far is written, at most for `limit`. It blocks its
    /// thread, for the end of the process. False if the entries are not written.
    pub fn flush(&self, limit: Duration) -> bool {
        self.write_repeats();
        self.writer.flush(limit)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.write_repeats();
    }
}

/// The line that reports how many entries were lost.
fn lost(count: u64) -> String {
    let mut line = Vec::new();
    Event::Lost(count).append(Timestamp::from(clock::now()), &[], &mut line);
    String::from_utf8(line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;
    use std::sync::Mutex;
    use std::time::Instant;

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

    type Shared<T> = Arc<Mutex<T>>;

    fn narrow(room: usize, required: bool) -> (Sink, Shared<Vec<u8>>, Shared<usize>) {
        let (kept, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(room)));
        let output = Narrow { kept: kept.clone(), room: room.clone() };
        (Sink::start(StreamOutput(output), required, &[]).unwrap(), kept, room)
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
        let sink = Sink::start(Stuck(stuck), true, &[]).unwrap();
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
        for _ in 0..MOST_LINES + 7 {
            drop(sink.write(&Event::Lost(2), NOW).unwrap());
        }
        *room.lock().unwrap() = usize::MAX;
        assert!(sink.flush(Duration::from_secs(60)));
        let kept = String::from_utf8(kept.lock().unwrap().clone()).unwrap();
        assert!(kept.lines().nth(1).unwrap().ends_with(r#""event":"lost","lines":7}"#), "{kept:.300}");
        assert_eq!(kept.lines().count(), MOST_LINES + 2);
    }

    #[test]
    fn a_file_that_is_moved_away_is_followed_by_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let sink = Sink::open(&Config { to: Target::File(path.clone()), required: true }, &[]).unwrap();
        drop(sink.write(&Event::Lost(1), NOW).unwrap());
        wait(|| std::fs::read_to_string(&path).unwrap().ends_with('\n'));
        std::fs::rename(&path, folder.path().join("audit.log.1")).unwrap();
        wait(|| {
            drop(sink.write(&Event::Lost(2), NOW).unwrap());
            path.exists()
        });
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640 & !umask());
        assert!(Sink::open(&Config { to: Target::File(folder.path().into()), required: true }, &[]).is_err());
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

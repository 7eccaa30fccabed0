//! The line writer with outputs that succeed, fail and hang.

use super::*;
use prometheus::IntCounter;
use std::io::Write;
use std::sync::mpsc;

fn options(dropped: &IntCounter) -> Options {
    Options {
        thread: "test",
        name: "the test",
        most_bytes: 4 << 20,
        most_lines: usize::MAX,
        rest: Duration::from_millis(10),
        on_failure: OnFailure::Drop(dropped.clone()),
        deferred: None,
    }
}

fn counter() -> IntCounter {
    IntCounter::new("dropped", "x").unwrap()
}

struct Sent(mpsc::Sender<Vec<u8>>);

impl Write for Sent {
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
    let writer = LineWriter::start(StreamOutput(Sent(sender)), options(&dropped)).unwrap();
    for n in 0..10_000 {
        writer.write(format!("{n}\n").as_bytes());
    }
    assert!(writer.flush(Duration::from_secs(60)));
    let flushed: Vec<u8> = received.try_iter().flatten().collect();
    let expected: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    assert_eq!(String::from_utf8(flushed).unwrap(), expected);
    writer.write(b"last\n");
    drop(writer);
    let rest: Vec<u8> = received.iter().flatten().collect(); // ends when the thread does
    assert_eq!((rest, dropped.get()), (b"last\n".to_vec(), 0));
}

/// Blocks in its first write until the other end is dropped.
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
    let writer = LineWriter::start(StreamOutput(Stuck(stuck)), options(&dropped)).unwrap();
    let line = vec![b'x'; 1 << 20];
    for _ in 0..10 {
        writer.write(&line);
    }
    // Four wait, and the stuck write holds from none to four more, depending on when its thread woke.
    assert!((2..=6).contains(&dropped.get()), "four to eight fit: {}", dropped.get());
    drop(release);
}

#[test]
fn lines_that_cannot_be_written_are_dropped_and_counted() {
    let (sender, received) = mpsc::channel();
    drop(received);
    let dropped = counter();
    let writer = LineWriter::start(StreamOutput(Sent(sender)), options(&dropped)).unwrap();
    writer.write(b"one\n");
    writer.write(b"two\n");
    assert!(writer.flush(Duration::from_secs(60)) && writer.problem().is_none());
    assert_eq!(dropped.get(), 2);
}

#[test]
fn deferred_lines_are_written_when_they_are_due() {
    let (sender, received) = mpsc::channel();
    let deferred: Deferred = Box::new(|lines| lines.extend_from_slice(b"later\n"));
    let options = Options { deferred: Some(deferred), ..options(&counter()) };
    let writer = LineWriter::start(StreamOutput(Sent(sender)), options).unwrap();
    writer.defer(Duration::from_millis(100));
    writer.write(b"now\n");
    let mut lines = Vec::new();
    while lines.len() < b"now\nlater\n".len() {
        lines.extend(received.recv_timeout(Duration::from_secs(30)).unwrap());
    }
    assert_eq!(lines, b"now\nlater\n");
}

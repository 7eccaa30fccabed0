//! Formats an event as one line.
//!
//! `tracing-subscriber`'s formatter is not used, because the access line is written for every request and
//! must cost little. Spans are left out: an event has its own fields for what it belongs to (`request_id`).

use super::config::Format;
use crate::base::clock;
use crate::kvs::Timestamp;
use crate::telemetry::line_writer::LineWriter;
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The layer that formats events and passes lines to the sink.
pub(super) struct Lines {
    pub(super) format: Format,
    pub(super) hash_users: bool,
    pub(super) writer: Arc<LineWriter>,
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with(|line| match line.try_borrow_mut() {
            Ok(mut line) => self.write(&mut line, event),
            // A field that logs while it is formatted: its line is formatted in a buffer of its own.
            Err(_) => self.write(&mut String::new(), event),
        });
    }
}

impl Lines {
    fn write(&self, line: &mut String, event: &Event<'_>) {
        line.clear();
        match self.format {
            Format::Json => write_json(line, event, Timestamp::from(clock::now()), self.hash_users),
            Format::Text => write_text(line, event, Timestamp::from(clock::now()), self.hash_users),
        }
        self.writer.write(line.as_bytes());
    }
}

fn write_json(line: &mut String, event: &Event<'_>, now: Timestamp, hash_users: bool) {
    let about = event.metadata();
    // Writing to a String does not fail, here and below.
    let _ = write!(line, "{{\"time\":\"{now}\",\"level\":\"{}\",\"target\":", level(about));
    quote(line, about.target());
    event.record(&mut Json(line, hash_users));
    line.push_str("}\n");
}

fn level(about: &Metadata<'_>) -> &'static str {
    match *about.level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

/// Appends the fields of an event to a JSON object.
struct Json<'l>(&'l mut String, bool);

impl Json<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push(',');
        quote(self.0, field.name());
        self.0.push(':');
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Json<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push('"');
        let _ = write!(Escaped(self.0), "{value:?}");
        self.0.push('"');
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        if self.1 && field.name() == USER {
            quote(self.0, &hashed(value));
        } else {
            quote(self.0, value);
        }
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.plain(field, "null");
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }
}

/// The field that names a caller.
const USER: &str = "user_sub";

/// Enough of a SHA-256 to distinguish callers, and the same on every replica. It hides names from casual
/// readers only: with a list of all names, a hash can be looked up.
fn hashed(user: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, user.as_bytes());
    digest.as_ref()[..8].iter().fold(String::from("sha256:"), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn quote(line: &mut String, text: &str) {
    line.push('"');
    let _ = Escaped(line).write_str(text);
    line.push('"');
}

/// Writes text as the inside of a JSON string.
struct Escaped<'l>(&'l mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\') {
            self.0.push_str(&rest[..at]);
            match rest.as_bytes()[at] {
                b'"' => self.0.push_str("\\\""),
                b'\\' => self.0.push_str("\\\\"),
                b'\n' => self.0.push_str("\\n"),
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &rest[at + 1..];
        }
        self.0.push_str(rest);
        Ok(())
    }
}

fn write_text(line: &mut String, event: &Event<'_>, now: Timestamp, hash_users: bool) {
    let about = event.metadata();
    let _ = write!(line, "{now} {:5} {}", level(about).to_uppercase(), about.target());
    event.record(&mut Text(line, hash_users));
    line.push('\n');
}

/// Appends the fields of an event as text. Line breaks are escaped: an event is one line.
struct Text<'l>(&'l mut String, bool);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(OneLine(self.0), " {value:?}"),
            name => write!(OneLine(self.0), " {name}={value:?}"),
        };
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.1 && field.name() == USER {
            return self.record_debug(field, &format_args!("{}", hashed(value)));
        }
        let plain = !value.is_empty() && !value.bytes().any(|b| b <= b' ' || b == b'"' || b == b'=');
        if plain || field.name() == "message" {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }
}

struct OneLine<'l>(&'l mut String);

impl fmt::Write for OneLine<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::config::filter;
    use super::*;
    use crate::telemetry::line_writer::{OnFailure, Options, StreamOutput};
    use prometheus::IntCounter;
    use proptest::prelude::*;
    use std::io;
    use std::sync::mpsc;
    use std::time::Duration;
    use tracing_subscriber::Registry;
    use tracing_subscriber::layer::SubscriberExt;

    struct Received(mpsc::Sender<Vec<u8>>);

    impl io::Write for Received {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::Error::other("gone"))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` makes.
    fn logged(format: Format, hash_users: bool, log: impl FnOnce()) -> String {
        let (sender, received) = mpsc::channel();
        let options = Options {
            thread: "log",
            name: "the log",
            most_bytes: 4 << 20,
            most_lines: usize::MAX,
            rest: Duration::ZERO,
            on_failure: OnFailure::Drop(IntCounter::new("dropped", "x").unwrap()),
            deferred: None,
        };
        let writer = Arc::new(LineWriter::start(StreamOutput(Received(sender)), options).unwrap());
        let lines = Lines { format, hash_users, writer: writer.clone() };
        let filter = filter("info,access=off").unwrap();
        tracing::subscriber::with_default(Registry::default().with(filter).with(lines), log);
        assert!(writer.flush(Duration::from_secs(60)));
        String::from_utf8(received.try_iter().flatten().collect()).unwrap()
    }

    fn events() {
        let nobody: Option<&str> = None;
        tracing::info!(
            target: "app",
            status = 200_u16, took = 1.25, aborted = false, below = -3, name = "a \"b\"\n\u{1}\\\u{e4}",
            nobody, debug = ?Some("x\"y"), "hello {}", "world"
        );
        tracing::info!(target: "access", "left out");
        tracing::debug!("left out");
    }

    #[test]
    fn json_lines_are_json() {
        let lines = logged(Format::Json, false, events);
        let line: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(lines.matches('\n').count(), 1, "{lines}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "time": line["time"], "level": "info", "target": "app", "message": "hello world", "status": 200,
            "took": 1.25, "aborted": false, "below": -3, "name": "a \"b\"\n\u{1}\\\u{e4}",
            "debug": "Some(\"x\\\"y\")",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_lines_are_readable() {
        let lines = logged(Format::Text, false, events);
        let (_, line) = lines.split_once(' ').unwrap();
        let expected = "INFO  app hello world status=200 took=1.25 aborted=false below=-3 \
                        name=\"a \\\"b\\\"\\n\\u{1}\\\\\u{e4}\" debug=Some(\"x\\\"y\")\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn users_are_hashed_when_wanted() {
        for format in [Format::Json, Format::Text] {
            let lines =
                logged(format, true, || tracing::info!(user_sub = Some("alice"), stream = "alice-cam", "x"));
            assert!(
                lines.contains("sha256:2bd806c97f0e00af") && lines.matches("alice").count() == 1,
                "{lines}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_one_json_string(text in ".{0,40}") {
            let mut line = String::new();
            quote(&mut line, &text);
            prop_assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
        }
    }
}

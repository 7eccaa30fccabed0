//! The log: one line per event, JSON for machines or text for people, to standard output, never in anybody's way.
//!
//! The lines are made here, not by `tracing-subscriber`'s formatter, because the access line is written for every
//! request and must cost little. Spans are left out: an event says by its own fields what it belongs to (`request_id`).
//! What is logged, and at which level, is decided where it happens; that nothing secret is, too.

use super::audit;
use super::sink::Sink;
use crate::kvs::Timestamp;
use crate::setting::Mistake;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::path::Path;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

/// How lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    #[default]
    Json,
    /// Time, level, target, message, `name=value`.
    Text,
}

/// Section `[log]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How lines look.
    pub format: Format,
    /// What is logged: a level, or levels by target, such as `info,kvs_edge::upstream=debug`. Access lines have the
    /// target `access`, so `info,access=off` leaves them out.
    pub level: String,
    /// Whether callers appear as a hash instead of by name.
    pub hash_users: bool,
    /// Where decisions are written down.
    pub audit: audit::Config,
}

impl Default for Config {
    fn default() -> Self {
        let audit = audit::Config::default();
        Self { format: Format::Json, level: "info".to_owned(), hash_users: false, audit }
    }
}

impl Config {
    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        self.audit.resolve(folder);
    }

    /// Everything that cannot be, at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let how = "write a level (error, warn, info, debug, trace), or levels by target such as info,access=off";
        let problem = filter(&self.level).err().map(|e| format!("`{}`: {e}: {how}", self.level));
        problem.map(|problem| Mistake::at("log.level", problem)).into_iter().collect()
    }

    /// Whether access lines are written at all: whoever writes them may leave the work out.
    #[must_use]
    pub fn access(&self) -> bool {
        !self.level.split(',').any(|directive| directive.trim() == "access=off")
    }
}

/// Changes the level of a running log.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
    sink: Sink,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The level cannot be read.
    #[error("log.level: {0}")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// There is a log already.
    #[error("the log is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// The log is gone.
    #[error("the log has ended")]
    Gone(#[from] reload::Error),
}

/// Sets up the process's log. Keep the handle: it flushes.
///
/// # Errors
/// The level cannot be read, or there is a log already.
pub fn init(config: &Config, sink: Sink) -> Result<Handle, Error> {
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let lines = Lines { format: config.format, sink: sink.clone() };
    tracing::subscriber::set_global_default(Registry::default().with(filter).with(lines))?;
    Ok(Handle { filter: handle, sink })
}

impl Handle {
    /// Takes over a new level. The format of a running log does not change.
    ///
    /// # Errors
    /// The level cannot be read; the old one stays.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        Ok(self.filter.reload(filter(&config.level)?)?)
    }

    /// Waits until all lines are out, for a moment at most: before the process ends.
    pub fn flush(&self) {
        self.sink.flush(std::time::Duration::from_secs(2));
    }
}

fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)
}

/// Makes lines of events.
struct Lines {
    format: Format,
    sink: Sink,
}

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.format {
                Format::Json => write_json(line, event, Timestamp::now()),
                Format::Text => write_text(line, event, Timestamp::now()),
            }
            self.sink.write(line.as_bytes());
        });
    }
}

fn write_json(line: &mut String, event: &Event<'_>, now: Timestamp) {
    let about = event.metadata();
    // Writing to a String does not fail, here and below.
    let _ = write!(line, "{{\"time\":\"{now}\",\"level\":\"{}\",\"target\":", level(about));
    quote(line, about.target());
    event.record(&mut Json(line));
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
struct Json<'l>(&'l mut String);

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
        quote(self.0, value);
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

fn write_text(line: &mut String, event: &Event<'_>, now: Timestamp) {
    let about = event.metadata();
    let _ = write!(line, "{now} {:5} {}", level(about).to_uppercase(), about.target());
    event.record(&mut Text(line));
    line.push('\n');
}

/// Appends the fields of an event for people. Line breaks are escaped: an event is one line.
struct Text<'l>(&'l mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(OneLine(self.0), " {value:?}"),
            name => write!(OneLine(self.0), " {name}={value:?}"),
        };
    }
    fn record_str(&mut self, field: &Field, value: &str) {
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
    use super::*;
    use prometheus::IntCounter;
    use proptest::prelude::*;
    use std::io;
    use std::sync::mpsc;
    use std::time::Duration;

    struct Kept(mpsc::Sender<Vec<u8>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::Error::other("gone"))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` makes.
    fn logged(format: Format, log: impl FnOnce()) -> String {
        let (sender, received) = mpsc::channel();
        let sink = Sink::new(Kept(sender), IntCounter::new("dropped", "x").unwrap()).unwrap();
        let lines = Lines { format, sink: sink.clone() };
        let filter = filter("info,access=off").unwrap();
        tracing::subscriber::with_default(Registry::default().with(filter).with(lines), log);
        sink.flush(Duration::from_secs(60));
        String::from_utf8(received.try_iter().flatten().collect()).unwrap()
    }

    fn events() {
        let nobody: Option<&str> = None;
        tracing::info!(
            target: "app",
            status = 200_u16, took = 1.25, aborted = false, below = -3, name = "a \"b\"\n\u{1}\\\u{e4}", nobody,
            debug = ?Some("x\"y"), "hello {}", "world"
        );
        tracing::info!(target: "access", "left out");
        tracing::debug!("left out");
    }

    #[test]
    fn json_lines_are_json() {
        let lines = logged(Format::Json, events);
        let line: serde_json::Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(lines.matches('\n').count(), 1, "{lines}");
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        let expected = serde_json::json!({
            "time": line["time"], "level": "info", "target": "app", "message": "hello world", "status": 200,
            "took": 1.25, "aborted": false, "below": -3, "name": "a \"b\"\n\u{1}\\\u{e4}", "debug": "Some(\"x\\\"y\")",
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn text_lines_are_readable() {
        let lines = logged(Format::Text, events);
        let (_, line) = lines.split_once(' ').unwrap();
        let expected = "INFO  app hello world status=200 took=1.25 aborted=false below=-3 \
                        name=\"a \\\"b\\\"\\n\\u{1}\\\\\u{e4}\" debug=Some(\"x\\\"y\")\n";
        assert_eq!(line, expected);
    }

    #[test]
    fn levels_are_checked_and_say_how() {
        assert_eq!(Config::default().check(), []);
        let bad = Config { level: "info,access=loud".to_owned(), ..Config::default() };
        assert!(bad.check()[0].problem.contains("write a level"));
        assert!(Config::default().access());
        assert!(!Config { level: "warn, access=off".to_owned(), ..Config::default() }.access());
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

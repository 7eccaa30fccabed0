//! The log: one line per event to standard output, as JSON or text. It never delays a request.
//!
//! What is logged, and at which level, is decided where it happens. That code must not log secrets.

mod config;
mod lines;

pub use config::{Config, Format};

use super::line_writer::{LineWriter, OnFailure, Options, StreamOutput};
use config::filter;
use lines::Lines;
use prometheus::IntCounter;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

/// The log of the process. Dropping it writes what is left.
pub struct Guard {
    filter: reload::Handle<EnvFilter, Registry>,
    writer: Arc<LineWriter>,
    dropped: IntCounter,
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
    /// No thread can be started to write it.
    #[error("the log cannot be written: {0}")]
    Thread(#[from] std::io::Error),
    /// Its counter cannot be made.
    #[error(transparent)]
    Counter(#[from] prometheus::Error),
}

/// Sets up the process's log, on standard output.
///
/// # Errors
/// The level cannot be read, or there is a log already.
pub fn init(config: &Config) -> Result<Guard, Error> {
    let name = "kvs_edge_log_lines_dropped_total";
    let dropped = IntCounter::new(name, "Log lines lost because standard output was too slow or gone")?;
    let writer = LineWriter::start(StreamOutput(std::io::stdout()), options(dropped.clone()))?;
    let writer = Arc::new(writer);
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let lines = Lines { format: config.format, hash_users: config.hash_users, writer: writer.clone() };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(lines))?;
    Ok(Guard { filter: handle, writer, dropped })
}

/// At most 4 MiB of lines wait. The thread writes at most a hundred times a second, so that a busy process
/// makes few, large writes.
fn options(dropped: IntCounter) -> Options {
    Options {
        thread: "log",
        name: "the log",
        most_bytes: 4 << 20,
        most_lines: usize::MAX,
        rest: Duration::from_millis(10),
        on_failure: OnFailure::Drop(dropped),
        deferred: None,
    }
}

impl Guard {
    /// Registers `kvs_edge_log_lines_dropped_total`.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.dropped.clone()))
    }

    /// A handle that changes the level while the program runs.
    #[must_use]
    pub fn level(&self) -> Level {
        Level(self.filter.clone())
    }
}

/// The level of a running log.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Applies a new level; everything else stays as it was set up.
    ///
    /// # Errors
    /// The level cannot be read; the old one stays.
    pub fn set(&self, config: &Config) -> Result<(), Error> {
        Ok(self.0.reload(filter(&config.level)?)?)
    }
}

impl Drop for Guard {
    /// Waits until all lines are written, for two seconds at most.
    fn drop(&mut self) {
        // What is not written by then is lost with the process.
        let _ = self.writer.flush(Duration::from_secs(2));
    }
}

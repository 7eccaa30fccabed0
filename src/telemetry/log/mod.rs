//! The log: one line per event, JSON for machines or text for people, to standard output, never in anybody's way.
//!
//! What is logged, and at which level, is decided where it happens; that nothing secret is, too.

mod lines;

use super::audit;
use super::sink::Sink;
use crate::setting::Mistake;
use lines::Lines;
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
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

/// `[log]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How lines look. Does not change while the program runs.
    pub format: Format,
    /// What is logged: a level, or levels by target, such as `info,kvs_edge::upstream=debug`.
    pub level: String,
    /// Whether every request leaves an access line.
    pub access: bool,
    /// Whether callers appear in it as a hash instead of by name.
    pub hash_users: bool,
    /// Where the audit log goes.
    pub audit: audit::Config,
}

impl Default for Config {
    fn default() -> Self {
        let audit = audit::Config::default();
        Self { format: Format::Json, level: "info".to_owned(), access: true, hash_users: false, audit }
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
        let how = "write a level (error, warn, info, debug, trace), or levels by target such as info,kvs_edge=debug";
        let problem = filter(&self.level).err().map(|e| format!("`{}`: {e}: {how}", self.level));
        problem.map(|problem| Mistake::at("log.level", problem)).into_iter().collect()
    }
}

/// The log while it lasts. Dropping it writes what is left.
pub struct Guard {
    filter: reload::Handle<EnvFilter, Registry>,
    sink: Sink,
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
    let sink = Sink::new(std::io::stdout(), dropped.clone())?;
    let (filter, handle) = reload::Layer::new(filter(&config.level)?);
    let lines = Lines { format: config.format, hash_users: config.hash_users, sink: sink.clone() };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(filter).with(lines))?;
    Ok(Guard { filter: handle, sink, dropped })
}

impl Guard {
    /// Registers `kvs_edge_log_lines_dropped_total`.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register(&self, registry: &prometheus::Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.dropped.clone()))
    }

    /// What changes the level while the program runs.
    #[must_use]
    pub fn level(&self) -> Level {
        Level(self.filter.clone())
    }
}

/// The level of a running log.
#[derive(Clone)]
pub struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Takes over a new level; everything else stays as it was set up.
    ///
    /// # Errors
    /// The level cannot be read; the old one stays.
    pub fn set(&self, config: &Config) -> Result<(), Error> {
        Ok(self.0.reload(filter(&config.level)?)?)
    }
}

impl Drop for Guard {
    /// Waits until all lines are out, for a moment at most.
    fn drop(&mut self) {
        self.sink.flush(Duration::from_secs(2));
    }
}

fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_and_say_how() {
        assert_eq!(Config::default().check(), []);
        let bad = Config { level: "info,access=loud".to_owned(), ..Config::default() };
        assert!(bad.check()[0].problem.contains("write a level"));
        let config: Config = toml::from_str("format = 'text'\naudit = 'stdout'\nlevel = 'warn'").unwrap();
        assert_eq!((config.format, config.access), (Format::Text, true));
        assert!(toml::from_str::<Config>("formt = 'text'").is_err());
    }
}

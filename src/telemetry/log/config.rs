//! `[log]`.

use crate::setting::Mistake;
use crate::telemetry::audit;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// The form of a line.
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
    /// The form of a line. A reload does not change it.
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

    /// All mistakes, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let how = "write a level (error, warn, info, debug, trace), or levels by target such as \
                   info,kvs_edge=debug";
        let problem = filter(&self.level).err().map(|e| format!("`{}`: {e}: {how}", self.level));
        problem.map(|problem| Mistake::at("log.level", problem)).into_iter().collect()
    }
}

/// The filter that a level stands for; targets without one log at `info`.
pub(super) fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
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

//! `[log]`.

use crate::setting::Mistake;
use crate::telemetry::audit;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

/// What writes to the log: crates, and of kvs-edge also its parts and the target of access lines.
const TARGETS: [&str; 12] = [
    OWN,
    "kvs_edge_emulator",
    ACCESS,
    "aws_config",
    "aws_runtime",
    "aws_sdk_sts",
    "aws_sigv4",
    "aws_smithy_http",
    "aws_smithy_runtime",
    "aws_smithy_runtime_api",
    "h2",
    "hyper_util",
];
/// The crate of the program.
const OWN: &str = "kvs_edge";
/// The target of access lines.
const ACCESS: &str = "access";
/// The parts of kvs-edge, which follow its crate in a target.
const PARTS: [&str; 23] = [
    "accounting",
    "admin",
    "app",
    "archive",
    "aws",
    "base",
    "cache",
    "caller",
    "cli",
    "config",
    "console",
    "fleet",
    "gateway",
    "identity",
    "kvs",
    "net",
    "package",
    "playback",
    "policy",
    "sessions",
    "sign_in",
    "telemetry",
    "upstream",
];
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

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
    /// Attributes of callers that audit entries show, by the names that `[issuer.claims]` gives them.
    pub audit_claims: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let audit = audit::Config::default();
        Self {
            format: Format::Json,
            level: "info".to_owned(),
            access: true,
            hash_users: false,
            audit,
            audit_claims: Vec::new(),
        }
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
        let how = "write a level (off, error, warn, info, debug, trace), or levels by target such as \
                   info,kvs_edge=debug";
        let unknown = self.level.split(',').find_map(unknown_word);
        let problem = unknown.or_else(|| filter(&self.level).err().map(|error| error.to_string()));
        let problem = problem.map(|problem| format!("`{}`: {problem}: {how}", self.level));
        problem.map(|problem| Mistake::at("log.level", problem)).into_iter().collect()
    }
}

/// What is wrong with one directive, a level or `target=level`.
///
/// `EnvFilter` takes an unknown word for the name of a target, and then logs hardly anything, without an
/// error. Its directives about spans are refused too, because lines are written without spans.
fn unknown_word(directive: &str) -> Option<String> {
    let Some((target, level)) = directive.split_once('=') else {
        return (!is_level(directive)).then(|| format!("`{directive}` is no level"));
    };
    if !is_level(level) {
        return Some(format!("`{level}` is no level"));
    }
    (!is_target(target)).then(|| format!("nothing logs as `{target}`"))
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

fn is_target(target: &str) -> bool {
    let mut path = target.split("::");
    let name = path.next().unwrap_or_default();
    let part = path.next();
    TARGETS.contains(&name) && (name != OWN || part.is_none_or(|part| PARTS.contains(&part)))
}

/// The filter that a level stands for; targets without one log at `info`.
pub(super) fn filter(level: &str) -> Result<EnvFilter, tracing_subscriber::filter::ParseError> {
    EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target of a part.
    fn part(name: &str) -> String {
        [OWN, name].join("::")
    }

    #[test]
    fn levels_are_checked_and_say_how() {
        assert_eq!(Config::default().check(), []);
        for (level, problem) in [
            ("inof", "`inof` is no level"),
            ("", "`` is no level"),
            ("info,", "`` is no level"),
            ("debgu,access=off", "`debgu` is no level"),
            ("info,access=loud", "`loud` is no level"),
            ("info,kvs_egde=debug", "nothing logs as `kvs_egde`"),
            (&format!("info,{}=debug", part("upstrem")), &format!("nothing logs as `{}`", part("upstrem"))),
            ("info,kvs_edge", "`kvs_edge` is no level"),
            ("info,[request]=debug", "nothing logs as `[request]`"),
            ("info,kvs_edge[a{b=c}]=debug", "is no level"),
        ] {
            let bad = Config { level: level.to_owned(), ..Config::default() };
            let mistakes = bad.check();
            assert!(mistakes[0].problem.contains(problem), "{level}: {mistakes:?}");
            assert!(mistakes[0].problem.contains("write a level"), "{mistakes:?}");
        }
        let by_part = format!("info,kvs_edge=debug,{}::call=trace", part("upstream"));
        for level in ["off", "WARN", "info,access=off", &by_part] {
            let good = Config { level: level.to_owned(), ..Config::default() };
            assert_eq!(good.check(), [], "{level}");
        }
        let config: Config = toml::from_str("format = 'text'\naudit = 'stdout'\nlevel = 'warn'").unwrap();
        assert_eq!((config.format, config.access), (Format::Text, true));
        assert!(toml::from_str::<Config>("formt = 'text'").is_err());
    }

    #[test]
    fn the_parts_are_those_of_the_program() {
        let parts = include_str!("../../lib.rs").lines().filter_map(|line| line.strip_prefix("pub mod "));
        let logging: Vec<_> = parts.map(|part| part.trim_end_matches(';')).collect();
        for part in PARTS {
            assert!(logging.contains(&part), "{part}");
        }
        let silent: Vec<_> = logging.into_iter().filter(|part| !PARTS.contains(part)).collect();
        assert_eq!(silent, ["setting", "fuzzing"]);
    }
}

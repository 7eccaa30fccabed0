//! Reads the file: TOML, then the environment over it, then types. Each fault has its file, line and column.
//!
//! The part that owns a setting checks its meaning; this file finds the positions of faults.

use super::environment::{self, ENVIRONMENT_PREFIX};
use super::position::{offset_of, segments};
use super::wording::{misspelt, with_suggestion};
use crate::setting::{Mistake, MistakePlace};
use serde::de::DeserializeOwned;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;
use toml::{Table, Value};

/// A configuration file that cannot be used, with everything that is wrong with it.
#[derive(Debug)]
pub struct InvalidConfig {
    /// One line each: `file:line:column: key: problem`.
    pub lines: Vec<String>,
}

impl fmt::Display for InvalidConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl std::error::Error for InvalidConfig {}

/// A configuration file's text, and the environment that overrides it.
pub struct ConfigSource {
    path: PathBuf,
    text: String,
    environment: Vec<(String, String)>,
}

impl ConfigSource {
    /// A file's text that is already here, without an environment.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_text(text: &str) -> Self {
        Self { path: "kvs-edge.toml".into(), text: text.to_owned(), environment: Vec::new() }
    }

    /// Reads the file; `environment` is what may override it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(
        path: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, InvalidConfig> {
        let text = std::fs::read_to_string(path).map_err(|error| InvalidConfig {
            lines: vec![format!("{}: cannot be read: {error}; --config FILE names it", path.display())],
        })?;
        let mut environment: Vec<_> =
            environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        environment.sort();
        Ok(Self { path: path.to_owned(), text, environment })
    }

    /// Reads the file again. The environment stays as it was, as that of a running process does.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn again(&self) -> Result<Self, InvalidConfig> {
        Self::read(&self.path, self.environment.iter().cloned())
    }

    /// The file itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a comment of the file shows this key.
    #[cfg(test)]
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.text.lines().any(|line| line.starts_with(&format!("# {key} = ")))
    }

    /// The folder that relative paths in the file start from.
    #[must_use]
    pub fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// Bad TOML, an unknown key, a wrong type or a malformed value, with its place.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, InvalidConfig> {
        let mut table: Table = toml::from_str(&self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.refused(vec![format!("{}: {}", self.place_of_offset(at), error.message())])
        })?;
        for (name, value) in &self.environment {
            let path = environment::path_of(name);
            environment::write_out(&mut table, &path);
            environment::set(&mut table, &path, environment::value_of(value))
                .map_err(|problem| self.refused(vec![format!("environment variable {name}: {problem}")]))?;
        }
        self.every_fault(table)
    }

    /// Deserializes a table and collects every fault. serde stops at the first one, so the key at fault is
    /// removed and the rest read again, until there is no fault, or one that cannot be removed.
    fn every_fault<T: DeserializeOwned>(&self, mut table: Table) -> Result<T, InvalidConfig> {
        let (mut lines, mut gone) = (Vec::new(), Vec::new());
        loop {
            let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
                Ok(settings) if lines.is_empty() => return Ok(settings),
                Ok(_) => return Err(self.refused(lines)),
                Err(error) => error,
            };
            let path = error.path().to_string();
            let message = error.into_inner().message().to_owned();
            let key = misspelt(&path, &message);
            let wanted = segments(&key);
            if !lacks_what_is_gone(&path, &message, &gone) {
                lines.push(format!("{}: {}", self.place(&key), with_suggestion(&message)));
            }
            // A missing field cannot be removed, so the whole section is.
            let incomplete = message.starts_with("missing field");
            let section = wanted.first().is_some_and(|section| incomplete && table.remove(section).is_some());
            if !section && !take_out(&mut table, &wanted) {
                return Err(self.refused(lines));
            }
            gone.push(wanted);
        }
    }

    /// Turns mistakes found by the parts into lines with places.
    #[must_use]
    pub fn locate(&self, mistakes: &[Mistake]) -> InvalidConfig {
        let line = |mistake: &Mistake| match &mistake.place {
            MistakePlace::Key(key) => format!("{}: {}", self.place(key), mistake.problem),
            MistakePlace::File { path, line, column } => {
                format!("{}:{line}:{column}: {}", path.display(), mistake.problem)
            }
        };
        self.refused(mistakes.iter().map(line).collect())
    }

    fn refused(&self, lines: Vec<String>) -> InvalidConfig {
        InvalidConfig { lines }
    }

    /// `file:line:column: key`, or the environment variable that set it.
    fn place(&self, key: &str) -> String {
        let wanted: Vec<String> = segments(key);
        for (name, _) in &self.environment {
            let set: Vec<String> = environment::path_of(name);
            if !wanted.is_empty() && wanted.starts_with(&set) {
                return format!("environment variable {name}: {key}");
            }
        }
        let offset = DeTable::parse(&self.text).ok().and_then(|root| offset_of(root.get_ref(), &wanted));
        let place = self.place_of_offset(offset.unwrap_or(0));
        if key.is_empty() || key == "." { place } else { format!("{place}: {key}") }
    }

    fn place_of_offset(&self, offset: usize) -> String {
        let before = &self.text[..offset.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        format!("{}:{line}:{column}", self.path.display())
    }
}

/// Removes a key; `false` if there is none. Members of lists stay, because removing one would move those
/// after it.
fn take_out(table: &mut Table, path: &[String]) -> bool {
    let Some((key, rest)) = path.split_first() else { return false };
    if rest.is_empty() {
        return table.remove(key).is_some();
    }
    match (table.get_mut(key), rest) {
        (Some(Value::Table(inner)), _) => take_out(inner, rest),
        (Some(Value::Array(list)), [index, rest @ ..]) if !rest.is_empty() => {
            let member = index.parse().ok().and_then(|index: usize| list.get_mut(index));
            member.and_then(Value::as_table_mut).is_some_and(|inner| take_out(inner, rest))
        }
        _ => false,
    }
}

/// Whether a field is missing only because it was removed for another fault.
fn lacks_what_is_gone(path: &str, message: &str, gone: &[Vec<String>]) -> bool {
    let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) else {
        return false;
    };
    let mut lacking = segments(path);
    lacking.push(field.to_owned());
    gone.contains(&lacking)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{ByteSize, Span};
    use serde::Deserialize;

    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        cache: Cache,
        #[serde(default)]
        aws: Vec<Aws>,
    }
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Cache {
        memory: ByteSize,
        #[serde(default)]
        settle: Option<Span>,
    }
    #[derive(Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Aws {
        region: String,
    }

    fn source(text: &str, environment: &[(&str, &str)]) -> ConfigSource {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        ConfigSource { path: "edge.toml".into(), text: text.to_owned(), environment }
    }

    fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
        source(text, environment).parse::<Sample>().unwrap_err().to_string()
    }

    #[test]
    fn read_again_the_file_is_new_and_the_overrides_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.toml");
        let region = |source: &ConfigSource| source.parse::<Sample>().unwrap().aws[0].region.clone();
        std::fs::write(&path, "aws = [{ region = 'a' }]\n[cache]\nmemory = '1MiB'\n").unwrap();
        let name = format!("{ENVIRONMENT_PREFIX}AWS__0__REGION");
        let first = ConfigSource::read(&path, std::iter::once((name, "b".to_owned()))).unwrap();
        std::fs::write(&path, "aws = [{ region = 'c' }]\n[cache]\nmemory = '2MiB'\n").unwrap();
        let again = first.again().unwrap();
        assert_eq!((region(&first), region(&again)), ("b".to_owned(), "b".to_owned()));
        assert_eq!(again.parse::<Sample>().unwrap().cache.memory, ByteSize(2 << 20));
    }

    #[test]
    fn each_fault_names_file_line_column_and_what_to_write() {
        for (text, expected) in [
            ("[cache]\nmemroy = '1MiB'\n", "edge.toml:2:1: cache.memroy: unknown field `memroy`"),
            ("[cache]\nmemroy = '1MiB'\n", "did you mean `memory`?"),
            (
                "[cache]\nmemory = '1MB of it'\n",
                "edge.toml:2:1: cache.memory: `1MB of it`: write a size such as",
            ),
            ("[cache]\nmemory = 5\n", "edge.toml:2:1: cache.memory: invalid type: integer `5`"),
            ("[cache]\nmemory = '1MiB'\n[[aws]]\nregion = 1\n", "edge.toml:4:1: aws[0].region: invalid type"),
            (
                "[cache]\nmemory = '1MiB'\n[[aws]]\nregin = 'x'\n",
                "edge.toml:4:1: aws[0].regin: unknown field",
            ),
            ("[cache\n", "edge.toml:1:7: "),
            ("[caches]\n", "edge.toml:1:2: caches: unknown field `caches`"),
        ] {
            let error = refusal(text, &[]);
            assert!(error.contains(expected), "{error}\nshould hold {expected}");
        }
    }

    #[test]
    fn every_fault_is_told_and_none_that_follows_from_another() {
        let text =
            "[cache]\nmemory = '1MiB'\nmemroy = 1\nsettle = 7\nfoo = 2\n[[aws]]\nregion = 3\n[bar]\nx = 1\n";
        let error = refusal(text, &[]);
        let starts = [
            "edge.toml:3:1: cache.memroy:",
            "edge.toml:4:1: cache.settle:",
            "edge.toml:5:1: cache.foo:",
            "edge.toml:7:1: aws[0].region:",
            "edge.toml:8:2: bar:",
        ];
        for start in starts {
            assert_eq!(
                error.lines().filter(|line| line.starts_with(start)).count(),
                1,
                "{start} in\n{error}"
            );
        }
        assert_eq!(error.lines().count(), starts.len(), "{error}");
        assert!(refusal("[cache]\nmemory = '1MiB'\n[bar]\n[baz]\n", &[]).lines().count() == 2);
    }

    #[test]
    fn the_environment_overrides_the_file_and_answers_for_its_own_faults() {
        let text = "[cache]\nmemory = '1MiB'\n";
        let environment = [
            ("KVS_EDGE__CACHE__MEMORY", "512MiB"),
            ("KVS_EDGE__CACHE__SETTLE", "60s"),
            ("KVS_EDGE__AWS__0__REGION", "eu-west-1"),
        ];
        let sample: Sample = source(text, &environment).parse().unwrap();
        assert_eq!(sample.cache.memory, ByteSize(512 << 20));
        assert_eq!(sample.cache.settle, Some(Span::seconds(60)));
        assert_eq!(sample.aws[0].region, "eu-west-1");
        let error = refusal(text, &[("KVS_EDGE__CACHE__MEMORY", "much")]);
        assert!(
            error.starts_with("environment variable KVS_EDGE__CACHE__MEMORY: cache.memory: `much`"),
            "{error}"
        );
        assert!(refusal(text, &[("KVS_EDGE__AWS__3__REGION", "x")]).contains("leaves a hole"));
    }

    #[test]
    fn the_environment_sets_a_member_beside_a_short_form() {
        #[derive(Deserialize)]
        struct Logged {
            log: Log,
        }
        #[derive(Deserialize)]
        struct Log {
            audit: crate::telemetry::audit::Config,
        }
        let required = [("KVS_EDGE__LOG__AUDIT__REQUIRED", "true")];
        for (text, to) in [("[log]\naudit = 'file:a.log'\n", "file:a.log"), ("", "stdout")] {
            let logged: Logged = source(text, &required).parse().unwrap();
            let shown = serde_json::to_value(logged.log.audit).unwrap();
            assert_eq!(shown, serde_json::json!({"to": to, "required": true}));
        }
    }

    #[test]
    fn a_mistake_found_later_gets_its_line() {
        let source = source("[cache]\nmemory = '1MiB'\n\n[[aws]]\nregion = 'x'\n", &[]);
        let found = source.locate(&[Mistake::at("aws[0].region", "is no region")]);
        assert_eq!(found.to_string(), "edge.toml:5:1: aws[0].region: is no region");
        let missing = source.locate(&[Mistake::at("aws[0].account", "is required")]);
        assert!(missing.to_string().starts_with("edge.toml:4:"), "{missing}");
    }
}

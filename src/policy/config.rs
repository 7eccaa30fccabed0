//! The `[policy]` section, and the claims that policies may read.

use super::local_time::Zone;
use super::name_pattern::NamePattern;
use crate::base::glob;
use crate::setting::Mistake;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The `[policy]` section.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Policy files, relative to the configuration file's folder; the last component may hold `*` and `?`.
    pub files: Vec<String>,
    /// Named sets of streams: patterns of names with `*` and `?`, exact in letter case.
    pub stream_sets: BTreeMap<String, Vec<String>>,
    /// How stream names are put together, such as `customer-{customer}-*`: policies read the named pieces as
    /// `resource.part.customer`. A name has the pieces of the first pattern that fits.
    pub stream_names: Vec<NamePattern>,
    /// The time zone of `context.local`, by its IANA name.
    pub time_zone: Zone,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            files: vec!["policies/*.cedar".into()],
            stream_sets: BTreeMap::new(),
            stream_names: Vec::new(),
            time_zone: Zone::utc(),
        }
    }
}

impl Config {
    /// Makes relative patterns start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        for file in &mut self.files {
            *file = folder.join(&*file).to_string_lossy().into_owned();
        }
    }

    /// What is wrong with the section itself; the policies' own mistakes come from [`super::Policy::load`].
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.files.is_empty() {
            mistakes.push(Mistake::at(
                "policy.files",
                "names no policy file, so nobody could see anything; write for instance [\"policies/*.cedar\"]",
            ));
        }
        for (name, patterns) in &self.stream_sets {
            let key = format!("policy.stream_sets.{name}");
            if name.is_empty() || name.chars().any(char::is_control) {
                mistakes.push(Mistake::at(&key, "is no name for a stream set; write letters and digits"));
            }
            if patterns.is_empty() {
                mistakes.push(Mistake::at(&key, "holds no pattern; write for instance [\"lobby-*\"]"));
            }
            for pattern in patterns {
                let strange = |c: char| !(c.is_ascii_alphanumeric() || "_.-*?".contains(c));
                if pattern.is_empty() || pattern.contains(strange) {
                    mistakes.push(Mistake::at(
                        &key,
                        format!(
                            "`{pattern}` fits no stream: stream names hold only letters, digits, '_', '.' \
                             and '-', and patterns '*' and '?'"
                        ),
                    ));
                }
            }
        }
        mistakes
    }

    /// The files that the patterns name now, sorted, each once.
    ///
    /// # Errors
    /// A pattern that names no file, or a folder that cannot be read.
    pub fn find_files(&self) -> Result<Vec<PathBuf>, Vec<Mistake>> {
        let (mut found, mut mistakes) = (Vec::new(), Vec::new());
        for (index, pattern) in self.files.iter().enumerate() {
            match expand(pattern) {
                Ok(mut files) => found.append(&mut files),
                Err(problem) => mistakes.push(Mistake::at(format!("policy.files[{index}]"), problem)),
            }
        }
        found.sort();
        found.dedup();
        if mistakes.is_empty() { Ok(found) } else { Err(mistakes) }
    }

    /// The named pieces of a stream's name.
    pub(super) fn parts_of<'a>(&'a self, stream: &'a str) -> Vec<(&'a str, &'a str)> {
        self.stream_names.iter().find_map(|pattern| pattern.pieces(stream)).unwrap_or_default()
    }

    /// The names of all pieces, each once.
    pub(super) fn part_names(&self) -> BTreeSet<&str> {
        self.stream_names.iter().flat_map(NamePattern::names).collect()
    }

    /// The sets that a stream of this name belongs to.
    pub(super) fn sets_of<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a str> {
        self.stream_sets
            .iter()
            .filter(move |(_, patterns)| patterns.iter().any(|pattern| glob::matches(pattern, stream)))
            .map(|(name, _)| name.as_str())
    }
}

fn expand(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let special = |text: &str| text.contains(['*', '?']);
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if special(&folder.to_string_lossy()) {
        return Err(format!("`{pattern}`: '*' and '?' may stand only in the file name, not in a folder's"));
    }
    if !special(&name) {
        return if path.is_file() {
            Ok(vec![path.to_owned()])
        } else {
            Err(format!("{pattern} is not there, or is no file"))
        };
    }
    let entries = std::fs::read_dir(folder)
        .map_err(|error| format!("cannot look into {}: {error}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| format!("cannot look into {}: {error}", folder.display()))?.path();
        let own = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        // Kubernetes mounts and editors leave hidden files beside the real ones.
        if !own.starts_with('.') && glob::matches(&name, &own) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() { Err(format!("no file fits {pattern}")) } else { Ok(files) }
}

/// The claims that issuers map to attributes, which policies read as optional attributes of the principal:
/// `principal has department && principal.department == "security"`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes(pub BTreeMap<String, AttributeType>);

/// What type a claim has in policies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttributeType {
    /// `String`.
    String,
    /// `Set<String>`.
    Set,
    /// `Long`.
    Long,
    /// `Bool`.
    Bool,
    /// `ipaddr`.
    Ip,
    /// `datetime`.
    Datetime,
}

impl AttributeType {
    pub(super) const fn in_cedar(self) -> &'static str {
        match self {
            Self::String => "String",
            Self::Set => "Set<String>",
            Self::Long => "Long",
            Self::Bool => "Bool",
            Self::Ip => "ipaddr",
            Self::Datetime => "datetime",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_in_the_section_name_the_key() {
        let config: Config =
            toml::from_str("files = []\nstream_sets = { a = [], b = ['x y'], c = ['ok-*'] }").unwrap();
        let keys: Vec<_> = config.check().into_iter().map(|mistake| format!("{:?}", mistake.place)).collect();
        assert_eq!(
            keys,
            [r#"Key("policy.files")"#, r#"Key("policy.stream_sets.a")"#, r#"Key("policy.stream_sets.b")"#]
        );
        assert!(toml::from_str::<Config>("file = []").is_err());
    }

    #[test]
    fn file_patterns_find_files_and_a_pattern_without_any_is_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.cedar", "a.cedar", ".hidden.cedar", "notes.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut config = Config { files: vec!["*.cedar".into(), "a.cedar".into()], ..Config::default() };
        config.resolve(folder.path());
        let names: Vec<_> = config.find_files().unwrap();
        assert_eq!(names, [folder.path().join("a.cedar"), folder.path().join("b.cedar")]);
        config.files = vec![
            folder.path().join("none-*.cedar").display().to_string(),
            folder.path().join("c.cedar").display().to_string(),
            folder.path().join("*/c.cedar").display().to_string(),
        ];
        assert_eq!(config.find_files().unwrap_err().len(), 3);
    }
}

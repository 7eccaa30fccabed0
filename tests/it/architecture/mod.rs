//! The architecture as tests: floors, circles of files, names, lines. Changing a table here is a design
//! decision, made in the same commit as the code that needs it.

mod circles;
mod names;
mod source;

use source::repository;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates in which no two files import each other: the root, and a part of it or, if empty, all of it.
const WITHOUT_CIRCLES: &[(&str, &str)] = &[("emulator/src", ""), ("src", "")];
/// Folders that hold to the rules about names, documents and lines.
const TIDY: &[&str] = &["emulator", "src"];

/// Top floor first. A part imports from the floors below its own; neighbours are strangers.
const FLOORS: &[(&str, &[&str])] = &[
    ("program", &["main", "lib", "fuzzing"]),
    ("start", &["cli"]),
    ("assemble", &["app"]),
    ("settings", &["config"]),
    ("answer", &["gateway", "admin", "console"]),
    ("accounting", &["accounting"]),
    ("services", &["archive", "sessions", "sign_in"]),
    ("parts", &["identity", "policy", "playback", "package", "cache", "upstream"]),
    ("base", &["kvs", "aws", "net", "telemetry", "fleet", "base", "caller", "setting"]),
];

/// Inside the ground floor the bricks have an order too: what may lean on what.
const BASE: &[(&str, &[&str])] = &[
    ("fleet", &["aws", "net", "setting", "base"]),
    ("aws", &["kvs", "net", "setting", "base"]),
    ("net", &["setting", "telemetry", "kvs", "base"]),
    ("telemetry", &["setting", "kvs", "caller", "base"]),
    ("caller", &["kvs", "base"]),
    ("kvs", &["base"]),
    ("setting", &["base"]),
    ("base", &[]),
];

#[test]
fn every_import_points_down() {
    let mut wrong = Vec::new();
    for file in sources() {
        let part = part_of(&file);
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for target in crate_paths(line) {
                if target != part && !may_import(&part, &target) {
                    wrong.push(format!("{}:{}: {part} imports {target}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these imports point sideways or up:\n{}", wrong.join("\n"));
}

#[test]
fn the_emulator_does_not_depend_on_kvs_edge() {
    let manifest = fs::read_to_string(repository().join("emulator/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let names = manifest.get(section).and_then(toml::Value::as_table);
        assert!(names.is_none_or(|names| !names.contains_key("kvs-edge")), "{section}");
    }
}

#[test]
fn no_two_files_import_each_other() {
    let found: Vec<String> = WITHOUT_CIRCLES
        .iter()
        .flat_map(|(root, part)| circles::circles(&repository().join(root), part))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_type_name_is_defined_three_times() {
    check(&["emulator", "src"], "these names mean three things", names::repeated_types);
}

/// The path of a request is read from top to bottom: what is not the path belongs to a lower part.
#[test]
fn the_gateway_is_no_more_than_the_path() {
    const MOST_LINES: usize = 4_500;
    let lines = |file: &PathBuf| {
        let text = fs::read_to_string(file).unwrap();
        text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().lines().count()
    };
    let gateway = sources().into_iter().filter(|file| part_of(file) == "gateway");
    let all: usize = gateway.map(|file| lines(&file)).sum();
    assert!(all <= MOST_LINES, "src/gateway has {all} lines without its tests");
}

#[test]
fn every_document_named_in_code_exists() {
    tidy("these documents are not in the repository", names::missing_documents);
}

#[test]
fn no_line_is_longer_than_its_limit() {
    tidy("these lines are too long", names::long_lines);
}

fn tidy(message: &str, find: impl Fn(&Path) -> Vec<String>) {
    check(TIDY, message, find);
}

fn check(folders: &[&str], message: &str, find: impl Fn(&Path) -> Vec<String>) {
    let found: Vec<String> = folders.iter().flat_map(|folder| find(&repository().join(folder))).collect();
    assert!(found.is_empty(), "{message}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .chain(source::files(&repository().join("emulator")))
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .collect();
    assert!(silent.is_empty(), "files without an opening //! comment: {silent:?}");
}

#[test]
fn every_part_stands_on_a_floor() {
    let floors: BTreeSet<_> = FLOORS.iter().flat_map(|(_, parts)| parts.iter().copied()).collect();
    for file in sources() {
        assert!(floors.contains(part_of(&file).as_str()), "{} belongs to no floor", file.display());
    }
}

fn may_import(from: &str, to: &str) -> bool {
    let floor = |part: &str| FLOORS.iter().position(|(_, parts)| parts.contains(&part));
    match (floor(from), floor(to)) {
        (Some(upper), Some(lower)) if lower > upper => true,
        (Some(same), Some(other)) if same == other && same == FLOORS.len() - 1 => {
            BASE.iter().any(|(part, below)| *part == from && below.contains(&to))
        }
        _ => false,
    }
}

/// Parts named after `crate::` (or `kvs_edge::`) in a line of code; comments do not count.
fn crate_paths(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut found = Vec::new();
    for prefix in ["crate::", "kvs_edge::"] {
        for (at, _) in code.match_indices(prefix) {
            let rest = &code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                let first_words = group
                    .split('}')
                    .next()
                    .unwrap_or_default()
                    .split(',')
                    .map(|word| word.trim().split("::").next().unwrap_or_default());
                found.extend(first_words.filter(|word| !word.is_empty()).map(str::to_owned));
            } else {
                found.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
            }
        }
    }
    found
}

fn part_of(file: &Path) -> String {
    let relative = file.strip_prefix(root()).unwrap();
    let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

fn root() -> PathBuf {
    repository().join("src")
}

fn sources() -> Vec<PathBuf> {
    source::files(&root())
}

//! What a reader meets: documents that exist, lines that fit, and type names that mean one thing.

use super::source::{code, files, is_test, repository};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Names that every part may have one of; the module is part of the name.
const EACH_PART: &[&str] = &["Config", "Error", "Metrics", "Args"];
/// The longest line, comments included.
const COLUMNS: usize = 110;

/// Names of types that are defined three times or more among all files of a folder, tests apart.
pub fn repeated_types(folder: &Path) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files(folder).into_iter().filter(|file| !is_test(file.strip_prefix(folder).unwrap())) {
        for (number, line) in code(&fs::read_to_string(&file).unwrap()).lines().enumerate() {
            if let Some(name) = type_name(line).filter(|name| !EACH_PART.contains(name)) {
                let place = format!("{}:{}", file.display(), number + 1);
                places.entry(name.to_owned()).or_default().push(place);
            }
        }
    }
    let repeated = places.into_iter().filter(|(_, places)| places.len() > 2);
    repeated.map(|(name, places)| format!("{name}: {}", places.join(", "))).collect()
}

/// The name that a line defines. An associated type stands in an `impl` or a trait, so it is indented.
fn type_name(line: &str) -> Option<&str> {
    let visible = line.trim_start().strip_prefix("pub").map_or(line.trim_start(), |rest| {
        rest.strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .map_or(rest, |(_, rest)| rest)
            .trim_start()
    });
    let (keyword, rest) = visible.split_once(' ')?;
    let defines = match keyword {
        "struct" | "enum" | "union" | "trait" => true,
        "type" => !line.starts_with(' '),
        _ => false,
    };
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    (defines && end > 0).then(|| &rest[..end])
}

/// Documents that a folder's files name and that are neither at the root of the repository nor in `docs/`.
pub fn missing_documents(folder: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for file in files(folder) {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            for name in documents(line) {
                let there = ["", "docs"].iter().any(|folder| repository().join(folder).join(name).exists());
                if !there {
                    missing.push(format!("{}:{}: {name}", file.display(), number + 1));
                }
            }
        }
    }
    missing
}

/// `docs/KVS.md`, `docs/KVS.md` and the like.
fn documents(line: &str) -> impl Iterator<Item = &str> {
    let part_of_a_name = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    // `include_str!` names a document from the file's own folder.
    let words = line.split(move |c| !part_of_a_name(c));
    let words = words.map(|word| word.trim_start_matches("../").trim_end_matches('.'));
    words.filter(|word| word.len() > 3 && word.ends_with(".md"))
}

/// Lines longer than `COLUMNS` characters. A line of code with a string in it may be longer: a message or an
/// example that is broken up is not found by searching for it.
pub fn long_lines(folder: &Path) -> Vec<String> {
    let mut long = Vec::new();
    for file in files(folder) {
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let columns = line.chars().count();
            let has_text = line.contains('"') && !line.trim_start().starts_with("//");
            if columns > COLUMNS && !has_text {
                long.push(format!("{}:{}: {columns} columns", file.display(), number + 1));
            }
        }
    }
    long
}

#[test]
fn definitions_and_documents_are_found_in_a_line() {
    for (line, name) in [
        ("pub(super) struct Call<'a> {", Some("Call")),
        ("    enum Step {", Some("Step")),
        ("pub type Millis = u64;", Some("Millis")),
        ("    type Error = Infallible;", None),
        ("structure of a struct", None),
    ] {
        assert_eq!(type_name(line), name, "{line}");
    }
    let line = "see (docs/KVS.md 4.1), `THREATS.md`, \"../../docs/A.md\", and README.md. Not x.mdx";
    let found: Vec<_> = documents(line).collect();
    assert_eq!(found, ["docs/KVS.md", "THREATS.md", "docs/A.md", "README.md"]);
}

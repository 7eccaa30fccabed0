//! Documents name only code, tests and documents that exist.

use std::fs;
use std::path::{Path, PathBuf};

/// The sources and tests of this repository, with their text.
fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = ["src", "tests/it", "emulator"].map(|folder| root.join(folder)).to_vec();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "rs") {
                found.push((path.clone(), fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}

/// What stands between backticks in a document.
fn marked(document: &str) -> Vec<&str> {
    document.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).collect()
}

#[test]
fn every_file_and_test_that_the_threats_name_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/THREATS.md")).unwrap();
    let sources = sources();
    let has_test = |name: &str| sources.iter().any(|(_, text)| text.contains(&format!("fn {name}(")));
    let mut missing = Vec::new();
    for name in marked(&document) {
        let is_path = name.contains('/') && name.ends_with(".rs");
        let is_test =
            name.matches('_').count() >= 2 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if (is_path && !root.join(name).is_file()) || (is_test && !has_test(name)) {
            missing.push(name);
        }
    }
    assert!(missing.is_empty(), "docs/THREATS.md names what is not there: {missing:#?}");
}

/// `docs/KVS.md 3.6`, `docs/BEHAVIOUR.md 7`: the section has a heading with this number.
#[test]
fn every_section_that_the_code_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for name in ["docs/KVS.md", "docs/BEHAVIOUR.md"] {
        let document = fs::read_to_string(root.join(name)).unwrap();
        let headings: Vec<&str> = document
            .lines()
            .filter(|line| line.starts_with('#'))
            .filter_map(|line| line.trim_start_matches('#').split_whitespace().next())
            .map(|number| number.trim_end_matches('.'))
            .collect();
        for (path, text) in sources() {
            for (at, _) in text.match_indices(name) {
                let rest = text[at + name.len()..].trim_start_matches(['`', ' ']);
                let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
                let number = number.trim_end_matches('.');
                if !number.is_empty() && !headings.contains(&number) {
                    missing.push(format!("{}: {name} {number}", path.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

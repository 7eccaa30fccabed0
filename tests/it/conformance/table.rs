//! `docs/KVS-CONFORMANCE.md` names a test for each row of the wire reference; every test that it names
//! exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Rows of the table: checks worth automating (`docs/KVS.md` 10), and traps (`docs/KVS.md` 11).
const CHECKS: usize = 6;
const TRAPS: usize = 27;

#[test]
fn every_row_of_the_wire_reference_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/KVS-CONFORMANCE.md")).unwrap();
    let mut rows = BTreeSet::new();
    let mut missing = Vec::new();
    // | 10.3 or 11.7 | what | `file`: `test`, `test`; `file`: `test` |
    for line in text.lines().filter(|line| line.starts_with("| 10.") || line.starts_with("| 11.")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [row, _, shown] = cells[..] else { panic!("three cells: {line}") };
        rows.insert(row.to_owned());
        let mut file = None;
        let mut tests = 0;
        for name in shown.split('`').skip(1).step_by(2) {
            if name.contains('/') {
                file = Some(name);
                continue;
            }
            let path = root.join(file.unwrap_or_else(|| panic!("no file before {name}: {line}")));
            let source = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            if !is_test(&source, name) {
                missing.push(format!("{row}: {} has no test {name}", path.display()));
            }
            tests += 1;
        }
        assert!(tests > 0, "row {row} names no test");
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    let wanted = (1..=CHECKS).map(|n| format!("10.{n}")).chain((1..=TRAPS).map(|n| format!("11.{n}")));
    assert_eq!(rows, wanted.collect(), "the rows of docs/KVS.md 10 and 11");
}

/// Whether a source has a test function of this name, proptests included.
fn is_test(source: &str, name: &str) -> bool {
    let Some(at) = source.find(&format!("fn {name}(")) else { return false };
    source[..at].rfind("#[").is_some_and(|attribute| {
        let between = &source[attribute..at];
        (between.contains("test]") || between.contains("test(")) && !between.contains("fn ")
    })
}

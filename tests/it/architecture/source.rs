//! Reads Rust files for the other checks: which there are, and their code without comments, text and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("node_modules") && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Whether a file holds tests only: it lies in a folder `tests`, or is one file of that name.
pub fn is_test(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// The code of a file, line by line as it was. Comments, the content of literals, inline test modules and the
/// paths of visibilities are blank.
pub fn code(text: &str) -> String {
    without_tests(&without_visibilities(&without_literals(text)))
}

/// Blanks the path in `pub(in path)`: it says who may see an item, not what the item needs.
fn without_visibilities(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some((before, path)) = rest.split_once("pub(in ") {
        out.push_str(before);
        out.push_str("pub");
        rest = path.split_once(')').map_or("", |(_, behind)| behind);
    }
    out.push_str(rest);
    out
}

fn without_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let length = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => until(&chars, at, |c| c[0] == '\n'),
            '/' if chars.get(at + 1) == Some(&'*') => {
                until(&chars, at + 2, |c| c.starts_with(&['*', '/'])) + 4
            }
            '"' => quoted(&chars, at),
            'r' if !word && is_raw(&chars[at..]) => {
                let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
                let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let open = hashes + 2;
                open + until(&chars, at + open, |c| c.starts_with(&end)) + end.len()
            }
            '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => {
                let start = at + 2;
                2 + until(&chars, start + usize::from(chars[at + 1] == '\\'), |c| c[0] == '\'')
                    + 1
                    + usize::from(chars[at + 1] == '\\')
            }
            c => {
                out.push(c);
                at += 1;
                continue;
            }
        };
        let end = (at + length).min(chars.len());
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// How many characters lie between `from` and the first place where `end` holds, or the end of the file.
fn until(chars: &[char], from: usize, end: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len()).find(|at| end(&chars[*at..])).unwrap_or(chars.len()) - from.min(chars.len())
}

/// The length of a text in quotes, both included.
fn quoted(chars: &[char], from: usize) -> usize {
    let mut at = from + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1 - from
}

/// `r"`, `r#"` and so on; not a raw identifier.
fn is_raw(chars: &[char]) -> bool {
    chars.iter().skip(1).find(|c| **c != '#') == Some(&'"')
}

/// Blanks every `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find("#[cfg(test)]") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let item = after["#[cfg(test)]".len()..].trim_start();
        let item =
            ["pub(super) ", "pub "].iter().find_map(|visible| item.strip_prefix(visible)).unwrap_or(item);
        let open = after.find('{').filter(|_| item.starts_with("mod "));
        let inline = open.filter(|open| after.find(';').is_none_or(|semicolon| *open < semicolon));
        let end = match inline {
            Some(open) => closing(after, open),
            None => "#[cfg(test)]".len(),
        };
        out.extend(after[..end].chars().filter(|c| *c == '\n'));
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// Behind the brace that closes the one at `open`.
fn closing(text: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, c) in text[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn comments_text_and_tests_are_blank_and_lines_stay() {
    let text = "use a::b; // c::d\npub(in i::j) fn f() {}\nlet s = \"e::f \\\" g\";\nlet r = r#\"h\"#; let c = '\"'; let l: &'static str;\n\
                #[cfg(test)]\nmod tests {\n    use super::*;\n}\nfn last() {}\n";
    let code = code(text);
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!["c::d", "e::f", "g", "h", "i::j", "super"].iter().any(|word| code.contains(word)), "{code}");
    assert!(["a::b", "&'static str", "fn last()"].iter().all(|word| code.contains(word)), "{code}");
}

//! Which files of a crate import which, and whether any two of them import each other, directly or by way of
//! others.
//!
//! An import is a path that begins with `crate`, `super` or `self`, with the name of a child module, or with
//! a name that such a path was imported under; in a `use` and in the code alike. A path is followed through
//! re-exports to the file that defines the item, so a front door (`mod.rs`) that only re-exports its rooms
//! imports none of them.

use super::source::{code, files, is_test};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module by its path from the root of its crate; the root itself is empty.
type Module = Vec<String>;

/// One file of a crate.
struct File {
    /// Relative to the root of the crate.
    name: String,
    /// Names that a `use` brings in, and what they stand for.
    uses: BTreeMap<String, Use>,
    /// Paths that the code writes out, each with its line.
    paths: Vec<(Vec<String>, usize)>,
    /// Single words of the code outside `use`.
    words: BTreeSet<String>,
}

struct Use {
    path: Vec<String>,
    line: usize,
    reexport: bool,
}

/// The circles among the files of `part` (a folder under `root`; all files if it is empty), one text for
/// each.
pub fn circles(root: &Path, part: &str) -> Vec<String> {
    let modules = read(root);
    let inside = |module: &Module| part.is_empty() || module.first().is_some_and(|first| first == part);
    let imports: BTreeMap<&Module, BTreeMap<Module, usize>> = modules
        .iter()
        .filter(|(module, _)| inside(module))
        .map(|(module, file)| (module, imports(&modules, module, file)))
        .collect();
    let reachable = |from: &Module| {
        let mut seen: BTreeSet<Module> = BTreeSet::new();
        let mut next: Vec<Module> = vec![from.clone()];
        while let Some(module) = next.pop() {
            for target in imports.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (*module, reachable(module))).collect();
    let mut found = Vec::new();
    let mut done: BTreeSet<&Module> = BTreeSet::new();
    for (module, targets) in &reach {
        if done.contains(*module) || !targets.contains(*module) {
            continue;
        }
        let members: Vec<&Module> = reach
            .iter()
            .filter(|(other, theirs)| targets.contains(**other) && theirs.contains(*module))
            .map(|(other, _)| *other)
            .collect();
        done.extend(&members);
        let mut text = format!("a circle of {} files:", members.len());
        for from in &members {
            for (to, line) in imports[*from].iter().filter(|(to, _)| members.contains(to)) {
                text += &format!("\n  {}:{line} imports {}", modules[*from].name, modules[to].name);
            }
        }
        found.push(text);
    }
    found
}

fn read(root: &Path) -> BTreeMap<Module, File> {
    let mut modules = BTreeMap::new();
    for path in files(root).into_iter().filter(|path| !is_test(path.strip_prefix(root).unwrap())) {
        let relative = path.strip_prefix(root).unwrap();
        let name = relative.to_str().unwrap().to_owned();
        let mut module: Module =
            relative.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            module.pop();
        }
        let file = File::read(name, &code(&fs::read_to_string(&path).unwrap()));
        // `main.rs` and `lib.rs` are roots of two crates; the library is the one that others import from.
        if file.name != "main.rs" {
            modules.insert(module, file);
        }
    }
    modules
}

/// What one file imports, with the line of the first import.
fn imports(modules: &BTreeMap<Module, File>, module: &Module, file: &File) -> BTreeMap<Module, usize> {
    let used = |name: &str, import: &Use| !import.reexport || file.words.contains(name);
    let uses = file.uses.iter().filter(|(name, import)| used(name, import));
    let uses = uses.map(|(_, import)| (&import.path, import.line));
    let paths = file.paths.iter().map(|(path, line)| (path, *line));
    let mut found = BTreeMap::new();
    for (path, line) in uses.chain(paths) {
        if let Some(target) = resolve(modules, module, path, 0).filter(|target| target != module) {
            found.entry(target).or_insert(line);
        }
    }
    found
}

/// The module whose file defines what a path in `module` names; `None` for another crate.
fn resolve(modules: &BTreeMap<Module, File>, module: &Module, path: &[String], depth: u8) -> Option<Module> {
    if depth > 10 {
        return None;
    }
    let (first, mut rest) = path.split_first()?;
    let mut here = module.clone();
    match first.as_str() {
        "crate" => here.clear(),
        "self" => {}
        "super" => drop(here.pop()),
        name => match modules.get(module)?.uses.get(name) {
            Some(import) if import.path != path => {
                let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
                return resolve(modules, module, &whole, depth + 1);
            }
            _ => {
                here.push(name.to_owned());
                if !modules.contains_key(&here) {
                    return None;
                }
            }
        },
    }
    while let Some((next, after)) = rest.split_first() {
        if next == "super" {
            here.pop();
        } else {
            let child: Module = here.iter().chain([next]).cloned().collect();
            if modules.contains_key(&child) {
                here = child;
            } else {
                let Some(import) = modules.get(&here)?.uses.get(next) else { return Some(here) };
                let whole: Vec<String> = import.path.iter().chain(after).cloned().collect();
                return resolve(modules, &here, &whole, depth + 1);
            }
        }
        rest = after;
    }
    Some(here)
}

impl File {
    fn read(name: String, code: &str) -> Self {
        let mut file = Self { name, uses: BTreeMap::new(), paths: Vec::new(), words: BTreeSet::new() };
        let tokens = tokens(code);
        let text = |at: usize| tokens.get(at).map_or("", |(text, _)| *text);
        let mut at = 0;
        while at < tokens.len() {
            let (token, line) = tokens[at];
            if token == "use" && text(at + 1) != "<" {
                let reexport = at > 0 && matches!(text(at - 1), "pub" | ")");
                at = file.tree(&tokens, at + 1, &[], reexport);
            } else if is_word(token) {
                let mut path = vec![token.to_owned()];
                while text(at + 1) == "::" && is_word(text(at + 2)) {
                    path.push(text(at + 2).to_owned());
                    at += 2;
                }
                file.words.insert(token.to_owned());
                if path.len() > 1 {
                    file.paths.push((path, line));
                }
            }
            at += 1;
        }
        file
    }

    /// Reads one tree of a `use` and gives the place behind it.
    fn tree(&mut self, tokens: &[(&str, usize)], mut at: usize, prefix: &[String], reexport: bool) -> usize {
        let mut path = prefix.to_vec();
        while let Some(&(token, line)) = tokens.get(at) {
            match token {
                "::" => at += 1,
                "{" => {
                    at += 1;
                    while tokens.get(at).is_some_and(|(token, _)| *token != "}") {
                        at = self.tree(tokens, at, &path, reexport);
                        at += usize::from(tokens.get(at).is_some_and(|(token, _)| *token == ","));
                    }
                    return at + 1;
                }
                "*" => {
                    self.uses.insert(format!("*{at}"), Use { path, line, reexport });
                    return at + 1;
                }
                word if is_word(word) => {
                    if word != "self" || path.is_empty() {
                        path.push(word.to_owned());
                    }
                    at += 1;
                    let next = tokens.get(at).map_or("", |(token, _)| *token);
                    if next != "::" {
                        let alias = (next == "as").then(|| tokens[at + 1].0);
                        let name = alias.or(path.last().map(String::as_str)).unwrap_or_default().to_owned();
                        self.uses.insert(name, Use { path, line, reexport });
                        return if alias.is_some() { at + 2 } else { at };
                    }
                }
                _ => return at + 1,
            }
        }
        at
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words, `::` and single characters, each with its line.
fn tokens(code: &str) -> Vec<(&str, usize)> {
    let mut found = Vec::new();
    for (number, mut line) in code.lines().enumerate() {
        while let Some(first) = line.chars().next() {
            let length = match first {
                c if c.is_alphanumeric() || c == '_' => {
                    line.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len())
                }
                ':' if line.starts_with("::") => 2,
                c => c.len_utf8(),
            };
            if !first.is_whitespace() {
                found.push((&line[..length], number + 1));
            }
            line = &line[length..];
        }
    }
    found
}

#[test]
fn a_circle_is_found_through_front_doors_and_names_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\npub mod c;\n");
    write("a/mod.rs", "mod front;\nmod back;\npub use front::Front;\nfn f() { back::work() }\n");
    write("a/front.rs", "use crate::b::{self, Back as Other};\npub struct Front(Other);\n");
    write("a/back.rs", "pub fn work() {}\n#[cfg(test)]\nmod tests { use super::super::Front; }\n");
    write("b.rs", "pub struct Back;\n");
    write("c.rs", "use crate::a::Front;\nuse std::fmt;\n");
    assert_eq!(circles(folder.path(), ""), Vec::<String>::new());
    // Now b uses what `a/front.rs` defines, by way of the front door.
    write("b.rs", "pub struct Back;\nfn f() -> crate::a::Front { todo!() }\n");
    let expected = "a circle of 2 files:\n  a/front.rs:1 imports b.rs\n  b.rs:2 imports a/front.rs";
    assert_eq!(circles(folder.path(), ""), [expected]);
    assert_eq!(circles(folder.path(), "c"), Vec::<String>::new());
}

//! The image recipe and its context hold what the build needs. Docker is not needed for that: the files that
//! the recipe copies are copied here, and cargo reads the manifests among them.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

/// How a source names a file that becomes part of the program.
const INCLUDES: &[&str] = &["include_str!(\"", "include_bytes!(\"", "include_bytes!(concat!(\""];

/// Compiled for tests and fuzz targets only.
const NOT_IN_THE_IMAGE: &str = "src/fuzzing.rs";

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stage `build` copies from the context.
fn copied() -> Vec<String> {
    let recipe = fs::read_to_string(repository().join("deploy/Dockerfile")).unwrap();
    let (_, stage) = recipe.split_once(" AS build\n").expect("a stage named build");
    let (stage, _) = stage.split_once("\nFROM ").unwrap_or((stage, ""));
    let copies = stage.lines().filter_map(|line| line.strip_prefix("COPY "));
    copies
        .filter(|copy| !copy.starts_with("--from"))
        .flat_map(|copy| {
            let words: Vec<&str> = copy.split_whitespace().collect();
            words[..words.len() - 1].iter().map(|&word| word.to_owned()).collect::<Vec<_>>()
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
        return;
    }
    for entry in fs::read_dir(from).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "node_modules" && name != "target" {
            copy(&from.join(&name), &to.join(&name));
        }
    }
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().filter(|file| file.extension().is_some_and(|kind| kind == "rs"));
    here.chain(folders.iter().flat_map(|folder| rust_files(folder))).collect()
}

/// `a/b/../c` is `a/c`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// The files that the code of a source includes, its tests aside.
fn includes(text: &str) -> Vec<&str> {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    let found = INCLUDES.iter().flat_map(|include| code.split(include).skip(1));
    found.map(|rest| rest.split('"').next().unwrap_or(rest)).collect()
}

#[test]
fn the_image_recipe_copies_what_the_build_needs() {
    let image = tempfile::tempdir().unwrap();
    for name in copied() {
        copy(&repository().join(&name), &image.path().join(&name));
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(image.path());
    let read = cargo.output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));

    let sources = ["src", "emulator/src"].map(|folder| rust_files(&image.path().join(folder))).concat();
    let mut included = 0;
    let is_built =
        |file: &&PathBuf| !file.ends_with(NOT_IN_THE_IMAGE) && file.iter().all(|part| part != "tests");
    for file in sources.iter().filter(is_built) {
        let text = fs::read_to_string(file).unwrap();
        for name in includes(&text) {
            let path = normal(&file.parent().unwrap().join(name));
            assert!(path.exists(), "{} includes {name}, which the recipe does not copy", file.display());
            included += 1;
        }
    }
    assert!(included >= 4, "found only {included} included files");
}

#[test]
fn the_context_of_the_image_holds_what_the_recipe_copies() {
    let ignored = fs::read_to_string(repository().join(".dockerignore")).unwrap();
    for name in copied() {
        assert!(ignored.lines().any(|line| line == format!("!{name}")), ".dockerignore leaves out {name}");
    }
}

//! Puts the build of `src/console/web` into the binary, or, without one, the page that says how to build it.
//! It only lists files in a table; `src/console/mod.rs` uses it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    note_revision();
    let console = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("src/console");
    let dist = console.join("dist");
    // Cargo runs this script on every build while a path that it watches is missing, so an empty folder is
    // made. If the source cannot be written, that is the only cost.
    let _ = fs::create_dir_all(&dist);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/console/dist");
    println!("cargo::rerun-if-changed=src/console/unbuilt.html");

    let mut files = BTreeMap::new();
    collect(&dist, "", &mut files)?;
    if !files.contains_key("/index.html") {
        files = BTreeMap::from([("/index.html".to_owned(), console.join("unbuilt.html"))]);
    }
    let mut table = String::from("static FILES: &[(&str, &str, Bodies)] = &[\n");
    for (path, file) in files.iter().filter(|(path, _)| !is_compressed(path)) {
        let etag = format!("{:016x}", fnv(&fs::read(file)?));
        let form = |ending: &str| match files.get(&format!("{path}.{ending}")) {
            Some(file) => format!("Some(include_bytes!({file:?}))"),
            None => "None".to_owned(),
        };
        let (brotli, gzip) = (form("br"), form("gz"));
        let bodies = format!("Bodies {{ plain: include_bytes!({file:?}), brotli: {brotli}, gzip: {gzip} }}");
        writeln!(table, "    ({path:?}, {etag:?}, {bodies}),").expect("a string takes all");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("console_files.rs");
    fs::write(out, table)
}

/// The commit that a release build is made of and its date, by the environment or by git. A development build
/// has none, so that a commit does not build everything anew.
fn note_revision() {
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let git = |arguments: &[&str]| {
        if !is_release {
            return None;
        }
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    let values = [
        ("KVS_EDGE_REVISION", git(&["rev-parse", "--short=12", "HEAD"])),
        ("KVS_EDGE_DATE", git(&["log", "-1", "--format=%cs"])),
    ];
    for (name, of_git) in values {
        println!("cargo::rerun-if-env-changed={name}");
        let given = env::var(name).ok().filter(|value| !value.is_empty());
        println!("cargo::rustc-env={name}={}", given.or(of_git).unwrap_or_else(|| "unknown".to_owned()));
    }
}

/// Whether a file is a form of the one without its ending.
fn is_compressed(path: &str) -> bool {
    path.ends_with(".br") || path.ends_with(".gz")
}

fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &path, files)?;
        } else if !path.contains("/.") {
            files.insert(path, entry.path());
        }
    }
    Ok(())
}

/// FNV-1a: tells one build of a file from another, which is all that an `ETag` needs.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

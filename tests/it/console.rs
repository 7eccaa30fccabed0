//! The console in a real browser, end to end: Debian's Chromium driven by Playwright, against the demo of the binary.
//!
//! The steps are in `tests/console/e2e/`; what each saw is in its TAP line. Each test starts a demo and a browser of its
//! own and runs the steps whose names begin with its words; no step is left out. Steps that need a broken line run
//! against the stand-in gateway.

use crate::harness::program::binary;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// All together take about three minutes on two idle cores.
const PATIENCE: Duration = Duration::from_secs(900);

/// Plays steps against the demo of the binary.
async fn play(words: &[&str]) {
    run(words, Some(binary())).await;
}

/// Runs steps against the demo of this binary, or against the stand-in gateway, which breaks what it sends.
async fn run(words: &[&str], demo: Option<PathBuf>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.arg(root.join("tests/console/run.mjs")).args(words);
    match demo {
        Some(binary) => command.env("KVS_EDGE", binary),
        None => command.env_remove("KVS_EDGE"),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut out, mut err) = (String::new(), String::new());
    let read = async { tokio::join!(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err)) };
    let in_time = tokio::time::timeout(PATIENCE, read).await.is_ok();
    if !in_time {
        // Told by a signal that it can hear, it takes its demo and its browser with it.
        let _ = Command::new("kill").arg(child.id().unwrap().to_string()).status().await;
    }
    let status = child.wait().await.unwrap();
    assert!(in_time, "the browser run hangs\n{out}\n{err}");
    assert!(status.success() && out.contains("# all passed"), "{out}\n{err}");
    assert!(!out.contains("# SKIP"), "a step was left out\n{out}");
}

#[tokio::test]
async fn people_sign_in_watch_search_and_download() {
    play(&["sign in", "wall", "camera", "clip"]).await;
}

#[tokio::test]
async fn downloads_outlast_broken_connections_and_can_be_cancelled() {
    run(&["stand-in"], None).await;
}

#[tokio::test]
async fn everybody_can_use_it() {
    play(&["access", "screens", "crowd"]).await;
}

#[tokio::test]
async fn people_are_told_what_is_wrong() {
    play(&["trouble"]).await;
}

#[tokio::test]
async fn people_sign_in_with_their_company_s_provider() {
    play(&["oidc"]).await;
}

#[tokio::test]
async fn people_watch_behind_their_company_s_access_proxy() {
    play(&["proxy"]).await;
}

//! The console in a real browser, end to end: Debian's Chromium driven by Playwright, against the demo of the binary.
//!
//! The steps are in `tests/console/e2e/`; what each saw is in its TAP line.

use crate::harness::program::binary;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The whole run takes two to three minutes on two cores.
const PATIENCE: Duration = Duration::from_secs(900);

async fn play(words: &[&str], kvs_edge: Option<&Path>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("node");
    command.arg(root.join("tests/console/run.mjs")).args(words).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(kvs_edge) = kvs_edge {
        command.env("KVS_EDGE", kvs_edge);
    }
    let output =
        tokio::time::timeout(PATIENCE, command.output()).await.expect("the browser run hangs").unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("# all passed"), "{out}");
}

#[tokio::test]
async fn people_sign_in_watch_search_and_download() {
    play(&["sign in", "wall", "camera", "clip", "access"], Some(&binary())).await;
}

#[tokio::test]
async fn people_are_told_what_is_wrong() {
    play(&["trouble"], Some(&binary())).await;
}

#[tokio::test]
async fn people_sign_in_with_their_company_s_provider() {
    play(&["oidc"], None).await;
}

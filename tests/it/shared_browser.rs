//! Two people and one browser: what one of them has loaded, the other one does not read, who may not have it.
//!
//! Real Chromium with a profile on disk; `tests/console/shared-browser.mjs` is what its pages do.

use crate::harness::Setup;
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The browser is started twice, which takes long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

async fn browse(base: &str, profile: &Path, input: &Value) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/shared-browser.mjs");
    let mut child = Command::new("node")
        .arg(script)
        .args([base, profile.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).await.unwrap();
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("the browser ends");
    let output = output.unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_person_has_loaded_the_next_one_at_the_browser_does_not_read() {
    let edge = Setup::default().reachable().start().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
    let range = format!("start={}&end={end}", end - 10);
    let paths = [
        format!("/streams/cam-1/clip.mp4?{range}"),
        format!("/streams/cam-1/clip.mp4?{range}&source=kvs"),
        format!("/streams/cam-1/clip.mkv?{range}"),
        format!("/streams/cam-1/snapshot.jpg?at={end}"),
        format!("/streams/cam-1/fragments?{range}"),
        "/streams/cam-1".to_owned(),
        "/streams".to_owned(),
    ];
    let denied = edge.token("eve", &["strangers"]);
    let input = json!({"paths": &paths, "allowed": edge.alice(), "denied": denied});
    let profile = tempfile::tempdir().unwrap();
    let read = browse(&edge.url, profile.path(), &input).await;
    let of = |who: &str| read.iter().filter(move |row| row["who"] == who).collect::<Vec<_>>();
    assert_eq!(of("allowed").len(), 3 * paths.len());
    assert!(of("allowed").iter().all(|row| row["status"] == 200 && row["bytes"].as_u64() > Some(0)));
    // The browser does keep what it may keep: the third reading of a clip moved no body.
    let kept = of("allowed").into_iter().rfind(|row| row["path"] == *paths[0]).unwrap().clone();
    assert!(kept["transferred"].as_u64() < kept["bytes"].as_u64(), "{kept}");
    let mut others = of("denied");
    others.extend(of("nobody"));
    assert_eq!(others.len(), 2 * 2 * 3 * paths.len() + 4);
    for row in others {
        // A list of streams is for everybody with a token, and holds what its caller may see.
        let is_own_list = row["path"] == "/streams" && row["who"] == "denied" && row["status"] == 200;
        let is_refused = [0, 401, 403, 404].iter().any(|status| row["status"] == *status);
        assert!(row["bytes"] == 0 && is_refused || is_own_list, "{row}");
    }
}

//! HTTP/2 peers that flood: Python's `h2` sends the frames (`tests/clients/h2_abuse.py`).

use super::target::Target;
use super::{Finding, Until};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::process::Command;

const KINDS: &[(&str, &str)] = &[
    ("rapid_reset", "/streams"),
    ("continuation", "/"),
    ("empty_continuation", "/"),
    ("ping", "/"),
    ("settings", "/"),
    ("empty_data", "/describeStream"),
];

pub async fn http2(target: Arc<Target>, until: Until) -> Finding {
    let mut finding = Finding::default();
    let token = target.user("flooder");
    for (kind, path) in KINDS.iter().cycle() {
        if until.is_over() {
            break;
        }
        let output = abuse(&target.address, &token, kind, path);
        let Ok(output) = tokio::time::timeout(until.left(), output).await else {
            finding.note("still flooding at the end");
            break;
        };
        match output {
            Some(told) if told["ended"].is_string() => finding.note("connection ended by the gateway"),
            Some(told) => finding.breach(format!("{kind}: the connection was not ended: {told}")),
            None => finding.note("the client failed"),
        }
    }
    finding
}

async fn abuse(address: &str, token: &str, kind: &str, path: &str) -> Option<serde_json::Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let child = Command::new(root.join("target/venv/bin/python"))
        .arg(root.join("tests/clients/h2_abuse.py"))
        .args([address, token, kind, path])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    serde_json::from_slice(&child.await.ok()?.stdout).ok()
}

//! Clips in a page's `<video>`: real Chromium opens them, jumps about and plays, cold; every fragment comes from KVS
//! once.

use crate::harness::Setup;
use kvs_edge::kvs::Timestamp;
use kvs_edge_emulator::{Producer, VideoCodec};
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The browser is started once, which takes long on a busy machine.
const PATIENCE: Duration = Duration::from_secs(240);
const LENGTH: u64 = 300;

#[tokio::test(flavor = "multi_thread")]
async fn chromium_opens_seeks_and_plays_a_cold_clip_with_b_frames() {
    let mut setup = Setup::default();
    let camera = Producer { video: VideoCodec::H264BFrames, ..Producer::sdk() };
    setup.emulator.producers.insert("cam-1".to_owned(), camera);
    let edge = setup.reachable().start().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
    let link = format!("/streams/cam-1/link?to=clip&start={}&end={end}", end - LENGTH);
    let url = edge.get(&link, edge.alice()).await.json()["url"].as_str().unwrap().to_owned();
    let seen = browse(&url, &[250.0, 20.0, 140.0]).await;
    let duration = seen["duration"].as_f64().unwrap();
    // It begins with the fragment that covers the start, and ends with the last one that begins ahead of the end.
    assert!((duration - LENGTH as f64).abs() < 3.0, "{seen}");
    for jump in seen["jumps"].as_array().unwrap() {
        let (to, at) = (jump["to"].as_f64().unwrap(), jump["at"].as_f64().unwrap());
        // Chromium may show a picture or two of its way there.
        assert!((at - to).abs() < 0.5, "asked for {to}, shown {at}");
        let frames: Vec<f64> =
            jump["frames"].as_array().unwrap().iter().skip(1).map(|frame| frame.as_f64().unwrap()).collect();
        assert!(frames.windows(2).all(|pair| pair[0] < pair[1]), "pictures are out of order: {frames:?}");
    }
    assert_eq!(edge.reached_by("GetClip").await, 0);
}

async fn browse(url: &str, jumps: &[f64]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console/clip-in-browser.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(url).args(jumps.iter().map(f64::to_string));
    node.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, node.output()).await.expect("the browser ends").unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"))
}

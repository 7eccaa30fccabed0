//! Peers that abuse HTTP/2 lose their connection, and nobody else notices: with Python's `h2`, frame by frame.

use crate::harness::{Edge, Setup, python_with};
use kvs_edge::kvs::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Somebody who asks all the time; how often, once he is told to stop. Every answer must be good.
fn bystander(edge: &Edge, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let (http, url) = (edge.http.clone(), format!("{}/streams", edge.url));
    let bearer = format!("Bearer {}", edge.bob());
    tokio::spawn(async move {
        let mut asked = 0;
        while !stop.load(Ordering::SeqCst) {
            assert_eq!(http.get(&url, &[("authorization", &bearer)]).await.status, 200);
            asked += 1;
        }
        asked
    })
}

async fn abuse(edge: &Edge, kind: &str, path: &str) -> Value {
    let stop = Arc::new(AtomicBool::new(false));
    let beside = bystander(edge, stop.clone());
    let address = edge.url.strip_prefix("http://").unwrap();
    let output = python_with("h2_abuse.py", &[address, &edge.alice(), kind, path], &[]).await;
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{kind}: {err}");
    stop.store(true, Ordering::SeqCst);
    let asked = beside.await.unwrap();
    assert!(asked > 0);
    println!("{} while another one was answered {asked} times", out.trim());
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(told["ended"].is_string(), "the connection was not ended: {told}");
    edge.until("only the bystander is connected", || async {
        edge.metric("kvs_edge_connections_open", &[]).await <= 1.0
    })
    .await;
    told
}

/// An edge whose times a test can wait for.
async fn quick() -> Edge {
    let mut setup = Setup::default();
    for (name, value) in [
        ("WRITE_STALL", "2s"),
        ("WRITE_WINDOW", "2s"),
        ("KEEP_ALIVE_IDLE", "3s"),
        ("HEADER_READ", "3s"),
        ("BODY_READ_TOTAL", "3s"),
    ] {
        setup = setup.setting(&format!("LIMITS__{name}"), value);
    }
    setup.start().await
}

async fn rejected(edge: &Edge, reason: &str) -> f64 {
    edge.metric("kvs_edge_requests_rejected_total", &[&format!("reason=\"{reason}\"")]).await
}

#[tokio::test]
async fn rapid_resets_and_endless_heads_end_the_connection() {
    let edge = quick().await;
    let told = abuse(&edge, "rapid_reset", "/streams").await;
    assert!(told["frames"].as_u64().unwrap() < 20_000, "{told}");
    for kind in ["continuation", "empty_continuation"] {
        let told = abuse(&edge, kind, "/").await;
        assert!(told["frames"].as_u64().unwrap() < 100_000, "{told}");
    }
}

#[tokio::test]
async fn floods_of_control_frames_end_the_connection() {
    let edge = quick().await;
    for kind in ["ping", "ping_unread", "settings", "settings_unread"] {
        abuse(&edge, kind, "/").await;
    }
    abuse(&edge, "empty_data", "/describeStream").await;
}

#[tokio::test]
async fn games_with_windows_end_the_connection() {
    let edge = quick().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let clip = format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 30);
    abuse(&edge, "window_overflow", &clip).await;
    abuse(&edge, "shut_window", &clip).await;
    assert!(rejected(&edge, "write_stall").await >= 1.0);
    abuse(&edge, "dripping_window", &clip).await;
    assert!(rejected(&edge, "write_minimum").await + rejected(&edge, "write_stall").await >= 2.0);
}

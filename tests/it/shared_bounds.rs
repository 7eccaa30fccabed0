//! What one caller or one operator does costs nobody else: labels of metrics, connections after an early
//! answer, and health checks beside long lists.

use crate::harness::{Edge, Setup, python_with};
use serde_json::{Value, json};
use std::time::Duration;

/// All values of the `stream` label.
async fn labels(edge: &Edge) -> Vec<String> {
    let metrics = edge.metrics().await;
    let of = |series: &String| Some(series.split("stream=\"").nth(1)?.split('"').next()?.to_owned());
    let mut labels: Vec<_> = metrics.keys().filter_map(of).collect();
    labels.sort();
    labels.dedup();
    labels
}

#[tokio::test]
async fn names_that_are_refused_or_that_no_stream_has_use_up_no_label() {
    let edge = Setup::default().setting("METRICS__MAX_STREAMS", "3").start().await;
    let mallory = edge.token("mallory", &["nobody"]);
    for n in 0..50 {
        let body = json!({ "StreamName": format!("made-up-{n}"), "APIName": "GET_CLIP" });
        assert_eq!(edge.call("/getDataEndpoint", &mallory, &body).await.status, 403);
        assert_eq!(edge.get(&format!("/streams/made-up-{n}"), &mallory).await.status, 403);
        assert_eq!(edge.get(&format!("/streams/unknown-{n}"), edge.alice()).await.status, 404);
        assert_eq!(edge.get(&format!("/streams/unknown-{n}/live.m3u8"), edge.alice()).await.status, 404);
    }
    // One that exists and is refused counts for nobody's stream either.
    assert_eq!(edge.get("/streams/cam-2", &mallory).await.status, 403);
    assert_eq!(labels(&edge).await, ["_other"]);
    assert_eq!(edge.get("/streams/cam-1", edge.alice()).await.status, 200);
    assert!(labels(&edge).await.contains(&"cam-1".to_owned()));
    let counted = || edge.metric("kvs_edge_outgoing_bytes_total", &["stream=\"cam-1\"", "DescribeStream"]);
    edge.until("the bytes are counted", || async { counted().await > 0.0 }).await;
}

#[tokio::test]
async fn requests_after_an_early_answer_meet_no_reset() {
    let edge = Edge::start().await;
    let address = edge.url.strip_prefix("http://").unwrap();
    let output = python_with("early_answers.py", &[address, &edge.alice(), "50"], &[]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"));
    for client in ["http.client", "urllib3"] {
        assert_eq!(counts[client], json!({ "early": 50, "good": 50 }), "{client}: {told}");
    }
}

#[tokio::test]
async fn the_admin_listener_answers_only_to_names_that_it_knows() {
    let edge = Setup::default().setting("ADMIN__HOSTS", "[\"edge\"]").start().await;
    let ask = async |path: &str, host: &str| {
        edge.http.get(&format!("{}{path}", edge.admin), &[("host", host)]).await
    };
    for path in ["/healthz", "/readyz", "/metrics", "/sessions", "/config"] {
        let refused = ask(path, "rebound.example:9090").await;
        assert_eq!(refused.status, 421, "{path}");
        assert!(refused.text().contains("admin.hosts"), "{}", refused.text());
    }
    for host in ["127.0.0.1", "localhost:9090", "edge:9090", "[::1]:9090"] {
        assert_eq!(ask("/config", host).await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn pages_of_other_origins_embed_no_media() {
    let policy = |answer: &crate::harness::Answer| {
        answer.header("cross-origin-resource-policy").unwrap_or("none").to_owned()
    };
    let edge = Edge::start().await;
    assert_eq!(policy(&edge.get("/streams/cam-1/snapshot.jpg", edge.alice()).await), "same-origin");
    assert_eq!(policy(&edge.get("/streams/cam-1", "no token").await), "same-origin");
    let playlist = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    assert_eq!(policy(&edge.http.get(&playlist, &[]).await), "same-origin");
    let setup = Setup::default().setting("SERVER__CORS_ORIGINS", "[\"https://app.example\"]");
    let edge = setup.start().await;
    assert_eq!(policy(&edge.get("/streams/cam-1/snapshot.jpg", edge.alice()).await), "same-site");
    let playlist = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    assert_eq!(policy(&edge.http.get(&playlist, &[]).await), "cross-origin");
}

#[tokio::test]
async fn a_long_list_of_streams_does_not_hold_up_health_checks() {
    let mut setup = Setup::default();
    setup.emulator.streams = (0..5_000).map(|n| format!("cam-{n:05}")).collect();
    let edge = setup.start().await;
    let alice = edge.alice();
    let body = json!({});
    let (first, second) =
        tokio::join!(edge.call("/listStreams", &alice, &body), edge.get("/streams", &alice));
    assert_eq!(first.json()["StreamInfoList"].as_array().unwrap().len(), 5_000);
    assert_eq!(second.json()["streams"].as_array().unwrap().len(), 1_000);
    let healthy = async {
        for _ in 0..20 {
            assert_eq!(edge.http.get(&format!("{}/healthz", edge.admin), &[]).await.status, 200);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let (again, ()) = tokio::join!(edge.call("/listStreams", &alice, &body), healthy);
    assert_eq!(again.body, first.body, "the same list, whoever asks");
}

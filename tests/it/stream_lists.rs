//! Lists of streams: in pages, and with what is known of an account that does not answer.

use crate::harness::{Edge, Setup};
use serde_json::{Value, json};

const CAMERAS: [&str; 3] = ["cam-1", "cam-2", "cam-3"];

fn names(streams: &Value) -> Vec<&str> {
    streams.as_array().unwrap().iter().map(|stream| stream["name"].as_str().unwrap()).collect()
}

/// A second account that serves other cameras and cannot be reached.
const DEAD_ACCOUNT: &str = r#"
[[aws]]
name = "away"
region = "eu-central-1"
account = "999988887777"
streams = ["away-*"]
endpoint_url = "http://127.0.0.1:9"
access_key_id = "file:access-key"
secret_access_key = "file:secret-key"
"#;

#[tokio::test]
async fn streams_come_in_pages_that_hold_each_once() {
    let edge = Edge::start().await;
    let (mut path, mut shown) = ("/streams?limit=2".to_owned(), Vec::new());
    loop {
        let page = edge.get(&path, edge.alice()).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        assert!(page["streams"].as_array().unwrap().len() <= 2);
        shown.extend(names(&page["streams"]).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/streams?limit=2&next={}", next.replace('+', "%2B").replace('=', "%3D"));
    }
    assert_eq!(shown, CAMERAS);
    // Without a limit all of them fit into one page.
    let all = edge.get("/streams", edge.alice()).await.json();
    assert_eq!((names(&all["streams"]), &all["next"]), (CAMERAS.to_vec(), &Value::Null));
    for (query, message) in [("limit=0", "limit"), ("limit=1001", "limit"), ("next=x", "next")] {
        let refused = edge.get(&format!("/streams?{query}"), edge.alice()).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.message().contains(message), "{}", refused.message());
    }
}

#[tokio::test]
async fn one_unreachable_entry_does_not_hide_the_cameras_of_the_others() {
    let setup = Setup { more: DEAD_ACCOUNT.into(), streams: "cam-*".into(), ..Setup::default() };
    let edge = setup.setting("UPSTREAM__RETRIES", "0").start().await;
    for _ in 0..2 {
        let page = edge.get("/streams", edge.alice()).await;
        assert_eq!(page.status, 200, "{}", page.text());
        let page = page.json();
        assert_eq!(names(&page["streams"]), CAMERAS);
        let notes = page["notes"].as_array().unwrap();
        assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("away"), "{notes:?}");
        let listed = edge.call("/listStreams", edge.alice(), &json!({})).await;
        assert_eq!((listed.status, listed.json()["StreamInfoList"].as_array().unwrap().len()), (200, 3));
    }
}

#[tokio::test]
async fn an_entry_that_fails_keeps_its_last_good_list_and_a_note() {
    let edge = Setup::default().setting("UPSTREAM__RETRIES", "0").start().await;
    let good = edge.get("/streams", edge.alice()).await.json();
    assert_eq!((names(&good["streams"]), &good["notes"]), (CAMERAS.to_vec(), &json!([])));
    edge.fault(json!({"operation": "ListStreams", "fault": {"kind": "status", "status": 500, "type": "InternalFailure"}})).await;
    let noted = || async {
        let page = edge.get("/streams", edge.alice()).await.json();
        assert_eq!(names(&page["streams"]), CAMERAS);
        !page["notes"].as_array().unwrap().is_empty()
    };
    // The list is fresh for ten seconds; after that KVS is asked, and fails.
    edge.until("a note about the list", noted).await;
}

#[tokio::test]
async fn a_repeat_within_the_second_is_a_hit() {
    let edge = Edge::start().await;
    for _ in 0..2 {
        let described = edge.call("/describeStream", edge.alice(), &json!({"StreamName": "cam-1"})).await;
        assert_eq!(described.status, 200, "{}", described.text());
    }
    let counted = async |cache: &str| {
        edge.metric("kvs_edge_requests_total", &["api=\"DescribeStream\"", &format!("cache=\"{cache}\"")])
            .await
    };
    // Both lie within a second, unless this machine stood still between them.
    assert_eq!((counted("hit").await + counted("miss").await, counted("collapsed").await), (2.0, 0.0));
}

//! Faults seen from a client.

use super::client::{Kvs, ago};
use http::Method;
use serde_json::{Value, json};

fn clip() -> Value {
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(20.0)});
    json!({"StreamName": "cam-1", "ClipFragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}})
}

#[tokio::test]
async fn each_fault_has_its_effect() {
    let kvs = Kvs::start(|config| config.quotas = false).await;
    let once = |fault: Value| json!({"operation": "GetClip", "fault": fault, "times": 1});
    kvs.fault(once(
        json!({"kind": "status", "status": 503, "type": "ServiceUnavailable", "message": "later"}),
    ))
    .await;
    let reply = kvs.call("/getClip", clip()).await;
    assert_eq!((reply.status.as_u16(), reply.kind().as_str()), (503, "ServiceUnavailable"));
    assert_eq!(reply.text(), r#"{"Message":"later"}"#);

    kvs.fault(once(json!({"kind": "unknown_operation"}))).await;
    assert_eq!(kvs.call("/getClip", clip()).await.body.len(), 90);

    kvs.fault(once(json!({"kind": "reset"}))).await;
    assert!(kvs.try_call("/getClip", clip()).await.is_err(), "no answer at all");

    for kind in ["reset", "truncate"] {
        kvs.fault(once(json!({"kind": kind, "after_bytes": 5000}))).await;
        let reply = kvs.call("/getClip", clip()).await;
        assert!(reply.broken && reply.status == 200, "{kind}");
        assert!(reply.body.len() == 5000 || kind == "reset", "{kind}: {}", reply.body.len());
    }

    kvs.fault(once(json!({"kind": "trickle", "bytes_per_second": 50_000}))).await;
    kvs.fault(once(json!({"kind": "truncate", "after_bytes": 20_000}))).await;
    let started = tokio::time::Instant::now();
    assert_eq!(kvs.call("/getClip", clip()).await.body.len(), 20_000);
    assert!(started.elapsed() >= std::time::Duration::from_millis(300));

    kvs.fault(once(json!({"kind": "no_data"}))).await;
    assert_eq!(kvs.call("/getClip", clip()).await.kind(), "ResourceNotFoundException");
    assert_eq!(kvs.call("/getClip", clip()).await.status, 200, "all used up");
}

#[tokio::test]
async fn a_whole_answer_can_be_cut_short_of_its_announced_length() {
    let kvs = Kvs::start(|config| config.quotas = false).await;
    let url = kvs.open(json!({"StreamName": "cam-1"})).await;
    kvs.fault(json!({"operation": "GetHLSMasterPlaylist", "fault": {"kind": "truncate", "after_bytes": 10}}))
        .await;
    let reply = kvs.get(&url).await;
    assert!(reply.broken);
    assert_eq!(reply.body.len(), 10);
    assert!(reply.headers["content-length"].to_str().unwrap().parse::<usize>().unwrap() > 10);
    kvs.admin(Method::DELETE, "faults", Value::Null).await;
    assert!(!kvs.get(&url).await.broken);
    kvs.fault(json!({"operation": "GetHLSMasterPlaylist", "fault": {"kind": "expire_sessions"}, "times": 1}))
        .await;
    assert_eq!(kvs.get(&url).await.status, 403);
    assert_eq!(kvs.get(&url).await.status, 403, "and it stays so");
}

#[tokio::test]
async fn faults_must_be_allowed() {
    let kvs = Kvs::start(|config| config.allow_faults = false).await;
    let reply =
        kvs.admin(Method::POST, "faults", json!({"operation": "*", "fault": {"kind": "reset"}})).await;
    assert_eq!(reply.status, 403);
}

fn listing() -> Value {
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(20.0)});
    json!({"StreamName": "cam-1", "FragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}})
}

#[tokio::test]
async fn a_fragment_appears_late_in_a_range_that_was_listed_and_another_is_gone() {
    let kvs = Kvs::start(|config| config.quotas = false).await;
    let body = listing();
    let rows = |reply: Value| reply["Fragments"].as_array().unwrap().clone();
    let all = rows(kvs.call("/listFragments", body.clone()).await.json());
    let late = &all[3];
    let missing = json!({"kind": "missing", "from": late["ServerTimestamp"], "to": late["ServerTimestamp"]});
    kvs.fault(json!({"operation": "ListFragments", "fault": missing, "times": 1})).await;
    let first = rows(kvs.call("/listFragments", body.clone()).await.json());
    assert_eq!(first.len(), all.len() - 1);
    assert!(!first.contains(late));
    assert_eq!(rows(kvs.call("/listFragments", body.clone()).await.json()), all, "it has arrived");

    kvs.fault(json!({"operation": "GetMediaForFragmentList", "fault": missing})).await;
    let numbers: Vec<&Value> = all[..5].iter().map(|row| &row["FragmentNumber"]).collect();
    let media =
        kvs.call("/getMediaForFragmentList", json!({"StreamName": "cam-1", "Fragments": numbers})).await;
    assert_eq!(media.status, 200);
    let gone = media.body.windows(18).filter(|window| window == b"FRAGMENT_NOT_FOUND").count();
    let clusters = media.body.windows(6).filter(|w| *w == [0x1f, 0x43, 0xb6, 0x75, 1, 0]).count();
    assert_eq!((gone, clusters), (1, 4), "one error chunk in mid-body");
}

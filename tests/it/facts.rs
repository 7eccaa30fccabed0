//! Facts about streams that policies read: what a stranger can learn from them, and what happens when they
//! cannot be had.

use crate::harness::{Answer, Edge, Setup};
use serde_json::{Value, json};
use std::fs;

const BY_TAG: &str = r#"
@id("berlin") permit (principal in Group::"berlin", action, resource)
    when { resource.hasTag("site") && resource.getTag("site") == "berlin" };
@id("investigators") permit (principal in Group::"investigators", action, resource);
@id("not the board's") forbid (principal, action, resource)
    when { resource.hasTag("site") && resource.getTag("site") == "board" } unless { principal in Group::"board" };
"#;

async fn edge() -> Edge {
    let setup = Setup { policies: BY_TAG.into(), ..Setup::default() };
    let edge = setup.setting("UPSTREAM__RETRIES", "0").start().await;
    let url = format!("{}/_emulator/streams/cam-1", edge.emulator.url());
    let tagged = edge.http.post(&url, &[], json!({"tags": {"site": "berlin"}}).to_string()).await;
    assert!(tagged.status < 300, "{}", tagged.text());
    edge.forget_reached().await;
    edge
}

fn decisions(edge: &Edge) -> Vec<Value> {
    let text = fs::read_to_string(edge.path("audit.log")).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let lines = whole.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["event"] == "decision").collect()
}

/// What a stranger sees of a refusal, apart from the name that he gave himself.
fn face(answer: &Answer, name: &str) -> (u16, String, String) {
    (answer.status, answer.kind().to_owned(), answer.message().replace(name, "NAME"))
}

#[tokio::test]
async fn a_stranger_learns_nothing_of_which_streams_there_are_and_kvs_is_not_asked_for_him() {
    let edge = edge().await;
    let mallory = edge.token("mallory", &["strangers"]);
    for path in ["", "/live.m3u8", "/snapshot.jpg", "/clip.mp4?start=1&end=2"] {
        let seen =
            async |name: &str| face(&edge.get(&format!("/streams/{name}{path}"), &mallory).await, name);
        let (there, not_there) = (seen("cam-1").await, seen("no-such-camera").await);
        assert_eq!(there, not_there, "{path}");
        assert_eq!(there.0, 403, "{there:?}");
    }
    let api = async |name: &str| {
        let body = json!({"StreamName": name, "APIName": "LIST_FRAGMENTS"});
        face(&edge.call("/getDataEndpoint", &mallory, &body).await, name)
    };
    assert_eq!(api("cam-1").await, api("no-such-camera").await);
    assert_eq!(edge.reached().await["total"], json!({}));
    // Somebody who may by a tag: what is not there has none.
    let ben = edge.token("ben", &["berlin"]);
    assert_eq!(edge.get("/streams/cam-1", &ben).await.status, 200);
    assert_eq!(edge.get("/streams/cam-2", &ben).await.status, 403);
    assert_eq!(edge.get("/streams/no-such-camera", &ben).await.status, 403);
    // Somebody who may whatever its tags are is told the truth.
    let missing = edge.get("/streams/no-such-camera", edge.alice()).await;
    assert_eq!((missing.status, missing.kind()), (404, "ResourceNotFoundException"), "{}", missing.text());
}

#[tokio::test]
async fn a_fact_that_cannot_be_had_refuses_tells_the_audit_log_and_hides_no_other_stream() {
    let edge = edge().await;
    let broken = json!({"kind": "status", "status": 500, "type": "InternalFailure"});
    edge.fault(json!({"operation": "ListTagsForStream", "stream": "cam-1", "times": 1000, "fault": broken}))
        .await;
    let refused = edge.get("/streams/cam-1", edge.alice()).await;
    assert_eq!((refused.status, refused.kind()), (503, "ServiceUnavailableException"), "{}", refused.text());
    assert!(refused.header("retry-after").is_some(), "{:?}", refused.headers);
    let id = refused.header("x-request-id").unwrap();
    let told = || decisions(&edge).into_iter().find(|line| line["request_id"] == id);
    edge.until("the audit log tells", async || told().is_some()).await;
    let told = told().unwrap();
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("unknown_fact")), "{told}");
    let listed = edge.get("/streams", edge.alice()).await;
    let names: Vec<String> = listed.json()["streams"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", listed.text()))
        .iter()
        .map(|stream| stream["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(names.contains(&"cam-2".to_owned()) && !names.contains(&"cam-1".to_owned()), "{names:?}");
}

/// Whose rate is used up makes KVS be asked no more, for facts either; what is remembered costs nobody.
#[tokio::test]
async fn learning_facts_is_paid_for_and_what_is_remembered_is_not() {
    let setup = Setup { policies: BY_TAG.into(), ..Setup::default() };
    let edge = setup.setting("RATES__POINTS", "1").setting("RATES__BURST", "1s").start().await;
    let url = format!("{}/_emulator/streams/cam-1", edge.emulator.url());
    edge.http.post(&url, &[], json!({"tags": {"site": "berlin"}}).to_string()).await;
    let ben = edge.token("ben", &["berlin"]);
    assert_eq!(edge.get("/streams/cam-1", &ben).await.status, 200);
    let mut seen = Vec::new();
    for number in 0..20 {
        seen.push(edge.get(&format!("/streams/made-up-{number}"), &ben).await.status);
    }
    assert!(seen.contains(&403) && seen.contains(&429), "{seen:?}");
    assert!(edge.reached_by("ListTagsForStream").await < 10, "{seen:?}");
    for _ in 0..5 {
        let answer = edge.get("/streams/cam-1", &ben).await;
        assert_eq!(answer.status, 200, "he is in debt, and nobody is asked: {}", answer.text());
    }
}

/// What forbade it has gone with the stream; its footage, which is still held, is not shown for that.
#[tokio::test]
async fn footage_of_a_stream_that_is_gone_is_not_open_because_its_tags_are_gone() {
    let policies = r#"permit (principal in Group::"guards", action, resource);
        forbid (principal, action, resource) when { resource.hasTag("site") && resource.getTag("site") == "board" };
        permit (principal in Group::"board", action == Action::"GetImages", resource);"#;
    let setup = Setup { policies: policies.into(), ..Setup::default() };
    let edge = setup.setting("UPSTREAM__DESCRIBE_TTL", "1s").setting("UPSTREAM__RETRIES", "0").start().await;
    let bob = edge.bob();
    let at = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 60;
    let picture = async || edge.get(&format!("/streams/cam-1/snapshot.jpg?at={at}"), &bob).await;
    assert_eq!(picture().await.status, 200, "it is held from now on");
    let url = format!("{}/_emulator/streams/cam-1", edge.emulator.url());
    edge.http.post(&url, &[], json!({"tags": {"site": "board"}}).to_string()).await;
    edge.until("the tag is felt", async || picture().await.status == 403).await;
    let gone = json!({"kind": "status", "status": 404, "type": "ResourceNotFoundException"});
    edge.fault(json!({"operation": "ListTagsForStream", "stream": "cam-1", "times": 1000, "fault": gone}))
        .await;
    edge.until("KVS says that there is no such stream", async || picture().await.status != 403).await;
    let answer = picture().await;
    assert_eq!((answer.status, answer.kind()), (404, "ResourceNotFoundException"), "{}", answer.text());
}

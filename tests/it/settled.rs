//! What has settled is asked of KVS once: KVS's own calls as well as pages, within the table of
//! docs/BEHAVIOUR.md 7.

use crate::harness::{Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

fn end(ago: u64) -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - ago
}

fn fragments(end: u64, most: u64) -> Value {
    json!({"StreamName": "cam-1", "MaxResults": most, "FragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": end - 60, "EndTimestamp": end}}})
}

fn images(end: u64) -> Value {
    json!({"StreamName": "cam-1", "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": end - 10,
        "EndTimestamp": end, "SamplingInterval": 3000, "Format": "JPEG"})
}

/// Longer than an answer serves that no cache keeps.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(1300)).await;
}

#[tokio::test]
async fn calls_about_settled_footage_are_asked_of_kvs_once() {
    let edge = Edge::start().await;
    let end = end(300);
    for (path, operation, call) in
        [("/listFragments", "ListFragments", fragments(end, 1000)), ("/getImages", "GetImages", images(end))]
    {
        let first = edge.call(path, edge.alice(), &call).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(first.header("cache-status"), Some("kvs-edge; fwd=uri-miss; stored"), "{operation}");
        a_moment().await;
        let again = edge.call(path, edge.token("carol", &["investigators"]), &call).await;
        assert_eq!((again.header("cache-status"), &again.body), (Some("kvs-edge; hit"), &first.body));
        assert_eq!(edge.reached_by(operation).await, 1, "{operation}");
        assert_eq!(
            edge.call(path, edge.token("eve", &["strangers"]), &call).await.status,
            403,
            "asked first"
        );
    }
    // Other members, another answer; and what may still change is asked for again.
    let few = edge.call("/listFragments", edge.alice(), &fragments(end, 5)).await.json();
    assert_eq!(few["Fragments"].as_array().unwrap().len(), 5);
    let mut next = fragments(end, 5);
    next["NextToken"] = few["NextToken"].clone();
    let rest = edge.call("/listFragments", edge.alice(), &next).await.json();
    assert_ne!(rest["Fragments"], few["Fragments"]);
    let before = edge.reached_by("ListFragments").await;
    let fresh = fragments(Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000, 1000);
    for _ in 0..2 {
        assert_eq!(edge.call("/listFragments", edge.alice(), &fresh).await.header("cache-status"), None);
        a_moment().await;
    }
    assert_eq!(edge.reached_by("ListFragments").await, before + 2);
}

#[tokio::test]
async fn what_a_token_is_needed_for_is_revalidated_at_each_use_and_304_follows_a_decision() {
    let edge = Edge::start().await;
    let range = format!("start={}&end={}", end(360), end(300));
    for path in [
        format!("/streams/cam-1/fragments?{range}"),
        format!("/streams/cam-1/snapshot.jpg?at={}", end(300)),
        "/streams/cam-1/snapshot.jpg".to_owned(),
        format!("/streams/cam-1/clip.mp4?{range}"),
        format!("/streams/cam-1/clip.mp4?{range}&format=plain"),
        format!("/streams/cam-1/clip.mkv?{range}"),
        format!("/streams/cam-1/clip.mp4?{range}&source=kvs"),
    ] {
        let first = edge.get(&path, edge.alice()).await;
        assert_eq!(first.status, 200, "{path}: {}", first.text());
        let again = edge.get(&path, edge.alice()).await;
        for answer in [&first, &again] {
            assert_eq!(answer.header("cache-control"), Some("private, no-cache"), "{path}");
            let vary = answer.header("vary").unwrap();
            assert!(
                ["authorization", "cookie", "x-amz-security-token"].iter().all(|name| vary.contains(name))
            );
        }
        // What passes through while it is made, such as KVS's own clip, has its tag from the second answer on.
        let tag = again.header("etag").unwrap().to_owned();
        let passes = path.contains("source=kvs") || path.contains("/fragments?");
        assert!(passes || first.header("etag").is_some(), "{path}");
        let known = async |token: Option<String>| {
            let bearer = token.map(|token| format!("Bearer {token}"));
            let mut headers = vec![("if-none-match", tag.as_str())];
            headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
            let answer = edge.http.get(&format!("{}{path}", edge.url), &headers).await;
            (answer.status, answer.body.len(), answer.header("cache-control").unwrap().to_owned())
        };
        assert_eq!(known(Some(edge.alice())).await, (304, 0, "private, no-cache".to_owned()), "{path}");
        for (token, status) in [(Some(edge.token("eve", &["strangers"])), 403), (None, 401)] {
            let (answered, _, keep) = known(token).await;
            assert_eq!((answered, keep.as_str()), (status, "no-store"), "{path}");
        }
    }
}

#[tokio::test]
async fn a_picture_is_not_refreshed_before_it_comes_near_the_age_that_is_put_up_with() {
    let edge = Edge::start().await;
    let path = "/streams/cam-1/snapshot.jpg?max_age=30";
    let mut shown = Vec::new();
    for _ in 0..10 {
        let answer = edge.get(path, edge.alice()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        shown.push(answer.body);
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    shown.dedup();
    assert_eq!((shown.len(), edge.reached_by("GetImages").await), (1, 1));
    // A request for a newer one gets it, and later requests get the same.
    let newer = edge.get("/streams/cam-1/snapshot.jpg?max_age=1", edge.alice()).await;
    assert_eq!((newer.status, edge.reached_by("GetImages").await), (200, 2));
}

#[tokio::test]
async fn where_a_held_clip_is_cut_is_looked_at_once() {
    let edge = Edge::start().await;
    let path = format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={}", end(4000), end(3400));
    let first = edge.get(&path, edge.alice()).await;
    let cut = first.header("kvs-edge-truncated").unwrap().to_owned();
    let hits =
        async || edge.metric("kvs_edge_cache_requests_total", &["tier=\"memory\"", "result=\"hit\""]).await;
    let before = hits().await;
    let again = edge.get(&path, edge.alice()).await;
    assert_eq!(again.header("kvs-edge-truncated"), Some(cut.as_str()));
    assert_eq!(hits().await, before + 1.0, "the clip, and no list");
}

#[tokio::test]
async fn a_manifest_that_cannot_hold_its_range_is_refused_in_words() {
    let edge = Setup::default().setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    let ask = async |hours: u64| {
        let path = format!("/streams/cam-1/vod.mpd?start={}&end={}", end(300) - hours * 3600, end(300));
        edge.get(&path, edge.alice()).await
    };
    assert_eq!(ask(1).await.status, 302);
    let long = ask(8).await;
    assert_eq!((long.status, long.kind()), (400, "InvalidArgumentException"));
    assert!(
        long.message().contains("5,000 fragments") && long.message().contains("vod.m3u8"),
        "{}",
        long.message()
    );
}

#[tokio::test]
async fn a_callers_many_groups_fit_into_a_playback_url() {
    let edge = Edge::start().await;
    let groups: Vec<_> = (0..120).map(|n| format!("{n:08x}-1111-4222-8333-444455556666")).collect();
    let mut groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    groups.push("investigators");
    let url = edge.play("/streams/cam-1/live.m3u8", edge.token("dora", &groups)).await;
    let capability = url.split("/v1/").nth(1).unwrap().split('/').next().unwrap();
    assert!(capability.len() < 1024, "{}", capability.len());
    assert_eq!(edge.http.get(&url, &[]).await.status, 200);
    // Policies that may look at a group that was left out end it; others would not have been told.
    let policies = std::fs::read_to_string(edge.path("policies.cedar")).unwrap();
    let forbid = format!("{policies}\nforbid (principal in Group::\"{}\", action, resource);", groups[7]);
    std::fs::write(edge.path("policies.cedar"), forbid).unwrap();
    edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    edge.until("the forbid reaches the viewer", || async { edge.http.get(&url, &[]).await.status == 403 })
        .await;
}

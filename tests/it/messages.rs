//! What plain GETs say when something is wrong: one wording for one problem, in the page's own words, with what to do.

use crate::harness::{Edge, Setup};

/// Some while ago, as RFC 3339.
fn ago(seconds: u64) -> String {
    let at = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
    kvs_edge::kvs::Timestamp::from(at).to_string()
}

#[tokio::test]
async fn every_mistake_is_named_with_its_remedy() {
    let edge = Edge::start().await;
    let (start, end) = (ago(120), ago(60));
    let range = format!("start={start}&end={end}");
    let bare = &start[..19];
    let old = format!("start={}&end={}", ago(90_000), ago(89_000));
    let table = [
        ("clip.mp4".to_owned(), 400, "start is required: RFC 3339 or seconds since 1970"),
        (
            format!("clip.mp4?start={bare}"),
            400,
            "start lacks its zone: add Z for UTC, or an offset such as +01:00",
        ),
        ("clip.mp4?start=yesterday".to_owned(), 400, "start must be RFC 3339, such as 2026-01-01T00:15:00Z"),
        (format!("clip.mp4?start={end}&end={start}"), 400, "end must be after start"),
        (format!("vod.m3u8?start={end}&end={start}"), 400, "end must be after start"),
        (format!("fragments?start={end}&end={start}"), 400, "end must be after start"),
        (
            format!("clip.mp4?start={}&end={end}&source=kvs", ago(100_000)),
            400,
            "end must be at most 24 hours after start",
        ),
        (
            format!("clip.mp4?start={}&end={end}", ago(100_000)),
            400,
            "end must be at most 24 hours after start",
        ),
        (
            format!("clip.mp4?{range}&trimm=exact"),
            400,
            "there is no parameter \"trimm\" here: a clip takes start",
        ),
        (format!("clip.mp4?{range}&trimm=exact"), 400, "did you mean trim?"),
        (format!("clip.mp4?{range}&start=1"), 400, "start is given twice"),
        (format!("live.m3u8?{range}"), 400, "live playback takes clock, container, silence"),
        ("snapshot.jpg?width=320".to_owned(), 400, "height is required beside width"),
        (format!("link?to=clip&at={end}"), 400, "there is no parameter \"at\" here"),
        ("clip.avi".to_owned(), 404, "fragments, clip.mp4, clip.mkv, snapshot.jpg, snapshot.png"),
        (String::new(), 404, "GET has /streams, /streams/{name}"),
        (format!("clip.mp4?{old}"), 404, "start is older than the 24 h that cam-1 keeps"),
        (format!("snapshot.jpg?at={}", ago(90_000)), 404, "at is older than the 24 h that cam-1 keeps"),
    ];
    for (path, status, message) in table {
        let answer = edge.get(&format!("/streams/cam-1/{path}"), edge.alice()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.message().contains(message), "{path}: {}", answer.message());
        for member in ["Timestamp", "Pixels", "Selector"] {
            assert!(!answer.message().contains(member), "{path} names KVS's {member}: {}", answer.message());
        }
    }
}

#[tokio::test]
async fn a_space_between_date_and_time_is_taken_in_every_encoding() {
    let edge = Edge::start().await;
    let (start, end) = (ago(120), ago(60));
    for space in ["%20", "+"] {
        let (start, end) = (start.replace('T', space), end.replace('T', space));
        let answer =
            edge.get(&format!("/streams/cam-1/fragments?start={start}&end={end}"), edge.alice()).await;
        assert_eq!(answer.status, 200, "{space}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_name_that_no_stream_has_brings_the_nearest_that_the_caller_may_list() {
    let policies = r#"
        permit (principal == User::"alice", action, resource);
        permit (principal == User::"bob", action in Action::"View", resource);
    "#;
    let setup = Setup { policies: policies.into(), streams: "*".into(), ..Setup::default() };
    let edge = setup.start().await;
    for path in [
        "",
        "/clip.mp4?start=1767225600&end=1767225660",
        "/fragments?start=1767225600&end=1767225660",
        "/live.m3u8",
        "/snapshot.jpg",
    ] {
        let path = format!("/streams/cam1{path}");
        let answer = edge.get(&path, edge.alice()).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert_eq!(answer.message(), "there is no stream cam1; did you mean cam-1?", "{path}");
    }
    let unlisted = edge.get("/streams/cam1/live.m3u8", edge.bob()).await;
    assert_eq!(unlisted.status, 404, "{}", unlisted.text());
    assert!(!unlisted.message().contains("cam-1"), "{}", unlisted.message());
    let far = edge.get("/streams/garage", edge.alice()).await;
    assert!(far.status == 404 && !far.message().contains("mean"), "{}", far.message());
}

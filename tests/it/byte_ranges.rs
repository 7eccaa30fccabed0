//! Ranges, conditions and HEAD (RFC 9110) over clips that are held and over clips that are still on their
//! way.

use crate::harness::{Answer, Edge};
use kvs_edge::kvs::Timestamp;
use serde_json::json;

async fn ask(edge: &Edge, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", edge.alice());
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    edge.http.send(method, &format!("{}{path}", edge.url), &all, String::new()).await
}

fn clip(ago: u64) -> String {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - ago;
    format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 10)
}

/// Asks for every kind of range; `grow` makes the clip one that is not held yet.
async fn table(edge: &Edge, paths: impl Fn(u64) -> String, grow: bool) {
    for (case, range) in
        ["bytes=0-99", "bytes=100-", "bytes=-100", "bytes=5-5", "bytes=0-1,5-6", "bytes=9999999999-"]
            .into_iter()
            .enumerate()
    {
        let path = paths(120 + 20 * case as u64);
        if grow {
            let trickle = json!({"kind": "trickle", "bytes_per_second": 500_000});
            edge.fault(json!({"operation": "GetClip", "fault": trickle, "times": 1})).await;
        } else {
            ask(edge, "GET", &path, &[]).await;
        }
        let part = ask(edge, "GET", &path, &[("range", range)]).await;
        let whole = ask(edge, "GET", &path, &[]).await;
        let length = whole.body.len();
        let expected = match case {
            0 => Some(0..100),
            1 => Some(100..length),
            2 => Some(length - 100..length),
            3 => Some(5..6),
            _ => None,
        };
        assert!(!part.broken, "{range}");
        match expected {
            Some(slice) => {
                assert_eq!(part.status, 206, "{range}");
                let shown = format!("bytes {}-{}/", slice.start, slice.end - 1);
                let total = part.header("content-range").unwrap().strip_prefix(shown.as_str()).unwrap();
                // Bytes that are here are not kept waiting for those that are not.
                assert!(total == length.to_string() || (grow && total == "*"), "{range}: {total}");
                assert_eq!(part.body, whole.body.slice(slice), "{range}");
            }
            None if case == 4 => {
                assert_eq!((part.status, &part.body), (200, &whole.body), "several ranges: everything");
            }
            None => {
                let shown = format!("bytes */{length}");
                // No clip of KVS is so long: the length of one that is not held is not asked for.
                let expected = if grow { None } else { Some(shown.as_str()) };
                assert_eq!((part.status, part.header("content-range")), (416, expected));
                assert!(part.body.is_empty());
            }
        }
        // Ranges are announced with the length only: a client that knows none would ask for many.
        assert_eq!(whole.header("accept-ranges").is_some(), whole.header("content-length").is_some());
        assert!(grow || whole.header("content-length").is_some());
    }
}

#[tokio::test]
async fn a_range_is_that_slice_of_a_clip_that_is_held() {
    let edge = Edge::start().await;
    table(&edge, clip, false).await;
    assert_eq!(edge.reached_by("GetClip").await, 6);
}

#[tokio::test]
async fn a_range_is_that_slice_of_a_clip_that_is_on_its_way() {
    let edge = Edge::start().await;
    table(&edge, clip, true).await;
    assert_eq!(edge.reached_by("GetClip").await, 6);
}

#[tokio::test]
async fn bytes_of_a_clip_on_its_way_leave_when_they_are_there() {
    let edge = Edge::start().await;
    let path = {
        let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
        format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 30)
    };
    let trickle = json!({"kind": "trickle", "bytes_per_second": 100_000});
    edge.fault(json!({"operation": "GetClip", "fault": trickle, "times": 1})).await;
    let whole = async {
        let answer = ask(&edge, "GET", &path, &[("range", "bytes=0-")]).await;
        (answer, std::time::Instant::now())
    };
    let early = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let answer = ask(&edge, "GET", &path, &[("range", "bytes=10-99")]).await;
        (answer, std::time::Instant::now())
    };
    let ((whole, last), (part, first)) = tokio::join!(whole, early);
    assert_eq!((whole.status, whole.broken), (200, false), "all of it, as it comes");
    assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 10-99/*")));
    assert_eq!(part.body, whole.body.slice(10..100));
    assert!(first + std::time::Duration::from_secs(1) < last, "it waited for the whole clip");
    assert_eq!(edge.reached_by("GetClip").await, 1);
}

#[tokio::test]
async fn conditions_and_head_save_the_body() {
    let edge = Edge::start().await;
    let path = clip(120);
    let fetched = ask(&edge, "GET", &path, &[]).await;
    let held = ask(&edge, "GET", &path, &[]).await;
    let etag = held.header("etag").unwrap().to_owned();
    assert!(etag.starts_with('"'), "a strong one: {etag}");
    let head = ask(&edge, "HEAD", &path, &[]).await;
    let length = fetched.body.len().to_string();
    assert_eq!((head.status, head.header("content-length")), (200, Some(length.as_str())));
    assert_eq!((head.header("etag"), head.body.len()), (Some(etag.as_str()), 0));
    let unchanged = ask(&edge, "GET", &path, &[("if-none-match", &etag)]).await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header("etag"), Some(etag.as_str()));
    let other = ask(&edge, "GET", &path, &[("if-none-match", "\"other\"")]).await;
    assert_eq!((other.status, &other.body), (200, &fetched.body));
    let same = ask(&edge, "GET", &path, &[("range", "bytes=0-9"), ("if-range", &etag)]).await;
    assert_eq!((same.status, same.body.len()), (206, 10));
    let changed = ask(&edge, "GET", &path, &[("range", "bytes=0-9"), ("if-range", "\"other\"")]).await;
    assert_eq!((changed.status, &changed.body), (200, &fetched.body));
    assert_eq!(held.header("cache-control"), Some("private, no-cache"), "its address is no credential");
    assert!(held.header("age").is_some());
    let unwanted = ask(&edge, "GET", &path, &[("if-match", "\"other\"")]).await;
    assert_eq!((unwanted.status, unwanted.header("cache-control")), (412, Some("no-store")));
    let name = held.header("content-disposition").unwrap();
    assert!(name.starts_with("attachment; filename=\"cam-1_") && name.ends_with(".mp4\""), "{name}");
    // The head leaves ahead of the body, which is stored once it is whole.
    assert!(fetched.header("cache-status").unwrap().starts_with("kvs-edge; fwd=uri-miss"));
    assert_eq!(edge.reached_by("GetClip").await, 1);
}

#[tokio::test]
async fn what_is_on_its_way_is_not_said_to_be_stored() {
    let edge = Edge::start().await;
    let trickle = json!({"kind": "trickle", "bytes_per_second": 400_000});
    edge.fault(json!({"operation": "GetClip", "fault": trickle, "times": 1})).await;
    let path = clip(120);
    let first = ask(&edge, "GET", &path, &[]).await;
    assert_eq!((first.status, first.header("cache-status")), (200, Some("kvs-edge; fwd=uri-miss")));
    let held = ask(&edge, "GET", &path, &[]).await;
    assert_eq!(held.header("cache-status"), Some("kvs-edge; hit"));
}

#[tokio::test]
async fn neither_head_nor_a_range_that_no_body_reaches_costs_a_clip() {
    let edge = Edge::start().await;
    let path = clip(120);
    let head = ask(&edge, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.header("content-type")), (200, Some("video/mp4")));
    assert_eq!((head.header("content-length"), head.header("etag")), (None, None), "KVS alone knows them");
    for range in ["bytes=-0", "bytes=999999999-", "bytes=999999999-9999999999"] {
        let beyond = ask(&edge, "GET", &path, &[("range", range)]).await;
        assert_eq!((beyond.status, beyond.header("cache-control")), (416, Some("no-store")), "{range}");
        let picture = format!("/streams/cam-1/snapshot.jpg?at={}", 1_700_000_000);
        assert_eq!(ask(&edge, "GET", &picture, &[("range", range)]).await.status, 416, "{range}");
    }
    assert_eq!((edge.reached_by("GetClip").await, edge.reached_by("GetImages").await), (0, 0));
    let whole = ask(&edge, "GET", &path, &[]).await;
    let length = whole.body.len().to_string();
    assert_eq!(ask(&edge, "HEAD", &path, &[]).await.header("content-length"), Some(length.as_str()));
    let behind = ask(&edge, "GET", &path, &[("range", "bytes=999999999-")]).await;
    let end = format!("bytes */{length}");
    assert_eq!((behind.status, behind.header("content-range")), (416, Some(end.as_str())));
    assert_eq!(edge.reached_by("GetClip").await, 1);
}

#[tokio::test]
async fn a_clip_that_may_still_change_is_not_said_to_be_kept() {
    let edge = Edge::start().await;
    let fresh = ask(&edge, "GET", &clip(20), &[]).await;
    assert_eq!(fresh.status, 200, "{}", fresh.text());
    assert_eq!(fresh.header("cache-control"), Some("private, no-cache"));
    assert!(!fresh.header("cache-status").unwrap().contains("stored"));
}

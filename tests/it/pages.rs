//! Snapshots and footage fetched ahead: what plain addresses give, and what they cost KVS.

use crate::harness::{Edge, Setup};
use kvs_edge::kvs::Timestamp;
use kvs_edge_emulator::{Producer, Timing};
use serde_json::{Value, json};

#[tokio::test]
async fn twenty_who_look_at_one_camera_cost_one_picture_per_interval() {
    let edge = Edge::start().await;
    edge.fault(json!({"operation": "GetImages", "fault": {"kind": "delay", "millis": 200}})).await;
    let mut looking = tokio::task::JoinSet::new();
    for who in 0..20 {
        let bearer = format!("Bearer {}", edge.token(&format!("viewer-{who}"), &["investigators"]));
        let (http, url) = (edge.http.clone(), format!("{}/streams/cam-1/snapshot.jpg", edge.url));
        looking.spawn(async move { http.get(&url, &[("authorization", &bearer)]).await });
    }
    for picture in looking.join_all().await {
        assert_eq!((picture.status, picture.header("content-type")), (200, Some("image/jpeg")));
        assert!(picture.body.starts_with(&[0xff, 0xd8]) && !picture.broken);
    }
    // They may lie on both sides of the edge of an interval.
    assert!(edge.reached_by("GetImages").await <= 2);
}

#[tokio::test]
async fn the_newest_picture_is_found_while_a_long_fragment_is_on_its_way() {
    let edge = Edge::start().await;
    let now = Timestamp::from(kvs_edge::base::clock::now()).millis() as f64 / 1000.0;
    let url = format!("{}/_emulator/streams/cam-1", edge.emulator.url());
    // What is complete began some 33 s ago, as when a fragment of 20 s is followed by another one.
    let gap = json!({"gap": {"from": now - 31.0, "to": now + 600.0}});
    assert!(edge.http.post(&url, &[], gap.to_string()).await.status < 300);
    let picture = edge.get("/streams/cam-1/snapshot.jpg?max_age=0", edge.alice()).await;
    assert_eq!(picture.status, 200, "{}", picture.text());
    let shown = Timestamp::parse(picture.header("kvs-edge-image-time").unwrap()).unwrap();
    assert!((28.0..44.0).contains(&(now - shown.millis() as f64 / 1000.0)), "{shown}");
    assert_eq!(edge.reached_by("GetImages").await, 1);
}

/// Each instant of half a minute, of fragments that last up to 20 s: a picture, of which KVS made no more than were
/// shown.
#[tokio::test]
async fn every_instant_of_long_fragments_has_its_picture_and_costs_one() {
    for timing in [Timing::Regular, Timing::Jitter, Timing::Varied] {
        let mut setup = Setup::default();
        let producer = Producer { timing, ..Producer::default() };
        setup.emulator.producers = [("cam-1".to_owned(), producer)].into();
        let edge = setup.start().await;
        let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
        for step in 0..12 {
            let at = end - 3 * step;
            let path = format!("/streams/cam-1/snapshot.jpg?at={at}&width=64&height=36");
            let picture = edge.get(&path, edge.alice()).await;
            assert_eq!(picture.status, 200, "{timing:?}, {at}: {}", picture.text());
            let shown = Timestamp::parse(picture.header("kvs-edge-image-time").unwrap()).unwrap();
            assert!(at * 1000 - shown.millis() < 2000, "{timing:?}, {at}: {shown}");
        }
        assert_eq!(edge.metric("kvs_edge_upstream_images_total", &[]).await, 12.0, "{timing:?}");
    }
}

#[tokio::test]
async fn a_picture_comes_as_png_too() {
    let edge = Edge::start().await;
    let at = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 200;
    let path = format!("/streams/cam-1/snapshot.png?at={at}&width=64&height=36");
    let picture = edge.get(&path, edge.alice()).await;
    assert_eq!(
        (picture.status, picture.header("content-type")),
        (200, Some("image/png")),
        "{}",
        picture.text()
    );
    assert!(picture.body.starts_with(b"\x89PNG\r\n\x1a\n"));
    let link = edge
        .get(&format!("/streams/cam-1/link?to=snapshot.png&at={at}&width=64&height=36"), edge.alice())
        .await;
    let url = link.json()["url"].as_str().unwrap().replacen("http://edge.test", &edge.url, 1);
    assert!(url.contains("/image/v1/") && url.ends_with("/snapshot.png"), "{url}");
    assert_eq!(edge.http.get(&url, &[]).await.body, picture.body);
}

#[tokio::test]
async fn a_picture_of_an_instant_is_the_nearest_before_it_and_none_is_a_404_with_advice() {
    let edge = Edge::start().await;
    let at = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 200;
    let path = format!("/streams/cam-1/snapshot.jpg?at={at}&width=320&height=180");
    let picture = edge.get(&path, edge.alice()).await;
    assert_eq!(picture.status, 200, "{}", picture.text());
    let shown = Timestamp::parse(picture.header("kvs-edge-image-time").unwrap()).unwrap();
    assert!(shown.millis() <= at * 1000 && shown.millis() + 24_000 >= at * 1000, "{shown}");
    assert_eq!(edge.get(&path, edge.alice()).await.header("cache-status"), Some("kvs-edge; hit"));
    assert_eq!(edge.reached_by("GetImages").await, 1);
    let long_ago = edge.get("/streams/cam-1/snapshot.jpg?at=1000000000", edge.alice()).await;
    assert_eq!((long_ago.status, long_ago.kind()), (404, "ResourceNotFoundException"));
    assert!(long_ago.message().contains("/streams/cam-1/fragments"), "{}", long_ago.message());
    let head = edge
        .http
        .send(
            "HEAD",
            &format!("{}{path}", edge.url),
            &[("authorization", &format!("Bearer {}", edge.alice()))],
            String::new(),
        )
        .await;
    let length = picture.body.len().to_string();
    assert_eq!((head.status, head.header("content-length")), (200, Some(length.as_str())));
}

async fn warmed(edge: &Edge, wish: Value) -> Value {
    let url = format!("{}/cache/warm", edge.admin);
    let begun = edge.http.post(&url, &[], wish.to_string()).await;
    assert_eq!(begun.status, 200, "{}", begun.text());
    let id = begun.json()["id"].clone();
    let find = || async {
        let jobs = edge.http.get(&url, &[]).await.json();
        jobs.as_array().unwrap().iter().find(|job| job["id"] == id).unwrap().clone()
    };
    edge.until("it is warm", || async {
        !["waiting", "running"].contains(&find().await["state"].as_str().unwrap())
    })
    .await;
    find().await
}

#[tokio::test]
async fn what_was_warmed_is_there_when_its_viewer_comes() {
    let edge = Setup::default().start().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let start = end - 20;
    let job = warmed(&edge, json!({"stream": "cam-1", "start": start, "end": end, "what": "clip"})).await;
    let fragments = job["objects"].as_u64().unwrap();
    assert!(fragments >= 10, "{job}");
    assert_eq!((job["state"].as_str(), job["done"].as_u64()), (Some("done"), Some(fragments)), "{job}");
    let list =
        edge.get(&format!("/streams/cam-1/fragments?start={start}&end={end}"), edge.alice()).await.json();
    let numbers: Vec<&Value> =
        list["fragments"].as_array().unwrap().iter().map(|row| &row["number"]).collect();
    let calls = edge.reached_by("GetMediaForFragmentList").await;
    assert_eq!(calls, 2, "8 fragments, then the rest");
    let wanted = json!({"StreamName": "cam-1", "Fragments": numbers});
    let media = edge.call("/getMediaForFragmentList", edge.alice(), &wanted).await;
    assert_eq!(media.header("cache-status"), Some("kvs-edge; hit"));
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, calls);
    // The range has the fragment that covers its start too.
    assert_eq!(numbers.len() as u64 + 1, fragments, "{job}");
    assert!(job["bytes"].as_u64().unwrap() > media.body.len() as u64, "{job}");
    let again = warmed(&edge, json!({"stream": "cam-1", "start": start, "end": end, "what": "clip"})).await;
    assert_eq!((again["done"].as_u64(), again["bytes"].as_u64()), (Some(fragments), Some(0)), "{again}");
    let job = warmed(&edge, json!({"stream": "cam-1", "start": start, "end": end, "what": "hls"})).await;
    assert_eq!((job["state"].as_str(), job["failed"].as_u64()), (Some("done"), Some(0)), "{job}");
    // Playlists and segments are made of the fragments that clips are made of.
    assert_eq!((job["objects"].as_u64(), job["bytes"].as_u64()), (Some(fragments), Some(0)), "{job}");
    let master = edge.play(&format!("/streams/cam-1/vod.m3u8?start={start}&end={end}"), edge.alice()).await;
    let folder = master.rsplit_once('/').unwrap().0;
    let text = edge.http.get(&master, &[]).await.text();
    let media = text.lines().find(|line| line.starts_with("getHLSMediaPlaylist")).unwrap();
    let text = edge.http.get(&format!("{folder}/{media}"), &[]).await.text();
    let first = text.lines().find(|line| line.starts_with("v1-")).unwrap();
    let fragment = edge.http.get(&format!("{folder}/{first}"), &[]).await;
    assert_eq!((fragment.status, fragment.header("cache-status")), (200, Some("kvs-edge; hit")));
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, calls);
}

#[tokio::test]
async fn a_wish_that_cannot_be_is_refused_in_words() {
    let edge = Edge::start().await;
    let url = format!("{}/cache/warm", edge.admin);
    for (wish, expected) in [
        (json!({}), "stream is missing"),
        (json!({"stream": "cam-1", "start": 5, "end": 9, "what": "everything"}), "clip or hls"),
        (json!({"stream": "cam-1", "start": "soon", "end": 9, "what": "clip"}), "start must be"),
    ] {
        let refused = edge.http.post(&url, &[], wish.to_string()).await;
        assert_eq!(refused.status, 422, "{wish}");
        assert!(refused.text().contains(expected), "{wish}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_picture_of_the_interval_before_is_shown_while_one_refresh_runs() {
    let edge = Edge::start().await;
    // KVS is asked once in each of these, whoever looks and however often.
    let interval = || Timestamp::from(kvs_edge::base::clock::now()).millis() / 2000;
    let before = interval();
    let path = "/streams/cam-1/snapshot.jpg?max_age=6";
    assert_eq!(edge.get(path, edge.alice()).await.status, 200);
    edge.fault(json!({"operation": "GetImages", "fault": {"kind": "delay", "millis": 400}})).await;
    edge.until("the picture is of the interval before", || async {
        edge.get(path, edge.alice()).await.header("cache-status").unwrap().contains("stale")
    })
    .await;
    let mut looking = tokio::task::JoinSet::new();
    for who in 0..20 {
        let bearer = format!("Bearer {}", edge.token(&format!("viewer-{who}"), &["investigators"]));
        let (http, url) = (edge.http.clone(), format!("{}{path}", edge.url));
        looking.spawn(async move { http.get(&url, &[("authorization", &bearer)]).await });
    }
    for picture in looking.join_all().await {
        assert_eq!(picture.status, 200, "{}", picture.text());
        assert!(picture.body.starts_with(&[0xff, 0xd8]) && !picture.broken);
    }
    assert!(edge.reached_by("GetImages").await <= interval() - before + 1);
}

#[tokio::test]
async fn a_purge_cancels_what_is_being_warmed() {
    let edge = Edge::start().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let arn = edge.get("/streams/cam-1", edge.alice()).await.json()["arn"].as_str().unwrap().to_owned();
    edge.fault(
        json!({"operation": "GetMediaForFragmentList", "fault": {"kind": "trickle", "bytes_per_second": 1000},
            "times": 1}),
    )
    .await;
    let url = format!("{}/cache/warm", edge.admin);
    let wish = json!({"stream": "cam-1", "start": end - 20, "end": end, "what": "clip"});
    assert_eq!(edge.http.post(&url, &[], wish.to_string()).await.status, 200);
    edge.until("KVS is asked", || async { edge.reached_by("GetMediaForFragmentList").await == 1 }).await;
    let purged =
        edge.http.post(&format!("{}/cache/purge?stream={arn}", edge.admin), &[], String::new()).await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    let jobs = edge.http.get(&url, &[]).await.json();
    assert_eq!(jobs[0]["state"].as_str(), Some("canceled"), "{jobs}");
    // What it had fetched is gone with it.
    let lists = edge.reached_by("ListFragments").await;
    let job = warmed(&edge, wish).await;
    assert_eq!((job["state"].as_str(), job["failed"].as_u64()), (Some("done"), Some(0)), "{job}");
    assert!(edge.reached_by("ListFragments").await > lists);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 3, "one that was canceled, and two");
}

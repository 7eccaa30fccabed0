//! One caller must not take what belongs to all: places for playback sessions, turns under the quotas of KVS, and
//! the memory that playlists take.

use crate::harness::{Answer, Edge, Setup};
use crate::playback::{beside, load};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::JoinSet;

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis()
}

/// A session of footage that KVS packages, from `start` on, in milliseconds.
fn footage(start: u64) -> Value {
    let seconds = |millis: u64| millis as f64 / 1000.0;
    let range = json!({"StartTimestamp": seconds(start), "EndTimestamp": seconds(start + 60_000)});
    json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "ContainerFormat": "MPEG_TS",
        "HLSFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}})
}

/// Somebody else, who may do as much.
fn carol(edge: &Edge) -> String {
    edge.token("carol", &["investigators"])
}

async fn open(edge: &Edge, token: &str, start: u64) -> Answer {
    edge.call("/getHLSStreamingSessionURL", token, &footage(start)).await
}

/// The playlist of an opened session: from now on it has a viewer.
async fn watch(edge: &Edge, opened: &Answer) {
    let url =
        opened.json()["HLSStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", &edge.url);
    load(edge, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_opens_ranges_without_end_leaves_playback_to_others() {
    let setup = Setup::default().setting("SESSIONS__MOST", "6").setting("SESSIONS__MOST_PER_CALLER", "4");
    let edge = setup.start().await;
    let (alice, start) = (edge.alice(), now() - 600_000);
    for n in 0..40 {
        assert_eq!(open(&edge, &alice, start + n).await.status, 200);
    }
    let live = edge.play("/streams/cam-1/live.m3u8", carol(&edge)).await;
    load(&edge, &live).await;
    // Sessions that are watched are not closed for another one of their caller: that one is refused.
    for n in 0..4 {
        watch(&edge, &open(&edge, &alice, start + n).await).await;
    }
    let refused = open(&edge, &alice, start + 5).await;
    assert_eq!((refused.status, refused.kind()), (429, "ThrottlingException"), "{}", refused.text());
    assert!(refused.message().contains("4 playback sessions"), "{}", refused.message());
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(open(&edge, &carol(&edge), start + 5).await.status, 200);
    load(&edge, &live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_takes_no_place() {
    let edge = Setup::default().setting("SESSIONS__MOST", "2").start().await;
    let start = now() - 600_000;
    edge.fault(json!({"operation": "GetHLSStreamingSessionURL", "fault": {"kind": "no_data"}})).await;
    for n in 0..20 {
        assert_eq!(open(&edge, &edge.alice(), start + n).await.status, 404);
    }
    edge.clear_faults().await;
    let sessions = edge.http.get(&format!("{}/sessions", edge.admin), &[]).await;
    assert!(!sessions.text().contains("ON_DEMAND"), "{}", sessions.text());
    let live = edge.play("/streams/cam-1/live.m3u8", carol(&edge)).await;
    load(&edge, &live).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_of_one_caller_wait_behind_each_other_and_not_in_front_of_another() {
    let edge = Arc::new(Edge::start().await);
    let start = now() - 600_000;
    let mut flood = JoinSet::new();
    for n in 0..200 {
        let (edge, alice) = (edge.clone(), edge.alice());
        flood.spawn(async move { open(&edge, &alice, start + n).await.status });
    }
    tokio::task::yield_now().await;
    // Ten at a time are fewer than what KVS allows a second: none of them has to wait long.
    let mut others = JoinSet::new();
    for n in 0..10 {
        let (edge, carol) = (edge.clone(), carol(&edge));
        others.spawn(async move { open(&edge, &carol, start - 100_000 - n).await.status });
    }
    let others = others.join_all().await;
    assert!(others.iter().all(|status| *status == 200), "{others:?}");
    let flood = flood.join_all().await;
    assert!(flood.iter().all(|status| [200, 429].contains(status)), "{flood:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn days_of_footage_of_one_caller_leave_room_for_the_hour_of_another() {
    let mut setup = Setup::default();
    setup.emulator.retention_hours = 74;
    setup.emulator.history_hours = 73;
    let edge = Arc::new(setup.start().await);
    let end = now() / 1000 - 90;
    let long = |n: u64| format!("/streams/cam-1/vod.m3u8?start={}&end={}", end - 70 * 3600 + n, end);
    let mut flood = JoinSet::new();
    for n in 0..6 {
        let (edge, path, alice) = (edge.clone(), long(n), edge.alice());
        flood.spawn(async move { edge.get(&path, &alice).await.status });
    }
    tokio::task::yield_now().await;
    let hour = format!("/streams/cam-1/vod.m3u8?start={}&end={end}", end - 3600);
    let url = edge.play(&hour, carol(&edge)).await;
    load(&edge, &beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1")).await;
    let flood = flood.join_all().await;
    assert!(flood.iter().all(|status| [302, 429].contains(status)), "{flood:?}");
    // A long playlist is kept compressed, and is the same text for clients that take gzip and for others.
    let url = edge.play(&long(0), edge.alice()).await;
    let playlist = beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let plain = load(&edge, &playlist).await;
    let gzip = edge.http.get(&playlist, &[("accept-encoding", "gzip")]).await;
    assert_eq!((gzip.status, gzip.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(plain.header("content-length"), Some(&*plain.body.len().to_string()));
    assert!(plain.text().ends_with("#EXT-X-ENDLIST\n") && plain.body.len() > 6 * gzip.body.len());
    let tag = plain.header("etag").unwrap();
    let known = edge.http.get(&playlist, &[("if-none-match", tag)]).await;
    assert_eq!((known.status, known.body.len()), (304, 0));
}

//! What KVS refuses: an address that one viewer made up costs nobody else anything, a session that has ended is replaced
//! at once.

use crate::harness::{Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

fn sessions() -> Vec<(&'static str, Value)> {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
    let range = json!({"FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": end - 60, "EndTimestamp": end}});
    let replay =
        json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": end - 60}});
    vec![
        ("LIVE", json!({"StreamName": "cam-1", "PlaybackMode": "LIVE"})),
        (
            "LIVE_REPLAY",
            json!({"StreamName": "cam-1", "PlaybackMode": "LIVE_REPLAY", "HLSFragmentSelector": replay}),
        ),
        (
            "ON_DEMAND",
            json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": range}),
        ),
    ]
}

/// A session's folder.
async fn open(edge: &Edge, call: &Value) -> String {
    let mut call = call.clone();
    call["DiscontinuityMode"] = "ON_DISCONTINUITY".into();
    let answer = edge.call("/getHLSStreamingSessionURL", edge.alice(), &call).await;
    let url =
        answer.json()["HLSStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", &edge.url);
    assert_eq!(edge.http.get(&url, &[]).await.status, 200);
    url.rsplit_once('/').unwrap().0.to_owned()
}

async fn playlist(edge: &Edge, folder: &str) -> String {
    edge.http.get(&format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1"), &[]).await.text()
}

fn listed(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_fragment_that_is_in_no_session_costs_everybody_elses_nothing() {
    let edge = Setup::default().setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    for (mode, call) in sessions() {
        let folder = open(&edge, &call).await;
        let text = playlist(&edge, &folder).await;
        let number: u128 = listed(&text)[0]
            .split("FragmentNumber=")
            .nth(1)
            .unwrap()
            .split('&')
            .next()
            .unwrap()
            .get(10..)
            .unwrap()
            .parse()
            .unwrap();
        let digits = listed(&text)[0].split("FragmentNumber=").nth(1).unwrap()[..10].to_owned();
        let absent = format!(
            "{folder}/getMP4MediaFragment.mp4?FragmentNumber={digits}{:037}&TrackNumber=1",
            number - 1
        );
        let (opened, asked) = (
            edge.reached_by("GetHLSStreamingSessionURL").await,
            edge.reached_by("GetMP4MediaFragment").await,
        );
        for _ in 0..2 {
            // A session is no longer young after two seconds.
            tokio::time::sleep(Duration::from_millis(2200)).await;
            for _ in 0..10 {
                assert_eq!(edge.http.get(&absent, &[]).await.status, 404, "{mode}");
            }
        }
        let text = playlist(&edge, &folder).await;
        assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{mode}: {text}");
        assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, opened, "{mode}");
        // Once per memory, and what is fetched ahead of live viewers.
        assert!(edge.reached_by("GetMP4MediaFragment").await <= asked + 6, "{mode}");
    }
}

#[tokio::test]
async fn a_session_that_ends_in_its_first_moments_is_replaced_within_the_request() {
    let edge = Setup::default().setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    for (mode, call) in sessions().into_iter().filter(|(mode, _)| *mode != "LIVE_REPLAY") {
        let folder = open(&edge, &call).await;
        let listed = listed(&playlist(&edge, &folder).await);
        // Beyond what was fetched ahead.
        let fragment = if mode == "LIVE" { &listed[listed.len() - 3] } else { &listed[20] };
        let plan =
            json!({"operation": "*", "stream": "cam-1", "fault": {"kind": "expire_sessions"}, "times": 1});
        edge.fault(plan).await;
        let answer = edge.http.get(&format!("{folder}/{fragment}"), &[]).await;
        assert_eq!(answer.status, 200, "{mode}: {}", answer.text());
    }
}

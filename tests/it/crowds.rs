//! Crowds: any number of viewers cost KVS what one does. Short here; `KVS_EDGE_CROWD=full` makes them 500
//! viewers for five minutes and 100 viewers of an hour (`KVS_EDGE_CROWD_SECONDS` for another length), told
//! with `--no-capture`.

#[path = "../load/viewer.rs"]
mod viewer;

use crate::harness::{Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::Value;
use std::time::{Duration, Instant};
use viewer::{Shared, Viewer};

/// How many viewers, for how many seconds: short, or full.
fn size(short: (u32, u64), full: (u32, u64)) -> (u32, u64) {
    if std::env::var("KVS_EDGE_CROWD").is_ok_and(|word| word == "full") {
        let seconds = std::env::var("KVS_EDGE_CROWD_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        (full.0, seconds.unwrap_or(full.1))
    } else {
        short
    }
}

/// An edge for whom a crowd may come from one address.
async fn edge() -> Edge {
    Setup::default().setting("LIMITS__CONNECTIONS_PER_ADDRESS", "10000").start().await
}

/// A segment of a session, or a fragment that is packaged here.
fn is_fragment(name: &str) -> bool {
    name.starts_with("getMP4MediaFragment") || name.starts_with("fragment ")
}

/// No fragment was fetched twice; gives how many there were.
fn each_fetched_once(reached: &Value) -> usize {
    let resources = reached["resources"].as_object().unwrap();
    let fragments: Vec<_> = resources.iter().filter(|(name, _)| is_fragment(name)).collect();
    for (name, times) in &fragments {
        assert_eq!(**times, 1, "{name} was fetched more than once");
    }
    fragments.len()
}

async fn no_throttles(edge: &Edge) {
    assert_eq!(edge.metric("kvs_edge_upstream_throttled_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_viewers_are_one_to_kvs() {
    let (viewers, seconds) = size((60, 12), (500, 300));
    let edge = edge().await;
    let master = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let mut masters = Vec::new();
    for name in 0..viewers {
        let token = edge.token(&format!("viewer-{name}"), &["investigators"]);
        masters.push(edge.play("/streams/cam-1/live.m3u8", token).await);
    }
    let seen = Shared::default();
    let begun = Instant::now();
    let until = begun + Duration::from_secs(seconds);
    let mut crowd = tokio::task::JoinSet::new();
    for (place, master) in masters.into_iter().enumerate() {
        let viewer = Viewer::new(seen.clone());
        crowd.spawn(async move {
            // Players do not start together.
            tokio::time::sleep(Duration::from_millis(place as u64 % 2000)).await;
            viewer.live(master, until).await;
        });
    }
    crowd.join_all().await;
    no_throttles(&edge).await;
    let reached = edge.reached().await;
    let seen = seen.lock().unwrap();
    assert!(seen.failures.is_empty(), "{:?}", &seen.failures[..seen.failures.len().min(5)]);
    let fragments = each_fetched_once(&reached);
    assert!(
        seen.fragments.len() > fragments * viewers as usize / 2,
        "{} of {fragments}",
        seen.fragments.len()
    );
    assert_eq!(reached["total"]["GetHLSStreamingSessionURL"]["requests"], 1);
    let polls = reached["total"]["GetHLSMediaPlaylist"]["requests"].as_u64().unwrap();
    let most = 2 * (begun.elapsed().as_secs() + 2);
    assert!(polls <= most, "{polls} playlist loads on two tracks in {:?}", begun.elapsed());
    println!(
        "{viewers} viewers, {seconds} s: {} fragments to viewers, {fragments} from KVS, {polls} playlist loads for {} polls, first byte p50 {:.1} p99 {:.1} ms, behind the first viewer p99 {:.1} ms",
        seen.fragments.len(),
        seen.playlists,
        seen.first_byte(0.5),
        seen.first_byte(0.99),
        seen.behind_first(0.99),
    );
    drop(master);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_at_different_places_of_an_hour_gets_each_fragment_fetched_once() {
    let (viewers, seconds) = size((30, 12), (100, 240));
    let edge = edge().await;
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let path = format!("/streams/cam-1/vod.m3u8?start={}&end={end}", end - 3600);
    let seen = Shared::default();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut crowd = tokio::task::JoinSet::new();
    for name in 0..viewers {
        let token = edge.token(&format!("viewer-{name}"), &["investigators"]);
        let master = edge.play(&path, token).await;
        // Spread evenly, in no order.
        let place = f64::from(name * 37 % viewers) / f64::from(viewers);
        crowd.spawn(Viewer::new(seen.clone()).footage(master, place, until));
    }
    crowd.join_all().await;
    no_throttles(&edge).await;
    let reached = edge.reached().await;
    let seen = seen.lock().unwrap();
    assert!(seen.failures.is_empty(), "{:?}", &seen.failures[..seen.failures.len().min(5)]);
    let fragments = each_fetched_once(&reached);
    assert!(fragments > viewers as usize * 3, "{fragments}");
    assert_eq!(reached["total"]["GetHLSStreamingSessionURL"], Value::Null);
    let calls = reached["total"]["GetMediaForFragmentList"]["requests"].as_u64().unwrap();
    assert!(calls as usize <= viewers as usize * 2 + fragments / 4, "{calls} calls for {fragments}");
    println!(
        "{viewers} viewers, {seconds} s: {} segments to viewers, {fragments} fragments from KVS in {calls} calls, first byte p50 {:.1} p99 {:.1} ms",
        seen.fragments.len(),
        seen.first_byte(0.5),
        seen.first_byte(0.99),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn live_is_at_most_one_playlist_interval_older_than_at_kvs() {
    let (_, seconds) = size((1, 14), (1, 120));
    let edge = edge().await;
    let ours = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    // The same session parameters, straight from the emulator.
    let request = kvs_session(&edge).await;
    let (through, direct) = (Shared::default(), Shared::default());
    let until = Instant::now() + Duration::from_secs(seconds);
    tokio::join!(
        Viewer::new(through.clone()).live(ours, until),
        Viewer::new(direct.clone()).live(request, until),
    );
    let (through, direct) = (through.lock().unwrap(), direct.lock().unwrap());
    assert!(through.ages.len() >= 8 && direct.ages.len() >= 8);
    println!(
        "age of a fragment when it is here, {seconds} s: through kvs-edge p50 {:.0} p90 {:.0} ms, at the emulator p50 {:.0} p90 {:.0} ms",
        through.age(0.5),
        through.age(0.9),
        direct.age(0.5),
        direct.age(0.9),
    );
    assert!(through.age(0.5) <= direct.age(0.5) + 1000.0 + 250.0, "{} {}", through.age(0.5), direct.age(0.5));
}

/// A master playlist of the emulator's own.
async fn kvs_session(edge: &Edge) -> String {
    use kvs_edge::aws::sign::Signer;
    let body = r#"{"StreamName":"cam-1","PlaybackMode":"LIVE","DisplayFragmentTimestamp":"ALWAYS","DiscontinuityMode":"ON_DISCONTINUITY"}"#;
    let mut request = http::Request::post(format!("{}/getHLSStreamingSessionURL", edge.emulator.url()))
        .header("content-type", "application/json")
        .body(bytes::Bytes::from_static(body.as_bytes()))
        .unwrap();
    let keys = aws_credential_types::Credentials::from_keys("AKIDEMULATOR", "emulator-secret", None);
    let signer = Signer::new("eu-west-1", "kinesisvideo");
    signer.sign(&mut request, body.as_bytes(), &keys, std::time::SystemTime::now()).unwrap();
    edge.http.exchange(request).await.json()["HLSStreamingSessionURL"].as_str().unwrap().to_owned()
}

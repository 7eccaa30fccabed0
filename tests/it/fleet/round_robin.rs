//! Four replicas behind a balancer that sends each request to the next one: players must not notice, and KVS
//! must see one client.

use super::fleet::{Fleet, dash, hls, play};
use crate::harness::redis::Redis;
use std::time::{Duration, Instant};

/// Longer with `FLEET_SECONDS`.
fn lasts() -> Duration {
    let seconds = std::env::var("FLEET_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(12))
}

#[tokio::test(flavor = "multi_thread")]
async fn players_that_are_sent_to_another_replica_each_time_see_one_stream_and_kvs_one_client() {
    let redis = Redis::cluster().await;
    let fleet = Fleet::start(redis.settings(""), 4).await;
    let (first, second) = (hls(&fleet, "cam-1").await, dash(&fleet, "cam-2").await);
    let began = Instant::now();
    let (hls, dash) = tokio::join!(
        play(&fleet, &first, lasts(), async |_| {}),
        play(&fleet, &second, lasts(), async |_| {})
    );
    let seconds = began.elapsed().as_secs();
    println!("HLS {hls:?}\nDASH {dash:?}");
    hls.assert_unnoticed();
    dash.assert_unnoticed();
    assert!(hls.steps >= 3 && dash.steps >= 3 && hls.compared >= 5);
    for (operation, most) in [
        ("GetHLSStreamingSessionURL", 1),
        ("GetDASHStreamingSessionURL", 1),
        ("GetHLSMediaPlaylist", seconds + 3),
        ("GetDASHManifest", seconds + 3),
    ] {
        let reached = fleet.edge.reached_by(operation).await;
        println!("{operation}: {reached}");
        assert!((1..=most).contains(&reached), "{operation}: {reached} in {seconds} s");
    }
    let reached = fleet.edge.reached().await;
    let fetched = reached["resources"].as_object().unwrap().iter();
    let fetched: Vec<_> = fetched.filter(|(name, _)| name.contains("MediaFragment")).collect();
    let again: Vec<_> = fetched.iter().filter(|(_, count)| count.as_u64() > Some(1)).collect();
    println!("{} fragments, fetched more than once: {again:?}", fetched.len());
    assert!(again.is_empty() && fetched.len() > 5, "{again:?} of {}", fetched.len());
    for key in redis.keys().await {
        assert!(key.starts_with("kvse:{") && !key.contains("cam-"), "{key}");
    }
}

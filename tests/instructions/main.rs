//! What a request costs, in instructions and allocations: a guard against growth that needs no quiet machine.
//!
//! The gateway runs under callgrind; what a hundred requests of one kind cost is compared with
//! `tests/instructions/bounds.json`. `make check` runs it with the `perf` profile, for which the bounds hold:
//!
//! ```text
//! cargo test --profile perf --test instructions -- --ignored --nocapture
//! ```
//!
//! More than 10 % above a bound fails. After a change that is worth its price, or that made something cheaper, write the
//! printed figures into the file, and say why in the commit.

#![allow(clippy::unwrap_used)] // a test that cannot go on says where by panicking
#![allow(dead_code, reason = "the client and the gateway are those of the attacks, which use more of them")]
#![allow(clippy::disallowed_methods, reason = "what is asked for depends on the clock")]

#[path = "../attack/client.rs"]
mod client;
mod counts;
#[path = "../attack/target.rs"]
mod target;

use client::{Answer, Client};
use counts::Counts;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};
use target::Target;

/// How many requests of each kind are counted.
const REQUESTS: usize = 100;
/// How much more than its bound a request may cost, in percent.
const MORE: u64 = 10;
/// How old the footage is, in seconds: enough to be kept.
const SETTLED: u64 = 3600;

#[tokio::test]
#[ignore = "takes minutes, and its bounds are those of an optimised build: part of make check"]
async fn a_request_costs_no_more_than_its_bound() {
    let target = Target::start_under(&["valgrind", "--tool=callgrind", "--quiet"]).await;
    let bounds: BTreeMap<String, Counts> = serde_json::from_str(include_str!("bounds.json")).unwrap();
    let measured = measure(&target).await;
    println!("{:<28} {:>14} {:>12} {:>14} {:>12}", "", "instructions", "allocations", "bound", "bound");
    let mut over = Vec::new();
    for (name, counts) in &measured {
        let bound = bounds.get(*name).copied().unwrap_or_default();
        println!(
            "{name:<28} {:>14} {:>12} {:>14} {:>12}",
            counts.instructions, counts.allocations, bound.instructions, bound.allocations
        );
        if counts.exceeds(bound, MORE) {
            over.push(*name);
        }
    }
    let written: BTreeMap<_, _> = measured.into_iter().collect();
    println!("{}", serde_json::to_string_pretty(&written).unwrap());
    assert!(over.is_empty(), "more than {MORE} % above the bound: {}", over.join(", "));
}

/// What one request of each kind costs.
async fn measure(target: &Target) -> Vec<(&'static str, Counts)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = target.user("alice");
    let client = target.client(2);
    let token = Some(token.as_str());
    let url = &target.url;
    let clip = |n: u64| {
        let end = now - SETTLED - 10 * n;
        format!("{url}/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 8)
    };
    let picture = format!("{url}/streams/cam-1/snapshot.jpg?at={}", now - SETTLED);
    let segment = segment(&client, url, token, now).await;
    let playlist = live_playlist(&client, url, token).await;
    let mut counted = Vec::new();
    let repeated = [("hit with a token", &clip(0), token), ("picture with a token", &picture, token)];
    let by_capability = [("segment with a capability", &segment, None), ("live playlist", &playlist, None)];
    for (name, path, token) in repeated.into_iter().chain(by_capability) {
        whole(&client, path, token).await;
        whole(&client, path, token).await;
        let before = target.counts();
        for _ in 0..REQUESTS {
            whole(&client, path, token).await;
        }
        counted.push((name, target.counts().since(before).per(REQUESTS)));
    }
    whole(&client, &clip(1), token).await;
    let before = target.counts();
    for n in 0..REQUESTS as u64 {
        whole(&client, &clip(2 + n), token).await;
    }
    counted.push(("miss", target.counts().since(before).per(REQUESTS)));
    let stranger = target.token("mallory", &[]);
    let before = target.counts();
    for _ in 0..REQUESTS {
        assert_eq!(client.get(&clip(0), Some(&stranger)).await.status, 403);
    }
    counted.push(("refusal", target.counts().since(before).per(REQUESTS)));
    counted
}

async fn whole(client: &Client, path: &str, token: Option<&str>) -> Answer {
    let answer = client.get(path, token).await;
    assert!(answer.is_whole(200), "{path}: {} {}", answer.status, answer.text());
    answer
}

/// The address of a segment of settled footage.
async fn segment(client: &Client, url: &str, token: Option<&str>, now: u64) -> String {
    let (start, end) = (now - SETTLED - 60, now - SETTLED);
    let opened = format!("{url}/streams/cam-1/vod.m3u8?start={start}&end={end}");
    let master = redirected(client, opened, token).await;
    let media = first_entry(client, &master).await;
    first_entry(client, &media).await
}

/// The address of a live media playlist.
async fn live_playlist(client: &Client, url: &str, token: Option<&str>) -> String {
    let master = redirected(client, format!("{url}/streams/cam-1/live.m3u8"), token).await;
    first_entry(client, &master).await
}

/// Follows one redirect.
async fn redirected(client: &Client, path: String, token: Option<&str>) -> String {
    let answer = client.get(&path, token).await;
    assert!((300..400).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    answer.header("location").to_owned()
}

/// The first address that a playlist lists.
async fn first_entry(client: &Client, playlist: &str) -> String {
    let answer = whole(client, playlist, None).await;
    let text = answer.text();
    let entry = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = entry.unwrap_or_else(|| panic!("{playlist} lists nothing: {text}"));
    if entry.starts_with("http") {
        return entry.to_owned();
    }
    if let Some(rooted) = entry.strip_prefix('/') {
        let host_ends = playlist[8..].find('/').map_or(playlist.len(), |at| at + 8);
        return format!("{}/{rooted}", &playlist[..host_ends]);
    }
    format!("{}/{entry}", playlist.rsplit_once('/').unwrap().0)
}

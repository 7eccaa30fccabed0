//! What one caller may take, and that nobody else feels it: 429 in words that every SDK understands.

use crate::harness::{Answer, Edge, Setup};
use kvs_edge::kvs::Timestamp;

fn limited(answer: &Answer, of: &str) {
    assert_eq!((answer.status, answer.kind()), (429, "ThrottlingException"), "{}", answer.text());
    assert!(answer.message().contains(of), "{}", answer.message());
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    let millis: u64 = answer.header("x-amz-retry-after").unwrap().parse().unwrap();
    assert!(seconds >= 1 && millis > 0 && millis.div_ceil(1000) == seconds, "{seconds} {millis}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

async fn counted(edge: &Edge) -> f64 {
    edge.metric("kvs_edge_requests_rejected_total", &["reason=\"rate\""]).await
}

fn settled(seconds: u64) -> (u64, u64) {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    (end - seconds, end)
}

#[tokio::test]
async fn requests_of_one_caller_are_bounded_and_another_one_is_not_held_up() {
    let edge = Setup::default().setting("RATES__REQUESTS", "1").setting("RATES__BURST", "8s").start().await;
    let mut answers = Vec::new();
    for _ in 0..40 {
        // A new token each time: the caller counts, not the token.
        answers.push(edge.get("/streams", edge.token("alice", &["investigators"])).await);
    }
    let passed = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((8..40).contains(&passed), "{passed}");
    limited(answers.iter().find(|answer| answer.status != 200).unwrap(), "requests");
    assert_eq!(counted(&edge).await, (40 - passed) as f64);
    assert_eq!(edge.get("/streams", edge.bob()).await.status, 200);
    assert_eq!(edge.get("/streams", "no-token").await.status, 401, "who is nobody is told so");
}

#[tokio::test]
async fn bytes_are_paid_for_after_a_download_which_is_never_cut() {
    let edge = Setup::default().setting("RATES__BYTES", "4KiB").setting("RATES__BURST", "1s").start().await;
    let (start, end) = settled(20);
    let path = format!("/streams/cam-1/clip.mp4?source=kvs&start={start}&end={end}");
    let whole = edge.get(&path, edge.alice()).await;
    assert!(whole.status == 200 && !whole.broken && whole.body.len() > 50_000, "{}", whole.body.len());
    let refused = edge.get(&path, edge.alice()).await;
    limited(&refused, "bytes");
    let owed = (whole.body.len() as u64 - 4096) / 4096;
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= owed + 1 && wait + 10 >= owed, "{wait} s for {owed}");
    let other = edge.get(&path, edge.token("carol", &["investigators"])).await;
    assert_eq!(other.body, whole.body, "the cache belongs to all, the debt to one");
}

#[tokio::test]
async fn points_are_charged_to_whoever_makes_kvs_be_asked() {
    let edge = Setup::default().setting("RATES__POINTS", "10").setting("RATES__BURST", "60s").start().await;
    // Taken once: a second later it would be another picture.
    let newest = settled(0).1;
    let at = |ago: u64| format!("/streams/cam-1/snapshot.jpg?at={}", newest - ago);
    let mut refused = None;
    for n in 0..10 {
        let answer = edge.get(&at(20 * n), edge.alice()).await;
        if answer.status != 200 {
            refused = Some((n, answer));
            break;
        }
    }
    let (pictures, refused) = refused.expect("ten pictures cost more than 600 points");
    assert!((1..=3).contains(&pictures), "{pictures}: one costs more than 400 points");
    limited(&refused, "points");
    assert_eq!(edge.get(&at(0), edge.alice()).await.status, 200, "what is held costs nothing");
    let asked = edge.reached_by("GetImages").await;
    let other = edge.token("carol", &["investigators"]);
    assert_eq!(edge.get(&at(20 * pictures), other).await.status, 200, "another one is asked for");
    assert_eq!(edge.reached_by("GetImages").await, asked + 1);
}

#[tokio::test]
async fn cameras_played_at_a_time_are_bounded() {
    let edge = Setup::default().setting("RATES__STREAMS", "1").start().await;
    let first = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let second = edge.play("/streams/cam-2/live.m3u8", edge.alice()).await;
    assert_eq!(edge.http.get(&first, &[]).await.status, 200);
    limited(&edge.http.get(&second, &[]).await, "cameras");
    assert_eq!(edge.http.get(&first, &[]).await.status, 200, "what plays goes on");
    let other = edge.play("/streams/cam-2/live.m3u8", edge.token("carol", &["investigators"])).await;
    assert_eq!(edge.http.get(&other, &[]).await.status, 200);
}

//! A purge that one replica is ordered reaches all replicas, also one that was cut off meanwhile, and footage
//! is withheld where that is wanted.

use crate::harness::redis::Redis;
use crate::harness::{Edge, Setup};
use kvs_edge::app::Running;
use kvs_edge::kvs::Timestamp;
use serde_json::json;
use std::time::{Duration, Instant};

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

async fn three(redis: &Redis, setup: Setup, more: &str) -> (Edge, Vec<(Running, String)>) {
    let setup = Setup { more: redis.settings(more), ..setup };
    let edge = setup.start().await;
    let others = vec![edge.another().await, edge.another().await];
    (edge, others)
}

async fn arn(edge: &Edge) -> String {
    let described = edge.get("/streams/cam-1", edge.alice()).await.json();
    described["arn"].as_str().or(described["StreamARN"].as_str()).expect("an ARN").to_owned()
}

/// One settled picture, at an address of a replica.
async fn clip(edge: &Edge, url: &str, start: u64) -> crate::harness::Answer {
    let range = json!({"StartTimestamp": start, "EndTimestamp": start + 6});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let body = json!({"StreamName": "cam-1", "ClipFragmentSelector": selector}).to_string();
    let bearer = format!("Bearer {}", edge.alice());
    edge.http.post(&format!("{url}/getClip"), &[("authorization", &bearer)], body).await
}

async fn purge(edge: &Edge, admin: &str) -> crate::harness::Answer {
    let arn = arn(edge).await.replace(':', "%3A").replace('/', "%2F");
    edge.http.post(&format!("{admin}/cache/purge?stream={arn}"), &[], String::new()).await
}

fn cached(answer: &crate::harness::Answer) -> bool {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.header("cache-status").is_some_and(|status| status.contains("hit"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_at_one_replica_reaches_all_within_a_second() {
    let redis = Redis::cluster().await;
    let (edge, others) = three(&redis, Setup::default(), "").await;
    let start = now() - 600;
    let urls = [&edge.url, &others[0].1, &others[1].1];
    for url in urls {
        clip(&edge, url, start).await;
        edge.until("it is in the cache", async || cached(&clip(&edge, url, start).await)).await;
    }
    let before = edge.reached_by("GetClip").await;
    let purged = purge(&edge, &edge.admin).await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    assert!(purged.json()["purged"].as_u64() >= Some(1), "{}", purged.text());
    assert!(!cached(&clip(&edge, &edge.url, start).await), "here at once");
    for (running, url) in &others {
        let admin = format!("http://{}", running.admin[0]);
        edge.until("the log is read", async || lag(&edge, &admin).await.is_some()).await;
        let asked = edge.reached_by("GetClip").await;
        edge.until("it is gone there", async || {
            clip(&edge, url, start).await;
            edge.reached_by("GetClip").await > asked || edge.reached_by("GetClip").await > before + 1
        })
        .await;
    }
}

async fn lag(edge: &Edge, admin: &str) -> Option<f64> {
    let text = edge.http.get(&format!("{admin}/metrics"), &[]).await.text();
    let line = text.lines().find(|line| line.starts_with("kvs_edge_fleet_purge_lag_seconds "))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

/// Fault matrix, row 11.
#[tokio::test(flavor = "multi_thread")]
async fn what_began_to_fill_before_a_purge_elsewhere_is_not_stored() {
    let redis = Redis::standalone().await;
    let (edge, others) = three(&redis, Setup::default(), "").await;
    let (start, other) = (now() - 600, others[0].1.clone());
    assert_eq!(clip(&edge, &edge.url, start - 60).await.status, 200, "endpoints are known");
    assert_eq!(clip(&edge, &other, start - 60).await.status, 200);
    edge.fault(json!({"operation": "GetClip", "fault": {"kind": "delay", "millis": 3000}, "times": 1})).await;
    let filling = clip(&edge, &other, start);
    let purging = async {
        tokio::time::sleep(Duration::from_millis(1000)).await;
        purge(&edge, &edge.admin).await
    };
    let (filled, purged) = tokio::join!(filling, purging);
    assert_eq!((filled.status, purged.status), (200, 200), "the caller gets what it asked for");
    edge.clear_faults().await;
    assert!(!cached(&clip(&edge, &other, start).await), "and it is not stored");
}

/// Fault matrix, row 12: `purge = "open"`.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_cut_off_purges_when_it_is_back() {
    let mut redis = Redis::standalone().await;
    let (edge, others) = three(&redis, Setup::default(), "").await;
    let (start, other) = (now() - 600, others[0].1.clone());
    clip(&edge, &other, start).await;
    edge.until("it is in the cache", async || cached(&clip(&edge, &other, start).await)).await;
    // A stand-in for a network that is cut: the store is hung for all, and the order is written when it is back.
    redis.servers[0].signal("STOP");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = purge(&edge, &edge.admin).await;
    assert_ne!(refused.status, 200, "the operator learns that others do not know: {}", refused.text());
    assert!(refused.text().contains("order it again"), "{}", refused.text());
    assert!(cached(&clip(&edge, &other, start).await), "served while it does not know");
    redis.servers[0].signal("CONT");
    edge.until("the order is taken", async || purge(&edge, &edge.admin).await.status == 200).await;
    edge.until("it is gone there", async || !cached(&clip(&edge, &other, start).await)).await;
    // The store comes back empty: the next order arrives all the same.
    edge.until("it is in the cache", async || cached(&clip(&edge, &other, start).await)).await;
    redis.servers[0].signal("KILL");
    redis.servers[0].restart();
    edge.until("the order is taken", async || purge(&edge, &edge.admin).await.status == 200).await;
    edge.until("it is gone there", async || !cached(&clip(&edge, &other, start).await)).await;
}

/// Fault matrix, row 12: `purge = "closed"`.
#[tokio::test(flavor = "multi_thread")]
async fn footage_is_withheld_while_purges_cannot_be_learnt_if_that_is_wanted() {
    let redis = Redis::standalone().await;
    let (edge, _others) = three(&redis, Setup::default(), "purge = \"closed\"").await;
    let start = now() - 600;
    let play = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    assert_eq!(clip(&edge, &edge.url, start).await.status, 200);
    redis.servers[0].signal("STOP");
    let began = Instant::now();
    edge.until("footage is withheld", async || clip(&edge, &edge.url, start).await.status == 503).await;
    assert!(began.elapsed() > Duration::from_secs(8), "not before ten seconds: {:?}", began.elapsed());
    let refused = clip(&edge, &edge.url, start).await;
    assert!(refused.header("retry-after").is_some() && refused.message().contains("purged"));
    assert_eq!(edge.http.get(&play, &[]).await.status, 503);
    let snapshot = edge.get("/streams/cam-1/snapshot.jpg", edge.alice()).await;
    assert_eq!(snapshot.status, 503);
    assert_eq!(edge.get("/streams/cam-1", edge.alice()).await.status, 200, "what is no footage is served");
    assert_eq!(edge.http.get(&format!("{}/readyz", edge.admin), &[]).await.status, 200);
    // The gauge is set at each attempt to read, in whole seconds.
    assert!(lag(&edge, &edge.admin).await >= Some(8.0));
    redis.servers[0].signal("CONT");
    edge.until("it is served again", async || clip(&edge, &edge.url, start).await.status == 200).await;
}

/// Whoever can write to the store cannot purge, and learns no name from it.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_not_ours_purges_nothing() {
    let redis = Redis::standalone().await;
    let (edge, others) = three(&redis, Setup::default(), "").await;
    let (start, other) = (now() - 600, others[0].1.clone());
    clip(&edge, &other, start).await;
    edge.until("it is in the cache", async || cached(&clip(&edge, &other, start).await)).await;
    let server = &redis.servers[0];
    let plain = format!("purge 0 {}", arn(&edge).await);
    server.command::<String>(&["XADD", "kvse:{c}:log", "*", "v", "7", "d", &plain]).await.unwrap();
    server.command::<String>(&["XADD", "kvse:{c}:log", "*", "x", "y"]).await.unwrap();
    edge.until("it is rejected", async || edge.metric("kvs_edge_shared_rejected_total", &[]).await > 0.0)
        .await;
    assert!(cached(&clip(&edge, &other, start).await));
    assert_eq!(purge(&edge, &edge.admin).await.status, 200, "others are still read");
    edge.until("it is gone there", async || !cached(&clip(&edge, &other, start).await)).await;
    let log: redis::Value = server.command(&["XRANGE", "kvse:{c}:log", "-", "+"]).await.unwrap();
    let ours = format!("{log:?}").replace(&format!("{:?}", redis::Value::BulkString(plain.into())), "");
    assert!(!ours.contains("cam-1"), "{ours}");
}

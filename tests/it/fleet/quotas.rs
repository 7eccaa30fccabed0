//! Replicas that share a store are one client of KVS: they keep to its quotas together, in fair turns, and
//! one of them looks up what all need.

use crate::harness::redis::Redis;
use crate::harness::{Edge, Setup};
use kvs_edge::app::Running;
use kvs_edge::kvs::Timestamp;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const REPLICAS: usize = 4;

/// An edge and three more of the same settings.
struct Fleet {
    edge: Edge,
    others: Vec<(Running, String)>,
}

impl Fleet {
    async fn start(redis: &Redis, mut setup: Setup, quotas: &str) -> Self {
        // All replicas are in one process here, which may stand still for longer than a store may take.
        setup.more = format!("{}\n{quotas}", redis.settings("timeout = \"1s\""));
        let edge = setup.start().await;
        let mut others = Vec::new();
        for _ in 1..REPLICAS {
            others.push(edge.another().await);
        }
        let fleet = Self { edge, others };
        fleet.edge.until("all replicas know each other", async || fleet.knows_all().await).await;
        fleet
    }

    fn urls(&self) -> Vec<String> {
        let others = self.others.iter().map(|(_, url)| url.clone());
        std::iter::once(self.edge.url.clone()).chain(others).collect()
    }

    /// A counter, summed over all replicas.
    async fn metric(&self, family: &str, labels: &[&str]) -> Vec<f64> {
        let others = self.others.iter().map(|(running, _)| format!("http://{}", running.admin[0]));
        let mut found = Vec::new();
        for admin in std::iter::once(self.edge.admin.clone()).chain(others) {
            let text = self.edge.http.get(&format!("{admin}/metrics"), &[]).await.text();
            let of = |line: &&str| {
                line.split(['{', ' ']).next() == Some(family)
                    && labels.iter().all(|label| line.contains(label))
            };
            let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<f64>().ok());
            found.push(text.lines().filter(of).filter_map(value).sum());
        }
        found
    }

    async fn knows_all(&self) -> bool {
        self.metric("kvs_edge_fleet_replicas", &[]).await.iter().all(|seen| *seen >= REPLICAS as f64)
    }

    async fn throttled(&self) -> f64 {
        self.metric("kvs_edge_upstream_throttled_total", &[]).await.iter().sum()
    }
}

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

/// Callers who fetch different clips of ten seconds, one replica after the other.
struct Load {
    stop: Arc<AtomicBool>,
    next: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
    served: Arc<AtomicUsize>,
}

async fn clip(edge: &Edge, url: &str, token: &str, number: usize) -> u16 {
    let start = now() - 7200 + 11 * number as u64 % 6000;
    let range = json!({"StartTimestamp": start, "EndTimestamp": start + 10});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let body = json!({"StreamName": "cam-1", "ClipFragmentSelector": selector}).to_string();
    let bearer = format!("Bearer {token}");
    edge.http.post(&format!("{url}/getClip"), &[("authorization", &bearer)], body).await.status
}

impl Load {
    fn start(fleet: &Arc<Fleet>, workers: usize) -> Self {
        let load =
            Self { stop: Arc::default(), next: Arc::default(), callers: Vec::new(), served: Arc::default() };
        let token = fleet.edge.token("greedy", &["investigators"]);
        let callers = (0..workers).map(|_| {
            let (fleet, token) = (fleet.clone(), token.clone());
            let (stop, next, served) = (load.stop.clone(), load.next.clone(), load.served.clone());
            tokio::spawn(async move {
                let urls = fleet.urls();
                while !stop.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    match clip(&fleet.edge, &urls[number % REPLICAS], &token, number).await {
                        200 => drop(served.fetch_add(1, Ordering::SeqCst)),
                        429 => tokio::time::sleep(Duration::from_millis(300)).await,
                        other => panic!("a clip is answered with {other}"),
                    }
                }
            })
        });
        let callers = callers.collect();
        Self { callers, ..load }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        self.served.load(Ordering::SeqCst)
    }
}

/// A tenth of KVS's quotas: 50 media points, so that a few callers exceed them.
const TENTH: &str = "[aws.quotas]\nmetadata_points = 1000\nmedia_points = 50\nendpoint_tps = 1\n\
    describe_tps = 1\nsession_url_tps = 2\nmedia_connections = 1\naccount_tps = 30\naccount_list_tps = 5\n\
    session_playlist_tps = 1\nsession_media_tps = 2\n";

async fn scarce(redis: &Redis) -> Arc<Fleet> {
    let mut setup = Setup::default();
    setup.emulator.quota_scale = 0.1;
    Arc::new(Fleet::start(redis, setup, TENTH).await)
}

/// Fault matrix, row 13.
#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_at_three_times_the_rate_are_never_throttled_and_fair_to_callers() {
    let redis = Redis::cluster().await;
    let fleet = scarce(&redis).await;
    let load = Load::start(&fleet, 24);
    let (modest, urls) = (fleet.edge.token("modest", &["investigators"]), fleet.urls());
    let mut served = Vec::new();
    for number in 0..8 {
        served.push(clip(&fleet.edge, &urls[number % REPLICAS], &modest, 400 + number).await);
    }
    assert_eq!(served, [200; 8], "one caller's few clips are not crowded out by another's many");
    let greedy = load.end().await;
    assert!(greedy > 8, "what is left of the rate is used: {greedy}");
    assert_eq!(fleet.throttled().await, 0.0);
    let taken: f64 = fleet
        .metric("kvs_edge_shared_operations_total", &["op=\"take\"", "result=\"ok\""])
        .await
        .iter()
        .sum();
    assert!(taken > 8.0, "turns are reserved in the store: {taken}");
    println!("modest 8, greedy {greedy}; {taken} operations; none throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_each_replica_keeps_to_its_share() {
    let redis = Redis::cluster().await;
    let fleet = scarce(&redis).await;
    let load = Load::start(&fleet, 24);
    fleet.edge.until("turns are reserved", async || load.served.load(Ordering::SeqCst) > 8).await;
    // One by one, as a network that fails: hung, not refused.
    redis.servers.iter().for_each(|server| server.signal("STOP"));
    let before = load.served.load(Ordering::SeqCst);
    fleet.edge.until("clips go on", async || load.served.load(Ordering::SeqCst) > before + 16).await;
    assert_eq!(fleet.throttled().await, 0.0, "while it is away");
    redis.servers.iter().for_each(|server| server.signal("KILL"));
    let before = load.served.load(Ordering::SeqCst);
    fleet.edge.until("clips go on", async || load.served.load(Ordering::SeqCst) > before + 8).await;
    let served = load.end().await;
    assert_eq!(fleet.throttled().await, 0.0, "and when it is gone");
    println!("{served} clips, none throttled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_of_many_cameras_asks_for_each_endpoint_once() {
    const CAMERAS: usize = 200;
    let redis = Redis::cluster().await;
    let mut setup = Setup::default();
    setup.emulator.streams = (1..=CAMERAS).map(|number| format!("cam-{number}")).collect();
    let fleet = Arc::new(Fleet::start(&redis, setup, "").await);
    let alice = format!("Bearer {}", fleet.edge.alice());
    let mut replicas = Vec::new();
    for url in fleet.urls() {
        // All replicas come to the same camera at about the same time.
        let next = Arc::<AtomicUsize>::default();
        for _ in 0..10 {
            let (fleet, alice, url, next) = (fleet.clone(), alice.clone(), url.clone(), next.clone());
            replicas.push(tokio::spawn(async move {
                loop {
                    let camera = next.fetch_add(1, Ordering::SeqCst) + 1;
                    if camera > CAMERAS {
                        return;
                    }
                    let range = json!({"StartTimestamp": now() - 600, "EndTimestamp": now() - 590});
                    let selector =
                        json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
                    let body = json!({"StreamName": format!("cam-{camera}"), "FragmentSelector": selector});
                    let url = format!("{url}/listFragments");
                    let headers = [("authorization", alice.as_str())];
                    let answer = fleet.edge.http.post(&url, &headers, body.to_string()).await;
                    assert_eq!(answer.status, 200, "{}", answer.text());
                }
            }));
        }
    }
    for replica in replicas {
        replica.await.unwrap();
    }
    assert_eq!(fleet.edge.reached_by("GetDataEndpoint").await, CAMERAS as u64);
    assert!(fleet.edge.reached_by("DescribeStream").await <= CAMERAS as u64);
    assert_eq!(fleet.throttled().await, 0.0);
    // Nothing of it can be read in the store.
    for key in redis.keys().await {
        assert!(!key.contains("cam-"), "{key}");
    }
}

//! Objects that replicas share: real programs over a real Redis cluster and a real object store. Each fragment
//! is fetched once by all of them; a large clip is read from the bucket by ranges; what is in the stores tells
//! nothing and cannot be changed; and a store that is sick is a miss.

use crate::harness::faulty_link::{FaultyLink, Spoil};
use crate::harness::object_store::ObjectStore;
use crate::harness::redis::Redis;
use crate::harness::{Answer, Edge, Served, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Replicas, what they share, and a link to the bucket that can be spoiled. The edge has the emulator and the
/// issuer; it is a replica too.
struct Fleet {
    edge: Edge,
    redis: Redis,
    bucket: ObjectStore,
    link: FaultyLink,
    replicas: Vec<Served>,
}

impl Fleet {
    /// `more`: further settings of `[cache.shared]`.
    async fn start(replicas: usize, more: &str, min_size: &str) -> Self {
        let (redis, bucket) = (Redis::cluster().await, ObjectStore::start().await);
        let link = FaultyLink::start(&bucket.url).await;
        let keys = bucket.folder().display();
        let s3 = format!(
            "s3 = {{ bucket = \"{}\", region = \"us-east-1\", endpoint_url = \"{}\", min_size = \"{min_size}\", \
             access_key_id = \"file:{keys}/id\", secret_access_key = \"file:{keys}/secret\" }}",
            bucket.bucket, link.url
        );
        let edge = Setup { more: redis.settings(&format!("{more}\n{s3}")), ..Setup::default() }.start().await;
        let mut fleet = Self { edge, redis, bucket, link, replicas: Vec::new() };
        for _ in 0..replicas {
            let replica = Served::start(&fleet.edge, "edge.toml", &[]).await;
            fleet.replicas.push(replica);
        }
        fleet
    }

    /// A program with the same settings that shares nothing.
    async fn alone(&self) -> Served {
        let text = fs::read_to_string(self.edge.path("edge.toml")).unwrap();
        fs::write(self.edge.path("alone.toml"), text.split("[cache.shared]").next().unwrap()).unwrap();
        Served::start(&self.edge, "alone.toml", &[]).await
    }

    async fn get(&self, from: &Served, path: &str, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {}", self.edge.alice());
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        self.edge.http.get(&format!("{}{path}", from.url), &all).await
    }

    /// The sum of a family's series of a replica that contain all of these labels.
    async fn metric(&self, of: &Served, family: &str, labels: &[&str]) -> f64 {
        let text = self.edge.http.get(&format!("{}/metrics", of.admin), &[]).await.text();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(family);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
                && labels.iter().all(|label| line.contains(label))
        });
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    /// Bytes that KVS has sent for an operation.
    async fn kvs_bytes(&self, operation: &str) -> u64 {
        self.edge.reached().await["total"][operation]["bytes"].as_u64().unwrap_or(0)
    }

    /// Waits until the objects of a replica are written.
    async fn until_written(&self, by: &Served, op: &str, count: f64) {
        let labels = [&format!("op=\"{op}\"")[..], "result=\"ok\""];
        let written = async || self.metric(by, "kvs_edge_shared_operations_total", &labels).await >= count;
        self.edge.until("objects are written", written).await;
    }
}

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn four_replicas_fetch_each_fragment_once() {
    let fleet = Fleet::start(4, "", "1MiB").await;
    let end = now() - 300;
    let path = format!("/streams/cam-1/clip.mp4?start={}&end={end}", end - 240);
    let at_once = tokio::join!(
        fleet.get(&fleet.replicas[0], &path, &[]),
        fleet.get(&fleet.replicas[1], &path, &[]),
        fleet.get(&fleet.replicas[2], &path, &[]),
        fleet.get(&fleet.replicas[3], &path, &[]),
    );
    let answers = [at_once.0, at_once.1, at_once.2, at_once.3];
    for answer in &answers {
        assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
        assert!(answer.body == answers[0].body && answer.header("etag") == answers[0].header("etag"));
    }
    let reached = fleet.edge.reached().await;
    let fragments = reached["resources"].as_object().unwrap().iter();
    let fragments: Vec<_> = fragments.filter(|(name, _)| name.starts_with("fragment ")).collect();
    assert!(fragments.len() > 50 && fragments.iter().all(|(_, count)| *count == 1), "{fragments:?}");
    let (fetched, lists) =
        (fleet.kvs_bytes("GetMediaForFragmentList").await, fleet.edge.reached_by("ListFragments").await);
    fleet.edge.forget_reached().await;
    let alone = fleet.alone().await;
    let answer = fleet.get(&alone, &path, &[]).await;
    assert!(answer.body == answers[0].body);
    let once = fleet.kvs_bytes("GetMediaForFragmentList").await;
    assert_eq!(fetched, once, "bytes of fragments that KVS sent to four replicas, and to one");
    assert_eq!(lists, fleet.edge.reached_by("ListFragments").await, "the hours are listed once");
    // Later, another replica needs nothing of KVS.
    fleet.edge.forget_reached().await;
    let late = Served::start(&fleet.edge, "edge.toml", &[]).await;
    assert!(fleet.get(&late, &path, &[]).await.body == answers[0].body);
    assert_eq!(fleet.kvs_bytes("GetMediaForFragmentList").await, 0);
    assert!(
        fleet.metric(&late, "kvs_edge_cache_requests_total", &["tier=\"redis\"", "result=\"hit\""]).await
            > 0.0
    );
}

/// A clip that KVS makes; of settled footage it is kept.
fn kvs_clip() -> String {
    let end = now() - 600;
    format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 150)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_is_read_from_the_bucket_by_ranges() {
    let fleet = Fleet::start(2, "object_limit = \"16KiB\"", "64KiB").await;
    let [first, second] = &fleet.replicas[..] else { unreachable!() };
    let path = kvs_clip();
    let whole = fleet.get(first, &path, &[]).await;
    assert_eq!((whole.status, whole.broken), (200, false), "{}", whole.text());
    fleet.until_written(first, "put", 1.0).await;
    fleet.edge.until("the store says where it is", async || !fleet.redis.keys().await.is_empty()).await;
    fleet.until_written(first, "object_commit", 1.0).await;
    let length = whole.body.len();
    for (from, to) in [(0, 99), (length / 3, length / 2), (length - 70_000, length - 1)] {
        let part = fleet.get(second, &path, &[("range", &format!("bytes={from}-{to}"))]).await;
        assert_eq!(part.status, 206, "{}", part.text());
        assert!(part.body == whole.body.slice(from..=to), "bytes {from} to {to}");
        assert_eq!(part.header("content-range").unwrap(), format!("bytes {from}-{to}/{length}"));
    }
    assert_eq!(
        fleet.get(second, &path, &[]).await.header("etag"),
        fleet.get(first, &path, &[]).await.header("etag")
    );
    assert_eq!(fleet.edge.reached_by("GetClip").await, 1);
    let hits = ["tier=\"s3\"", "result=\"hit\""];
    assert!(fleet.metric(second, "kvs_edge_cache_requests_total", &hits).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_sick_is_a_miss() {
    let fleet = Fleet::start(2, "object_limit = \"16KiB\"", "64KiB").await;
    let [first, second] = &fleet.replicas[..] else { unreachable!() };
    let spoils = [
        Spoil::Refuse,
        Spoil::Unavailable,
        Spoil::CutAfter(70_000),
        Spoil::Flip(1000),
        Spoil::Flip(100_000),
        Spoil::Silence,
    ];
    for (round, spoil) in spoils.into_iter().enumerate() {
        fleet.link.spoil(Spoil::Nothing);
        let end = now() - 600 - 200 * round as u64;
        let path = format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 150);
        let whole = fleet.get(first, &path, &[]).await;
        assert_eq!((whole.status, whole.broken), (200, false), "{}", whole.text());
        fleet.until_written(first, "put", (round + 1) as f64).await;
        fleet.until_written(first, "object_commit", (round + 1) as f64).await;
        fleet.link.spoil(spoil);
        fleet.edge.forget_reached().await;
        let again = fleet.get(second, &path, &[]).await;
        assert_eq!((again.status, again.broken), (200, false), "{spoil:?}");
        assert!(again.body == whole.body, "{spoil:?}");
        assert_eq!(fleet.edge.reached_by("GetClip").await, 1, "{spoil:?} is a miss");
    }
    assert!(fleet.metric(second, "kvs_edge_shared_rejected_total", &["reason=\"mac\""]).await >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_stores_tells_nothing() {
    let fleet = Fleet::start(1, "object_limit = \"64KiB\"", "64KiB").await;
    let end = now() - 300;
    let token = fleet.edge.alice();
    for path in [
        format!("/streams/cam-1/clip.mp4?start={}&end={end}", end - 60),
        kvs_clip(),
        format!("/streams/cam-1/snapshot.jpg?at={end}"),
        format!("/streams/cam-1/fragments?start={}&end={end}", end - 600),
        "/streams/cam-1".to_owned(),
    ] {
        let answer = fleet.get(&fleet.replicas[0], &path, &[]).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    fleet.until_written(&fleet.replicas[0], "put", 1.0).await;
    fleet.until_written(&fleet.replicas[0], "object_commit", 5.0).await;
    let emulator = fleet.edge.emulator.url();
    let emulator = emulator.trim_start_matches("http://");
    let signature = token.rsplit('.').next().unwrap();
    let secrets =
        ["cam-1", "alice", "investigators", emulator, "stream/", "video/", "kinesisvideo", signature];
    let tells = |bytes: &[u8]| {
        secrets
            .iter()
            .find(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
            .copied()
    };
    let mut values = 0;
    for key in fleet.redis.keys().await {
        assert_eq!(tells(key.as_bytes()), None, "{key}");
        let primary = &fleet.redis.servers[fleet.redis.primary_of(&key).await];
        let dump: Vec<u8> = primary.command(&["DUMP", &key]).await.unwrap_or_default();
        assert_eq!(tells(&dump), None, "the value of {key}");
        values += usize::from(key.ends_with("}:d"));
    }
    let mut objects = 0;
    if let Some(data) = &fleet.bucket.data {
        for file in files(data) {
            assert_eq!(tells(file.as_bytes()), None, "{file}");
            assert_eq!(tells(&fs::read(&file).unwrap()), None, "the bytes of {file}");
            objects += 1;
        }
        assert!(objects > 0);
    }
    assert!(values > 5, "{values} objects are in the store");
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.display().to_string()] })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_leaves_unfinished_another_one_fetches() {
    let mut fleet = Fleet::start(2, "", "1MiB").await;
    let slow = json!({"kind": "delay", "millis": 20_000});
    fleet.edge.fault(json!({"operation": "GetMediaForFragmentList", "fault": slow, "times": 1})).await;
    let end = now() - 300;
    let path = format!("/streams/cam-1/clip.mp4?start={}&end={end}", end - 60);
    let (http, url) = (fleet.edge.http.clone(), format!("{}{path}", fleet.replicas[0].url));
    let bearer = format!("Bearer {}", fleet.edge.alice());
    let left = tokio::spawn(async move { http.get(&url, &[("authorization", &bearer)]).await });
    let asked = async || fleet.edge.reached_by("GetMediaForFragmentList").await == 1;
    fleet.edge.until("the first replica has asked KVS", asked).await;
    // It dies with its leases.
    drop(fleet.replicas.remove(0));
    let answer = fleet.get(&fleet.replicas[0], &path, &[]).await;
    assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
    let _broken = left.await;
    let alone = fleet.alone().await;
    assert!(fleet.get(&alone, &path, &[]).await.body == answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_hangs_or_is_gone_is_a_miss() {
    let fleet = Fleet::start(2, "", "1MiB").await;
    for (round, signal) in ["STOP", "CONT", "KILL"].into_iter().enumerate() {
        fleet.redis.servers.iter().for_each(|server| server.signal(signal));
        let end = now() - 300 - 100 * round as u64;
        for path in [
            format!("/streams/cam-1/clip.mp4?start={}&end={end}", end - 60),
            format!("/streams/cam-1/snapshot.jpg?at={end}"),
        ] {
            let (first, second) = (
                fleet.get(&fleet.replicas[0], &path, &[]).await,
                fleet.get(&fleet.replicas[1], &path, &[]).await,
            );
            assert_eq!((first.status, first.broken), (200, false), "{signal}: {}", first.text());
            assert!(first.body == second.body, "{signal}");
        }
    }
}

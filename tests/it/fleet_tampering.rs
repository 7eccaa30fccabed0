//! Whoever owns the stores cannot make a replica show anything: values with flipped bits, of other objects, cut,
//! replayed, sealed by another key, or no values at all are misses. `KVS_EDGE_TAMPERING=10000` tries so often.

use crate::harness::object_store::ObjectStore;
use crate::harness::redis::Redis;
use bytes::Bytes;
use http::HeaderValue;
use kvs_edge::cache::{self, Cache, Fetched, Head, Keep, Key};
use kvs_edge::fleet::s3::{self, S3};
use kvs_edge::fleet::{self, SealingSecret, Store};
use kvs_edge::kvs::{FragmentNumber, StreamArn, Timestamp};
use kvs_edge::net::body::whole;
use kvs_edge::net::client::{Client, Options};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// So many objects, the last ones in the bucket.
const OBJECTS: u64 = 8;
const IN_BUCKET: u64 = 3;

struct World {
    redis: Redis,
    bucket: ObjectStore,
    s3: S3,
    store: Store,
    /// Keys in the store by the number of their object.
    keys: BTreeMap<u64, String>,
    random: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("never")]
struct Never;

fn body(number: u64, old: bool) -> Bytes {
    let size = if number < OBJECTS - IN_BUCKET { 3000 + number * 7000 } else { 150_000 + number * 9000 };
    let salt = number * 31 + u64::from(old) * 7;
    Bytes::from((0..size).map(|at| (at * 3 + at / 253 + salt) as u8).collect::<Vec<_>>())
}

fn key(number: u64) -> Key {
    let arn = format!("arn:aws:kinesisvideo:eu-west-1:1:stream/cam-{number}/1");
    Key::mkv(&StreamArn::parse(&arn).unwrap(), &FragmentNumber::parse(&(number + 1).to_string()).unwrap())
}

fn open(redis: &Redis, secret: u8) -> Store {
    let more =
        "object_limit = \"64KiB\"\ns3 = { bucket = \"media\", region = \"us-east-1\", min_size = \"64KiB\" }";
    let metrics = fleet::Metrics::register(&prometheus::Registry::new()).unwrap();
    let store = Store::open(&redis.config(more), None, metrics).unwrap();
    store.seal_with(&[SealingSecret { id: [secret; 4], secret: [secret; 32].into() }]);
    store
}

impl World {
    async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (redis, bucket) = (Redis::standalone().await, ObjectStore::start().await);
        let client = Client::new(Options::default()).unwrap();
        let config: s3::Config = bucket.config(&bucket.url);
        let metrics = fleet::Metrics::register(&prometheus::Registry::new()).unwrap();
        let s3 = S3::open(&config, "cache.shared.s3", &client, metrics).await.unwrap();
        let store = open(&redis, 1);
        assert!(store.connected(Duration::from_secs(5)).await);
        Self { redis, bucket, s3, store, keys: BTreeMap::new(), random: 1 }
    }

    /// Another random number below a bound.
    fn below(&mut self, bound: usize) -> usize {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) as usize) % bound.max(1)
    }

    /// A replica that has nothing of its own.
    fn replica(&self, store: &Store) -> Cache {
        let config = cache::Config::default();
        let metrics = cache::Metrics::register(&prometheus::Registry::new()).unwrap();
        Cache::open_shared(&config, metrics, store.clone(), Some(self.s3.clone())).unwrap()
    }

    /// What such a replica shows, and how often it asked KVS, which has `old` bodies.
    async fn shown(&self, store: &Store, number: u64, keep: Keep, old: bool) -> (Bytes, u64) {
        shown_by(&self.replica(store), number, keep, old).await
    }

    async fn raw(&self, number: u64) -> Option<Vec<u8>> {
        self.redis.servers[0].command(&["GET", &self.keys[&number]]).await.unwrap_or_default()
    }

    async fn set(&self, number: u64, value: &[u8]) {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{}", self.redis.servers[0].port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd("SET");
        command.arg(&self.keys[&number]).arg(value).arg("PX").arg(600_000);
        command.query_async::<()>(&mut connection).await.unwrap();
    }

    /// Waits until the store has another value than this one; gives it.
    async fn until_not(&self, number: u64, value: &[u8]) -> Vec<u8> {
        for _ in 0..2000 {
            match self.raw(number).await {
                Some(now) if now != value => return now,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        panic!("what was fetched is not written in the place of what was spoiled");
    }

    /// Fills the store; gives the value of each object.
    async fn fill(&mut self) -> Vec<Vec<u8>> {
        let mut good = Vec::new();
        for number in 0..OBJECTS {
            let before = self.redis.keys().await;
            assert!(self.shown(&self.store, number, Keep::For(DAY), false).await == (body(number, false), 1));
            let new = async || {
                let keys = self.redis.keys().await;
                keys.into_iter().find(|key| key.ends_with("}:d") && !before.contains(key))
            };
            let name = loop {
                match new().await {
                    Some(name) => break name,
                    None => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            };
            self.keys.insert(number, name);
            good.push(self.raw(number).await.unwrap());
            assert!(self.shown(&self.store, number, Keep::For(DAY), false).await == (body(number, false), 0));
        }
        good
    }

    /// The files of the bucket.
    fn files(&self) -> Vec<PathBuf> {
        let folders = fs::read_dir(self.bucket.data.as_ref().unwrap().join("media/kvs-edge")).unwrap();
        let folders = folders.flatten().map(|folder| fs::read_dir(folder.path()).unwrap());
        folders.flat_map(|files| files.flatten().map(|file| file.path())).collect()
    }
}

async fn shown_by(cache: &Cache, number: u64, keep: Keep, old: bool) -> (Bytes, u64) {
    let asked = Arc::new(AtomicU64::new(0));
    let fetch = {
        let asked = asked.clone();
        move || {
            asked.fetch_add(1, Ordering::SeqCst);
            let now = Timestamp::from(kvs_edge::base::clock::now());
            let body = body(number, old);
            let head = Head::new(HeaderValue::from_static("video/webm"), Some(body.len() as u64), now);
            std::future::ready(Ok::<_, Never>(Fetched { head, keep, body: whole(body) }))
        }
    };
    let found = cache.get_or_fill(key(number), fetch).await.unwrap();
    let bytes = found.entry.collect(1 << 30).await.unwrap();
    (bytes, asked.load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_before_a_purge_is_fetched_again_wherever_it_is() {
    let mut world = World::start().await;
    let good = world.fill().await;
    let (purged, other) = (world.replica(&world.store), world.replica(&world.store));
    for number in [0, OBJECTS - 1] {
        assert_eq!(shown_by(&purged, number, Keep::For(DAY), true).await, (body(number, false), 0));
        // Longer ago than clocks are compared to.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let at = Timestamp::from(kvs_edge::base::clock::now());
        tokio::time::sleep(Duration::from_millis(100)).await;
        purged.purge_before(&format!("cam-{number}"), at).await;
        assert_eq!(shown_by(&purged, number, Keep::For(DAY), true).await, (body(number, true), 1));
        world.until_not(number, &good[number as usize]).await;
        assert_eq!(shown_by(&other, number, Keep::For(DAY), false).await, (body(number, true), 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_changed_in_the_stores_is_ever_shown() {
    let tries =
        std::env::var("KVS_EDGE_TAMPERING").ok().and_then(|tries| tries.parse().ok()).unwrap_or(150_u64);
    let mut world = World::start().await;
    // What another key seals under the same names, and what has expired: both bodies are others.
    let foreign_store = open(&world.redis, 2);
    assert!(foreign_store.connected(Duration::from_secs(5)).await);
    let mut good = world.fill().await;
    let (mut foreign, mut expired) = (Vec::new(), Vec::new());
    for number in 0..OBJECTS {
        let value = good[number as usize].clone();
        assert_eq!(world.shown(&foreign_store, number, Keep::For(DAY), true).await.1, 1);
        foreign.push(world.until_not(number, &value).await);
        world.redis.servers[0].command::<()>(&["DEL", &world.keys[&number]]).await.unwrap();
        assert_eq!(world.shown(&world.store, number, Keep::For(Duration::from_millis(900)), true).await.1, 1);
        expired.push(world.until_not(number, b"").await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..OBJECTS {
        world.set(number, &good[number as usize]).await;
    }
    let mut missed = 0;
    for round in 0..tries {
        let at = world.below(OBJECTS as usize);
        let number = at as u64;
        let mut value = good[at].clone();
        match round % 7 {
            0 => {
                let byte = 13 + world.below(value.len() - 13);
                value[byte] ^= 1 << world.below(8);
            }
            1 => value[world.below(13)] ^= 1 << world.below(3),
            2 => value.clone_from(&good[(at + 1 + world.below(OBJECTS as usize - 1)) % OBJECTS as usize]),
            3 => value.truncate(world.below(value.len())),
            4 => value.clone_from(&foreign[at]),
            5 => value.clone_from(&expired[at]),
            _ => value = (0..world.below(300)).map(|_| world.below(256) as u8).collect(),
        }
        world.set(number, &value).await;
        let (shown, asked) = world.shown(&world.store, number, Keep::For(DAY), false).await;
        assert!(shown == body(number, false), "round {round} shows something else");
        assert_eq!(asked, 1, "round {round} is a miss");
        good[at] = world.until_not(number, &value).await;
        missed += 1;
    }
    println!("{missed} values that were changed, 0 shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_changed_in_the_bucket_is_ever_shown() {
    let tries =
        std::env::var("KVS_EDGE_TAMPERING").ok().and_then(|tries| tries.parse().ok()).unwrap_or(30_u64);
    let mut world = World::start().await;
    if world.bucket.data.is_none() {
        return; // Its files cannot be reached.
    }
    let good = world.fill().await;
    let files = world.files();
    assert_eq!(files.len() as u64, IN_BUCKET);
    let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let mut missed = 0;
    for round in 0..tries {
        let at = world.below(files.len());
        let mut bytes = contents[at].clone();
        match round % 4 {
            0 => {
                let byte = world.below(bytes.len());
                bytes[byte] ^= 1 << world.below(8);
            }
            1 => bytes.clone_from(&contents[(at + 1) % files.len()]),
            2 => bytes.truncate(world.below(bytes.len())),
            _ => {
                // Blocks in another order.
                let (one, other) = (world.below(bytes.len() - 66_000), world.below(bytes.len() - 66_000));
                let moved = bytes[one..one + 65_552].to_vec();
                bytes[other..other + 65_552].copy_from_slice(&moved);
            }
        }
        fs::write(&files[at], &bytes).unwrap();
        for number in OBJECTS - IN_BUCKET..OBJECTS {
            let (shown, asked) = world.shown(&world.store, number, Keep::No, false).await;
            assert!(shown == body(number, false), "round {round} shows something else");
            missed += asked;
        }
        fs::write(&files[at], &contents[at]).unwrap();
        assert_eq!(good.len() as u64, OBJECTS);
    }
    assert!(missed >= tries * 3 / 4, "{missed} of {tries} were misses");
    println!("{tries} objects that were changed, 0 shown, {missed} fetched anew");
}

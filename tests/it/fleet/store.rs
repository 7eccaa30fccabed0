//! The store itself: one server and a cluster, with a primary that is killed, hangs, or forgets its scripts.

use crate::harness::redis::Redis;
use kvs_edge::fleet::{
    Arg, Config, Digest, Error, Key, KeyPart, Metrics, Operation, Reply, Script, SealingSecret, Store, Unit,
};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_millis(100);
static COUNT: Script = Script::new("return redis.call('HINCRBY', KEYS[1], 'n', ARGV[1])");
static TIME: Script = Script::new("local t = redis.call('TIME') return {t[1], false, 'x'}");

fn open(redis: &Redis) -> (Store, prometheus::Registry) {
    open_by(&redis.config(""))
}

fn open_by(config: &Config) -> (Store, prometheus::Registry) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let registry = prometheus::Registry::new();
    let store = Store::open(config, None, Metrics::register(&registry).unwrap()).unwrap();
    store.seal_with(&[SealingSecret { id: *b"key1", secret: [7; 32].into() }]);
    (store, registry)
}

fn key(store: &Store, name: &str) -> Key {
    store.keys().key(&Unit::Session(Digest::of("test", &[name.as_bytes()])), &KeyPart::Viewers)
}

async fn count(store: &Store, key: &Key) -> Result<Option<i64>, Error> {
    let reply = store.run(Operation::Look, &COUNT, &[key], &[Arg::Number(1)], WITHIN).await;
    reply.map(|reply| reply.number())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_scripts_and_keeps_sealed_values() {
    let redis = Redis::standalone().await;
    let (store, _) = open(&redis);
    assert!(store.connected(Duration::from_secs(5)).await);
    let one = key(&store, "one");
    assert_eq!(count(&store, &one).await, Ok(Some(1)));
    redis.servers[0].command::<()>(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(count(&store, &one).await, Ok(Some(2)), "a script that was forgotten is sent again");
    let mut reply = store.run(Operation::Look, &TIME, &[&one], &[], WITHIN).await.unwrap().list();
    assert!(reply.next().unwrap().number().unwrap() > 1_700_000_000);
    assert_eq!((reply.next(), reply.next().unwrap().is("x")), (Some(Reply::Nil), true));
    let (other, life) = (key(&store, "other"), Duration::from_secs(60));
    store.set(Operation::Describe, &other, 3, b"a secret", life, WITHIN).await.unwrap();
    let get = async |version| store.get(Operation::Describe, &other, version, WITHIN).await;
    assert_eq!(get(3).await, Ok(Some(b"a secret".to_vec())));
    assert_eq!(get(4).await, Ok(None), "another version is a miss");
    let raw: Vec<u8> = redis.servers[0].command(&["GET", other.as_str()]).await.unwrap();
    assert!(!raw.windows(8).any(|window| window == b"a secret"));
    assert!(store.is_well());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_and_comes_back_is_used_again_and_nobody_waits_meanwhile() {
    let mut redis = Redis::standalone().await;
    let (store, _) = open(&redis);
    assert!(store.connected(Duration::from_secs(5)).await);
    let one = key(&store, "one");
    assert_eq!(count(&store, &one).await, Ok(Some(1)));
    redis.servers[0].signal("KILL");
    let began = Instant::now();
    while store.is_well() {
        let _ = count(&store, &one).await;
        assert!(began.elapsed() < Duration::from_secs(10));
    }
    let quick = Instant::now();
    assert!(count(&store, &one).await.is_err());
    assert!(quick.elapsed() < WITHIN, "what is known to be away is not waited for");
    redis.servers[0].restart();
    let began = Instant::now();
    while count(&store, &one).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is used again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.is_well());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_after_time_outs_and_used_again() {
    let redis = Redis::standalone().await;
    let (store, _) = open(&redis);
    assert!(store.connected(Duration::from_secs(5)).await);
    let one = key(&store, "one");
    count(&store, &one).await.unwrap();
    redis.servers[0].signal("STOP");
    let mut ends = Vec::new();
    while store.is_well() {
        ends.push(count(&store, &one).await.unwrap_err());
    }
    assert!(ends.len() <= 8 && ends.iter().all(|end| *end == Error::TimedOut), "{ends:?}");
    redis.servers[0].signal("CONT");
    let began = Instant::now();
    while count(&store, &one).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "it is used again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Stops a primary by a signal and gives how long its slots were without answers, and how many operations on
/// other shards failed meanwhile.
async fn failover(signal: &str) -> (Duration, usize, bool) {
    let redis = Redis::cluster().await;
    let (store, _) = open(&redis);
    assert!(store.connected(Duration::from_secs(5)).await);
    let keys: Vec<Key> = (0..64).map(|n| key(&store, &n.to_string())).collect();
    for key in &keys {
        assert_eq!(count(&store, key).await, Ok(Some(1)));
    }
    // What replicas have is a moment behind.
    let victim = redis.primary_of(keys[0].as_str()).await;
    let mut own = Vec::new();
    let mut others = Vec::new();
    for key in &keys {
        if redis.primary_of(key.as_str()).await == victim { own.push(key) } else { others.push(key) }
    }
    assert!(!others.is_empty());
    redis.servers[victim].signal(signal);
    let (began, mut failed) = (Instant::now(), 0);
    let mut replica_read = false;
    loop {
        let (mine, other) = (own[failed % own.len()], others[failed % others.len()]);
        let mine = count(&store, mine).await;
        if mine.is_err() && !replica_read {
            let read = store.read_replica(own[0], &["n"], WITHIN).await;
            replica_read = read.is_ok_and(|fields| fields[0].number() == Some(1));
        }
        failed += usize::from(count(&store, other).await.is_err());
        if mine.is_ok() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "the replica has not taken over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = began.elapsed();
    redis.servers[victim].signal("CONT");
    (took, failed, replica_read)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_is_replaced_and_its_replica_is_read_meanwhile() {
    let (took, failed, replica_read) = failover("KILL").await;
    println!("killed: {took:?}, others failed {failed}, replica read {replica_read}");
    assert!(replica_read);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_hangs_is_replaced_and_its_replica_is_read_meanwhile() {
    let (took, failed, replica_read) = failover("STOP").await;
    println!("hung: {took:?}, others failed {failed}, replica read {replica_read}");
    assert!(replica_read);
}

async fn until_counted(store: &Store, key: &Key, what: &str) {
    let began = Instant::now();
    while count(store, key).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights_signs_in_over_tls_and_its_password_can_be_changed() {
    let (redis, port) = Redis::with_tls().await;
    let folder = redis.folder().display().to_string();
    let text = format!(
        "url = 'rediss://kvsedge@127.0.0.1:{port}'\npassword = 'file:{folder}/password'\nca = '{folder}/ca.crt'"
    );
    let config: Config = toml::from_str(&text).unwrap();
    let (store, _) = open_by(&config);
    assert!(store.connected(Duration::from_secs(5)).await);
    let one = key(&store, "one");
    until_counted(&store, &one, "it is signed in").await;
    let summary = kvs_edge::fleet::probe(&config, None).await;
    assert!(summary.is_ok_and(|probed| probed.summary.contains("1 primary(ies)")));
    // The password changes while connections are open, and those are closed.
    std::fs::write(redis.folder().join("password"), "second").unwrap();
    let server = &redis.servers[0];
    server.command::<()>(&["ACL", "SETUSER", "kvsedge", "resetpass", ">second"]).await.unwrap();
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "kvsedge"]).await.unwrap();
    until_counted(&store, &one, "the new password is used").await;
    // A certificate of somebody else is refused.
    let text = text.replace("ca.crt", "other.crt");
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(redis.folder().join("other.crt"), other.cert.pem()).unwrap();
    let (store, _) = open_by(&toml::from_str(&text).unwrap());
    assert!(!store.connected(Duration::from_secs(2)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_say_where_the_primary_is_also_after_it_was_killed() {
    let redis = Redis::with_sentinel().await;
    let text =
        format!("url = 'redis://127.0.0.1:{}'\nmode = 'sentinel'\nmaster = 'kvs'", redis.servers[2].port);
    let (store, _) = open_by(&toml::from_str(&text).unwrap());
    assert!(store.connected(Duration::from_secs(5)).await);
    let one = key(&store, "one");
    assert_eq!(count(&store, &one).await, Ok(Some(1)));
    redis.servers[1].command::<()>(&["PING"]).await.unwrap();
    redis.servers[0].signal("KILL");
    while store.is_well() {
        let _ = count(&store, &one).await;
    }
    let copy = store.read_replica(&one, &["n"], Duration::from_secs(1)).await;
    assert!(copy.is_ok_and(|fields| fields[0].number() == Some(1)), "the replica is read meanwhile");
    until_counted(&store, &one, "the replica has taken over").await;
    assert_eq!(count(&store, &one).await, Ok(Some(3)), "with what the primary had");
}

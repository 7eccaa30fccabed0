//! Footage as fragments: lists that are complete or an error, and fragments that are fetched once.

use kvs_edge::archive::{
    self, Archive, Batches, Error, ListedFootage, Packaging, Presented, PresentedRange, Stream,
};
use kvs_edge::base::room::Room;
use kvs_edge::cache::{self, Cache, DiskConfig};
use kvs_edge::kvs::{ListedFragment, SelectorType, StreamName, StreamRef, TimeRange, Timestamp};
use kvs_edge::setting::{ByteSize, SecretSource, Span};
use kvs_edge::telemetry::metrics::StreamLabels;
use kvs_edge::upstream::{self, EntryConfig, OnBehalfOf, Upstream};
use kvs_edge_emulator::{self as emulator, Emulator};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::Http;
use SelectorType::{Producer, Server};

/// An archive over an emulator.
struct World {
    archive: Archive,
    cache: Cache,
    stream: Stream,
    emulator: Emulator,
    http: Http,
    now: Timestamp,
}

const HOUR: u64 = 3_600_000;

fn config() -> emulator::Config {
    emulator::Config { listen: ([127, 0, 0, 1], 0).into(), allow_faults: true, ..emulator::Config::default() }
}

impl World {
    async fn start() -> Self {
        Self::with(config(), cache::Config::default()).await
    }

    async fn with(emulator: emulator::Config, cache_config: cache::Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &str, value: &str| {
            std::fs::write(folder.path().join(name), value).unwrap();
            Some(SecretSource::File(folder.path().join(name)))
        };
        let (id, key) = (secret("id", &emulator.access_key), secret("key", &emulator.secret_key));
        let emulator = emulator::start(emulator).await.unwrap();
        let entry = EntryConfig {
            endpoint_url: Some(emulator.url()),
            access_key_id: id,
            secret_access_key: key,
            account: Some("123456789012".to_owned()),
            ..EntryConfig::new("main", "eu-west-1")
        };
        let registry = prometheus::Registry::new();
        let metrics = upstream::Metrics::register(&registry, StreamLabels::new(1_000)).unwrap();
        let calls = Upstream::start(&[entry], &upstream::Config::default(), None, metrics).await.unwrap();
        let cache = Cache::open(&cache_config, cache::Metrics::register(&registry).unwrap()).unwrap();
        let metrics = archive::Metrics::register(&registry).unwrap();
        let packaging = Packaging::new(metrics, Room::default(), cache.clone(), cache_config.memory.0);
        let archive = Archive::new(calls.clone(), cache.clone(), cache_config, Batches::default(), packaging);
        let located = calls.locate(&StreamRef::Name(StreamName::parse("cam-1").unwrap())).unwrap();
        let stream = archive.describe(&located, || "test".into()).await.unwrap();
        let now = Timestamp::from(kvs_edge::base::clock::now());
        Self { archive, cache, stream, emulator, http: Http::new(), now }
    }

    async fn footage(&self, clock: SelectorType, start: u64, end: u64) -> Result<ListedFootage, Error> {
        let range = Timestamp::from_millis(start)..Timestamp::from_millis(end);
        self.archive.footage(&self.stream, clock, range, self.now, || Ok(everybody())).await
    }

    /// The beginning of the clock hour, so many hours ago.
    fn hour(&self, ago: u64) -> u64 {
        (self.now.millis() / HOUR - ago) * HOUR
    }

    async fn reached_by(&self, operation: &str) -> u64 {
        let url = format!("{}/_emulator/requests", self.emulator.url());
        self.http.get(&url, &[]).await.json()["total"][operation]["requests"].as_u64().unwrap_or(0)
    }

    async fn admin(&self, path: &str, body: Value) {
        let url = format!("{}/_emulator/{path}", self.emulator.url());
        let answer = self.http.post(&url, &[], body.to_string()).await;
        assert!(answer.status < 300, "{}", answer.text());
    }

    async fn fault(&self, operation: &str, fault: Value, skip: u64) {
        self.admin("faults", json!({"operation": operation, "fault": fault, "skip": skip, "times": 1})).await;
    }

    fn reader(&self, rows: &[ListedFragment]) -> kvs_edge::archive::FragmentReader {
        let rows = Vec::from(rows);
        self.archive.fragments_of(&self.stream, rows.into_iter(), everybody())
    }

    /// Reads fragments to the end; the number of bytes.
    async fn read(&self, rows: &[ListedFragment]) -> usize {
        let mut reader = self.reader(rows);
        let (mut count, mut bytes) = (0, 0);
        while let Some(document) = reader.next().await {
            let document = document.map_err(kvs_edge::archive::Failure::into_error).unwrap();
            let number = rows[count].number.as_str().as_bytes();
            let head = document.copy(0..8000);
            assert!(head.windows(number.len()).any(|text| text == number), "fragment {count}");
            (count, bytes) = (count + 1, bytes + document.len());
        }
        assert_eq!(count, rows.len());
        bytes
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, mut check: impl FnMut() -> F) {
        for _ in 0..400 {
            if check().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited in vain until {what}");
    }
}

fn everybody() -> OnBehalfOf {
    OnBehalfOf::all_callers("test")
}

fn disk(folder: &Path) -> cache::Config {
    let timeout = Span(Duration::from_secs(5));
    let disk = DiskConfig { path: folder.join("disk"), size: ByteSize(256 << 20), timeout };
    cache::Config { disk: Some(disk), ..cache::Config::default() }
}

fn sorted(rows: &[ListedFragment], clock: SelectorType) -> bool {
    rows.is_sorted_by(|a, b| (a.start(clock), &a.number) < (b.start(clock), &b.number))
}

#[tokio::test]
async fn a_day_is_listed_completely_and_once() {
    let world = World::start().await;
    // The first hour of the range is partly past the retention.
    let (start, end) = (world.now.millis() - 24 * HOUR + 600_000, world.now.millis());
    let day = world.footage(Server, start, end).await.unwrap();
    let expected = (end - start) / 2048;
    let count = day.rows.len() as u64;
    assert!((expected - 3..=expected + 3).contains(&count), "{count} of {expected}");
    assert!(sorted(&day.rows, Server));
    assert!(day.rows.windows(2).all(|pair| pair[1].server.millis() - pair[0].server.millis() == 2048));
    let calls = world.reached_by("ListFragments").await;
    assert!((46..=63).contains(&calls), "two pages an hour, and one for each part of the last: {calls}");
    let part = world.footage(Server, start + 2 * HOUR, start + 20 * HOUR).await.unwrap();
    assert!((part.rows.len() as u64).abs_diff(18 * HOUR / 2048 + 1) <= 1);
    assert_eq!(world.reached_by("ListFragments").await, calls, "settled hours are held");
}

#[tokio::test]
async fn a_range_over_an_hour_border_begins_with_the_fragment_that_covers_its_start() {
    let world = World::start().await;
    let border = world.hour(2);
    for clock in [Server, Producer] {
        let half = world.footage(clock, border - 900_000, border + 900_000).await.unwrap();
        let starts: Vec<u64> = half.rows.iter().map(|row| row.start(clock).millis()).collect();
        assert!(starts[0] <= border - 900_000 && starts[1] > border - 900_000, "{clock:?}");
        assert!(starts.windows(2).all(|pair| pair[1] - pair[0] == 2048), "{clock:?}");
        assert!(*starts.last().unwrap() < border + 900_000);
        assert!(*starts.last().unwrap() + 2048 >= border + 900_000);
        // One that begins in the hour before covers the beginning of the next.
        let first = world.footage(clock, border, border + 1).await.unwrap();
        assert_eq!(first.rows.len(), 1, "{clock:?}");
        assert!(first.rows[0].start(clock).millis() <= border);
    }
    assert!(world.footage(Server, border, border).await.unwrap().rows.is_empty());
    let future = world.now.millis() + HOUR;
    assert!(world.footage(Server, future, future + HOUR).await.unwrap().rows.is_empty());
    let soon = world.footage(Server, world.now.millis() - 60_000, future).await.unwrap();
    assert!((26..32).contains(&soon.rows.len()), "{}", soon.rows.len());
}

#[tokio::test]
async fn a_gap_is_a_gap_and_the_footage_around_it_is_named() {
    let world = World::start().await;
    let gap = world.hour(3) + 600_000..world.hour(3) + 1_200_000;
    let span = |from: u64, to: u64| json!({"from": from as f64 / 1000.0, "to": to as f64 / 1000.0});
    world.admin("streams/cam-1", json!({"gap": span(gap.start, gap.end)})).await;
    let around = world.footage(Producer, gap.start - 60_000, gap.end + 60_000).await.unwrap();
    let jumps: Vec<u64> = around
        .rows
        .windows(2)
        .map(|pair| pair[1].producer.millis() - pair[0].producer.millis())
        .filter(|step| *step != 2048)
        .collect();
    assert!(matches!(jumps[..], [jump] if jump > 590_000), "{jumps:?}");
    let (from, to) = (gap.start + 30_000, gap.end - 30_000);
    assert!(world.footage(Producer, from, to).await.unwrap().rows.is_empty());
    let nearest = || async {
        let at = Timestamp::from_millis(from);
        world.archive.nearest(&world.stream, Producer, at, world.now, || Ok::<_, Error>(everybody())).await
    };
    let near = nearest().await;
    assert_eq!(near.before.unwrap().producer.millis() / 2048, gap.start / 2048 - 1);
    assert!(near.after.unwrap().producer.millis() >= gap.end);
    // A whole day without footage: at most one list on either side.
    world.cache.purge("cam-1").await;
    world.admin("streams/cam-1", json!({"gap": span(world.hour(23), world.hour(1))})).await;
    let before = world.reached_by("ListFragments").await;
    let near = nearest().await;
    assert!(near.before.is_none() && near.after.is_none());
    assert!(world.reached_by("ListFragments").await - before <= 2);
}

#[tokio::test]
async fn of_a_second_upload_the_newer_fragments_are_listed_by_producer_time() {
    let world = World::start().await;
    let from = world.hour(3) + 600_000;
    let before = world.footage(Producer, from, from + 60_000).await.unwrap();
    world.cache.purge("cam-1").await;
    // The same minute is uploaded again.
    let seconds = |millis: u64| millis as f64 / 1000.0;
    let at = seconds(world.now.millis() - 60_000);
    let again = json!({"from": seconds(from), "to": seconds(from + 60_000), "at": at});
    world.admin("streams/cam-1", json!({"backfill": again})).await;
    let after = world.footage(Producer, from, from + 60_000).await.unwrap();
    assert_eq!(after.rows.len(), before.rows.len());
    let newer =
        after.rows.iter().zip(before.rows.iter()).filter(|(new, old)| new.number > old.number).count();
    assert!(newer >= 28, "{newer} of {}", after.rows.len());
    assert!(after.rows.windows(2).all(|pair| pair[0].producer < pair[1].producer));
}

#[tokio::test]
async fn a_page_that_fails_fails_the_list() {
    let world = World::start().await;
    let refused =
        json!({"kind": "status", "status": 400, "type": "InvalidArgumentException", "message": "no"});
    world.fault("ListFragments", refused, 3).await;
    let (start, end) = (world.hour(6), world.hour(2));
    assert!(world.footage(Server, start, end).await.is_err());
    let whole = world.footage(Server, start, end).await.unwrap();
    assert!((7031..=7033).contains(&whole.rows.len()), "{}", whole.rows.len());
}

#[tokio::test]
async fn two_readers_of_the_same_footage_fetch_each_fragment_once() {
    let world = World::start().await;
    let start = world.hour(2);
    let rows = world.footage(Server, start, start + 400_000).await.unwrap().rows;
    world
        .admin(
            "faults",
            json!({"operation": "GetMediaForFragmentList", "fault": {"kind": "delay", "millis": 100}}),
        )
        .await;
    let (one, other) = tokio::join!(world.read(&rows), world.read(&rows));
    assert_eq!(one, other);
    let calls = world.reached_by("GetMediaForFragmentList").await;
    // 8, 16, 32, 64 and 64 fragments, and the rest.
    assert_eq!((rows.len() / 10, calls), (19, 6));
    let one =
        world.archive.fragment(&world.stream, &rows[5].number, || Err::<OnBehalfOf, Error>(broken())).await;
    assert_eq!(one.unwrap().outcome, cache::Outcome::Hit(cache::Tier::Memory));
    // A viewer and a clip at once, and a viewer that plays on.
    let later = world.footage(Server, start + 600_000, start + 640_000).await.unwrap().rows;
    let grant = || Ok::<_, Error>(everybody());
    for _ in 0..3 {
        world.archive.prefetch(&world.stream, &later, grant);
    }
    let (one, other) = tokio::join!(
        world.archive.fragment(&world.stream, &later[0].number, grant),
        world.archive.fragment(&world.stream, &later[7].number, grant)
    );
    assert!(one.unwrap().document.len() > 1000 && other.unwrap().document.len() > 1000);
    assert_eq!(world.reached_by("GetMediaForFragmentList").await, calls + 1);
}

fn broken() -> Error {
    Error::Broken(kvs_edge::net::body::Broken::Cut("not to be called".to_owned()))
}

#[tokio::test]
async fn a_reader_that_stops_leaves_no_connection_open() {
    let world = World::start().await;
    let start = world.hour(2);
    let rows = world.footage(Server, start, start + HOUR).await.unwrap().rows;
    let mut slow = Vec::new();
    for reader in 0..12 {
        let mut reader = world.reader(&rows[reader * 140..]);
        assert!(reader.next().await.unwrap().is_ok());
        slow.push(reader);
    }
    // KVS allows five connections; each of the twelve had one and has read nothing of it.
    let held = |place: usize| world.archive.holds_fragment(&world.stream, &rows[place].number);
    world.until("all of the calls are in the cache", || async { (0..12).all(|n| held(n * 140 + 7)) }).await;
    assert!(!held(8), "and no more than one of each");
    let last =
        world.archive.fragment(&world.stream, &rows[1740].number, || Ok::<_, Error>(everybody())).await;
    assert!(last.is_ok());
    for mut reader in slow {
        assert!(reader.next().await.unwrap().is_ok());
    }
    assert_eq!(world.reached_by("GetMediaForFragmentList").await, 13);
}

#[tokio::test]
async fn a_fragment_that_is_gone_is_named_and_a_broken_call_is_repeated() {
    let world = World::start().await;
    let start = world.hour(2);
    let rows = world.footage(Server, start, start + 60_000).await.unwrap().rows;
    world.fault("GetMediaForFragmentList", json!({"kind": "reset", "after_bytes": 60_000}), 0).await;
    world.read(&rows).await;
    assert_eq!(world.reached_by("GetMediaForFragmentList").await, 4);
    let mut gone = world.footage(Server, start + 60_000, start + 120_000).await.unwrap().rows.to_vec();
    gone[3].number =
        kvs_edge::kvs::FragmentNumber::parse("91343852333181432392682062607743920146264161793").unwrap();
    let mut reader = world.reader(&gone);
    for place in 0..gone.len() {
        match reader.next().await.unwrap() {
            Ok(document) => assert!(place != 3 && !document.is_empty()),
            Err(failure) => {
                assert!(place == 3 && failure.is_not_found(), "{failure:?}");
                let error = failure.into_error().to_string();
                assert!(error.contains(gone[3].number.as_str()), "{error}");
            }
        }
    }
    assert!(!world.archive.holds_fragment(&world.stream, &gone[3].number));
    let alone = world.archive.fragment(&world.stream, &gone[3].number, || Ok::<_, Error>(everybody())).await;
    assert!(alone.err().unwrap().to_string().contains(gone[3].number.as_str()));
}

#[tokio::test]
async fn what_no_cache_can_hold_is_handed_over_directly() {
    let tiny = cache::Config { memory: ByteSize(4 << 20), ..cache::Config::default() };
    let world = World::with(config(), tiny).await;
    let start = world.hour(2);
    let rows = world.footage(Server, start, start + 2_400_000).await.unwrap().rows;
    let bytes = world.read(&rows).await;
    assert!(bytes > 8 << 20, "{bytes}");
}

#[tokio::test]
async fn what_is_on_the_disk_needs_no_fetch_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let created = Some((Timestamp::from(kvs_edge::base::clock::now()).millis() / HOUR - 24) * HOUR);
    let emulator = || emulator::Config { created, ..config() };
    let first = World::with(emulator(), disk(folder.path())).await;
    let (start, end) = (first.hour(2) + 100_000, first.hour(2) + 200_000);
    let rows = first.footage(Server, start, end).await.unwrap().rows;
    let bytes = first.read(&rows).await;
    assert!(first.cache.flush(Duration::from_secs(20)).await);
    drop(first);
    let second = World::with(emulator(), disk(folder.path())).await;
    second
        .until("the disk is open", || async {
            second.archive.holds_fragment(&second.stream, &rows[0].number)
        })
        .await;
    assert_eq!(second.footage(Server, start, end).await.unwrap().rows, rows);
    assert_eq!(second.read(&rows).await, bytes);
    assert_eq!(second.reached_by("ListFragments").await, 0);
    assert_eq!(second.reached_by("GetMediaForFragmentList").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_with_the_same_fragments_share_one_presentation() {
    let world = World::start().await;
    let start = world.now.millis() / 1000 * 1000 - 3_600_000;
    let mut found = Vec::new();
    for n in 0..50 {
        let end = Some(Timestamp::from_millis(start + 60_000));
        let range = TimeRange { start: Timestamp::from_millis(start + n), end };
        let range = PresentedRange { clock: Server, range, most: usize::MAX };
        let nobody = || Ok::<_, Error>(OnBehalfOf::all_callers("test"));
        match world.archive.presentation(&world.stream, &range, world.now, nobody).await.unwrap() {
            Presented::Found(presentation, _) => found.push(presentation),
            _ => panic!("there is footage"),
        }
    }
    found.dedup_by(|a, b| Arc::ptr_eq(a, b));
    assert!(found.len() <= 2, "{} presentations of the same fragments", found.len());
}

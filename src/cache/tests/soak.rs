//! Everything at once, for a while: many tasks on several threads ask for whole bodies and ranges, leave in
//! the middle, purge, and the origin cuts bodies short, refuses and dawdles. Whatever comes must be right,
//! and what is not whole must not look whole.
//!
//! Three seconds with small tiers here. `KVS_EDGE_TEST_SOAK=600` is ten minutes with 64 MiB of memory, 1
//! GiB of disk and 5 GiB of distinct objects, and also holds the process to its memory and the folder to
//! its size; docs/PERFORMANCE.md has what was seen.

use super::bench;
use crate::base::clock;
use crate::cache::key::tests_support::key;
use crate::cache::{Cache, DiskConfig, Fetched, FillError, Found, Head, Keep, Outcome};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use crate::setting::{ByteSize, Span};
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A small generator of numbers, so that a run can be repeated.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

/// What a run is made of.
#[derive(Clone, Copy)]
struct Scale {
    seconds: u64,
    memory: u64,
    disk: u64,
    /// Distinct objects; the mean size is 360 kB.
    objects: u64,
}

impl Scale {
    fn new() -> Self {
        let seconds = std::env::var("KVS_EDGE_TEST_SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
        if seconds < 60 {
            return Self { seconds, memory: 8 << 20, disk: 32 << 20, objects: 400 };
        }
        let objects = (0..).scan(0, |sum, key| Some(std::mem::replace(sum, *sum + size(key))));
        let objects = objects.take_while(|sum| *sum < 5 << 30).count() as u64;
        Self { seconds, memory: 64 << 20, disk: 1 << 30, objects }
    }
}

/// How many different bytes there are; a prime, so that objects do not line up.
const POOL: usize = 1_048_573;

/// The origin's bytes: every object begins somewhere else in one ring of random bytes.
fn pool() -> &'static [u8] {
    static POOL_BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    POOL_BYTES.get_or_init(|| {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        let mut bytes: Vec<u8> = (0..POOL).map(|_| dice.roll(256) as u8).collect();
        bytes.extend_from_within(..200_000); // so that a chunk never has to wrap
        bytes
    })
}

/// `length` bytes of an object, at most 200,000.
fn bytes(key: u64, at: u64, length: usize) -> &'static [u8] {
    let start = (key.wrapping_mul(7919) + at) as usize % POOL;
    &pool()[start..start + length]
}

fn size(key: u64) -> u64 {
    match key % 10 {
        0 => key % 7,
        1..=5 => 2_000 + key * 313 % 60_000,
        6..=8 => 100_000 + key * 7919 % 500_000,
        _ => 2_500_000 + key * 31 % 100_000, // larger than is kept
    }
}

/// Chunks are slices of buffers of this size, as those from a network are.
const READ_BUFFER: usize = 64 << 10;

/// A body in random chunks, cut short now and then.
struct Origin {
    key: u64,
    at: u64,
    cut_at: u64,
    dice: Dice,
    buffer: BytesMut,
}

impl http_body::Body for Origin {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.dice.roll(4) == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (key, at) = (self.key, self.at);
        if self.buffer.capacity() == 0 {
            self.buffer = BytesMut::with_capacity(READ_BUFFER);
        }
        let room = self.buffer.capacity() as u64;
        let most = 1 + self.dice.roll(room);
        let end = size(key).min(at + most).min(self.cut_at);
        if at == size(key) {
            return Poll::Ready(None);
        }
        if at >= self.cut_at {
            // An error, or an end that only the length gives away.
            let error = self.dice.roll(2) == 0;
            return Poll::Ready(error.then(|| Err(Broken::Cut("the dice".into()))));
        }
        self.at = end;
        self.buffer.extend_from_slice(bytes(key, at, (end - at) as usize));
        Poll::Ready(Some(Ok(Frame::data(self.buffer.split().freeze()))))
    }
}

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    broken: AtomicU64,
    fetched: AtomicU64,
    hits: AtomicU64,
    bytes: AtomicU64,
}

#[test]
fn whatever_happens_no_byte_is_wrong_and_nothing_short_looks_whole() {
    let scale = Scale::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let _ = pool();
    let before = resident("RssAnon:");
    runtime.block_on(async {
        let bench = bench(|config| {
            config.memory = ByteSize(scale.memory);
            config.max_object = ByteSize(2 << 20);
            config.lag = Span(Duration::from_millis(200));
            config.disk = Some(DiskConfig {
                path: folder.path().into(),
                size: ByteSize(scale.disk),
                timeout: Span(Duration::from_millis(50)),
            });
        });
        bench.clock.store(Timestamp::from(clock::now()).millis(), Ordering::Relaxed);
        let (tally, ends) = (Arc::new(Tally::default()), Instant::now() + Duration::from_secs(scale.seconds));
        let tasks: Vec<_> = (1..=64)
            .map(|seed| {
                let (cache, tally) = (bench.cache.clone(), Arc::clone(&tally));
                tokio::spawn(async move {
                    let mut dice = Dice(0x1234_5678_9abc_def1_u64.wrapping_mul(seed));
                    while Instant::now() < ends {
                        ask(&cache, &mut dice, scale.objects, &tally).await;
                    }
                })
            })
            .collect();
        let mut largest = (0, 0);
        while Instant::now() < ends {
            tokio::time::sleep(Duration::from_millis(500)).await;
            largest = (largest.0.max(resident("RssAnon:")), largest.1.max(used(folder.path())));
            if std::env::var_os("KVS_EDGE_TEST_SOAK").is_some() {
                let of = |tier| bench.counted("kvs_edge_cache_bytes", &[tier]) as u64 >> 20;
                println!(
                    "resident {} MiB, of which {} are memory and not the program's file; memory {}, \
                     filling {}, leaving {}",
                    resident("VmRSS:") >> 20,
                    resident("RssAnon:") >> 20,
                    of("memory"),
                    of("filling"),
                    of("leaving"),
                );
            }
        }
        for task in tasks {
            task.await.unwrap();
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "{} right, {} broken, {} fetches, {} hits, {} MiB read; resident {} MiB at most, {} at first; \
             disk {} MiB at most",
            count(&tally.right),
            count(&tally.broken),
            count(&tally.fetched),
            count(&tally.hits),
            count(&tally.bytes) >> 20,
            largest.0 >> 20,
            before >> 20,
            largest.1 >> 20,
        );
        assert!(count(&tally.right) > 100 && count(&tally.hits) > 10 && count(&tally.broken) > 0);
        // Fills past half may still be going on.
        while bench.cache.0.in_flight.len() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.counted("kvs_edge_cache_bytes", &["filling"]), 0.0);
        bench.cache.0.memory.tidy();
        assert!(bench.cache.0.memory.bytes() <= scale.memory / 4 * 3);
        assert!(largest.1 <= scale.disk, "the disk tier took {} bytes", largest.1);
        if scale.seconds >= 60 {
            assert!(largest.0 <= scale.memory + (64 << 20), "{} bytes are resident", largest.0);
        }
    });
}

/// Bytes that the process holds: all of them, or those that are not pages of its own file, which an
/// unoptimised test program has 40 MiB of.
fn resident(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
}

/// Bytes of all files below a folder.
fn used(folder: &std::path::Path) -> u64 {
    let parts = std::fs::read_dir(folder).into_iter().flatten().flatten().filter(|part| part.path().is_dir());
    let files = parts.flat_map(|part| std::fs::read_dir(part.path()).into_iter().flatten().flatten());
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len()).sum()
}

async fn ask(cache: &Cache, dice: &mut Dice, objects: u64, tally: &Arc<Tally>) {
    // A purge of everything, as often as not to keep the tiers from ever filling up.
    if dice.roll(objects * 50) == 0 {
        cache.purge("cam").await;
    }
    // Some keys are asked for much more often than others.
    let number = if dice.roll(2) == 0 { dice.roll(20) } else { dice.roll(objects) };
    let faults = dice.roll(1 << 40);
    let fetch = {
        let tally = Arc::clone(tally);
        move || {
            let calls = tally.fetched.fetch_add(1, Ordering::Relaxed);
            let mut dice = Dice(faults.wrapping_add(calls) | 1);
            async move {
                (0..3).for_each(|_| assert!(dice.roll(2) < 2)); // close seeds drift apart
                if dice.roll(30) == 0 {
                    return Err("refused");
                }
                if dice.roll(10) == 0 {
                    tokio::time::sleep(Duration::from_millis(dice.roll(20))).await;
                }
                let length = size(number);
                let cut_at = if dice.roll(8) == 0 { dice.roll(length + 1) } else { u64::MAX };
                // Without a length only an error shows that a body was cut.
                let announced = cut_at < length || dice.roll(2) == 0;
                let keep = if dice.roll(10) == 0 { Keep::No } else { Keep::For(Duration::from_secs(3600)) };
                let kind = HeaderValue::from_static("video/mp4");
                let head = Head::new(kind, announced.then_some(length), Timestamp::from(clock::now()));
                Ok(Fetched {
                    head,
                    keep,
                    body: Origin { key: number, at: 0, cut_at, dice, buffer: BytesMut::new() }.boxed_unsync(),
                })
            }
        }
    };
    match cache.get_or_fill(key(number), fetch).await {
        Ok(found) => read(found, number, dice, tally).await,
        Err(FillError::Fetch(error)) => assert_eq!(*error, "refused"),
        Err(FillError::Broken(_)) => drop(tally.broken.fetch_add(1, Ordering::Relaxed)),
    }
}

async fn read(found: Found, number: u64, dice: &mut Dice, tally: &Tally) {
    if matches!(found.outcome, Outcome::Hit(_)) {
        tally.hits.fetch_add(1, Ordering::Relaxed);
    }
    let length = size(number);
    assert!(found.entry.length().is_none_or(|known| known == length));
    let (mut at, mut end) = (0, length);
    let range = (dice.roll(3) == 0 && length > 0).then(|| {
        at = dice.roll(length);
        end = at + dice.roll(length - at + 1);
        at..end
    });
    let leaves_at = if dice.roll(5) == 0 { dice.roll(length + 1) } else { u64::MAX };
    let mut reader = found.entry.body(range);
    loop {
        match reader.next().await {
            Some(Ok(chunk)) => {
                for part in chunk.chunks(200_000) {
                    assert!(part == bytes(number, at, part.len()), "object {number} is wrong near {at}");
                    at += part.len() as u64;
                }
                tally.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
            Some(Err(_)) => {
                tally.broken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            None => {
                assert_eq!(at, end, "object {number} of {length} bytes ended short");
                tally.right.fetch_add(1, Ordering::Relaxed);
                return;
            }
        }
        if at >= leaves_at {
            return;
        }
        if dice.roll(50) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.roll(10))).await;
        }
    }
}

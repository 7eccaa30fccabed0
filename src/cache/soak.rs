//! Everything at once, for a while: many tasks on several threads ask for whole bodies and ranges, leave in the middle,
//! purge, and the origin cuts bodies short, refuses and dawdles. Whatever comes must be right, and what is not whole
//! must not look whole.
//!
//! Three seconds here; `KVS_EDGE_TEST_SOAK=600` for ten minutes, which also holds the process to its memory.

use super::key::tests_support::key;
use super::tests::bench;
use super::{DiskConfig, Fetched, FillError, Found, Head, Keep, Outcome};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use crate::setting::{ByteSize, Span};
use bytes::Bytes;
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

/// The origin's bytes: eight at a time, from key and place.
fn word(key: u64, at: u64) -> [u8; 8] {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at / 8).wrapping_mul(0xd6e8_feb8_6659_fd93)).to_le_bytes()
}

fn byte(key: u64, at: u64) -> u8 {
    word(key, at)[(at % 8) as usize]
}

fn size(key: u64) -> u64 {
    match key % 10 {
        0 => key % 7,
        1..=5 => 2_000 + key * 313 % 60_000,
        6..=8 => 100_000 + key * 7919 % 500_000,
        _ => 2_500_000 + key * 31 % 100_000, // larger than is kept
    }
}

/// A body in random chunks, cut short now and then.
struct Origin {
    key: u64,
    at: u64,
    cut_at: u64,
    dice: Dice,
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
        let end = size(key).min(at + 1 + self.dice.roll(100_000)).min(self.cut_at);
        if at == size(key) {
            return Poll::Ready(None);
        }
        if at >= self.cut_at {
            // An error, or an end that only the length gives away.
            let error = self.dice.roll(2) == 0;
            return Poll::Ready(error.then(|| Err(Broken::Cut("the dice".into()))));
        }
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data((at..end).map(|at| byte(key, at)).collect()))))
    }
}

#[derive(Default)]
struct Tally {
    right: AtomicU64,
    broken: AtomicU64,
    fetched: AtomicU64,
    hits: AtomicU64,
}

#[test]
fn whatever_happens_no_byte_is_wrong_and_nothing_short_looks_whole() {
    let seconds = std::env::var("KVS_EDGE_TEST_SOAK").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let bench = bench(|config| {
            config.memory = ByteSize(8 << 20);
            config.lag = Span(Duration::from_millis(200));
            config.disk = Some(DiskConfig {
                path: folder.path().into(),
                size: ByteSize(32 << 20),
                timeout: Span(Duration::from_millis(50)),
            });
        });
        bench.clock.store(Timestamp::now().millis(), Ordering::Relaxed);
        let (tally, ends) = (Arc::new(Tally::default()), Instant::now() + Duration::from_secs(seconds));
        let tasks: Vec<_> = (1..=64)
            .map(|seed| {
                let (cache, tally) = (bench.cache.clone(), Arc::clone(&tally));
                tokio::spawn(async move {
                    let mut dice = Dice(0x1234_5678_9abc_def1_u64.wrapping_mul(seed));
                    while Instant::now() < ends {
                        ask(&cache, &mut dice, &tally).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!(
            "{} right, {} broken, {} fetches, {} hits",
            count(&tally.right),
            count(&tally.broken),
            count(&tally.fetched),
            count(&tally.hits)
        );
        assert!(count(&tally.right) > 100 && count(&tally.hits) > 10 && count(&tally.broken) > 0);
        // Fills past half may still be going on.
        while bench.cache.0.flights.len() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(bench.counted("kvs_edge_cache_bytes", &["filling"]), 0.0);
        bench.cache.0.memory.tidy();
        assert!(bench.cache.0.memory.bytes() <= 6 << 20);
        if seconds > 60 {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            println!("{}", status.lines().filter(|line| line.starts_with("VmHWM")).collect::<String>());
        }
    });
}

async fn ask(cache: &super::Cache, dice: &mut Dice, tally: &Arc<Tally>) {
    if dice.roll(400) == 0 {
        cache.purge("cam");
    }
    // Some keys are asked for much more often than others.
    let number = if dice.roll(2) == 0 { dice.roll(20) } else { dice.roll(400) };
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
                // Without a length only an error tells that a body was cut.
                let announced = cut_at < length || dice.roll(2) == 0;
                let keep = if dice.roll(10) == 0 { Keep::No } else { Keep::For(Duration::from_secs(3600)) };
                let kind = HeaderValue::from_static("video/mp4");
                let head = Head::new(kind, announced.then_some(length), Timestamp::now());
                Ok(Fetched { head, keep, body: Origin { key: number, at: 0, cut_at, dice }.boxed_unsync() })
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
                for byte in chunk.chunks(8).zip(0..) {
                    let (bytes, step): (&[u8], u64) = byte;
                    let from = at + step * 8;
                    assert!(bytes.iter().zip(from..).all(|(byte, at)| *byte == self::byte(number, at)));
                }
                at += chunk.len() as u64;
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

//! The cache's promises, each with the sentence it keeps (DESIGN.md 7, issue 5). Origins are made of chunks that the
//! test lets go one by one; time is tokio's paused clock and a wall clock that the test sets.

use super::key::tests_support::key;
use super::*;
use crate::net::body::ByteStream;
use bytes::Bytes;
use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Bench {
    pub(crate) cache: Cache,
    pub(super) clock: Arc<AtomicU64>,
    pub(super) registry: prometheus::Registry,
}

pub(super) fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = Config { memory: crate::setting::ByteSize(64 << 20), ..Config::default() };
    change(&mut config);
    let registry = prometheus::Registry::new();
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let metrics = Metrics::register(&registry).unwrap();
    let cache = Cache::open_at(&config, metrics, Clock::Set(Arc::clone(&clock))).unwrap();
    Bench { cache, clock, registry }
}

impl Bench {
    pub(super) fn counted(&self, name: &str, labels: &[&str]) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let has = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
        };
        let metric = family.get_metric().iter().find(has).unwrap();
        metric.get_counter().get_value() + metric.get_gauge().get_value()
    }
}

/// An origin: every fetch takes the next body that the test has laid out, and is counted.
#[derive(Clone)]
pub(super) struct Origin {
    bodies: Arc<std::sync::Mutex<std::collections::VecDeque<Body>>>,
    calls: Arc<AtomicUsize>,
    keep: Keep,
    clock: Arc<AtomicU64>,
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("refused")]
pub(super) struct Refused;

enum Body {
    Whole(Vec<Bytes>, Option<u64>),
    Fed(mpsc::Receiver<Result<Bytes, Broken>>, Option<u64>),
    Refused,
    Silent,
}

impl Origin {
    pub(super) fn new(bench: &Bench, keep: Keep) -> Self {
        Self { bodies: Arc::default(), calls: Arc::default(), keep, clock: Arc::clone(&bench.clock) }
    }

    fn next(&self, body: Body) -> &Self {
        self.bodies.lock().unwrap().push_back(body);
        self
    }

    pub(super) fn whole(&self, body: impl Into<Bytes>) -> &Self {
        let body = body.into();
        let length = body.len() as u64;
        self.next(Body::Whole(vec![body], Some(length)))
    }

    fn chunks(&self, chunks: Vec<Bytes>, length: Option<u64>) -> &Self {
        self.next(Body::Whole(chunks, length))
    }

    /// A body that the test feeds; dropping the sender ends it.
    fn fed(&self, length: Option<u64>) -> mpsc::Sender<Result<Bytes, Broken>> {
        let (feed, body) = mpsc::channel(1000);
        self.next(Body::Fed(body, length));
        feed
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(super) fn fetch(
        &self,
    ) -> impl Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, Refused>> + Send>> + Send + Sync + 'static
    {
        let origin = self.clone();
        move || {
            origin.calls.fetch_add(1, Ordering::Relaxed);
            let body = origin.bodies.lock().unwrap().pop_front().expect("a fetch that the test expects");
            let (keep, now) = (origin.keep, origin.clock.load(Ordering::Relaxed));
            Box::pin(async move {
                let (body, length): (ByteStream, _) = match body {
                    Body::Refused => return Err(Refused),
                    Body::Silent => std::future::pending().await,
                    Body::Whole(chunks, length) => (Chunks(chunks.into_iter()).boxed_unsync(), length),
                    Body::Fed(feed, length) => (Feed(feed).boxed_unsync(), length),
                };
                let head =
                    Head::new(HeaderValue::from_static("video/mp4"), length, Timestamp::from_millis(now));
                Ok(Fetched { head, keep, body })
            })
        }
    }
}

/// Chunks that are here.
struct Chunks(std::vec::IntoIter<Bytes>);

/// Chunks that a test feeds.
struct Feed(mpsc::Receiver<Result<Bytes, Broken>>);

type Polled = Poll<Option<Result<Frame<Bytes>, Broken>>>;

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Broken;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Polled {
        Poll::Ready(self.0.next().map(|chunk| Ok(Frame::data(chunk))))
    }
}

impl http_body::Body for Feed {
    type Data = Bytes;
    type Error = Broken;
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        self.0.poll_recv(cx).map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }
}

pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
}

async fn read(found: Found) -> Result<Vec<u8>, Broken> {
    read_range(found, None).await
}

async fn read_range(found: Found, range: Option<std::ops::Range<u64>>) -> Result<Vec<u8>, Broken> {
    let mut reader = found.entry.body(range);
    let mut all = Vec::new();
    while let Some(chunk) = reader.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

#[tokio::test(start_paused = true)]
async fn a_second_request_is_a_hit_with_entity_tag_and_age() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.whole(pattern(300_000));
    let first = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(first.outcome, Outcome::Miss);
    assert_eq!(read(first).await.unwrap(), pattern(300_000));
    bench.clock.fetch_add(5000, Ordering::Relaxed);
    let second = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((second.outcome, origin.calls()), (Outcome::Hit(Tier::Memory), 1));
    assert_eq!(second.entry.length(), Some(300_000));
    assert_eq!(second.entry.age(Timestamp::from_millis(1_005_000)), Duration::from_secs(5));
    assert!(second.entry.etag().unwrap().starts_with('"'));
    assert!(second.entry.whole_bytes().is_some());
    assert_eq!(read(second).await.unwrap(), pattern(300_000));
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["memory", "hit"]), 1.0);
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["memory", "miss"]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn two_hundred_readers_cost_one_fetch_and_each_gets_every_byte_as_it_comes() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let body = pattern(2 << 20);
    let feed = origin.fed(Some(body.len() as u64));
    let mut readers = Vec::new();
    for _ in 0..200 {
        readers.push(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None));
    }
    for chunk in body.chunks(64 << 10) {
        feed.send(Ok(Bytes::copy_from_slice(chunk))).await.unwrap();
        for reader in &mut readers {
            // Nobody waits for the end, and nobody for another.
            assert_eq!(reader.next().await.unwrap().unwrap(), chunk);
        }
    }
    drop(feed);
    for reader in &mut readers {
        assert!(reader.next().await.is_none());
    }
    assert_eq!(origin.calls(), 1);
    assert_eq!(bench.counted("kvs_edge_cache_requests_total", &["collapsed"]), 199.0);
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_reads_from_the_first_byte_and_who_stalls_holds_nobody_back() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(Some(3000));
    let stalled = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    feed.send(Ok(pattern(3000)[..2000].to_vec().into())).await.unwrap();
    let late = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(late.outcome, Outcome::Collapsed);
    feed.send(Ok(pattern(3000)[2000..].to_vec().into())).await.unwrap();
    drop(feed);
    assert_eq!(read(late).await.unwrap(), pattern(3000));
    assert_eq!(read(stalled).await.unwrap(), pattern(3000));
}

#[tokio::test(start_paused = true)]
async fn a_failed_fetch_fails_for_all_and_is_not_kept() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Refused);
    let both = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    for one in [both.0, both.1] {
        assert!(matches!(one, Err(FillError::Fetch(error)) if *error == Refused));
    }
    assert_eq!(origin.calls(), 1);
    origin.whole("now");
    let now = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((now.outcome, read(now).await.unwrap()), (Outcome::Miss, b"now".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_fetched_again_for_those_who_had_nothing_and_is_the_end_for_others() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feed = origin.fed(Some(4));
    origin.whole("good");
    let mut early = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().entry.body(None);
    let waiting = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    feed.send(Ok(Bytes::from_static(b"go"))).await.unwrap();
    assert_eq!(early.next().await.unwrap().unwrap(), "go");
    drop(feed);
    until(|| origin.calls() == 2).await;
    assert_eq!(read(waiting).await.unwrap(), b"good");
    assert!(matches!(early.next().await, Some(Err(Broken::Cut(_)))));
    assert!(early.next().await.is_none());
    let held = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(held.outcome, Outcome::Hit(Tier::Memory));
}

#[tokio::test(start_paused = true)]
async fn short_long_and_broken_bodies_are_never_kept() {
    let bench = bench(|_| {});
    for (chunk, length) in [(&b"abc"[..], 4), (b"abcde", 4)] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        for _ in 0..2 {
            origin.chunks(vec![Bytes::copy_from_slice(chunk)], Some(length));
        }
        assert!(matches!(ask(&bench, &origin).await, Err(Broken::Cut(_))));
        assert!(bench.cache.get(&key(1)).is_none());
    }
    let origin = Origin::new(&bench, Keep::For(DAY));
    for _ in 0..2 {
        let feed = origin.fed(None);
        feed.send(Ok(Bytes::from_static(b"all of it"))).await.unwrap();
        feed.send(Err(Broken::Refused("an error chunk at its end".into()))).await.unwrap();
    }
    assert!(matches!(ask(&bench, &origin).await, Err(Broken::Refused(_))));
    assert!(bench.cache.get(&key(1)).is_none());
}

/// Asks and reads; a body may break before or after its head was seen.
async fn ask(bench: &Bench, origin: &Origin) -> Result<Vec<u8>, Broken> {
    match bench.cache.get_or_fill(key(1), origin.fetch()).await {
        Ok(found) => read(found).await,
        Err(FillError::Broken(broken)) => Err(broken),
        Err(FillError::Fetch(_)) => unreachable!("the fetch answers"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_body_is_given_up() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let feeds = [origin.fed(Some(4)), origin.fed(Some(4))];
    feeds[0].send(Ok(Bytes::from_static(b"go"))).await.unwrap();
    let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert!(matches!(read(found).await, Err(Broken::Stalled(_))));
}

#[tokio::test(start_paused = true)]
async fn who_loses_patience_starts_again_together_with_the_others() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Silent).whole("here");
    let both = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    assert_eq!(read(both.0.unwrap()).await.unwrap(), b"here");
    assert_eq!(read(both.1.unwrap()).await.unwrap(), b"here");
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn when_the_last_reader_leaves_a_fetch_past_half_goes_on_and_another_is_dropped() {
    let bench = bench(|_| {});
    for (sent, goes_on) in [(2, true), (1, false)] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        let feed = origin.fed(Some(4));
        let mut reader = bench.cache.get_or_fill(key(sent), origin.fetch()).await.unwrap().entry.body(None);
        feed.send(Ok(pattern(sent as usize).into())).await.unwrap();
        reader.next().await.unwrap().unwrap();
        drop(reader);
        if goes_on {
            feed.send(Ok(pattern(4)[sent as usize..].to_vec().into())).await.unwrap();
            drop(feed);
            until(|| bench.cache.get(&key(sent)).is_some()).await;
        } else {
            feed.closed().await;
            until(|| bench.cache.0.flights.len() == 0).await;
            assert!(bench.cache.get(&key(sent)).is_none());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_goes_away_before_the_answer_frees_the_key() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.next(Body::Silent);
    let asked = tokio::time::timeout(Duration::from_secs(1), bench.cache.get_or_fill(key(1), origin.fetch()));
    assert!(asked.await.is_err());
    until(|| bench.cache.0.flights.len() == 0).await;
    origin.whole("x");
    assert_eq!(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap().outcome, Outcome::Miss);
}

async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_reaches_memory_and_fills_under_way() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.whole("old");
    read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap();
    let feed = origin.fed(Some(3));
    let under_way = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(bench.cache.purge("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1"), 1);
    assert!(bench.cache.get(&key(1)).is_none());
    origin.whole("new");
    let after = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!((after.outcome, read(after).await.unwrap()), (Outcome::Miss, b"new".to_vec()));
    feed.send(Ok(Bytes::from_static(b"old"))).await.unwrap();
    drop(feed);
    assert_eq!(read(under_way).await.unwrap(), b"old");
    let held = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(read(held).await.unwrap(), b"new");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_kept_is_shared_while_it_comes_and_then_gone() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::No);
    origin.whole("once").whole("twice");
    let (one, two) = tokio::join!(
        bench.cache.get_or_fill(key(1), origin.fetch()),
        bench.cache.get_or_fill(key(1), origin.fetch())
    );
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((one.outcome, two.outcome), (Outcome::Bypass, Outcome::Collapsed));
    assert_eq!(read(one).await.unwrap(), b"once");
    assert_eq!(read(two).await.unwrap(), b"once");
    until(|| bench.cache.0.flights.len() == 0).await;
    assert_eq!(read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap(), b"twice");
}

#[tokio::test(start_paused = true)]
async fn past_its_freshness_it_is_given_out_at_once_while_one_refresh_runs_and_past_its_life_never() {
    let bench = bench(|_| {});
    let (fresh, stale) = (Duration::from_secs(2), Duration::from_secs(10));
    let origin = Origin::new(&bench, Keep::Refresh { fresh, stale });
    origin.whole("one");
    read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap();
    bench.clock.fetch_add(2000, Ordering::Relaxed);
    let feed = origin.fed(Some(3));
    for _ in 0..20 {
        let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
        assert_eq!((found.outcome, read(found).await.unwrap()), (Outcome::Stale, b"one".to_vec()));
    }
    feed.send(Ok(Bytes::from_static(b"two"))).await.unwrap();
    drop(feed);
    until(|| bench.cache.get(&key(1)).is_some()).await;
    assert_eq!(origin.calls(), 2);
    bench.clock.fetch_add(12_000, Ordering::Relaxed);
    origin.whole("three");
    let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!((found.outcome, read(found).await.unwrap()), (Outcome::Miss, b"three".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn a_body_too_large_to_keep_streams_to_all_who_keep_up_in_a_small_window() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    for announced in [true, false] {
        let origin = Origin::new(&bench, Keep::For(DAY));
        let body = pattern(8 << 20);
        let chunks: Vec<Bytes> = body.chunks(40_000).map(Bytes::copy_from_slice).collect();
        origin.chunks(chunks.clone(), announced.then_some(body.len() as u64));
        let (one, two) = tokio::join!(
            bench.cache.get_or_fill(key(1), origin.fetch()),
            bench.cache.get_or_fill(key(1), origin.fetch())
        );
        let (one, two) = tokio::join!(read(one.unwrap()), read(two.unwrap()));
        assert!(one.unwrap() == body && two.unwrap() == body);
        assert_eq!(origin.calls(), 1);
        assert!(bench.cache.get(&key(1)).is_none());
        until(|| bench.cache.0.flights.len() == 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_body_that_streams_who_stalls_is_cut_and_who_comes_late_fetches_for_himself() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    let body = pattern(8 << 20);
    for _ in 0..2 {
        origin.chunks(body.chunks(40_000).map(Bytes::copy_from_slice).collect(), Some(body.len() as u64));
    }
    let stalled = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    let reading = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(reading.outcome, Outcome::Collapsed);
    assert!(read(reading).await.unwrap() == body);
    assert!(matches!(read(stalled).await, Err(Broken::Stalled(_))));
    let late = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert!(read(late).await.unwrap() == body);
    assert_eq!(origin.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_length_of_a_growing_body_can_be_waited_for() {
    let bench = bench(|config| config.max_object = crate::setting::ByteSize(1 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    origin.chunks(vec![pattern(700_000).into(); 1], None).chunks(vec![pattern(700_000).into(); 3], None);
    let mut held = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
    assert_eq!(held.entry.known_length().await.unwrap(), Some(700_000));
    assert!(held.entry.etag().is_some());
    assert_eq!(read_range(held, Some(600_000..600_004)).await.unwrap(), pattern(700_000)[600_000..600_004]);
    let mut large = bench.cache.get_or_fill(key(2), origin.fetch()).await.unwrap();
    assert_eq!(large.entry.known_length().await.unwrap(), None);
    assert_eq!(read(large).await.unwrap().len(), 2_100_000);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_fetch_is_an_error_to_who_waits_and_frees_the_key() {
    let bench = bench(|_| {});
    let origin = Origin::new(&bench, Keep::For(DAY));
    let asked = bench.cache.get_or_fill(key(1), origin.fetch()).await;
    assert!(matches!(asked, Err(FillError::Broken(Broken::Cut(_)))));
    origin.bodies.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
    origin.bodies.clear_poison();
    origin.whole("fine");
    assert!(bench.cache.get_or_fill(key(1), origin.fetch()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn memory_stays_within_its_budget_while_more_than_it_passes_through() {
    let bench = bench(|config| config.memory = crate::setting::ByteSize(8 << 20));
    let origin = Origin::new(&bench, Keep::For(DAY));
    for number in 0..200 {
        origin.whole(pattern(300_000));
        read(bench.cache.get_or_fill(key(number), origin.fetch()).await.unwrap()).await.unwrap();
        assert!(bench.cache.0.memory.bytes() <= 6 << 20);
    }
    assert!(bench.cache.0.memory.bytes() > 3 << 20);
    assert!(bench.counted("kvs_edge_cache_evictions_total", &["memory", "size"]) > 100.0);
    assert_eq!(bench.counted("kvs_edge_cache_bytes", &["filling"]), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_of_any_body_in_any_chunks_is_the_slice(
        cuts in proptest::collection::vec(0..70_000_usize, 0..12), start in 0..200_000_u64, size in 0..200_000_u64,
        announced: bool, grown: bool,
    ) {
        let chunks: Vec<Bytes> = cuts.iter().map(|size| pattern(*size).into()).collect();
        let body: Vec<u8> = chunks.concat();
        let length = body.len() as u64;
        let range = start.min(length)..(start + size).min(length);
        let right = body[range.start as usize..range.end as usize].to_vec();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let got = runtime.block_on(async {
            let bench = bench(|_| {});
            let origin = Origin::new(&bench, Keep::For(DAY));
            origin.chunks(chunks, announced.then_some(length));
            if !grown {
                read(bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap()).await.unwrap();
                until(|| bench.cache.get(&key(1)).is_some()).await;
            }
            let found = bench.cache.get_or_fill(key(1), origin.fetch()).await.unwrap();
            assert_eq!(origin.calls(), 1);
            read_range(found, Some(range)).await.unwrap()
        });
        prop_assert!(got == right);
    }
}

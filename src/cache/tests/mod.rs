//! The cache's promises, each with the sentence it keeps (docs/BEHAVIOUR.md 7, issue 5). Origins are made
//! of chunks that the test lets go one by one; time is tokio's paused clock and a wall clock that the test
//! sets.

use super::key::tests_support::key;
use super::*;
use crate::kvs::Timestamp;
use crate::net::body::ByteStream;
use bytes::Bytes;
use http::HeaderValue;
use http_body::Frame;
use http_body_util::BodyExt as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

mod below;
mod disk;
mod failing;
mod keeping;
mod resident;
mod sharing;
mod soak;

const DAY: Duration = Duration::from_secs(86_400);

pub(super) struct Bench {
    pub(crate) cache: Cache,
    pub(super) clock: Arc<AtomicU64>,
    pub(super) registry: prometheus::Registry,
}

pub(super) fn bench(change: impl FnOnce(&mut Config)) -> Bench {
    bench_over(Vec::new(), change)
}

/// A cache over these tiers.
fn bench_over(lowest: Vec<Arc<dyn Store>>, change: impl FnOnce(&mut Config)) -> Bench {
    let mut config = Config { memory: crate::setting::ByteSize(64 << 20), ..Config::default() };
    change(&mut config);
    let registry = prometheus::Registry::new();
    let clock = Arc::new(AtomicU64::new(1_000_000));
    let metrics = Metrics::register(&registry).unwrap();
    let cache = Cache::open_at(&config, metrics, Clock::Set(Arc::clone(&clock)), |_, _, _| lowest).unwrap();
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

/// Asks and reads; a body may break before or after its head was seen.
async fn ask(bench: &Bench, origin: &Origin) -> Result<Vec<u8>, Broken> {
    match bench.cache.get_or_fill(key(1), origin.fetch()).await {
        Ok(found) => read(found).await,
        Err(FillError::Broken(broken)) => Err(broken),
        Err(FillError::Fetch(_)) => unreachable!("the fetch answers"),
    }
}

pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

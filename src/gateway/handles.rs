//! The gateway's series, looked up once: what counting a request costs is a few additions, without a lock, a hash of labels
//! or an allocation.
//!
//! Every value of `api` and `cache` is known ahead, so their series are an array. Streams are not; theirs are looked up in a
//! map that is copied when a new one comes, which readers never wait for.

use super::metrics::{CACHE_WORDS, NO_STREAM, StreamLabel, apis};
use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Series by what was asked.
pub struct Handles {
    apis: Vec<Api>,
    streams: ArcSwap<HashMap<Arc<str>, Arc<Stream>>>,
    outgoing_bytes: IntCounterVec,
    stream_label: StreamLabel,
}

struct Api {
    name: &'static str,
    transfer: Histogram,
    caches: [Cache; CACHE_WORDS.len()],
}

struct Cache {
    first_byte: Histogram,
    /// The statuses of answers with a body, and of those that spare one.
    codes: [IntCounter; CODES.len()],
}

/// Statuses that are counted without a look-up.
const CODES: [u16; 3] = [200, 206, 304];

/// One stream's bytes, by `api` and `cache`; a series is made when its first byte leaves.
struct Stream {
    label: Arc<str>,
    bytes: Box<[OnceLock<IntCounter>]>,
}

/// Where one request counts.
#[derive(Clone, Copy)]
pub struct Place {
    api: usize,
    cache: usize,
}

impl Handles {
    pub(super) fn new(
        requests: &IntCounterVec,
        first_byte: &HistogramVec,
        transfer: &HistogramVec,
        outgoing_bytes: &IntCounterVec,
        stream_label: StreamLabel,
    ) -> Self {
        let cache = |api: &str, cache: &str| Cache {
            first_byte: first_byte.with_label_values(&[api, cache]),
            codes: CODES.map(|code| requests.with_label_values(&[api, code.to_string().as_str(), cache])),
        };
        let apis = apis().map(|api| Api {
            name: api,
            transfer: transfer.with_label_values(&[api]),
            caches: CACHE_WORDS.map(|word| cache(api, word)),
        });
        let apis: Vec<Api> = apis.collect();
        let none: Arc<str> = NO_STREAM.into();
        let streams = HashMap::from([(none.clone(), Arc::new(Stream::new(none, apis.len())))]);
        Self {
            apis,
            streams: ArcSwap::from_pointee(streams),
            outgoing_bytes: outgoing_bytes.clone(),
            stream_label,
        }
    }

    /// Where a request counts; `None` for words that are not in the lists, which no request has.
    pub fn place(&self, api: &str, cache: &str) -> Option<Place> {
        let api = self.apis.iter().position(|known| same(known.name, api))?;
        let cache = CACHE_WORDS.iter().position(|known| same(known, cache))?;
        Some(Place { api, cache })
    }

    /// The count of answers of a status that is common enough to be at hand.
    pub fn requests(&self, place: Place, status: u16) -> Option<&IntCounter> {
        let code = CODES.iter().position(|code| *code == status)?;
        Some(&self.apis[place.api].caches[place.cache].codes[code])
    }

    /// The times to the first byte.
    pub fn first_byte(&self, place: Place) -> &Histogram {
        &self.apis[place.api].caches[place.cache].first_byte
    }

    /// The times from the first byte to the last.
    pub fn transfer(&self, place: Place) -> &Histogram {
        &self.apis[place.api].transfer
    }

    /// Counts body bytes of a stream.
    pub fn sent(&self, place: Place, stream: &str, bytes: u64) {
        let known = self.streams.load();
        match known.get(stream) {
            Some(series) => self.count(place, series, bytes),
            None => self.count(place, &self.new_stream(stream), bytes),
        }
    }

    fn count(&self, place: Place, stream: &Stream, bytes: u64) {
        let series = stream.bytes[place.api * CACHE_WORDS.len() + place.cache].get_or_init(|| {
            let (api, cache) = (self.apis[place.api].name, CACHE_WORDS[place.cache]);
            self.outgoing_bytes.with_label_values(&[api, &stream.label, cache])
        });
        series.inc_by(bytes);
    }

    /// The series under which a stream counts that has none of its own yet. The number of labels is bounded, so the map is.
    fn new_stream(&self, name: &str) -> Arc<Stream> {
        let label = (self.stream_label)(name);
        if let Some(known) = self.streams.load().get(&label) {
            return known.clone();
        }
        let stream = Arc::new(Stream::new(label.clone(), self.apis.len()));
        self.streams.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.entry(label.clone()).or_insert_with(|| stream.clone());
            known
        });
        stream
    }
}

impl Stream {
    fn new(label: Arc<str>, apis: usize) -> Self {
        Self { label, bytes: (0..apis * CACHE_WORDS.len()).map(|_| OnceLock::new()).collect() }
    }
}

/// Words come from the same lists, so their place in memory nearly always tells.
fn same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{Metrics, NO_STREAM};
    use super::*;

    #[test]
    fn what_is_counted_is_what_prometheus_reads_and_streams_beyond_the_bound_share_one_label() {
        let registry = prometheus::Registry::new();
        let label: StreamLabel =
            Arc::new(|name| if name == "cam-1" { name.into() } else { NO_STREAM.into() });
        let metrics = Metrics::register(&registry, label).unwrap();
        let place = metrics.handles.place("GetClip", "hit").unwrap();
        for (stream, bytes) in [("cam-1", 1), ("cam-2", 10), ("cam-3", 100), ("cam-1", 1000)] {
            metrics.handles.sent(place, stream, bytes);
        }
        metrics.handles.requests(place, 206).unwrap().inc();
        assert!(
            metrics.handles.requests(place, 404).is_none() && metrics.handles.place("x", "hit").is_none()
        );
        let bytes = |stream| metrics.outgoing_bytes.with_label_values(&["GetClip", stream, "hit"]).get();
        assert_eq!((bytes("cam-1"), bytes(NO_STREAM)), (1001, 110));
        assert_eq!(metrics.requests.with_label_values(&["GetClip", "206", "hit"]).get(), 1);
        assert_eq!(metrics.handles.streams.load().len(), 2);
    }
}

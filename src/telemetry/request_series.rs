//! The series that count requests, looked up once. Counting a request costs a few additions, without a
//! lock, a hash of labels or an allocation.
//!
//! Every value of `api` and `cache` is known ahead, so their series are an array. Streams are not; theirs are
//! looked up in a map that is copied when a new one comes, which readers never wait for.

use super::metrics::StreamLabels;
use super::request_labels::{CACHE_WORDS, NO_STREAM, apis};
use arc_swap::ArcSwap;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Series by what was asked.
pub struct Series {
    apis: Vec<ApiSeries>,
    streams: ArcSwap<StreamMap>,
    outgoing_bytes: IntCounterVec,
    labels: StreamLabels,
}

struct ApiSeries {
    name: &'static str,
    transfer: Histogram,
    caches: [CacheSeries; CACHE_WORDS.len()],
}

struct CacheSeries {
    first_byte: Histogram,
    /// The statuses of answers with a body, and of those that spare one.
    codes: [IntCounter; CODES.len()],
}

/// Statuses that are counted without a look-up.
const CODES: [u16; 3] = [200, 206, 304];

/// One stream's bytes, by `api` and `cache`; a series is made when its first byte leaves.
struct StreamSeries {
    label: Arc<str>,
    bytes: Box<[OnceLock<IntCounter>]>,
}

type StreamMap = HashMap<Arc<str>, Arc<StreamSeries>, foldhash::fast::RandomState>;

/// Where one request counts.
#[derive(Clone, Copy)]
pub struct SeriesIndex {
    api: usize,
    cache: usize,
}

impl Series {
    /// Series of these families.
    pub fn new(
        requests: &IntCounterVec,
        first_byte: &HistogramVec,
        transfer: &HistogramVec,
        outgoing_bytes: &IntCounterVec,
        labels: StreamLabels,
    ) -> Self {
        let cache = |api: &str, cache: &str| CacheSeries {
            first_byte: first_byte.with_label_values(&[api, cache]),
            codes: CODES.map(|code| requests.with_label_values(&[api, code.to_string().as_str(), cache])),
        };
        let apis = apis().map(|api| ApiSeries {
            name: api,
            transfer: transfer.with_label_values(&[api]),
            caches: CACHE_WORDS.map(|word| cache(api, word)),
        });
        let apis: Vec<ApiSeries> = apis.collect();
        let none: Arc<str> = NO_STREAM.into();
        let streams = StreamMap::from_iter([(none.clone(), Arc::new(StreamSeries::new(none, apis.len())))]);
        Self { apis, streams: ArcSwap::from_pointee(streams), outgoing_bytes: outgoing_bytes.clone(), labels }
    }

    /// Where a request counts; `None` for words that are not in the lists, which no request has.
    pub fn index(&self, api: &str, cache: &str) -> Option<SeriesIndex> {
        let api = self.apis.iter().position(|known| same(known.name, api))?;
        let cache = CACHE_WORDS.iter().position(|known| same(known, cache))?;
        Some(SeriesIndex { api, cache })
    }

    /// The count of answers of a status that is common enough to be at hand.
    pub fn requests(&self, at: SeriesIndex, status: u16) -> Option<&IntCounter> {
        let code = CODES.iter().position(|code| *code == status)?;
        Some(&self.apis[at.api].caches[at.cache].codes[code])
    }

    /// The times to the first byte.
    pub fn first_byte(&self, at: SeriesIndex) -> &Histogram {
        &self.apis[at.api].caches[at.cache].first_byte
    }

    /// The times from the first byte to the last.
    pub fn transfer(&self, at: SeriesIndex) -> &Histogram {
        &self.apis[at.api].transfer
    }

    /// Notes that a stream exists, so that it gets a label while there is room.
    pub fn exists(&self, stream: &str) {
        if !self.streams.load().contains_key(stream) {
            self.new_stream(stream);
        }
    }

    /// Counts body bytes of a stream that exists and that the caller may have, or of none of these.
    pub fn sent(&self, at: SeriesIndex, stream: &str, bytes: u64) {
        let known = self.streams.load();
        match known.get(stream) {
            Some(series) => self.count(at, series, bytes),
            None => self.count(at, &self.new_stream(stream), bytes),
        }
    }

    fn count(&self, at: SeriesIndex, stream: &StreamSeries, bytes: u64) {
        let series = stream.bytes[at.api * CACHE_WORDS.len() + at.cache].get_or_init(|| {
            let (api, cache) = (self.apis[at.api].name, CACHE_WORDS[at.cache]);
            self.outgoing_bytes.with_label_values(&[api, &stream.label, cache])
        });
        series.inc_by(bytes);
    }

    /// How many streams have series, the common one included.
    #[cfg(test)]
    pub fn streams(&self) -> usize {
        self.streams.load().len()
    }

    /// The series of a stream that has none yet. The number of labels is bounded, so the map is.
    fn new_stream(&self, name: &str) -> Arc<StreamSeries> {
        let label = self.labels.label_of_existing(name);
        if let Some(known) = self.streams.load().get(&label) {
            return known.clone();
        }
        let stream = Arc::new(StreamSeries::new(label.clone(), self.apis.len()));
        self.streams.rcu(|known| {
            let mut known = StreamMap::clone(known);
            known.entry(label.clone()).or_insert_with(|| stream.clone());
            known
        });
        stream
    }
}

impl StreamSeries {
    fn new(label: Arc<str>, apis: usize) -> Self {
        Self { label, bytes: (0..apis * CACHE_WORDS.len()).map(|_| OnceLock::new()).collect() }
    }
}

/// Words come from the same lists, so comparing their addresses nearly always suffices.
fn same(one: &str, other: &str) -> bool {
    std::ptr::eq(one, other) || one == other
}

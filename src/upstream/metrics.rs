//! What this part counts. Names and labels are docs/BEHAVIOUR.md 11; every series that can be known ahead
//! exists at 0.

use crate::kvs::{Operation, Resource};
use crate::telemetry::metrics::{OTHER_STREAM, StreamLabels};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Calls that are not one of the nine.
pub(super) const LIST_TAGS: &str = "ListTagsForStream";

/// The counters, resolved once. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<UpstreamSeries>);

struct UpstreamSeries {
    bytes: IntCounterVec,
    images: IntCounter,
    requests: IntCounterVec,
    retries: IntCounterVec,
    points: IntCounterVec,
    utilization: OnScrape,
    lookups: IntCounterVec,
    expiry: GaugeVec,
    apis: HashMap<&'static str, Api>,
    labels: StreamLabels,
}

struct Api {
    duration: Histogram,
    throttled: IntCounter,
}

impl Metrics {
    /// Registers everything. `labels` are the same in all parts.
    ///
    /// # Errors
    /// A name that is taken already.
    pub fn register(registry: &Registry, labels: StreamLabels) -> Result<Self, prometheus::Error> {
        fn added<C: Collector + Clone + 'static>(r: &Registry, metric: C) -> Result<C, prometheus::Error> {
            r.register(Box::new(metric.clone()))?;
            Ok(metric)
        }
        let opts = |name: &str, help: &str| Opts::new(format!("kvs_edge_{name}"), help);
        let counter = |name: &str, help: &str, labels: &[&str]| {
            IntCounterVec::new(opts(name, help), labels).and_then(|c| added(registry, c))
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            GaugeVec::new(opts(name, help), labels).and_then(|g| added(registry, g))
        };
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let duration = HistogramOpts::new(
            "kvs_edge_upstream_request_duration_seconds",
            "Time from sending a request to KVS to the head of its answer",
        );
        let duration = added(registry, HistogramVec::new(duration.buckets(buckets), &["api"])?)?;
        let throttled = counter("upstream_throttled_total", "Answers of KVS that throttled us", &["api"])?;
        let requests = counter(
            "upstream_requests_total",
            "Requests sent to KVS, by status, or by what came instead of one",
            &["api", "code"],
        )?;
        let retries =
            counter("upstream_retries_total", "Requests to KVS sent again, by reason", &["reason"])?;
        let lookups = counter("endpoint_lookups_total", "Lookups of data endpoints", &["result"])?;
        let mut apis = HashMap::new();
        for api in Self::apis() {
            for code in
                ["200", "400", "401", "403", "404", "500", "503", "connect", "reset", "timeout", "broken"]
            {
                requests.with_label_values(&[api, code]);
            }
            let handles = Api {
                duration: duration.with_label_values(&[api]),
                throttled: throttled.with_label_values(&[api]),
            };
            apis.insert(api, handles);
        }
        for reason in super::retry::RetryReason::ALL {
            retries.with_label_values(&[reason.as_str()]);
        }
        for result in ["hit", "miss", "stale", "moved", "error"] {
            lookups.with_label_values(&[result]);
        }
        let bytes = counter(
            "upstream_bytes_total",
            "Body bytes received from KVS, which bills them",
            &["api", "stream"],
        )?;
        for api in Self::apis() {
            bytes.with_label_values(&[api, OTHER_STREAM]);
        }
        let images = opts("upstream_images_total", "Pictures received from KVS, which bills each");
        let images = added(registry, IntCounter::with_opts(images)?)?;
        let points =
            counter("quota_points_total", "Points of KVS's quotas that were used", &["stream", "kind"])?;
        for kind in KINDS {
            points.with_label_values(&[OTHER_STREAM, kind]);
        }
        Ok(Self(Arc::new(UpstreamSeries {
            bytes,
            images,
            points,
            utilization: added(
                registry,
                OnScrape::new(opts(
                    "quota_utilization_ratio",
                    "Share of a stream's quota of points that was used within the last second, 0 to 1",
                ))?,
            )?,
            expiry: gauge(
                "credentials_expiry_timestamp_seconds",
                "When the AWS credentials of an entry end, in seconds since 1970; +Inf if never",
                &["aws"],
            )?,
            requests,
            retries,
            lookups,
            apis,
            labels,
        })))
    }

    /// All values of the `api` label.
    fn apis() -> impl Iterator<Item = &'static str> {
        Operation::ALL.into_iter().map(Operation::name).chain(Resource::NAMES).chain([LIST_TAGS])
    }

    /// Bytes of a good answer, which shows that the stream exists; a call of no stream counts as `_other`.
    pub(super) fn bytes(&self, api: &str, stream: Option<&str>) -> IntCounter {
        let label = stream.map(|stream| self.0.labels.label_of_existing(stream));
        self.0.bytes.with_label_values(&[api, label.as_deref().unwrap_or(OTHER_STREAM)])
    }

    pub(super) fn images(&self, pictures: usize) {
        self.0.images.inc_by(pictures as u64);
    }

    pub(super) fn answered(&self, api: &str, code: &str, took: std::time::Duration) {
        self.0.requests.with_label_values(&[api, code]).inc();
        if let Some(api) = self.0.apis.get(api) {
            api.duration.observe(took.as_secs_f64());
        }
    }

    pub(super) fn throttled(&self, api: &str) {
        if let Some(api) = self.0.apis.get(api) {
            api.throttled.inc();
        }
    }

    pub(super) fn retried(&self, reason: super::retry::RetryReason) {
        self.0.retries.with_label_values(&[reason.as_str()]).inc();
    }

    pub(super) fn looked_up(&self, result: &str) {
        self.0.lookups.with_label_values(&[result]).inc();
    }

    pub(super) fn points(&self, stream: &str, kind: &str) -> IntCounter {
        self.0.points.with_label_values(&[&*self.0.labels.label(stream), kind])
    }

    /// Sets the source of the utilisation of each stream's points, which is read whenever metrics are.
    pub(super) fn on_scrape(&self, ask: ReportUse) {
        let metrics = Arc::downgrade(&self.0);
        self.0.utilization.ask(Box::new(move |values| {
            let Some(inner) = metrics.upgrade() else { return };
            values.reset(); // streams without requests lately
            for kind in KINDS {
                values.with_label_values(&[OTHER_STREAM, kind]).set(0.0);
            }
            ask(&|stream, kind, ratio| {
                let gauge = values.with_label_values(&[&*inner.labels.label(stream), kind]);
                gauge.set(gauge.get().max(ratio)); // several streams may share a label
            });
        }));
    }

    /// What credentials report when there is a new set of an entry.
    pub(super) fn expiry(&self, entry: &str) -> crate::aws::credentials::ReportExpiry {
        let gauge = self.0.expiry.with_label_values(&[entry]);
        Box::new(move |end: Option<SystemTime>| {
            let seconds = end.and_then(|end| end.duration_since(UNIX_EPOCH).ok());
            gauge.set(seconds.map_or(f64::INFINITY, |seconds| seconds.as_secs_f64()));
        })
    }
}

/// All values of the `kind` label.
const KINDS: [&str; 2] = ["media", "metadata"];

/// Sets one stream's ratio of one kind.
pub(super) type SetRatio<'a> = &'a dyn Fn(&str, &str, f64);
/// Sets all ratios by calling the function that it is given.
pub(super) type ReportUse = Box<dyn Fn(SetRatio<'_>) + Send + Sync>;

type Refresh = Box<dyn Fn(&GaugeVec) + Send + Sync>;

/// Gauges that are worked out when they are read; set at each use they would show the last use for ever.
#[derive(Clone)]
struct OnScrape {
    values: GaugeVec,
    fill: Arc<Mutex<Option<Refresh>>>,
}

impl OnScrape {
    fn new(opts: Opts) -> Result<Self, prometheus::Error> {
        Ok(Self { values: GaugeVec::new(opts, &["stream", "kind"])?, fill: Arc::default() })
    }

    fn ask(&self, fill: Refresh) {
        *self.fill.lock().unwrap_or_else(PoisonError::into_inner) = Some(fill);
    }
}

impl Collector for OnScrape {
    fn desc(&self) -> Vec<&prometheus::core::Desc> {
        self.values.desc()
    }

    fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
        if let Some(fill) = &*self.fill.lock().unwrap_or_else(PoisonError::into_inner) {
            fill(&self.values);
        }
        self.values.collect()
    }
}

/// For tests: room for every stream.
#[cfg(test)]
pub(super) fn for_tests(registry: &Registry) -> Metrics {
    Metrics::register(registry, StreamLabels::new(usize::MAX)).expect("a fresh registry")
}

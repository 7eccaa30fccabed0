//! The gateway's own numbers: what was asked, how it was answered, and each byte that left (DESIGN.md 11).

use super::handles::Handles;
use crate::kvs::{Operation, Resource};
use crate::{identity, policy};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
    histogram_opts, opts,
};
use std::ops::Deref;
use std::sync::Arc;

/// Value of the `api` label for the console's files.
pub const CONSOLE: &str = "Console";
/// Value of the `api` label for what leads nowhere.
pub const OTHER: &str = "Other";
/// Value of the `cache` label where no cache was asked.
pub const NO_CACHE: &str = "none";
/// All values of the `cache` label.
pub const CACHE_WORDS: [&str; 6] = ["hit", "miss", "collapsed", "stale", "bypass", NO_CACHE];
/// Value of the `stream` label before any stream is known, and for all beyond `metrics.max_streams`.
pub const NO_STREAM: &str = "_other";

/// All values of the `api` label.
pub fn apis() -> impl Iterator<Item = &'static str> {
    Operation::ALL.map(Operation::name).into_iter().chain(Resource::NAMES).chain([CONSOLE, OTHER])
}

/// Maps a stream name to the label under which it counts, so that the number of series stays bounded.
pub type StreamLabel = Arc<dyn Fn(&str) -> Arc<str> + Send + Sync>;

/// The families. Cloning shares them, and costs what one counter costs: every request has a clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// See [`Metrics`].
pub struct Families {
    pub(super) outgoing_bytes: IntCounterVec,
    pub(super) requests: IntCounterVec,
    pub(super) first_byte: HistogramVec,
    pub(super) transfer: HistogramVec,
    pub(super) in_flight: IntGauge,
    pub(super) rejected: IntCounterVec,
    pub(super) decisions: IntCounterVec,
    /// The series that every request counts in.
    pub(super) handles: Handles,
    /// `decisions` of what was allowed.
    pub(super) allowed: IntCounter,
}

impl Deref for Metrics {
    type Target = Families;

    fn deref(&self) -> &Families {
        &self.0
    }
}

impl Metrics {
    /// Registers the families and brings every series into being at 0.
    ///
    /// # Errors
    /// A family of the same name is registered already.
    pub fn register(registry: &Registry, stream_label: StreamLabel) -> Result<Self, prometheus::Error> {
        let counter = |opts: Opts, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let family = IntCounterVec::new(opts, labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        let histogram = |opts: HistogramOpts, labels: &[&str]| -> Result<HistogramVec, prometheus::Error> {
            let family = HistogramVec::new(opts, labels)?;
            registry.register(Box::new(family.clone()))?;
            Ok(family)
        };
        // 0.5 ms to 32 s: a cached hit and a slow clip are both inside.
        let buckets = exponential_buckets(0.0005, 2.0, 17)?;
        let in_flight =
            IntGauge::new("kvs_edge_requests_in_flight", "Requests whose last byte has not left")?;
        registry.register(Box::new(in_flight.clone()))?;
        let outgoing_bytes = counter(
            opts!(
                "kvs_edge_outgoing_bytes_total",
                "Body bytes written to clients, aborted transfers included"
            ),
            &["api", "stream", "cache"],
        )?;
        let requests =
            counter(opts!("kvs_edge_requests_total", "Requests answered"), &["api", "code", "cache"])?;
        let first_byte = histogram(
            histogram_opts!(
                "kvs_edge_request_duration_seconds",
                "From the request's head to the first body byte, or to the head of an answer without body",
                buckets.clone()
            ),
            &["api", "cache"],
        )?;
        let transfer = histogram(
            histogram_opts!(
                "kvs_edge_response_transfer_seconds",
                "From the first body byte to the last",
                buckets
            ),
            &["api"],
        )?;
        let decisions = counter(
            opts!("kvs_edge_auth_decisions_total", "Decisions on who is asking and whether they may"),
            &["result", "reason"],
        )?;
        let rejected = counter(
            opts!(
                "kvs_edge_requests_rejected_total",
                "Requests and connections refused to protect the service"
            ),
            &["reason"],
        )?;
        let handles = Handles::new(&requests, &first_byte, &transfer, &outgoing_bytes, stream_label);
        let allowed = decisions.with_label_values(&["allow", "permitted"]);
        let metrics = Self(Arc::new(Families {
            outgoing_bytes,
            requests,
            first_byte,
            transfer,
            decisions,
            rejected,
            in_flight,
            handles,
            allowed,
        }));
        metrics.start_at_zero();
        Ok(metrics)
    }

    /// The family of `kvs_edge_requests_rejected_total`, for the listener, which refuses before the gateway sees
    /// anything.
    #[must_use]
    pub fn rejected(&self) -> IntCounterVec {
        self.rejected.clone()
    }

    fn start_at_zero(&self) {
        for api in apis() {
            self.transfer.with_label_values(&[api]);
            for cache in CACHE_WORDS {
                self.outgoing_bytes.with_label_values(&[api, NO_STREAM, cache]);
                self.first_byte.with_label_values(&[api, cache]);
                self.requests.with_label_values(&[api, "200", cache]);
            }
            for code in ["400", "401", "403", "404", "429", "500", "502", "503", "504"] {
                self.requests.with_label_values(&[api, code, NO_CACHE]);
            }
        }
        for reason in identity::Error::words().chain(policy::Reason::WORDS).chain(["capability"]) {
            let result = if reason == "keys_unavailable" { "error" } else { "deny" };
            self.decisions.with_label_values(&[result, reason]);
        }
    }
}

//! The gateway's own numbers: what was asked, how it was answered, and each byte that left (docs/METRICS.md).

use crate::telemetry::metrics::StreamLabels;
use crate::telemetry::request_labels::{CACHE_WORDS, NO_CACHE, NO_STREAM, apis};
use crate::telemetry::request_series::Series;
use crate::{identity, policy};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
    histogram_opts, opts,
};
use std::ops::Deref;
use std::sync::Arc;

/// The families. Cloning shares them, and costs what one counter costs: every request has a clone.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

/// See [`Metrics`].
pub struct Families {
    pub outgoing_bytes: IntCounterVec,
    pub requests: IntCounterVec,
    pub first_byte: HistogramVec,
    pub transfer: HistogramVec,
    pub in_flight: IntGauge,
    pub rejected: IntCounterVec,
    pub decisions: IntCounterVec,
    /// The series that every request counts in.
    pub series: Series,
    /// `decisions` of what was allowed.
    pub allowed: IntCounter,
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
    pub fn register(registry: &Registry, labels: StreamLabels) -> Result<Self, prometheus::Error> {
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
            opts!("kvs_edge_auth_decisions_total", "Authentication and authorization decisions"),
            &["result", "reason"],
        )?;
        let rejected = counter(
            opts!(
                "kvs_edge_requests_rejected_total",
                "Requests and connections refused to protect the service"
            ),
            &["reason"],
        )?;
        let series = Series::new(&requests, &first_byte, &transfer, &outgoing_bytes, labels);
        let allowed = decisions.with_label_values(&["allow", "permitted"]);
        let metrics = Self(Arc::new(Families {
            outgoing_bytes,
            requests,
            first_byte,
            transfer,
            decisions,
            rejected,
            in_flight,
            series,
            allowed,
        }));
        metrics.start_at_zero();
        Ok(metrics)
    }

    /// The family of `kvs_edge_requests_rejected_total`, for the listener, which refuses before the gateway
    /// sees anything.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_what_prometheus_reads_and_streams_beyond_the_bound_share_one_label() {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::register(&registry, StreamLabels::new(1)).unwrap();
        let at = metrics.series.index("GetClip", "hit").unwrap();
        for (stream, bytes) in [("cam-1", 1), ("cam-2", 10), ("cam-3", 100), ("cam-1", 1000)] {
            metrics.series.sent(at, stream, bytes);
        }
        metrics.series.requests(at, 206).unwrap().inc();
        assert!(metrics.series.requests(at, 404).is_none() && metrics.series.index("x", "hit").is_none());
        let bytes = |stream| metrics.outgoing_bytes.with_label_values(&["GetClip", stream, "hit"]).get();
        assert_eq!((bytes("cam-1"), bytes(NO_STREAM)), (1001, 110));
        assert_eq!(metrics.requests.with_label_values(&["GetClip", "206", "hit"]).get(), 1);
        assert_eq!(metrics.series.streams(), 2);
    }
}

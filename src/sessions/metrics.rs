//! Metrics of sessions, as docs/METRICS.md lists them.

use crate::kvs::Protocol;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use std::sync::Arc;

/// Counters and gauges.
#[derive(Clone)]
pub struct Metrics {
    hls: IntGauge,
    dash: IntGauge,
    /// `session_renewals_total{result="renewed"}`: ahead of the end.
    pub(super) renewed: IntCounter,
    /// `…{result="reopened"}`: after KVS dropped it.
    pub(super) reopened: IntCounter,
    /// `…{result="failed"}`.
    pub(super) failed: IntCounter,
    viewers: IntGaugeVec,
    label: Label,
}

/// Gives the label of a stream, of which there are at most `metrics.max_streams`.
type Label = Arc<dyn Fn(&str) -> String + Send + Sync>;

impl Metrics {
    /// Registers them. `label` gives the `stream` label for a stream's name, `_other` beyond the limit.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn register(
        registry: &Registry,
        label: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Result<Self, prometheus::Error> {
        let sessions = IntGaugeVec::new(
            Opts::new("kvs_edge_sessions_active", "Upstream playback sessions held open"),
            &["protocol"],
        )?;
        let renewals = IntCounterVec::new(
            Opts::new("kvs_edge_session_renewals_total", "Upstream playback sessions replaced, by result"),
            &["result"],
        )?;
        let viewers = IntGaugeVec::new(
            Opts::new("kvs_edge_viewers_active", "Viewers seen within the last 30 s"),
            &["stream"],
        )?;
        registry.register(Box::new(sessions.clone()))?;
        registry.register(Box::new(renewals.clone()))?;
        registry.register(Box::new(viewers.clone()))?;
        viewers.with_label_values(&["_other"]);
        Ok(Self {
            hls: sessions.with_label_values(&[Protocol::Hls.as_str()]),
            dash: sessions.with_label_values(&[Protocol::Dash.as_str()]),
            renewed: renewals.with_label_values(&["renewed"]),
            reopened: renewals.with_label_values(&["reopened"]),
            failed: renewals.with_label_values(&["failed"]),
            viewers,
            label: Arc::new(label),
        })
    }

    pub(super) fn active(&self, protocol: Protocol) -> GaugeGuard {
        GaugeGuard::one(match protocol {
            Protocol::Hls => &self.hls,
            Protocol::Dash => &self.dash,
        })
    }

    pub(super) fn viewers(&self, stream: &str) -> IntGauge {
        self.viewers.with_label_values(&[&(self.label)(stream)])
    }
}

/// One more in a gauge for as long as this lives.
pub(super) struct GaugeGuard(IntGauge);

impl GaugeGuard {
    pub(super) fn one(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, str::to_owned).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for series in [
            "kvs_edge_sessions_active{protocol=\"hls\"} 0",
            "kvs_edge_sessions_active{protocol=\"dash\"} 0",
            "kvs_edge_session_renewals_total{result=\"renewed\"} 0",
            "kvs_edge_session_renewals_total{result=\"reopened\"} 0",
            "kvs_edge_session_renewals_total{result=\"failed\"} 0",
            "kvs_edge_viewers_active{stream=\"_other\"} 0",
        ] {
            assert!(text.contains(series), "{series}\n{text}");
        }
        let one = metrics.active(Protocol::Hls);
        assert_eq!(metrics.hls.get(), 1);
        drop(one);
        assert_eq!(metrics.hls.get(), 0);
    }
}

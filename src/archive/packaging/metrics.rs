//! What is made of fragments, counted (docs/METRICS.md).

use crate::package::Refusal;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Counters of packaged bytes and of footage that cannot be packaged.
#[derive(Clone)]
pub struct Metrics {
    bytes: IntCounterVec,
    refusals: IntCounterVec,
}

/// The values of the label `layout`.
pub const LAYOUTS: [&str; 5] = ["fragmented", "plain", "matroska", "hls", "dash"];
/// The value of the label `reason` where AWS does not let kvs-edge read fragments.
pub const ACCESS_DENIED: &str = "access_denied";

impl Metrics {
    /// Registers the families and brings every series into being at 0.
    ///
    /// # Errors
    /// If a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let bytes = IntCounterVec::new(
            Opts::new(
                "kvs_edge_packaged_bytes_total",
                "Body bytes made of stored fragments, by kind of file",
            ),
            &["layout"],
        )?;
        let refusals = IntCounterVec::new(
            Opts::new(
                "kvs_edge_package_refusals_total",
                "Times that footage could not be packaged, by reason",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(refusals.clone()))?;
        LAYOUTS.iter().for_each(|layout| drop(bytes.with_label_values(&[layout])));
        let reasons = Refusal::REASONS.into_iter().chain([ACCESS_DENIED]);
        reasons.for_each(|reason| drop(refusals.with_label_values(&[reason])));
        Ok(Self { bytes, refusals })
    }

    /// The counter of bytes of a kind of file.
    #[must_use]
    pub fn bytes(&self, layout: &str) -> IntCounter {
        self.bytes.with_label_values(&[layout])
    }

    /// Counts footage that cannot be packaged.
    pub fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }
}

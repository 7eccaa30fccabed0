//! Whether the last reload succeeded, and when one last did, as metrics.

use crate::kvs::Timestamp;
use prometheus::{IntGauge, Registry};
use tokio::sync::Mutex;

/// The outcome of reloads, as metrics.
pub struct Reloads {
    successful: IntGauge,
    last_success: IntGauge,
    /// Held during a reload, so that there is one at a time.
    pub(super) turn: Mutex<()>,
}

impl Reloads {
    /// Registers the two gauges; the start counts as the first success.
    ///
    /// # Errors
    /// One of them is registered already.
    pub fn register(registry: &Registry, now: Timestamp) -> Result<Self, prometheus::Error> {
        let gauge = |name, help| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let reloads = Self {
            successful: gauge(
                "kvs_edge_config_last_reload_successful",
                "1 if the last reload succeeded, else 0",
            )?,
            last_success: gauge(
                "kvs_edge_config_last_reload_success_timestamp_seconds",
                "When settings were last taken into force",
            )?,
            turn: Mutex::new(()),
        };
        reloads.succeeded(now);
        Ok(reloads)
    }

    /// Notes a success at `now`.
    pub fn succeeded(&self, now: Timestamp) {
        self.successful.set(1);
        self.last_success.set(i64::try_from(now.millis() / 1000).unwrap_or(i64::MAX));
    }

    /// Notes a refusal.
    pub fn refused(&self) {
        self.successful.set(0);
    }
}

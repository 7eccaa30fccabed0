//! What the admin listener shows and does.

use prometheus::proto::MetricFamily;
use std::future::Future;
use std::time::Duration;

/// What the assembled program shows and does.
pub trait Admin: Send + Sync + 'static {
    /// What keeps the process from being ready; empty if it is. KVS being down is no reason.
    fn readiness(&self) -> Vec<String>;
    /// For how long clients have not been served, if that is too long: then only a restart helps.
    fn stalled(&self) -> Option<Duration>;
    /// What is wrong and no reason not to be ready: only some callers or streams are without service.
    fn notes(&self) -> Vec<String>;
    /// Every metric.
    fn gather(&self) -> Vec<MetricFamily>;
    /// The open sessions with their viewers, without secrets.
    fn sessions(&self) -> serde_json::Value;
    /// The settings in force as TOML, without secrets.
    fn config(&self) -> String;
    /// Removes all media of a stream from every cache tier; returns the number of entries.
    ///
    /// # Errors
    /// What is wrong with the ARN, or which tier could not be reached.
    fn purge(&self, stream: &str) -> impl Future<Output = Result<usize, String>> + Send;
    /// Reads the settings again and puts them into force, whole or not at all.
    ///
    /// # Errors
    /// Why the old ones stay in force.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// Prefetches footage into the cache, as the request's JSON says; returns what is in progress.
    ///
    /// # Errors
    /// What is wrong with the request.
    fn warm(
        &self,
        request: serde_json::Value,
    ) -> impl Future<Output = Result<serde_json::Value, String>> + Send;
    /// The prefetches in progress, and the latest that have ended.
    fn warming(&self) -> serde_json::Value;
}

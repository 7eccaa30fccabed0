//! What all sessions of a pool use: KVS, the cache, the settings, the metrics, and the bound on open
//! sessions.

use super::config::Config;
use super::error::Error;
use super::kvs::SessionSource;
use super::metrics::Metrics;
use crate::cache::Cache;
use crate::cache::freshness::Rules;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all sessions of a pool use.
pub(super) struct Context {
    pub(super) source: Arc<dyn SessionSource>,
    pub(super) cache: Cache,
    /// How long media is kept in the cache.
    pub(super) rules: Rules,
    pub(super) config: Config,
    pub(super) metrics: Metrics,
    /// One permit for each upstream session that may be open (`sessions.most`).
    open_sessions: Arc<Semaphore>,
}

impl Context {
    pub(super) fn new(
        source: Arc<dyn SessionSource>,
        cache: Cache,
        rules: Rules,
        config: Config,
        metrics: Metrics,
    ) -> Self {
        let open_sessions = Arc::new(Semaphore::new(config.most.min(Semaphore::MAX_PERMITS)));
        Self { source, cache, rules, config, metrics, open_sessions }
    }

    /// The right to hold one upstream session open; dropping it gives it back.
    pub(super) fn admit_session(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.open_sessions.clone().try_acquire_owned().map_err(|_| Error::Full)
    }
}

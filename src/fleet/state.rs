//! The connection of a store, which is replaced when it is in doubt.
//!
//! When answers stay away, a new connection is made beside the one in use, and replaces it: a client never
//! leaves a primary that hangs by itself.

use super::behind::Behind;
use super::config::Config;
use super::connect::Connector;
use super::health::Health;
use super::key::Keys;
use super::link::Link;
use super::metrics::{Backend, Metrics};
use super::seal::Sealer;
use arc_swap::{ArcSwap, ArcSwapOption};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What a store consists of.
pub(super) struct StoreState {
    pub(super) config: Config,
    pub(super) keys: Keys,
    pub(super) replica: String,
    pub(super) connector: Connector,
    pub(super) link: ArcSwapOption<Link>,
    pub(super) sealer: ArcSwap<Sealer>,
    pub(super) health: Health,
    pub(super) behind: Behind,
    pub(super) metrics: Metrics,
    pub(super) doubt: Notify,
    pub(super) connected: Notify,
    /// Whether the store was up when it was last looked at, for the log.
    pub(super) up: AtomicBool,
    /// How many replicas were seen last.
    pub(super) replicas: AtomicUsize,
    /// Counts the names that were given out.
    pub(super) names: AtomicU64,
}

/// A new connection is made at most so often, and may take so long.
const REBUILD_EVERY: Duration = Duration::from_millis(700);
const REBUILD_WITHIN: Duration = Duration::from_secs(2);

impl StoreState {
    /// Connects, and connects anew whenever the connection is in doubt or its token gets old. Never ends by
    /// itself.
    pub(super) async fn keep_connected(&self, renewal: Option<Duration>) {
        loop {
            let began = Instant::now();
            let due = match timeout(REBUILD_WITHIN, self.connector.connect()).await {
                Ok(Ok(link)) => {
                    if self.link.swap(Some(Arc::new(link))).is_some() {
                        self.metrics.rebuilt();
                    }
                    self.health.keep_only(|shard| self.connector.topology.has(shard));
                    self.health.renewed(Instant::now());
                    self.connected.notify_waiters();
                    self.show();
                    true
                }
                failed => {
                    let problem = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |done| done.err().unwrap_or_default(),
                    );
                    tracing::debug!(%problem, "no new connection to the shared store");
                    self.show();
                    // Without a connection there is nothing that could be in doubt.
                    self.link.load().is_some()
                }
            };
            tokio::time::sleep_until(began + REBUILD_EVERY).await;
            if due {
                let old = async {
                    match renewal {
                        Some(after) => tokio::time::sleep_until(began + after).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = self.doubt.notified() => {}
                    () = old => {}
                }
            }
        }
    }

    /// Shows whether the store is up, and says so once when that has changed.
    pub(super) fn show(&self) {
        let up = self.link.load().is_some() && self.health.is_well();
        if self.up.swap(up, Ordering::AcqRel) != up {
            self.metrics.up(Backend::Redis, up);
            if up {
                tracing::info!("the shared store answers");
            } else {
                tracing::warn!("the shared store does not answer; this replica goes on without it");
            }
        }
    }
}

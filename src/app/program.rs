//! The program while it runs: what is in force, and what outlives it.

use super::heartbeat::Heartbeat;
use super::persistent::Persistent;
use super::reload_metrics::Reloads;
use crate::config::{Config, ConfigSource};
use crate::fleet::Presence;
use crate::gateway::Gateway;
use crate::net::drain::Signal;
use crate::net::tls::Certificates;
use crate::telemetry::log;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The program while it runs.
pub struct App {
    pub(super) gateway: ArcSwap<Gateway>,
    pub(super) config: ArcSwap<Config>,
    pub(super) source: ConfigSource,
    pub(super) persistent: Persistent,
    pub(super) reloads: Reloads,
    pub(super) certificates: Certificates,
    pub(super) log_level: Option<log::Level>,
    /// The settings at the start, for those that only a restart can change.
    pub(super) started: Config,
    /// The other replicas of the fleet, if there is a store that they share.
    pub(super) presence: Option<Presence>,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) draining: Signal,
    pub(super) heartbeat: Heartbeat,
}

impl App {
    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// The gateway in force.
    #[must_use]
    pub fn gateway(&self) -> Arc<Gateway> {
        self.gateway.load_full()
    }
}

//! Builds the parts from the settings and runs them: build, run, drain, in that order.

mod admin_thread;
mod build;
mod drain;
mod fleet;
mod heartbeat;
mod membership;
#[cfg(test)]
#[path = "tests/metrics_document.rs"]
mod metrics_document;
mod needs_restart;
mod operate;
mod persistent;
mod program;
mod reload;
mod reload_metrics;
mod run;
mod signals;
mod start_line;
mod state_metrics;
mod systemd;

pub use build::{Checked, policy};
pub use program::App;
pub use run::{Running, until_stopped};

use crate::base::clock;
use crate::config::{Config, ConfigSource, InvalidConfig};
use crate::fleet::Presence;
use crate::identity::Identity;
use crate::kvs::Timestamp;
use crate::net;
use crate::net::drain::channel;
use crate::net::listener;
use crate::net::tls::Certificates;
use crate::telemetry;
use admin_thread::AdminThread;
use anyhow::Context;
use arc_swap::ArcSwap;
use build::{Built, Purpose};
use heartbeat::Heartbeat;
use persistent::Persistent;
use reload_metrics::Reloads;
use std::sync::Arc;
use tokio::task::JoinSet;

/// How long a start waits for the store that replicas share.
const SHARED_STORE: std::time::Duration = std::time::Duration::from_secs(3);

/// Whether to set up the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logging {
    /// As the settings say.
    AsConfigured,
    /// The caller has set one up.
    Elsewhere,
}

/// Builds everything and starts to serve.
///
/// # Errors
/// The settings are refused, or an address cannot be listened on.
pub async fn start(source: ConfigSource, logging: Logging) -> anyhow::Result<Running> {
    install_crypto();
    let config = Config::load(&source)?;
    let log = match logging {
        Logging::AsConfigured => Some(telemetry::log::init(&config.log)?),
        Logging::Elsewhere => None,
    };
    let files = reload::watch(&source, &config);
    let persistent = Persistent::new(&config).await?;
    if let Some(log) = &log {
        log.register(persistent.registries.own())?;
    }
    let built = build::gateway(&config, &source, &persistent, Purpose::Start).await?;
    let Built { gateway, prepared, ticket_secrets, sealing_secrets } = built;
    persistent.adopt(prepared, &sealing_secrets);
    if let Some(store) = &persistent.store
        && !store.connected(SHARED_STORE).await
    {
        tracing::warn!("the shared store does not answer; this replica starts without it");
    }
    let tls = build::tls(&config, &source)?.map(|tls| tls.with_tickets(ticket_secrets));
    let certificates = Certificates::register(persistent.registries.own(), tls)?;
    let public = listener::bind(&config.server.listen).await.context("server.listen")?;
    let operators = AdminThread::listen(&config.admin).await.context("admin.listen")?;
    let (drain, signal) = channel();
    let (addresses, admin_addresses) = (public.addresses(), operators.addresses.clone());
    let presence = persistent
        .store
        .as_ref()
        .map(|store| Presence::start(store, fleet::description(&config, &gateway, store, &addresses)));
    let app = Arc::new(App {
        presence,
        addresses: addresses.clone(),
        reloads: Reloads::register(persistent.registries.own(), Timestamp::from(clock::now()))?,
        gateway: ArcSwap::from_pointee(gateway),
        config: ArcSwap::from_pointee(config.clone()),
        started: config.clone(),
        certificates,
        log_level: log.as_ref().map(telemetry::log::Guard::level),
        source,
        persistent,
        draining: signal.clone(),
        heartbeat: Heartbeat::new(),
    });
    let mut listeners = JoinSet::new();
    let options = listener::ListenerOptions {
        limits: config.limits.clone().with_room_for(config.identity.max_token),
        tls: app.certificates.current(),
        hsts: config.server.tls.as_ref().and_then(net::tls::Config::hsts),
        trust: Arc::new(config.server.trust()),
        proxy_protocol: config.server.proxy_protocol,
        metrics: app.persistent.listener.clone(),
    };
    let serving = app.clone();
    listeners.spawn(listener::serve(
        public,
        options,
        move |request, peer| {
            let gateway = serving.gateway.load_full();
            async move { gateway.handle(request, &peer).await }
        },
        signal.clone(),
    ));
    let operators = operators.serve(app.clone(), signal);
    let mut housekeeping = JoinSet::new();
    housekeeping.spawn(run::end_idle_viewings(app.clone()));
    membership::begin(&app, &mut housekeeping);
    let beating = app.clone();
    housekeeping.spawn(async move { beating.heartbeat.run().await });
    start_line::log(&app, &addresses, &admin_addresses);
    systemd::ready("serving");
    let admin = admin_addresses;
    let serving = drain::Serving { drain, listeners, operators, housekeeping };
    Ok(Running { addresses, admin, app, files, serving, log })
}

/// Checks everything that `start` would build, without listening.
///
/// # Errors
/// The settings are refused.
pub async fn check(source: &ConfigSource, online: bool) -> Result<Checked, InvalidConfig> {
    install_crypto();
    build::check(source, online).await
}

/// The part that authenticates callers under these settings, and nothing else of what `start` would build: no
/// log is opened, and AWS gets no request.
///
/// # Errors
/// The settings of issuers are refused.
pub async fn identity(config: &Config, source: &ConfigSource) -> anyhow::Result<Arc<Identity>> {
    install_crypto();
    Ok(build::identity(config, source).await?)
}

/// One crypto library for TLS, tokens and capabilities. A second call changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

//! Builds the parts from the settings and runs them: build, run, drain, in that order.

mod build;
#[cfg(test)]
mod cost;
#[cfg(test)]
mod documented;
mod fixed;
mod operate;
mod persistent;
mod reload;
mod systemd;

pub use build::policy;

use crate::admin;
use crate::config::{Config, Refused, Source};
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::kvs::Timestamp;
use crate::net::drain::{self, Drain};
use crate::net::listener;
use crate::net::tls::Certificates;
use crate::telemetry;
use anyhow::Context;
use arc_swap::ArcSwap;
use persistent::Persistent;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// The program while it runs.
pub struct App {
    gateway: ArcSwap<Gateway>,
    config: ArcSwap<Config>,
    source: Source,
    persistent: Persistent,
    reloads: reload::Reloads,
    certificates: Certificates,
    log_level: Option<telemetry::log::Level>,
    /// As they were at the start, for what cannot change later.
    started: Config,
    draining: drain::Signal,
}

/// A started program. Dropping it cuts everybody off.
pub struct Running {
    /// Where clients are served.
    pub addresses: Vec<SocketAddr>,
    /// Where operators are.
    pub admin: Vec<SocketAddr>,
    /// Its state, for tests and the demo.
    pub app: Arc<App>,
    /// Its files, before they were read.
    seen: reload::Seen,
    drain: Drain,
    listeners: JoinSet<()>,
    operators: JoinSet<()>,
    _log: Option<telemetry::log::Guard>,
}

/// Whether to set up the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logging {
    /// As the settings say.
    AsConfigured,
    /// Somebody else has set one up.
    Elsewhere,
}

/// Builds everything and starts to serve.
///
/// # Errors
/// The settings are refused, or an address cannot be listened on.
pub async fn start(source: Source, logging: Logging) -> anyhow::Result<Running> {
    install_crypto();
    let config = Config::load(&source)?;
    let log = match logging {
        Logging::AsConfigured => Some(telemetry::log::init(&config.log)?),
        Logging::Elsewhere => None,
    };
    let seen = reload::Seen::now(&source, &config);
    let persistent = Persistent::new(&config)?;
    if let Some(log) = &log {
        log.register(persistent.registries.own())?;
    }
    let gateway = build::gateway(&config, &source, &persistent, build::Occasion::Start).await?;
    let certificates = Certificates::register(persistent.registries.own(), build::tls(&config, &source)?)?;
    let public = listener::bind(&config.server.listen).await.context("server.listen")?;
    let operators = listener::bind(&config.admin.places()).await.context("admin.listen")?;
    let (drain, signal) = drain::channel();
    let (addresses, admin_addresses) = (public.addresses(), operators.addresses());
    let app = Arc::new(App {
        reloads: reload::Reloads::register(persistent.registries.own())?,
        gateway: ArcSwap::from_pointee(gateway),
        config: ArcSwap::from_pointee(config.clone()),
        started: config.clone(),
        certificates,
        log_level: log.as_ref().map(telemetry::log::Guard::level),
        source,
        persistent,
        draining: signal.clone(),
    });
    let mut listeners = JoinSet::new();
    let terms = listener::Terms {
        limits: config.limits.clone().with_room_for(config.identity.max_token),
        tls: app.certificates.current(),
        trust: Arc::new(config.server.trust()),
        proxy_protocol: config.server.proxy_protocol,
        metrics: app.persistent.listener.clone(),
    };
    let serving = app.clone();
    listeners.spawn(listener::serve(
        public,
        terms,
        move |request, peer| {
            let gateway = serving.gateway.load_full();
            async move { gateway.handle(request, &peer).await }
        },
        signal.clone(),
    ));
    let mut operating = JoinSet::new();
    operating.spawn(admin::serve(operators, app.clone(), signal));
    operating.spawn(tell_who_left(app.clone()));
    tracing::info!(listen = ?addresses, admin = ?admin_addresses, "serving");
    systemd::ready("serving");
    let admin = admin_addresses;
    Ok(Running { addresses, admin, app, seen, drain, listeners, operators: operating, _log: log })
}

/// Runs until a signal says otherwise, then drains.
pub async fn until_stopped(running: Running) {
    let (app, seen) = (running.app.clone(), running.seen.clone());
    let reloads = tokio::spawn(reload::on_signals_and_changes(app, seen));
    let watchdog = tokio::spawn(systemd::stay_alive());
    stop_signal().await;
    reloads.abort();
    systemd::stopping();
    running.drain().await;
    watchdog.abort();
}

impl Running {
    /// Drains: readiness fails at once, new work is taken for a while, then connections end as they fall idle.
    pub async fn drain(self) {
        let server = self.app.config.load().server.clone();
        tracing::info!(grace = %server.drain_grace, timeout = %server.drain_timeout, "draining");
        let Self { drain, mut listeners, mut operators, .. } = self;
        let gone = async { while listeners.join_next().await.is_some() {} };
        tokio::select! {
            () = drain.run(server.drain_grace.0, server.drain_timeout.0, stop_signal()) => {}
            () = gone => {}
        }
        // Operators are answered until the last client has gone.
        drain.advance(drain::Phase::Ended);
        listeners.shutdown().await;
        operators.shutdown().await;
        self.app.gateway().sessions.save().await;
        let (witness, now) = (self.app.gateway().witness.clone(), Timestamp::now());
        witness.watch.end(|event| drop(witness.sink.write(event, now)));
        let flushed = tokio::task::spawn_blocking(move || witness.sink.flush(LAST_LINES)).await;
        if !flushed.unwrap_or(false) {
            tracing::error!("the last lines of the audit log could not be written");
        }
        if !self.app.persistent.cache.flush(LAST_WRITES).await {
            tracing::warn!(
                "the disk tier did not keep up; what was fetched last is not held after a restart"
            );
        }
        if let Some(tracer) = self.app.gateway().tracer.clone() {
            // A collector that is gone has been counted and logged.
            let _ = tokio::task::spawn_blocking(move || tracer.end()).await;
        }
        tracing::info!("ended");
    }
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

/// Checks everything that `start` would build, without listening.
///
/// # Errors
/// The settings are refused.
pub async fn check(source: &Source, online: bool) -> Result<String, Refused> {
    install_crypto();
    build::check(source, online).await
}

/// Who recognizes callers under these settings, and nothing else of what `start` would build: no log is opened and no account
/// asked.
///
/// # Errors
/// The settings of issuers are refused.
pub async fn identity(config: &Config, source: &Source) -> anyhow::Result<Arc<Identity>> {
    install_crypto();
    Ok(build::identity(config, source).await?)
}

/// Ends viewings that have gone quiet, in the audit log.
async fn tell_who_left(app: Arc<App>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (witness, now) = (app.gateway().witness.clone(), Timestamp::now());
        // What cannot be written is counted by the sink; a viewing that is over refuses nobody.
        witness.watch.sweep(now, |event| drop(witness.sink.write(event, now)));
    }
}

/// How long the end of the process waits for the disk tier; it is never more than 32 MiB behind.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the audit log.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How often viewings are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// One crypto library for TLS, tokens and capabilities. A second call changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// SIGTERM or SIGINT.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        }
        // Without signals only the end of the process ends it.
        _ => std::future::pending().await,
    }
}

//! Builds the parts from the settings and runs them: build, run, drain, in that order.

mod build;
#[cfg(test)]
mod documented;
mod drain;
mod fixed;
mod operate;
mod persistent;
mod reload;
mod run;
mod systemd;

pub use build::policy;
pub use run::until_stopped;

use crate::admin;
use crate::base::file_watch::FileWatch;
use crate::config::{Config, Refused, Source};
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::net::drain::{Signal, channel};
use crate::net::listener;
use crate::net::tls::Certificates;
use crate::telemetry;
use anyhow::Context;
use arc_swap::ArcSwap;
use build::{Built, Purpose};
use drain::Serving;
use persistent::Persistent;
use std::net::SocketAddr;
use std::sync::Arc;
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
    /// The settings at the start, for those that only a restart can change.
    started: Config,
    draining: Signal,
}

/// A started program. Dropping it closes every connection.
pub struct Running {
    /// The addresses that clients are served at.
    pub addresses: Vec<SocketAddr>,
    /// The addresses of the admin listener.
    pub admin: Vec<SocketAddr>,
    /// Its state, for tests and the demo.
    pub app: Arc<App>,
    /// The files of its settings, watched since before they were read.
    files: FileWatch,
    serving: Serving,
    _log: Option<telemetry::log::Guard>,
}

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
pub async fn start(source: Source, logging: Logging) -> anyhow::Result<Running> {
    install_crypto();
    let config = Config::load(&source)?;
    let log = match logging {
        Logging::AsConfigured => Some(telemetry::log::init(&config.log)?),
        Logging::Elsewhere => None,
    };
    let files = reload::watch(&source, &config);
    let persistent = Persistent::new(&config)?;
    if let Some(log) = &log {
        log.register(persistent.registries.own())?;
    }
    let Built { gateway, prepared } = build::gateway(&config, &source, &persistent, Purpose::Start).await?;
    persistent.adopt(prepared);
    let certificates = Certificates::register(persistent.registries.own(), build::tls(&config, &source)?)?;
    let public = listener::bind(&config.server.listen).await.context("server.listen")?;
    let operators = listener::bind(&config.admin.places()).await.context("admin.listen")?;
    let (drain, signal) = channel();
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
    operating.spawn(run::end_idle_viewings(app.clone()));
    tracing::info!(listen = ?addresses, admin = ?admin_addresses, "serving");
    systemd::ready("serving");
    let admin = admin_addresses;
    let serving = Serving { drain, listeners, operators: operating };
    Ok(Running { addresses, admin, app, files, serving, _log: log })
}

impl Running {
    /// Ends the program in order: see [`drain`].
    pub async fn drain(self) {
        self.serving.end(&self.app).await;
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

/// The part that authenticates callers under these settings, and nothing else of what `start` would build: no log is
/// opened, and AWS gets no request.
///
/// # Errors
/// The settings of issuers are refused.
pub async fn identity(config: &Config, source: &Source) -> anyhow::Result<Arc<Identity>> {
    install_crypto();
    Ok(build::identity(config, source).await?)
}

/// One crypto library for TLS, tokens and capabilities. A second call changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

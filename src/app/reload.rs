//! Builds a new gateway from new settings and swaps it in; on failure everything that is in force stays as it
//! is.

use super::build::{self, Built, Purpose};
use super::program::App;
use super::{fleet, needs_restart, systemd};
use crate::base::clock;
use crate::base::file_watch::FileWatch;
use crate::config::{Config, ConfigSource};
use crate::kvs::Timestamp;
use crate::net;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

impl App {
    /// Reads the settings again and puts them into force as a whole.
    ///
    /// # Errors
    /// What is wrong with them. Nothing has changed then: calls, sessions, cache, audit log and quotas are
    /// untouched.
    pub async fn reload(&self) -> Result<(), String> {
        let _turn = self.reloads.turn.lock().await;
        systemd::reloading();
        let rebuilt = self.rebuild().await;
        self.gateway().identity().in_force();
        systemd::ready(if rebuilt.is_ok() { "serving" } else { "serving; the last reload was refused" });
        match rebuilt {
            Ok(()) => {
                self.reloads.succeeded(Timestamp::from(clock::now()));
                tracing::info!(policy = &**self.gateway().policy().version(), "reloaded");
                Ok(())
            }
            Err(problem) => {
                self.reloads.refused();
                tracing::error!(%problem, "reload refused; the last good settings stay in force");
                Err(problem)
            }
        }
    }

    /// Whether a TLS key, as it is written now, belongs to another certificate.
    async fn has_half_renewed(&self) -> bool {
        let config = self.source.again().ok().and_then(|source| Config::load(&source).ok());
        let Some(tls) = config.and_then(|config| config.server.tls) else { return false };
        let loading = tokio::task::spawn_blocking(move || net::tls::load(&tls));
        matches!(loading.await, Ok(Err(net::tls::Error::Pair { .. })))
    }

    async fn rebuild(&self) -> Result<(), String> {
        let source = self.source.again().map_err(|refused| refused.to_string())?;
        let config = Config::load(&source).map_err(|refused| refused.to_string())?;
        let previous = self.gateway();
        let certificates = build::tls(&config, &source).map_err(|refused| refused.to_string())?;
        let built = build::gateway(&config, &source, &self.persistent, Purpose::Reload(&previous)).await;
        let Built { gateway, prepared, ticket_secrets, sealing_secrets } =
            built.map_err(|refused| refused.to_string())?;
        // From here on nothing can fail: the new generation replaces the old one as a whole.
        self.persistent.adopt(prepared, &sealing_secrets);
        self.gateway.store(Arc::new(gateway));
        self.certificates.renew(certificates.map(|tls| tls.with_tickets(ticket_secrets)));
        if let Some(level) = &self.log_level
            && let Err(error) = level.set(&config.log)
        {
            tracing::error!(%error, "the log keeps its level");
        }
        for key in needs_restart::changed(&self.started, &config) {
            tracing::warn!(setting = key, "changed in the file, but only a restart puts this into force");
        }
        if let (Some(presence), Some(store)) = (&self.presence, &self.persistent.store) {
            presence.describe(fleet::description(&config, &self.gateway(), store, &self.addresses));
        }
        self.config.store(Arc::new(config));
        Ok(())
    }
}

/// The files that the settings are made of: the configuration, policies, secrets, certificates.
///
/// They are those of the file as it is written now, even if it is refused, so that a repair of one of them is
/// noticed. The file is parsed for this once per change.
fn files_of(source: &ConfigSource, in_force: &Config) -> impl Fn() -> Vec<PathBuf> + Send + Sync + 'static {
    let written = source.again().and_then(|source| Config::load(&source));
    let config = written.unwrap_or_else(|_| in_force.clone());
    let (own, others) = (source.path().to_owned(), config.files());
    move || {
        let policies = config.policy.find_files().unwrap_or_default();
        std::iter::once(own.clone()).chain(policies).chain(others.clone()).collect()
    }
}

/// Watches the files of the settings. Call it before they are read, so that no change in between is missed.
pub fn watch(source: &ConfigSource, config: &Config) -> FileWatch {
    FileWatch::new(files_of(source, config))
}

/// How long the renewal of a certificate may take: it and its key are often written one after the other.
const RENEWAL: Duration = Duration::from_secs(15);

/// Waits for the other file of a renewal while a key does not belong to its certificate.
async fn renewal_ends(app: &App, files: &mut FileWatch) {
    let deadline = Instant::now() + RENEWAL;
    while app.has_half_renewed().await {
        tracing::info!("a TLS key does not belong to its certificate yet: waiting for the other file");
        if timeout_at(deadline, files.changed()).await.is_err() {
            return; // The reload says what is wrong.
        }
    }
}

/// Reloads at SIGHUP, and when one of the `files` has changed.
pub async fn on_signals_and_changes(app: Arc<App>, mut files: FileWatch) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = files.changed() => renewal_ends(&app, &mut files).await,
        }
        files.watch_instead(files_of(&app.source, &app.config()));
        // A refusal is logged and counted there.
        let _ = app.reload().await;
    }
}

//! New settings in, new gateway out; on failure the last good one stays in force, and says so.

use super::{App, build, fixed, systemd};
use crate::config::Config;
use prometheus::{IntGauge, Registry};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How reloads went.
pub struct Reloads {
    successful: IntGauge,
    last_success: IntGauge,
    /// One at a time.
    turn: Mutex<()>,
}

impl Reloads {
    /// Registers the two gauges; the start counts as the first success.
    ///
    /// # Errors
    /// One of them is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
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
        reloads.succeeded();
        Ok(reloads)
    }

    fn succeeded(&self) {
        self.successful.set(1);
        self.last_success
            .set(i64::try_from(crate::kvs::Timestamp::now().millis() / 1000).unwrap_or(i64::MAX));
    }
}

impl App {
    /// Reads the file again and puts it into force as a whole.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub async fn reload(&self) -> Result<(), String> {
        let _turn = self.reloads.turn.lock().await;
        systemd::reloading();
        let rebuilt = self.rebuild().await;
        systemd::ready(if rebuilt.is_ok() { "serving" } else { "serving; the last reload was refused" });
        match rebuilt {
            Ok(()) => {
                self.reloads.succeeded();
                tracing::info!(policy = &**self.gateway().policy.version(), "reloaded");
                Ok(())
            }
            Err(problem) => {
                self.reloads.successful.set(0);
                tracing::error!(%problem, "reload refused; the last good settings stay in force");
                Err(problem)
            }
        }
    }

    async fn rebuild(&self) -> Result<(), String> {
        let source = self.source.again().map_err(|refused| refused.to_string())?;
        let config = Config::load(&source).map_err(|refused| refused.to_string())?;
        let previous = self.gateway();
        let certificates = build::tls(&config, &source).map_err(|refused| refused.to_string())?;
        let gateway = build::gateway(&config, &source, &self.lasting, Some(&previous))
            .await
            .map_err(|refused| refused.to_string())?;
        self.gateway.store(Arc::new(gateway));
        self.certificates.renew(certificates);
        if let Some(level) = &self.log_level
            && let Err(error) = level.set(&config.log)
        {
            tracing::error!(%error, "the log keeps its level");
        }
        for key in fixed::changed(&self.started, &config) {
            tracing::warn!(setting = key, "changed in the file, but only a restart puts this into force");
        }
        self.config.store(Arc::new(config));
        Ok(())
    }
}

/// How often files are looked at where nothing tells of changes.
const LOOK: Duration = Duration::from_secs(2);

/// Reloads at SIGHUP, and when the configuration, a policy file or a certificate has changed.
pub async fn on_signals_and_changes(app: Arc<App>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let mut seen = fingerprint(&app);
    loop {
        tokio::select! {
            _ = hangup.recv() => {}
            () = tokio::time::sleep(LOOK) => {
                let now = fingerprint(&app);
                if now == seen { continue }
            }
        }
        let _ = app.reload().await;
        seen = fingerprint(&app);
    }
}

/// Which files there are, how long and how new: enough to notice a change, and blind to none that a rename makes.
fn fingerprint(app: &App) -> Vec<(std::path::PathBuf, Option<(u64, std::time::SystemTime)>)> {
    // As the file says now, even if that was refused: mending one of its files must be noticed.
    let written = app.source.again().and_then(|source| Config::load(&source));
    let config = written.map_or_else(|_| app.config(), Arc::new);
    let policies = config.policy.find_files().unwrap_or_default();
    let certificates = config.server.tls.as_ref().map(crate::net::tls::Config::files).unwrap_or_default();
    let files = std::iter::once(app.source.path().to_owned()).chain(policies).chain(certificates);
    let look = |path: std::path::PathBuf| {
        let facts = std::fs::metadata(&path).ok().and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
        (path, facts)
    };
    files.map(look).collect()
}

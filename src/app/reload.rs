//! New settings in, new gateway out; on failure the last good one stays in force, and says so.

use super::{App, build, fixed, systemd};
use crate::config::{Config, Source};
use prometheus::{IntGauge, Registry};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
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
        self.gateway().identity.in_force();
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
        let gateway = build::gateway(&config, &source, &self.persistent, build::Occasion::Reload(&previous))
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
/// How long nothing may have changed before changed files are read.
const SETTLE: Duration = Duration::from_millis(250);

/// Which files there are, how long and how new: enough to notice a change, and blind to none that a rename makes.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen(Vec<(PathBuf, Option<(u64, SystemTime)>)>);

impl Seen {
    /// As the file of settings says now, even if that was refused: mending one of its files must be noticed. To be taken
    /// before the files are read, so that what changes meanwhile differs from it.
    #[must_use]
    pub fn now(source: &Source, in_force: &Config) -> Self {
        let written = source.again().and_then(|source| Config::load(&source));
        let config = written.as_ref().unwrap_or(in_force);
        let policies = config.policy.find_files().unwrap_or_default();
        let files = std::iter::once(source.path().to_owned()).chain(policies).chain(config.files());
        let look = |path: PathBuf| {
            let facts = std::fs::metadata(&path).ok();
            let facts = facts.and_then(|meta| Some((meta.len(), meta.modified().ok()?)));
            (path, facts)
        };
        Self(files.map(look).collect())
    }
}

/// Reloads at SIGHUP, and when the configuration, a policy, a secret or a certificate is not as it was `seen` when it was last read.
pub async fn on_signals_and_changes(app: Arc<App>, mut seen: Seen) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    loop {
        let told = tokio::select! {
            _ = hangup.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let look = || Seen::now(&app.source, &app.config());
        let now = look();
        if told || now != seen {
            seen = if told { now } else { settled(now, look).await };
            let _ = app.reload().await;
        }
    }
}

/// Files that belong together, such as the two halves of a key, change one after the other: waits until nothing has changed for
/// a moment, or for as long as may be waited.
async fn settled(mut seen: Seen, look: impl Fn() -> Seen) -> Seen {
    for _ in 0..8 {
        tokio::time::sleep(SETTLE).await;
        let now = look();
        if now == seen {
            break;
        }
        seen = now;
    }
    seen
}

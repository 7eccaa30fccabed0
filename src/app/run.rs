//! Runs a started program until a signal ends it, with the tasks that go on meanwhile.

use super::drain::Serving;
use super::program::App;
use super::signals::stop_signal;
use super::{reload, systemd};
use crate::base::clock;
use crate::base::file_watch::FileWatch;
use crate::kvs::Timestamp;
use crate::telemetry::log;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often viewings are looked through for those that have ended.
const SWEEP: Duration = Duration::from_secs(5);

/// A started program. Dropping it closes every connection.
pub struct Running {
    /// The addresses that clients are served at.
    pub addresses: Vec<SocketAddr>,
    /// The addresses of the admin listener.
    pub admin: Vec<SocketAddr>,
    /// Its state, for tests and the demo.
    pub app: Arc<App>,
    /// The files of its settings, watched since before they were read.
    pub(super) files: FileWatch,
    pub(super) serving: Serving,
    pub(super) log: Option<log::Guard>,
}

impl Running {
    /// Ends the program in order: see `drain`.
    pub async fn drain(self) {
        self.serving.end(&self.app).await;
    }
}

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn until_stopped(running: Running) {
    let Running { app, files, serving, log, .. } = running;
    let mut reloads = JoinSet::new();
    reloads.spawn(reload::on_signals_and_changes(app.clone(), files));
    let mut watchdog = JoinSet::new();
    watchdog.spawn(systemd::stay_alive());
    stop_signal().await;
    reloads.shutdown().await;
    systemd::stopping();
    serving.end(&app).await;
    drop(log);
}

/// Writes an entry for each viewing that has ended to the audit log.
pub(super) async fn end_idle_viewings(app: Arc<App>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (audit, now) = (app.gateway().audit().clone(), Timestamp::from(clock::now()));
        // The sink counts what cannot be written. A viewing that is over is no request to refuse.
        let sweeping = move || audit.watch.sweep(now, |event| drop(audit.sink.write(event, now)));
        // A panic there has been logged, and the next sweep does what is left.
        let _ = tokio::task::spawn_blocking(sweeping).await;
    }
}

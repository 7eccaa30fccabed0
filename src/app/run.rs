//! Runs a started program until a signal ends it, with the tasks that go on meanwhile.

use super::{App, Running, reload, systemd};
use crate::kvs::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// How often viewings are looked through for those that have ended.
const SWEEP: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, then drains.
pub async fn until_stopped(running: Running) {
    let Running { app, files, serving, _log, .. } = running;
    let mut reloads = JoinSet::new();
    reloads.spawn(reload::on_signals_and_changes(app.clone(), files));
    let mut watchdog = JoinSet::new();
    watchdog.spawn(systemd::stay_alive());
    stop_signal().await;
    reloads.shutdown().await;
    systemd::stopping();
    serving.end(&app).await;
}

/// Writes the end of viewings that have asked for nothing in a while to the audit log.
pub(super) async fn end_idle_viewings(app: Arc<App>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let (witness, now) = (app.gateway().witness.clone(), Timestamp::now());
        // The sink counts what cannot be written. A viewing that is over is no request to refuse.
        witness.watch.sweep(now, |event| drop(witness.sink.write(event, now)));
    }
}

/// Returns at SIGTERM or SIGINT.
pub(super) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        }
        // Without signals only the end of the process ends it.
        _ => std::future::pending().await,
    }
}

//! Notifies systemd: ready, reloading, stopping, alive. Without systemd nothing happens.

use sd_notify::NotifyState;
use std::time::Duration;

/// The program serves.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it, whether or not it succeeded.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock for systemd"),
    }
}

/// The drain begins.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Notifies systemd twice per `WatchdogSec`, for as long as it is polled. It runs on the runtime, so that a
/// blocked runtime stops it.
pub async fn stay_alive() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut rhythm = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        rhythm.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be notified");
    }
}

//! What systemd is told: ready, reloading, stopping, alive. Elsewhere than under systemd nothing happens.

use sd_notify::NotifyState;
use std::time::Duration;

/// The program serves.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; [`ready`] ends it, whatever came of it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "no clock for systemd"),
    }
}

/// The drain begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Says that the program is alive twice in the time that `WatchdogSec` gives, for as long as it is polled. Poll it
/// where a stuck program would not.
pub async fn stay_alive() {
    let Some(patience) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut rhythm = tokio::time::interval((patience / 2).max(Duration::from_millis(1)));
    loop {
        rhythm.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd cannot be told");
    }
}

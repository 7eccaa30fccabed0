//! Shows whether the runtime of clients still runs, to readers on another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it beats.
const BEAT: Duration = Duration::from_secs(1);
/// A runtime whose task was not polled for so long serves no request.
const STALLED: Duration = Duration::from_secs(30);

/// When a task of the runtime was last polled.
pub(super) struct Heartbeat {
    started: Instant,
    /// Milliseconds after `started`.
    last: AtomicU64,
}

impl Heartbeat {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), last: AtomicU64::new(0) }
    }

    /// Beats for as long as it is polled.
    pub(super) async fn run(&self) {
        let mut rhythm = tokio::time::interval(BEAT);
        loop {
            rhythm.tick().await;
            self.last.store(self.millis(), Ordering::Relaxed);
        }
    }

    /// For how long it has not beaten, if that is too long.
    pub(super) fn stalled(&self) -> Option<Duration> {
        stalled(self.millis(), self.last.load(Ordering::Relaxed))
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn stalled(now: u64, last: u64) -> Option<Duration> {
    let since = Duration::from_millis(now.saturating_sub(last));
    (since >= STALLED).then_some(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_stalled_after_its_time() {
        assert_eq!(stalled(30_999, 1_000), None);
        assert_eq!(stalled(31_000, 1_000), Some(Duration::from_secs(30)));
        assert_eq!(stalled(1_000, 2_000), None, "it has just beaten");
    }
}

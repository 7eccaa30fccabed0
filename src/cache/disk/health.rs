//! When to stop using a failing disk for a while, and when to log that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether reads or writes work, and when trouble was last logged.
pub(super) struct Health {
    began: Instant,
    failures: AtomicU32,
    /// Milliseconds since it began.
    paused_until: AtomicU64,
    quiet_until: AtomicU64,
    silenced: AtomicU64,
}

/// So many failures in a row are enough.
const FAILURES: u32 = 5;
/// How long a failing disk is not used.
const REST: Duration = Duration::from_secs(30);
/// At most one warning in this time.
const QUIET: Duration = Duration::from_secs(10);

impl Default for Health {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            failures: AtomicU32::new(0),
            paused_until: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            silenced: AtomicU64::new(0),
        }
    }
}

impl Health {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// It is not used at the moment.
    pub(super) fn is_paused(&self) -> bool {
        self.paused_until.load(Ordering::Relaxed) > self.now()
    }

    /// It worked.
    pub(super) fn healthy(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// It did not.
    pub(super) fn unhealthy(&self) {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES {
            self.pause();
        }
    }

    /// It is not used for a while.
    pub(super) fn pause(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.paused_until.store(self.now() + REST.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether to warn now, and how many warnings were held back since the last one.
    pub(super) fn may_warn(&self) -> Option<u64> {
        let now = self.now();
        if self.quiet_until.load(Ordering::Relaxed) > now {
            self.silenced.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.quiet_until.store(now + QUIET.as_millis() as u64, Ordering::Relaxed);
        Some(self.silenced.swap(0, Ordering::Relaxed))
    }
}

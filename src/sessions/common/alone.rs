//! Whether this replica goes by itself because the store does not answer, and when it may publish again.

use crate::fleet::Metrics;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A replica that was alone waits so long before it publishes something: all others have noticed by then that
/// the store answers, and take over what is published.
const RETURN: Duration = Duration::from_secs(4);

/// Of one shared session.
pub(super) struct Alone {
    alone: AtomicBool,
    /// Since when the store has not answered.
    out_since: Mutex<Option<Instant>>,
    /// When the store answered again.
    returned: Mutex<Option<Instant>>,
    metrics: Metrics,
}

impl Alone {
    /// The store answers, as far as is known.
    pub(super) fn new(metrics: Metrics) -> Self {
        let (out_since, returned) = (Mutex::default(), Mutex::default());
        Self { alone: AtomicBool::new(false), out_since, returned, metrics }
    }

    /// Notes that the store did not answer.
    pub(super) fn note_outage(&self) {
        lock(&self.out_since).get_or_insert_with(Instant::now);
    }

    /// Since when the store has not answered, while this replica goes by itself.
    pub(super) fn since(&self) -> Option<Instant> {
        self.is_alone().then(|| *lock(&self.out_since)).flatten()
    }

    /// Whether this replica goes by itself.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// Whether this replica has been back for long enough to publish again.
    pub(super) fn is_back(&self) -> bool {
        lock(&self.returned).get_or_insert_with(Instant::now).elapsed() >= RETURN
    }

    /// This replica goes by itself.
    pub(super) fn begin(&self) {
        *lock(&self.returned) = None;
        if !self.alone.swap(true, Ordering::AcqRel) {
            self.metrics.alone(1);
        }
    }

    /// What the store says is what all replicas show.
    pub(super) fn end(&self) {
        *lock(&self.out_since) = None;
        if self.alone.swap(false, Ordering::AcqRel) {
            self.metrics.alone(-1);
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.end();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

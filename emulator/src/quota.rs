//! KVS's quotas: requests per second and quota points, as buckets that refill evenly (docs/KVS.md 5.7, 6).
//!
//! A bucket holds what one second refills, so that a burst of that size passes.

use super::lock::lock;
use super::stream::Tenant;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Points per second for reading fragment metadata, per stream.
pub(super) const METADATA_POINTS: f64 = 10_000.0;
/// Points per second for reading media, per stream.
pub(super) const MEDIA_POINTS: f64 = 500.0;

/// The buckets of one emulator, by name.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    buckets: HashMap<String, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Quotas {
    /// Takes `amount` from bucket `name`, which refills by `rate` a second and holds as much. Takes nothing
    /// and gives false if there is not enough. An amount larger than the bucket passes when the bucket is
    /// full, and leaves a debt.
    pub(super) fn take(&mut self, name: &str, rate: f64, amount: f64, now: Instant) -> bool {
        let bucket = self.buckets.entry(name.to_owned()).or_insert_with(|| Bucket { left: rate, at: now });
        let refill = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.left = (bucket.left + refill).min(rate);
        bucket.at = now;
        let enough = bucket.left >= amount.min(rate);
        if enough {
            bucket.left -= amount;
        }
        enough
    }

    /// Removes the buckets whose names begin with `prefix`.
    pub(super) fn forget(&mut self, prefix: &str) {
        self.buckets.retain(|name, _| !name.starts_with(prefix));
    }
}

/// One connection of a stream, until dropped.
pub(super) struct Connection {
    counter: Arc<AtomicUsize>,
    /// How many connections the stream had before this one.
    pub(super) before: usize,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many bodies of GetMediaForFragmentList are being sent, per stream.
#[derive(Debug, Default)]
pub(super) struct Connections(Mutex<HashMap<(Tenant, String), Arc<AtomicUsize>>>);

impl Connections {
    /// Counts one more connection of a stream.
    pub(super) fn open(&self, tenant: &Tenant, stream: &str) -> Connection {
        let key = (tenant.clone(), stream.to_owned());
        let counter = lock(&self.0).entry(key).or_default().clone();
        let before = counter.fetch_add(1, Ordering::Relaxed);
        Connection { counter, before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn five_pass_the_sixth_waits_a_fifth_of_a_second() {
        let (mut quotas, start) = (Quotas::default(), Instant::now());
        assert!((0..5).all(|_| quotas.take("x", 5.0, 1.0, start)));
        assert!(!quotas.take("x", 5.0, 1.0, start));
        assert!(quotas.take("y", 5.0, 1.0, start), "another bucket");
        assert!(!quotas.take("x", 5.0, 1.0, start + Duration::from_millis(199)));
        assert!(quotas.take("x", 5.0, 1.0, start + Duration::from_millis(201)));
    }

    #[test]
    fn two_hundred_and_fifty_viewers_pass_the_next_is_throttled() {
        // docs/KVS.md 10: LIVE A/V, one-second fragments: two media points a second each.
        let (mut quotas, start) = (Quotas::default(), Instant::now());
        let passed =
            (0..251).filter(|_| (0..2).all(|_| quotas.take("media", MEDIA_POINTS, 1.0, start))).count();
        assert_eq!(passed, 250);
    }

    #[test]
    fn a_call_larger_than_the_bucket_passes_once_and_leaves_a_debt() {
        let (mut quotas, start) = (Quotas::default(), Instant::now());
        assert!(quotas.take("media", 500.0, 1000.0, start));
        assert!(!quotas.take("media", 500.0, 1.0, start + Duration::from_millis(900)));
        assert!(quotas.take("media", 500.0, 1.0, start + Duration::from_millis(1100)));
    }
}

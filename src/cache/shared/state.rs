//! What look-ups and claims share: the stores, and the two clocks.

use super::bucket::Bucket;
use super::object::ObjectKeys;
use super::record::{self, Record};
use crate::cache::entry::Sharing;
use crate::cache::memory::budget::Budget;
use crate::cache::metrics::SharedMetrics;
use crate::cache::purges::Purges;
use crate::fleet::s3::S3;
use crate::fleet::{self, Live};
use crate::kvs::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// A live fragment is of use for so long.
pub(super) const LIVE_LIFE: Duration = Duration::from_secs(30);
/// What expires sooner is of no use to others.
pub(super) const SHORTEST_LIFE: Duration = Duration::from_millis(500);

/// What look-ups and claims share.
pub(in crate::cache) struct SharedState {
    pub(super) store: fleet::Store,
    pub(super) bucket: Option<Bucket>,
    pub(super) budget: Budget,
    pub(super) purges: Arc<Purges>,
    pub(super) metrics: SharedMetrics,
    /// By how many milliseconds the store's clock is ahead of ours.
    ahead: AtomicI64,
}

impl SharedState {
    pub(in crate::cache) fn open(
        store: fleet::Store,
        s3: Option<S3>,
        budget: &Budget,
        purges: &Arc<Purges>,
        metrics: SharedMetrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            bucket: s3.map(|s3| Bucket::new(s3, &store, budget)),
            store,
            budget: budget.clone(),
            purges: Arc::clone(purges),
            metrics,
            ahead: AtomicI64::new(0),
        })
    }

    /// The store's clock has just shown `theirs`, while ours showed `now`.
    pub(super) fn compare_clocks(&self, theirs: Timestamp, now: Timestamp) {
        let ahead = theirs.millis().cast_signed() - now.millis().cast_signed();
        self.ahead.store(ahead, Ordering::Relaxed);
    }

    pub(super) fn shares(&self, sharing: Sharing) -> bool {
        match (sharing, self.store.config().live) {
            (Sharing::No, _) | (Sharing::Live { .. }, Live::No) => false,
            (Sharing::Live { replicas }, Live::WatchedTwice) => replicas > 1 && self.keeps_inline(),
            (Sharing::Live { .. }, Live::Shared) => self.keeps_inline(),
            (Sharing::Always, _) => self.keeps_objects(),
        }
    }

    fn keeps_inline(&self) -> bool {
        self.store.config().object_limit.0 > 0
    }

    pub(super) fn keeps_objects(&self) -> bool {
        self.keeps_inline() || self.bucket.is_some()
    }

    /// When the fetch of a value began, its record and what follows that. `None`: it is none of ours.
    pub(super) fn opened(&self, keys: &ObjectKeys, value: &[u8]) -> Option<(Timestamp, Record, Vec<u8>)> {
        let (began, sealed) = record::split(value)?;
        let mut opened = self.store.open_value(&keys.data, began.millis(), sealed.to_vec()).ok()?;
        let (record, body) = Record::decode(&opened)?;
        let length = body.len();
        let body = opened.split_off(opened.len() - length);
        Some((began, record, body))
    }

    pub(super) fn in_our_time(&self, mut record: Record) -> Record {
        record.expires = self.ours(record.expires);
        record.head.stored = self.ours(record.head.stored);
        record
    }

    /// A time of the store's clock on ours.
    pub(super) fn ours(&self, theirs: Timestamp) -> Timestamp {
        shifted(theirs, -self.ahead.load(Ordering::Relaxed))
    }

    /// A time of our clock on the store's.
    pub(super) fn theirs(&self, ours: Timestamp) -> Timestamp {
        shifted(ours, self.ahead.load(Ordering::Relaxed))
    }
}

fn shifted(time: Timestamp, by: i64) -> Timestamp {
    Timestamp::from_millis(time.millis().saturating_add_signed(by))
}

//! When streams were purged last. What was fetched before that is a miss in every tier, also where it was not
//! removed: on a disk whose folder was not open yet, in a store that replicas share, in a fetch under way.

use super::key::{Key, PurgeTarget};
use super::sync::lock;
use crate::kvs::Timestamp;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The purges of late.
#[derive(Default)]
pub(super) struct Purges {
    /// Whether there are any, so that a hit costs one load.
    any: AtomicBool,
    times: Mutex<HashMap<PurgeTarget, Timestamp>>,
}

impl Purges {
    /// Everything of `target` whose fetch began before `at` is gone.
    pub(super) fn note(&self, target: PurgeTarget, at: Timestamp) {
        let mut times = lock(&self.times);
        // A purge by ARN covers keys that were made from the bare name, which have no tag of an ARN.
        let bare = match target {
            PurgeTarget::Name(_) => None,
            PurgeTarget::Arn { name, .. } => Some(PurgeTarget::Arn { arn: 0, name }),
        };
        for target in [Some(target), bare].into_iter().flatten() {
            let known = times.entry(target).or_insert(at);
            *known = at.max(*known);
        }
        self.any.store(true, Ordering::Release);
    }

    /// When the stream of `key` was purged last.
    pub(super) fn since(&self, key: &Key) -> Option<Timestamp> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let times = lock(&self.times);
        key.purged_by().filter_map(|target| times.get(&target).copied()).max()
    }

    /// Whether what was fetched under `key` from `began` on is gone.
    pub(super) fn cover(&self, key: &Key, began: Timestamp) -> bool {
        self.since(key).is_some_and(|purged| began < purged)
    }

    /// Forgets purges so long ago that no tier has anything from before them.
    pub(super) fn tidy(&self, now: Timestamp, max_age: Duration) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut times = lock(&self.times);
        times.retain(|_, at| at.plus(max_age) >= now);
        self.any.store(!times.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::tests_support::key;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_began_before_the_last_purge_of_its_stream_is_covered() {
        let purges = Purges::default();
        assert!(!purges.cover(&key(1), at(0)) && purges.since(&key(1)).is_none());
        purges.note(PurgeTarget::of("cam"), at(1000));
        purges.note(PurgeTarget::of("other"), at(9000));
        purges.note(PurgeTarget::of("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1"), at(2000));
        purges.note(PurgeTarget::of("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/2"), at(9000));
        assert_eq!(purges.since(&key(1)), Some(at(2000)));
        assert!(purges.cover(&key(1), at(1999)) && !purges.cover(&key(1), at(2000)));
        purges.note(PurgeTarget::of("cam"), at(500));
        assert_eq!(purges.since(&key(1)), Some(at(2000)), "an older purge changes nothing");
        let bare = Key { arn: 0, ..key(1) };
        assert_eq!(purges.since(&bare), Some(at(9000)), "either stream of that name may be meant");
        purges.tidy(at(10_000), Duration::from_millis(1500));
        assert_eq!(purges.since(&key(1)), None);
    }
}

//! Sessions that could not be opened a moment ago: KVS is not asked for them again at once.

use super::error::Error;
use super::key::SessionKey;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Failures of the last second, by key.
#[derive(Default)]
pub(super) struct RecentFailures {
    by_key: HashMap<SessionKey, (Instant, Error)>,
    /// In the order in which they end. A key may stand here twice.
    order: VecDeque<(Instant, SessionKey)>,
}

/// How long a failure is remembered.
const REMEMBERED: Duration = Duration::from_secs(1);
/// So many are remembered: the oldest are forgotten first.
const MOST: usize = 4096;

impl RecentFailures {
    /// Why a session could not be opened a moment ago.
    pub(super) fn get(&self, key: &SessionKey, now: Instant) -> Option<Error> {
        let (until, error) = self.by_key.get(key)?;
        (now < *until).then(|| error.clone())
    }

    pub(super) fn insert(&mut self, key: SessionKey, error: Error, now: Instant) {
        while let Some((until, _)) = self.order.front()
            && (*until <= now || self.order.len() >= MOST)
        {
            let Some((until, key)) = self.order.pop_front() else { break };
            if self.by_key.get(&key).is_some_and(|(latest, _)| *latest == until) {
                self.by_key.remove(&key);
            }
        }
        let until = now + REMEMBERED;
        self.order.push_back((until, key.clone()));
        self.by_key.insert(key, (until, error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{PlaybackMode, Protocol};
    use crate::sessions::key::tests::key;

    #[test]
    fn a_failure_is_remembered_for_a_second_and_the_memory_is_bounded() {
        let (mut failures, start) = (RecentFailures::default(), Instant::now());
        let of = |n: u64| SessionKey {
            began: Some(crate::kvs::Timestamp::from_millis(n)),
            ..key(PlaybackMode::Live, Protocol::Hls)
        };
        failures.insert(of(0), Error::Gone, start);
        assert!(failures.get(&of(0), start).is_some() && failures.get(&of(1), start).is_none());
        assert!(failures.get(&of(0), start + REMEMBERED).is_none());
        for n in 0..2 * MOST as u64 {
            failures.insert(of(n), Error::Gone, start);
        }
        assert_eq!((failures.by_key.len(), failures.order.len()), (MOST, MOST));
        failures.insert(of(0), Error::Gone, start + REMEMBERED);
        assert_eq!((failures.by_key.len(), failures.order.len()), (1, 1));
    }
}

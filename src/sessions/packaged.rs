//! Who watches footage that is packaged here: it has no session at KVS, and is listed beside those that have.

use super::key::{SessionKey, ViewerId};
use super::metrics::Metrics;
use super::viewers::{SessionInfo, Viewers};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Footage that is watched, by what its viewers have in common.
#[derive(Default)]
pub(super) struct PackagedViewers(Mutex<HashMap<SessionKey, Watched>>);

struct Watched {
    viewers: Viewers,
    since: Instant,
    /// When the last request came.
    last: Instant,
}

/// Footage beyond this number takes the place of what is longest without a request.
const MOST: usize = 10_000;
/// This part of all is forgotten at once.
const PART: usize = 16;

impl PackagedViewers {
    /// Notes a request by a viewer. True if there were none before.
    pub(super) fn note(&self, key: &SessionKey, viewer: ViewerId, metrics: &Metrics, now: Instant) -> bool {
        let mut watched = self.lock();
        let was_empty = watched.is_empty();
        if !watched.contains_key(key) {
            if watched.len() >= MOST {
                forget_oldest(&mut watched);
            }
            let viewers = Viewers::new(metrics.viewers(key.stream.name().as_str()));
            watched.insert(key.clone(), Watched { viewers, since: now, last: now });
        }
        if let Some(footage) = watched.get_mut(key) {
            footage.last = now;
            footage.viewers.note(viewer, 0, now);
        }
        was_empty
    }

    /// Counts media bytes that were sent to a viewer.
    pub(super) fn count(&self, key: &SessionKey, viewer: ViewerId, bytes: u64, now: Instant) {
        if let Some(footage) = self.lock().get_mut(key) {
            footage.viewers.note(viewer, bytes, now);
        }
    }

    /// Forgets viewers without a request for longer than `timeout`. True if none are left.
    pub(super) fn forget_idle(&self, timeout: Duration, now: Instant) -> bool {
        let mut watched = self.lock();
        watched.retain(|_, footage| {
            footage.viewers.forget_idle(timeout, now);
            footage.viewers.count() > 0
        });
        watched.is_empty()
    }

    /// As the admin listener shows them.
    pub(super) fn list(&self) -> Vec<SessionInfo> {
        let info = |(key, footage): (&SessionKey, &Watched)| SessionInfo {
            stream: key.stream_text().to_owned(),
            aws: key.entry.to_string(),
            protocol: key.parameters.protocol.as_str(),
            mode: key.parameters.mode.as_str(),
            viewers: footage.viewers.count(),
            age_seconds: footage.since.elapsed().as_secs(),
            bytes: footage.viewers.bytes,
            renewals: 0,
            open: false,
        };
        self.lock().iter().map(info).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionKey, Watched>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room: footage that is longest without a request is listed no more.
fn forget_oldest(watched: &mut HashMap<SessionKey, Watched>) {
    let mut times: Vec<Instant> = watched.values().map(|footage| footage.last).collect();
    let (_, limit, _) = times.select_nth_unstable(watched.len() / PART);
    let (limit, mut left) = (*limit, watched.len() / PART + 1);
    watched.retain(|_, footage| {
        let goes = footage.last <= limit && left > 0;
        left -= usize::from(goes);
        !goes
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{PlaybackMode, Protocol, Timestamp};
    use crate::sessions::key::tests::key;

    #[test]
    fn a_caller_with_many_ranges_does_not_hide_those_of_others() {
        let metrics = Metrics::register(&prometheus::Registry::new(), str::to_owned).unwrap();
        let (watched, start) = (PackagedViewers::default(), Instant::now());
        let range = |n| SessionKey {
            began: Some(Timestamp::from_millis(n)),
            ..key(PlaybackMode::OnDemand, Protocol::Hls)
        };
        for n in 0..3 * MOST as u64 {
            let now = start + Duration::from_millis(n);
            watched.note(&range(n), ViewerId::from(1), &metrics, now);
            if n % 100 == 0 {
                watched.note(&range(0), ViewerId::from(2), &metrics, now);
            }
        }
        let last = watched.list();
        assert!((MOST - MOST / PART..=MOST).contains(&last.len()), "{}", last.len());
        assert!(watched.lock().contains_key(&range(0)), "it is still watched");
        assert!(watched.lock().contains_key(&range(3 * MOST as u64 - 1)));
    }
}

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
}

/// Footage beyond this number is served, but not listed.
const MOST: usize = 10_000;

impl PackagedViewers {
    /// Notes a request by a viewer. True if there were none before.
    pub(super) fn note(&self, key: &SessionKey, viewer: ViewerId, metrics: &Metrics, now: Instant) -> bool {
        let mut watched = self.lock();
        let was_empty = watched.is_empty();
        if !watched.contains_key(key) {
            if watched.len() >= MOST {
                return false;
            }
            let viewers = Viewers::new(metrics.viewers(key.stream.name().as_str()));
            watched.insert(key.clone(), Watched { viewers, since: now });
        }
        if let Some(footage) = watched.get_mut(key) {
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

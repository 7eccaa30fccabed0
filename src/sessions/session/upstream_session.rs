//! An open upstream session, and where a published address leads: a session and the resource by its name
//! there.

use super::spare_sessions::SpareSessions;
use crate::cache::Sharing;
use crate::kvs::{PlaybackMode, Resource, SessionParameters};
use crate::playback::Rewritten;
use crate::sessions::numbering::Generation;
use crate::sessions::places::Place;
use crate::sessions::turn::Turn;
use crate::upstream::SessionUrl;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::Instant;

/// An open upstream session.
pub(in crate::sessions) struct UpstreamSession {
    pub(in crate::sessions) url: SessionUrl,
    /// What it was opened with.
    pub(in crate::sessions) parameters: SessionParameters,
    /// Whose turn its requests take.
    pub(in crate::sessions) turn: Turn,
    /// Other sessions for the same footage.
    pub(in crate::sessions) spares: SpareSessions<SpareSession>,
    /// By how much its media is delayed onto the timeline of live HLS, once that is known. `None` inside the
    /// cell if it cannot be found out; the media is then passed on as it is.
    pub(super) delay: ArcSwap<OnceCell<Option<Duration>>>,
    /// How many replicas have viewers of it.
    pub(super) replicas: WatchingReplicas,
    pub(in crate::sessions) generation: Generation,
    pub(super) opened: Instant,
    /// When KVS ends it.
    pub(super) until: Instant,
}

/// How many replicas have viewers of a shared session; `None` if it is this replica's own. Clones share it.
#[derive(Clone)]
pub(super) struct WatchingReplicas(Option<Arc<AtomicU32>>);

impl WatchingReplicas {
    /// Of a session that has just begun, which replicas have in common or not. Until it is known how many
    /// have viewers, its segments are shared: behind a balancer several are asked for it at once.
    pub(super) fn new(in_common: bool) -> Self {
        Self(in_common.then(|| Arc::new(AtomicU32::new(2))))
    }

    /// So many replicas have viewers, this one included.
    pub(super) fn note(&self, replicas: u64) {
        if let Some(known) = &self.0 {
            known.store(u32::try_from(replicas).unwrap_or(u32::MAX).max(1), Ordering::Relaxed);
        }
    }
}

impl UpstreamSession {
    /// How its segments are shared with other replicas.
    pub(super) fn sharing(&self) -> Sharing {
        match &self.replicas.0 {
            None => Sharing::No,
            Some(_) if self.parameters.mode == PlaybackMode::OnDemand => Sharing::Always,
            Some(replicas) => Sharing::Live { replicas: replicas.load(Ordering::Relaxed) },
        }
    }

    /// The delay of a session that nothing is known of.
    pub(super) fn delay_of_new() -> ArcSwap<OnceCell<Option<Duration>>> {
        ArcSwap::from_pointee(OnceCell::new())
    }

    /// The delay, once that is known.
    pub(super) fn delay(&self) -> Option<Option<Duration>> {
        self.delay.load().get().copied()
    }

    /// Notes the delay that another replica has decided on.
    pub(super) fn set_delay(&self, delay: Option<Duration>) {
        if self.delay() != Some(delay) {
            self.delay.store(Arc::new(OnceCell::new_with(Some(delay))));
        }
    }
}

/// Another session for the same footage. It counts towards `sessions.most` for as long as it is held.
pub(in crate::sessions) struct SpareSession {
    pub(super) url: SessionUrl,
    pub(super) _place: Place,
}

/// What a session lists, before it is merged with what players have seen.
#[derive(Clone)]
pub(super) struct LoadedPlaylist {
    pub(super) session: Arc<UpstreamSession>,
    pub(super) answer: Rewritten,
    /// When KVS was asked.
    pub(super) asked: Instant,
}

/// Where a published address leads.
#[derive(Clone)]
pub(in crate::sessions) struct Location {
    /// The upstream session; its id and `resource` make the cache key.
    pub(in crate::sessions) session: Arc<UpstreamSession>,
    /// The resource by the name that KVS knows it by.
    pub(in crate::sessions) resource: Resource,
    /// Ticks to add to the times in its media: live fMP4 runs on one timeline over all sessions. 0 for all
    /// else.
    pub(in crate::sessions) shift: u64,
}

impl Location {
    /// A resource whose media is passed on with the times that KVS gave it.
    pub(in crate::sessions) fn unshifted(session: Arc<UpstreamSession>, resource: Resource) -> Self {
        Self { session, resource, shift: 0 }
    }
}

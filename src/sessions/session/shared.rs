//! What the viewers of one [`SessionKey`] share: an upstream session, its playlists, and what is fetched
//! ahead.
//!
//! Opening and replacing sessions is in `open`, loading playlists in `load`, the times of media in `timing`,
//! addresses in `locate`, what follows when KVS refuses one in `lost`, and footage that takes several
//! sessions in `parts`.

use super::cached_playlist::CachedPlaylist;
use super::state::SessionState;
use super::upstream_session::{LoadedPlaylist, UpstreamSession, WatchingReplicas};
use crate::base::single_flight::SingleFlight;
use crate::kvs::{PlaybackMode, Resource, Timestamp};
use crate::sessions::common::Common;
use crate::sessions::context::Context;
use crate::sessions::error::Error;
use crate::sessions::hls::long_vod::{Plan, Range};
use crate::sessions::key::{SessionKey, ViewerId};
use crate::sessions::live_window::LiveWindow;
use crate::sessions::numbering::Generation;
use crate::sessions::saved_state::SavedStream;
use crate::sessions::turn::{Turn, Visit};
use crate::sessions::viewers::{SessionInfo, Viewers};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the viewers of one key share.
pub(in crate::sessions) struct SharedSession {
    pub(in crate::sessions) key: SessionKey,
    pub(super) context: Arc<Context>,
    pub(super) turn: Turn,
    /// What all replicas hold in common of it. A long range is made of sessions of its parts.
    pub(in crate::sessions) common: Option<Common>,
    /// How many replicas have viewers of it.
    pub(super) replicas: WatchingReplicas,
    pub(super) state: Mutex<SessionState>,
    /// The opening of a session that is under way.
    pub(super) openings: SingleFlight<(), Result<Arc<UpstreamSession>, Error>>,
    /// Whether KVS has forgotten a session, while KVS is asked.
    pub(super) probes: SingleFlight<Generation, bool>,
    /// Loads of playlists that are under way.
    pub(super) loads: SingleFlight<Resource, ()>,
    /// Held while fragments are read for their times.
    pub(super) reading: tokio::sync::Mutex<()>,
    pub(super) playlists: Mutex<HashMap<Resource, Arc<CachedPlaylist>>>,
    /// What KVS listed last while this process goes alone.
    pub(super) loaded_alone: Mutex<HashMap<Resource, LoadedPlaylist>>,
    pub(super) viewers: Mutex<Viewers>,
    /// Fetches ahead of requests; aborted when the last viewer has gone.
    pub(super) fetching_ahead: Mutex<JoinSet<()>>,
    pub(super) parts: Mutex<Parts>,
    created: Instant,
}

/// The upstream sessions of footage that a single one cannot show, see `hls::long_vod`.
#[derive(Default)]
pub(super) struct Parts {
    /// Which parts there are, once the first playlist has been loaded.
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) open: HashMap<Range, Arc<SharedSession>>,
}

impl SharedSession {
    pub(in crate::sessions) fn new(
        key: SessionKey,
        context: Arc<Context>,
        saved: Option<SavedStream>,
        turn: Turn,
        now: Timestamp,
    ) -> Arc<Self> {
        let state = SessionState::new(&key, context.config.prefetch, saved, now);
        let viewers = Viewers::new(context.metrics.viewers(key.stream.name().as_str()));
        let in_common = context.store.as_ref().filter(|_| key.long_range().is_none());
        let common = in_common.map(|store| Common::new(store, &key));
        Arc::new(Self {
            replicas: WatchingReplicas::new(common.is_some()),
            common,
            key,
            context,
            turn,
            state: Mutex::new(state),
            openings: SingleFlight::default(),
            probes: SingleFlight::default(),
            loads: SingleFlight::default(),
            reading: tokio::sync::Mutex::default(),
            playlists: Mutex::default(),
            loaded_alone: Mutex::default(),
            viewers: Mutex::new(viewers),
            fetching_ahead: Mutex::default(),
            parts: Mutex::default(),
            created: Instant::now(),
        })
    }

    /// Notes a request.
    pub(in crate::sessions) fn touch(&self, visit: Visit<'_>) {
        self.turn.note(visit.caller);
        let mut state = lock(&self.state);
        let instant = Instant::now();
        state.clock = (visit.now, instant);
        state.touched = instant;
    }

    /// Time since the last request.
    pub(in crate::sessions) fn idle(&self) -> Duration {
        lock(&self.state).touched.elapsed()
    }

    /// When the last request came, if there are no viewers.
    pub(in crate::sessions) fn unwatched_since(&self) -> Option<Instant> {
        self.forget_idle_viewers();
        let is_unwatched = lock(&self.viewers).count() == 0;
        is_unwatched.then(|| lock(&self.state).touched)
    }

    /// Notes a request by `viewer`, or media bytes that were sent to it.
    pub(in crate::sessions) fn note_viewer(&self, viewer: ViewerId, bytes: u64) {
        lock(&self.viewers).note(viewer, bytes, Instant::now());
    }

    /// Tells the other replicas whether there are viewers here. Without any anywhere, the upstream sessions
    /// are let go.
    pub(in crate::sessions) async fn share_viewers(&self) {
        let Some(common) = &self.common else { return };
        // A player that pauses for a while finds its session again.
        let any = lock(&self.viewers).count() > 0 || self.idle() < self.context.config.idle.0;
        // It is repeated all the time.
        if let Ok(replicas) = common.note_viewers(any).await {
            self.replicas.note(replicas);
        }
    }

    /// Forgets viewers that have gone. Without any, nothing is fetched ahead.
    pub(in crate::sessions) fn forget_idle_viewers(&self) {
        let mut viewers = lock(&self.viewers);
        viewers.forget_idle(self.context.config.viewer_timeout.0, Instant::now());
        if viewers.count() == 0 {
            lock(&self.fetching_ahead).abort_all();
        }
    }

    /// What the next process needs to continue this stream; `None` if nothing.
    pub(in crate::sessions) fn saved(&self) -> Option<SavedStream> {
        let state = lock(&self.state);
        let (hls, dash) = (state.hls.saved(), state.dash.saved());
        (hls.is_some() || dash.is_some()).then(|| SavedStream { at: state.clock.0, hls, dash })
    }

    /// What the live list shows; `None` if this is not live HLS, or nothing is listed yet.
    pub(in crate::sessions) fn live_window(&self, now: Timestamp) -> Option<LiveWindow> {
        let is_live = self.key.parameters.mode == PlaybackMode::Live;
        lock(&self.state).hls.window_shown(now).filter(|_| is_live)
    }

    /// As the admin listener shows it.
    pub(in crate::sessions) fn info(&self) -> SessionInfo {
        let (viewers, bytes) = {
            let viewers = lock(&self.viewers);
            (viewers.count(), viewers.bytes)
        };
        let state = lock(&self.state);
        SessionInfo {
            stream: self.key.stream_text().to_owned(),
            aws: self.key.entry.to_string(),
            protocol: self.key.parameters.protocol.as_str(),
            mode: self.key.parameters.mode.as_str(),
            viewers,
            age_seconds: self.created.elapsed().as_secs(),
            bytes,
            renewals: state.replaced,
            open: state.usable(None).is_some(),
        }
    }
}

pub(in crate::sessions) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

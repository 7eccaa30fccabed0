//! Playback sessions of KVS, opened once and shared by many viewers.
//!
//! A KVS session URL serves one player, expires, and does not survive a gap. [`Sessions`] holds one upstream
//! session per [`SessionKey`] for any number of viewers: concurrent requests share one opening, it is renewed
//! ahead of its end, replaced when KVS drops it, and let go when it has no viewers. Playlists are loaded at
//! most once a second per track, and when KVS fails the last good one stands in for a while. Segments go
//! through the cache.
//!
//! - `pool` finds the shared session of a key and keeps it up; `session` is what its viewers share.
//! - `hls` and `dash` decide, without I/O, what players see, so that they do not notice sessions that end and
//!   begin.
//! - `common` is what all replicas hold in common of a session, in the store that they share.
//! - `kvs` is the way to KVS: opening a session and fetching a resource of it.

mod common;
mod config;
mod context;
mod dash;
mod error;
mod hls;
mod key;
mod kvs;
mod live_window;
mod metrics;
mod numbering;
mod packaged;
mod places;
mod pool;
mod recent_failures;
mod saved_state;
mod session;
#[cfg(test)]
mod tests;
mod turn;
mod viewers;

pub use config::Config;
pub use error::Error;
pub use key::{SessionKey, ViewerId, WHOLE_RANGE};
pub use live_window::LiveWindow;
pub use metrics::Metrics;
pub use session::cached_playlist::Playlist;
pub use turn::Visit;
pub use viewers::SessionInfo;

use crate::base::room::Room;
use crate::cache::freshness::Rules;
use crate::cache::{self, Cache, Found};
use crate::fleet::Store;
use crate::kvs::{Resource, StreamRef, Timestamp};
use crate::telemetry::spans::Steps;
use crate::upstream::Upstream;
use context::Context;
use error::SegmentRefusal;
use pool::Pool;
use session::{Location, UpstreamSession};
use std::sync::Arc;

/// Playback sessions of KVS, shared by their viewers. Clones are the same sessions; when the last is dropped,
/// the sessions are let go.
#[derive(Clone)]
pub struct Sessions(Arc<Pool>);

/// Sessions that are asked for a segment before KVS's refusal stands: the one that listed it, the one in use,
/// and one opened in its place.
const ATTEMPTS: u32 = 3;

impl Sessions {
    /// No sessions yet. They are opened through `upstream`, and their media goes into `cache`, and their long
    /// playlists into `room`. With a `store` all replicas hold them in common.
    #[must_use]
    pub fn new(
        upstream: Upstream,
        cache: Cache,
        cache_config: &cache::Config,
        config: Config,
        metrics: Metrics,
        room: Room,
        store: Option<Store>,
    ) -> Self {
        let rules = Rules::new(cache_config, None);
        Self::over(Context::new(Arc::new(upstream), cache, rules, config, metrics, room, store))
    }

    fn over(context: Context) -> Self {
        Self(Pool::new(context))
    }

    /// The playlist or manifest `resource` for a viewer: at most a second old where it changes, loaded once
    /// for all.
    ///
    /// # Errors
    /// [`Error`], if there is nothing to show, not even an older one that still stands.
    pub async fn playlist(
        &self,
        key: &SessionKey,
        resource: &Resource,
        viewer: ViewerId,
        visit: Visit<'_>,
    ) -> Result<Playlist, Error> {
        let session = self.0.session(key, visit).await?;
        session.note_viewer(viewer, 0);
        session.playlist(resource).await
    }

    /// A segment that a playlist of this session listed, from the cache or from KVS. If the upstream session
    /// refuses it, other sessions of the same key are tried.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Gone`] if no session has it, or none has it any more.
    pub async fn segment(
        &self,
        key: &SessionKey,
        resource: &Resource,
        visit: Visit<'_>,
        steps: &Steps,
    ) -> Result<Found, Error> {
        let mut at = self.locate(key, resource, visit).await?;
        for _ in 1..ATTEMPTS {
            let getting = session::get_segment(&self.0.context, &key.stream, &at, steps);
            let error = match steps.time("cache", getting).await {
                Ok(found) => return Ok(found),
                Err(error) => Error::from(error),
            };
            let why = error.segment_refusal().ok_or(error)?;
            // Another session may have it, by another name.
            at = Box::pin(self.relocate(key, resource, &at.session, why, visit)).await?;
        }
        let getting = session::get_segment(&self.0.context, &key.stream, &at, steps);
        Ok(steps.time("cache", getting).await?)
    }

    /// Makes sure that there is something to play: opens an upstream session if none is open.
    ///
    /// # Errors
    /// [`Error`], if none can be opened.
    pub async fn open(&self, key: &SessionKey, visit: Visit<'_>) -> Result<(), Error> {
        self.0.session(key, visit).await?.open_any().await
    }

    /// Notes a viewer of footage that is packaged here, without a session at KVS.
    pub fn note_packaged(&self, key: &SessionKey, viewer: ViewerId) {
        self.0.note_packaged(key, viewer);
    }

    /// Counts media bytes that were sent to a viewer.
    pub fn count_bytes(&self, key: &SessionKey, viewer: ViewerId, bytes: u64) {
        self.0.count_bytes(key, viewer, bytes);
    }

    /// What live HLS of a stream lists, if it has viewers here. `entry` is its `[[aws]]` entry.
    #[must_use]
    pub fn live_window(&self, entry: &str, stream: &StreamRef, now: Timestamp) -> Option<LiveWindow> {
        self.0.live_window(entry, stream, now)
    }

    /// The sessions and how many watch each. It holds no secrets.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        self.0.list()
    }

    /// Writes what the next process needs to continue where this one is to `sessions.state`, if that is set.
    pub async fn save(&self) {
        self.0.save().await;
    }

    /// Where a published address leads.
    async fn locate(
        &self,
        key: &SessionKey,
        resource: &Resource,
        visit: Visit<'_>,
    ) -> Result<Location, Error> {
        let session = self.0.session(key, visit).await?;
        let at = session.locate(resource).await?;
        session.fetch_following(resource);
        Ok(at)
    }

    /// Where else an address leads, after KVS refused `resource` of the session `lost`. A session that is
    /// over is replaced once for all requests that met it.
    async fn relocate(
        &self,
        key: &SessionKey,
        resource: &Resource,
        lost: &Arc<UpstreamSession>,
        why: SegmentRefusal,
        visit: Visit<'_>,
    ) -> Result<Location, Error> {
        self.0.session(key, visit).await?.relocate(resource, lost, why).await
    }
}

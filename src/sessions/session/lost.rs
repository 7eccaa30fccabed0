//! What follows when KVS refuses a resource: either the session is lost, or no session has the resource.
//!
//! All viewers share the session, and the continuity of its playlists with it, so an address that one viewer
//! made up must not cost it. A session counts as over only if KVS refuses its token, or no longer knows its
//! playlist either.

use super::cached_playlist::PACE;
use super::load::SILENCE;
use super::refusals::{ABSENT_FOOTAGE, ABSENT_LIVE, Probed};
use super::shared::{SharedSession, lock};
use super::upstream_session::{Location, UpstreamSession};
use crate::kvs::{Protocol, Resource};
use crate::sessions::error::{Effect, Error, SegmentRefusal};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// KVS answers a probe in less time, or not at all.
const PROBING: Duration = Duration::from_secs(5);

impl SharedSession {
    /// Where else an address may lead when the session `lost` refused it. One that leads nowhere is
    /// remembered.
    pub(in crate::sessions) async fn relocate(
        self: &Arc<Self>,
        resource: &Resource,
        lost: &Arc<UpstreamSession>,
        why: SegmentRefusal,
    ) -> Result<Location, Error> {
        let found = self.locate_besides(resource, lost, why).await;
        if matches!(found, Err(Error::Gone)) {
            let memory = if self.key.is_live() { ABSENT_LIVE } else { ABSENT_FOOTAGE };
            lock(&self.state).absent.remember(resource, Instant::now() + memory);
        }
        found
    }

    async fn locate_besides(
        self: &Arc<Self>,
        resource: &Resource,
        lost: &Arc<UpstreamSession>,
        why: SegmentRefusal,
    ) -> Result<Location, Error> {
        if let Some((part, upstream)) = self.part_of(resource) {
            return Ok(Location::unshifted(part.session_after(lost, why).await?, upstream));
        }
        let session = self.session_after(lost, why).await?;
        if !self.key.is_live() {
            return Ok(Location::unshifted(session, resource.clone()));
        }
        let found = self.locate_elsewhere(resource, Some(lost.generation)).await?;
        if found.session.generation <= lost.generation { Err(Error::Gone) } else { Ok(found) }
    }

    /// The session in use; another one in its place if that is `lost` and over.
    async fn session_after(
        self: &Arc<Self>,
        lost: &Arc<UpstreamSession>,
        why: SegmentRefusal,
    ) -> Result<Arc<UpstreamSession>, Error> {
        let in_use = lock(&self.state).current_generation();
        if in_use != Some(lost.generation) {
            return self.session().await;
        }
        if why == SegmentRefusal::TokenRefused || self.is_over(lost).await {
            return self.replace(lost).await;
        }
        Err(Error::Gone)
    }

    /// Whether KVS has forgotten a session, by its answer for the session's own playlist. KVS is asked at
    /// most once a second, for all requests that met a 404.
    async fn is_over(self: &Arc<Self>, session: &Arc<UpstreamSession>) -> bool {
        if let Some(probed) = &lock(&self.state).probed
            && probed.generation == session.generation
            && probed.at.elapsed() < PACE
        {
            return probed.over;
        }
        let probe = self.probes.start(session.generation, || self.clone().probe(session.clone()));
        probe.result().await.unwrap_or(false)
    }

    async fn probe(self: Arc<Self>, session: Arc<UpstreamSession>) -> bool {
        let playlist = match self.key.parameters.protocol {
            Protocol::Hls => Resource::MasterPlaylist,
            Protocol::Dash => Resource::Manifest,
        };
        let over = match timeout(PROBING, self.fetch_from(&session, &playlist)).await {
            Ok(Err(error)) => match error.effect() {
                Effect::SessionLost => true,
                // Of one just opened this says that the camera is silent, or that there is no such footage.
                Effect::NoData => session.opened.elapsed() >= SILENCE,
                Effect::Transient | Effect::Permanent => false,
            },
            Ok(Ok(_)) | Err(_) => false,
        };
        lock(&self.state).probed = Some(Probed { generation: session.generation, at: Instant::now(), over });
        over
    }
}

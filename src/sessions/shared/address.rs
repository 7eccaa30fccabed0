//! What stands behind a published address: which upstream session, and the resource by its name there.

use super::{Session, Shared, lock};
use crate::kvs::{Protocol, Resource};
use crate::sessions::Error;
use crate::sessions::continuity::Generation;
use crate::sessions::origin::Origin;
use std::sync::Arc;

impl<O: Origin> Shared<O> {
    /// Which session and resource stand behind a published address; `None` for the session now in use and the same
    /// resource.
    pub(in crate::sessions) async fn behind(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<(Arc<Session<O::Handle>>, Resource), Error<O::Error>> {
        if self.key.whole().is_some() {
            return self.behind_part(resource).await;
        }
        self.behind_one(resource).await
    }

    /// Where else an address may lead, when the session `lost` refused it.
    pub(in crate::sessions) async fn instead(
        self: &Arc<Self>,
        resource: &Resource,
        lost: &Arc<Session<O::Handle>>,
    ) -> Result<(Arc<Session<O::Handle>>, Resource), Error<O::Error>> {
        if let Some((owner, upstream)) = self.part_of(resource) {
            return Ok((owner.other_than(lost).await?, upstream));
        }
        let session = self.other_than(lost).await?;
        if !self.key.moves() {
            return Ok((session, resource.clone()));
        }
        let (found, upstream) = self.elsewhere(resource).await?;
        if Arc::ptr_eq(&found, lost) { Err(Error::Gone) } else { Ok((found, upstream)) }
    }

    /// The session in use, another one if that is `lost`. One just opened is kept: it is not the session's fault.
    async fn other_than(
        self: &Arc<Self>,
        lost: &Arc<Session<O::Handle>>,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        if Self::is_young(lost) { self.session().await } else { self.replace(lost).await }
    }

    pub(super) async fn behind_one(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<(Arc<Session<O::Handle>>, Resource), Error<O::Error>> {
        if !self.key.moves() || resource.is_playlist() {
            return Ok((self.session().await?, resource.clone()));
        }
        if let Some((generation, upstream)) = self.known(resource)
            && let Some(session) = self.of(generation)
        {
            return Ok((session, upstream));
        }
        self.elsewhere(resource).await
    }

    pub(super) fn known(&self, resource: &Resource) -> Option<(Generation, Resource)> {
        let state = lock(&self.state);
        match (self.key.parameters.protocol, resource) {
            (Protocol::Hls, Resource::InitSegment { .. }) => state.timeline.init(resource),
            (Protocol::Dash, Resource::InitSegment { .. }) => state.periods.init(resource),
            (Protocol::Dash, Resource::Mp4Fragment { protocol, number, track }) => {
                let (generation, number) = state.periods.behind(number)?;
                Some((generation, Resource::Mp4Fragment { protocol: *protocol, number, track: *track }))
            }
            (Protocol::Hls, Resource::Mp4Fragment { number, .. } | Resource::TsFragment { number }) => {
                state.timeline.generation(number).map(|generation| (generation, resource.clone()))
            }
            _ => None,
        }
    }

    /// An address whose session is gone, or from before a restart of ours: the current session's counterpart.
    async fn elsewhere(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<(Arc<Session<O::Handle>>, Resource), Error<O::Error>> {
        let protocol = self.key.parameters.protocol;
        let Resource::InitSegment { track, .. } = resource else {
            // A fragment's own number is good in any session; a position is not.
            let anywhere = protocol == Protocol::Hls || lock(&self.state).plain;
            let session = self.session().await?;
            return if anywhere { Ok((session, resource.clone())) } else { Err(Error::Gone) };
        };
        let playlist = match protocol {
            Protocol::Hls => Resource::MediaPlaylist { track: *track },
            Protocol::Dash => Resource::Manifest,
        };
        self.playlist(&playlist).await?;
        let (plain, latest) = {
            let state = lock(&self.state);
            let latest = match protocol {
                Protocol::Hls => state.timeline.latest_init(*track),
                Protocol::Dash => state.periods.latest_init(*track),
            };
            (state.plain, latest)
        };
        if plain {
            return Ok((self.session().await?, resource.clone()));
        }
        let (generation, latest) = latest.ok_or(Error::Gone)?;
        Ok((self.of(generation).ok_or(Error::Gone)?, latest))
    }

    /// A session by its generation. An older one may be over: what it gave may still be in the cache, and if it is
    /// not, [`Shared::replace`] is told.
    pub(super) fn of(&self, generation: Generation) -> Option<Arc<Session<O::Handle>>> {
        let state = lock(&self.state);
        let mut known = state.current.iter().chain(&state.older);
        known.find(|session| session.generation == generation).cloned()
    }
}

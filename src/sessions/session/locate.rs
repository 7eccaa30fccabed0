//! What stands behind a published address: which upstream session, and the resource by its name there.

use super::shared::{Session, Shared, lock};
use crate::kvs::{Protocol, Resource};
use crate::sessions::hls::Generation;
use crate::sessions::origin::Origin;
use crate::sessions::pool::Located;
use crate::sessions::session::cached_playlist::PACE;
use crate::sessions::{Error, dash};
use std::sync::Arc;
use tokio::time::Instant;

impl<O: Origin> Shared<O> {
    /// Which session and resource stand behind a published address.
    pub(in crate::sessions) async fn behind(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        if lock(&self.state).absent.holds(resource, Instant::now()) {
            return Err(Error::Gone);
        }
        if self.key.whole().is_some() {
            return self.behind_part(resource).await;
        }
        self.behind_one(resource).await
    }

    pub(in crate::sessions) async fn behind_one(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        if !self.key.moves() || resource.is_playlist() {
            return Ok(same(self.session().await?, resource.clone()));
        }
        match self.known(resource, None) {
            Some(located) => Ok(located),
            None => self.elsewhere(resource, None).await,
        }
    }

    /// What is known to stand behind an address, in a session newer than `than`.
    fn known(&self, resource: &Resource, than: Option<Generation>) -> Option<Located<O::Handle>> {
        let state = lock(&self.state);
        let mut sessions = state.current.iter().chain(&state.older);
        let mut located = |generation, resource, moved| {
            let mut usable = sessions.by_ref().filter(|session| Some(session.generation) > than);
            let opened = usable.find(|session| session.generation == generation)?.clone();
            Some(Located { opened, resource, moved })
        };
        match (self.key.parameters.protocol, resource) {
            (Protocol::Hls, Resource::InitSegment { .. }) => {
                let (generation, upstream) = state.timeline.init(resource)?;
                located(generation, upstream, 0)
            }
            (Protocol::Dash, Resource::InitSegment { .. }) => {
                let (generation, upstream) = state.periods.init(resource)?;
                located(generation, upstream, 0)
            }
            (Protocol::Dash, Resource::Mp4Fragment { protocol, number, track }) => {
                let usable = |behind: &dash::Behind| {
                    let mut sessions = state.current.iter().chain(&state.older);
                    Some(behind.generation) > than
                        && sessions.any(|session| session.generation == behind.generation)
                };
                let behind = state.periods.behind(number, *track).into_iter().find(usable)?;
                let upstream =
                    Resource::Mp4Fragment { protocol: *protocol, number: behind.number, track: *track };
                located(behind.generation, upstream, behind.ticks)
            }
            (Protocol::Hls, Resource::Mp4Fragment { number, track, .. }) => {
                let found = located(state.timeline.generation(number)?, resource.clone(), 0)?;
                drop(state);
                let moved = self.ticks(&found.opened, *track)?;
                Some(Located { moved, ..found })
            }
            (Protocol::Hls, Resource::TsFragment { number }) => {
                located(state.timeline.generation(number)?, resource.clone(), 0)
            }
            _ => None,
        }
    }

    /// An address whose session is gone, or from before a restart of ours: the current session's counterpart.
    pub(in crate::sessions) async fn elsewhere(
        self: &Arc<Self>,
        resource: &Resource,
        than: Option<Generation>,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        let protocol = self.key.parameters.protocol;
        let playlist = match (protocol, resource) {
            (Protocol::Dash, _) => Resource::Manifest,
            (Protocol::Hls, Resource::InitSegment { track, .. }) => Resource::MediaPlaylist { track: *track },
            (Protocol::Hls, _) => return self.by_number(resource).await,
        };
        self.playlist(&playlist).await?;
        if lock(&self.state).plain {
            return Ok(same(self.session().await?, resource.clone()));
        }
        if let Some(located) = self.known(resource, than) {
            return Ok(located);
        }
        let Resource::InitSegment { track, .. } = resource else {
            if than.is_none() {
                return Err(Error::Gone);
            }
            // The session that has just taken over may have it too, but has not been asked what it lists.
            tokio::time::sleep(PACE).await;
            self.playlist(&playlist).await?;
            return self.known(resource, than).ok_or(Error::Gone);
        };
        let mut latest = self.latest_init(*track);
        if latest.as_ref().is_none_or(|(generation, _)| Some(*generation) <= than) && than.is_some() {
            tokio::time::sleep(PACE).await;
            self.playlist(&playlist).await?;
            latest = self.latest_init(*track);
        }
        let (generation, latest) = latest.ok_or(Error::Gone)?;
        Ok(same(self.of(generation).ok_or(Error::Gone)?, latest))
    }

    /// A fragment of live HLS in the current session: its own number is good in any, a position is not. Its time there
    /// is not; so the session is asked first what it lists, which tells.
    async fn by_number(self: &Arc<Self>, resource: &Resource) -> Result<Located<O::Handle>, Error<O::Error>> {
        let session = self.session().await?;
        let Resource::Mp4Fragment { track, .. } = *resource else {
            return Ok(same(session, resource.clone()));
        };
        if let Some(moved) = self.ticks(&session, track) {
            return Ok(Located { opened: session, resource: resource.clone(), moved });
        }
        Box::pin(self.fetch(&Resource::MediaPlaylist { track })).await?;
        let session = self.session().await?;
        // Nothing is given out at a wrong time.
        let moved = self.ticks(&session, track).ok_or(Error::Gone)?;
        Ok(Located { opened: session, resource: resource.clone(), moved })
    }

    /// The init segment last published for a track.
    fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        let state = lock(&self.state);
        match self.key.parameters.protocol {
            Protocol::Hls => state.timeline.latest_init(track),
            Protocol::Dash => state.periods.latest_init(track),
        }
    }

    /// A session by its generation. An older one may be over: what it gave may still be in the cache, and if it is
    /// not, [`Shared::replace`] is told.
    pub(in crate::sessions) fn of(&self, generation: Generation) -> Option<Arc<Session<O::Handle>>> {
        let state = lock(&self.state);
        let mut known = state.current.iter().chain(&state.older);
        known.find(|session| session.generation == generation).cloned()
    }
}

/// The same by its own name.
pub(in crate::sessions) fn same<H>(opened: Arc<Session<H>>, resource: Resource) -> Located<H> {
    Located { opened, resource, moved: 0 }
}

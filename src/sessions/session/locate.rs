//! Where a published address leads: which upstream session, and the resource by its name there.

use super::cached_playlist::PACE;
use super::shared::{SharedSession, lock};
use super::upstream_session::Location;
use crate::kvs::{Protocol, Resource};
use crate::sessions::dash;
use crate::sessions::error::Error;
use crate::sessions::numbering::Generation;
use std::sync::Arc;
use tokio::time::Instant;

impl SharedSession {
    /// Where a published address leads.
    pub(in crate::sessions) async fn locate(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Location, Error> {
        if lock(&self.state).absent.holds(resource, Instant::now()) {
            return Err(Error::Gone);
        }
        if self.key.long_range().is_some() {
            return self.locate_in_parts(resource).await;
        }
        self.locate_here(resource).await
    }

    /// The same where there is one upstream session at a time.
    pub(super) async fn locate_here(self: &Arc<Self>, resource: &Resource) -> Result<Location, Error> {
        if !self.key.is_live() || resource.is_playlist() {
            return Ok(Location::unshifted(self.session().await?, resource.clone()));
        }
        if let Some(common) = &self.common
            && !self.is_known(resource)
        {
            self.refresh(common).await;
        }
        self.find_time(resource).await;
        match self.known_location(resource, None) {
            Some(at) => Ok(at),
            None => self.locate_elsewhere(resource, None).await,
        }
    }

    /// Whether everything is known that an address takes.
    fn is_known(&self, resource: &Resource) -> bool {
        let is_placed = match resource {
            Resource::Mp4Fragment { protocol: Protocol::Hls, number, .. } => {
                lock(&self.state).hls.media_times.of(number).is_some()
            }
            _ => true,
        };
        is_placed && self.known_location(resource, None).is_some()
    }

    /// Where an address is known to lead, in a session newer than `than`.
    fn known_location(&self, resource: &Resource, than: Option<Generation>) -> Option<Location> {
        let state = lock(&self.state);
        let at = |generation: Generation, resource, shift| {
            let session = state.session(generation).filter(|_| Some(generation) > than)?;
            Some(Location { session, resource, shift })
        };
        match (self.key.parameters.protocol, resource) {
            (Protocol::Hls, Resource::InitSegment { .. }) => {
                let (generation, upstream) = state.hls.init(resource)?;
                at(generation, upstream, 0)
            }
            (Protocol::Dash, Resource::InitSegment { .. }) => {
                let (generation, upstream) = state.dash.init(resource)?;
                at(generation, upstream, 0)
            }
            (Protocol::Dash, Resource::Mp4Fragment { protocol, number, track }) => {
                let found = state.dash.locate(number, *track);
                found.into_iter().find_map(|dash::FragmentAt { generation, number, ticks }| {
                    let upstream = Resource::Mp4Fragment { protocol: *protocol, number, track: *track };
                    at(generation, upstream, ticks)
                })
            }
            (Protocol::Hls, Resource::Mp4Fragment { number, track, .. }) => {
                let found = at(state.hls.generation(number)?, resource.clone(), 0)?;
                drop(state);
                let shift = self.shift(&found.session, *track, number)?;
                Some(Location { shift, ..found })
            }
            (Protocol::Hls, Resource::TsFragment { number }) => {
                at(state.hls.generation(number)?, resource.clone(), 0)
            }
            _ => None,
        }
    }

    /// An address whose session is gone, or from before a restart: its counterpart in the current session.
    pub(super) async fn locate_elsewhere(
        self: &Arc<Self>,
        resource: &Resource,
        than: Option<Generation>,
    ) -> Result<Location, Error> {
        let playlist = match (self.key.parameters.protocol, resource) {
            (Protocol::Dash, _) => Resource::Manifest,
            (Protocol::Hls, Resource::InitSegment { track, .. }) => Resource::MediaPlaylist { track: *track },
            (Protocol::Hls, _) => return self.locate_by_number(resource).await,
        };
        self.playlist(&playlist).await?;
        if lock(&self.state).pass_manifest {
            return Ok(Location::unshifted(self.session().await?, resource.clone()));
        }
        if let Some(at) = self.known_location(resource, than) {
            return Ok(at);
        }
        let Resource::InitSegment { track, .. } = resource else {
            if than.is_none() {
                return Err(Error::Gone);
            }
            // The session that has just taken over may have it too, but what it lists has not been loaded
            // yet.
            tokio::time::sleep(PACE).await;
            self.playlist(&playlist).await?;
            return self.known_location(resource, than).ok_or(Error::Gone);
        };
        let mut latest = self.latest_init(*track);
        if latest.as_ref().is_none_or(|(generation, _)| Some(*generation) <= than) && than.is_some() {
            tokio::time::sleep(PACE).await;
            self.playlist(&playlist).await?;
            latest = self.latest_init(*track);
        }
        let (generation, upstream) = latest.ok_or(Error::Gone)?;
        let session = lock(&self.state).session(generation).ok_or(Error::Gone)?;
        Ok(Location::unshifted(session, upstream))
    }

    /// A fragment of live HLS in the current session. Its number is good in any session, but its time is not,
    /// so what the session lists is loaded first.
    async fn locate_by_number(self: &Arc<Self>, resource: &Resource) -> Result<Location, Error> {
        let session = self.session().await?;
        let Resource::Mp4Fragment { track, number, .. } = resource else {
            return Ok(Location::unshifted(session, resource.clone()));
        };
        if let Some(shift) = self.shift(&session, *track, number) {
            return Ok(Location { session, resource: resource.clone(), shift });
        }
        Box::pin(self.fetch(&Resource::MediaPlaylist { track: *track })).await?;
        let session = self.session().await?;
        // Nothing is passed on at a wrong time.
        let shift = self.shift(&session, *track, number).ok_or(Error::Gone)?;
        Ok(Location { session, resource: resource.clone(), shift })
    }

    /// The init segment last published for a track.
    fn latest_init(&self, track: u8) -> Option<(Generation, Resource)> {
        let state = lock(&self.state);
        match self.key.parameters.protocol {
            Protocol::Hls => state.hls.latest_init(track),
            Protocol::Dash => state.dash.latest_init(track),
        }
    }
}

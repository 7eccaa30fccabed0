//! What follows when KVS refuses a resource: either the session is lost, or no session has the resource.
//!
//! All viewers share the session, and the continuity of its playlists with it, so an address that one viewer made up
//! must not cost it. A session counts as over only if KVS refuses its token, or no longer knows its playlist either.

use super::cached_playlist::PACE;
use super::load::SILENCE;
use super::shared::{SharedSession, lock};
use super::upstream_session::{Location, UpstreamSession};
use crate::kvs::{Protocol, Resource};
use crate::sessions::error::{Effect, Error, SegmentRefusal};
use crate::sessions::numbering::Generation;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Whether KVS said lately that a session is over.
pub(super) struct Probed {
    generation: Generation,
    at: Instant,
    over: bool,
}

/// KVS answers a probe in less time, or not at all.
const PROBING: Duration = Duration::from_secs(5);

impl SharedSession {
    /// Where else an address may lead when the session `lost` refused it. One that leads nowhere is remembered.
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

    /// Whether KVS has forgotten a session, by its answer for the session's own playlist. KVS is asked at most once a
    /// second, for all requests that met a 404.
    async fn is_over(&self, session: &UpstreamSession) -> bool {
        let mut probed = self.probed.lock().await;
        if let Some(last) = &*probed
            && last.generation == session.generation
            && last.at.elapsed() < PACE
        {
            return last.over;
        }
        let playlist = match self.key.parameters.protocol {
            Protocol::Hls => Resource::MasterPlaylist,
            Protocol::Dash => Resource::Manifest,
        };
        let over = match timeout(PROBING, self.fetch_text(session, &playlist)).await {
            Ok(Err(error)) => match error.effect() {
                Effect::SessionLost => true,
                // Of one just opened this says that the camera is silent, or that there is no such footage.
                Effect::NoData => session.opened.elapsed() >= SILENCE,
                Effect::Transient | Effect::Permanent => false,
            },
            Ok(Ok(_)) | Err(_) => false,
        };
        *probed = Some(Probed { generation: session.generation, at: Instant::now(), over });
        over
    }
}

/// Addresses that led nowhere, so that further requests for them cost KVS nothing.
#[derive(Default)]
pub(super) struct AbsentAddresses(VecDeque<(Resource, Instant)>);

/// A live session may list later what it does not list now, and another replica may know it already.
const ABSENT_LIVE: Duration = Duration::from_secs(2);
/// What a session shows of footage does not change.
const ABSENT_FOOTAGE: Duration = Duration::from_secs(10);
/// Addresses remembered per session.
const MOST: usize = 256;

impl AbsentAddresses {
    pub(super) fn holds(&self, resource: &Resource, now: Instant) -> bool {
        self.0.iter().any(|(absent, until)| absent == resource && now < *until)
    }

    fn remember(&mut self, resource: &Resource, until: Instant) {
        self.0.retain(|(absent, _)| absent != resource);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((resource.clone(), until));
    }

    /// Another session may have them.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Bounds how fast lost sessions are replaced, should KVS refuse each at once.
#[derive(Default)]
pub(super) struct ReopeningPace(VecDeque<Instant>);

/// So many lost sessions are replaced within `WINDOW`.
const REPLACEMENTS: usize = 4;
const WINDOW: Duration = Duration::from_secs(10);

impl ReopeningPace {
    /// Whether another lost session may be replaced now.
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.0.iter().filter(|at| now.duration_since(**at) < WINDOW).count() < REPLACEMENTS
    }

    /// One was replaced.
    pub(super) fn note(&mut self, now: Instant) {
        self.0.retain(|at| now.duration_since(*at) < WINDOW);
        self.0.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;

    fn fragment(number: usize) -> Resource {
        Resource::TsFragment { number: FragmentNumber::parse(&number.to_string()).unwrap() }
    }

    #[test]
    fn what_is_absent_is_remembered_for_a_while_and_within_a_bound() {
        let (mut absent, start) = (AbsentAddresses::default(), Instant::now());
        for number in 0..1000 {
            absent.remember(&fragment(number), start + ABSENT_LIVE);
        }
        assert!(absent.holds(&fragment(999), start) && !absent.holds(&fragment(0), start));
        assert!(!absent.holds(&fragment(999), start + ABSENT_LIVE));
        assert_eq!(absent.0.len(), MOST);
        absent.forget();
        assert!(!absent.holds(&fragment(999), start));
    }

    #[test]
    fn lost_sessions_are_replaced_a_few_at_once_and_then_as_time_passes() {
        let (mut pace, start) = (ReopeningPace::default(), Instant::now());
        let mut replaced = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let mut count = 0;
            while pace.allows(now) {
                pace.note(now);
                count += 1;
            }
            count
        };
        assert_eq!([0, 9, 10].map(&mut replaced), [REPLACEMENTS, 0, REPLACEMENTS]);
    }
}

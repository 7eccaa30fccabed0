//! What follows when KVS refuses a resource: the session is lost, or the resource is nowhere.
//!
//! A session is everybody's, and a playlist's continuity with it, so an address that one viewer made up must not cost
//! it. Only KVS itself can say that a session is over: by refusing its token, or by knowing no playlist of it either.

use super::locate::same;
use super::shared::{Session, Shared, lock};
use crate::kvs::{Protocol, Resource};
use crate::sessions::hls::Generation;
use crate::sessions::origin::{Origin, Verdict};
use crate::sessions::pool::Located;
use crate::sessions::session::cached_playlist::PACE;
use crate::sessions::{Error, REVIVAL};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How KVS refused a resource of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It does not take the session's token (401, 403).
    Expired,
    /// It knows no such resource (404): the session lists none, or is forgotten altogether.
    Unknown,
}

/// A session that KVS has said of lately whether it is over.
pub(in crate::sessions) struct Probed {
    generation: Generation,
    at: Instant,
    over: bool,
}

/// KVS answers faster, or not at all.
const PROBING: Duration = Duration::from_secs(5);

impl<O: Origin> Shared<O> {
    /// Where else an address may lead, when the session `lost` refused it. What leads nowhere is remembered.
    pub(in crate::sessions) async fn instead(
        self: &Arc<Self>,
        resource: &Resource,
        lost: &Arc<Session<O::Handle>>,
        why: Refusal,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        let found = self.beyond(resource, lost, why).await;
        if matches!(found, Err(Error::Gone)) {
            let memory = if self.key.moves() { BRIEFLY } else { FOOTAGE };
            lock(&self.state).absent.remember(resource, Instant::now() + memory);
        }
        found
    }

    async fn beyond(
        self: &Arc<Self>,
        resource: &Resource,
        lost: &Arc<Session<O::Handle>>,
        why: Refusal,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        if let Some((owner, upstream)) = self.part_of(resource) {
            return Ok(same(owner.after(lost, why).await?, upstream));
        }
        let session = self.after(lost, why).await?;
        if !self.key.moves() {
            return Ok(same(session, resource.clone()));
        }
        let found = self.elsewhere(resource, Some(lost.generation)).await?;
        if found.opened.generation <= lost.generation { Err(Error::Gone) } else { Ok(found) }
    }

    /// The session in use, another one in its place if that is `lost` and over.
    async fn after(
        self: &Arc<Self>,
        lost: &Arc<Session<O::Handle>>,
        why: Refusal,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        let in_use = lock(&self.state).current.as_ref().map(|session| session.generation);
        if in_use != Some(lost.generation) {
            return self.session().await;
        }
        if why == Refusal::Expired || self.is_over(lost).await {
            return self.replace(lost).await;
        }
        Err(Error::Gone)
    }

    /// Whether KVS has forgotten a session, by what it says of the session's own playlist: asked at most once a
    /// second, for all who met a 404.
    async fn is_over(&self, session: &Session<O::Handle>) -> bool {
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
        let asking = self.origin.playlist(&self.key, &session.handle, &playlist);
        let over = match timeout(PROBING, asking).await {
            Ok(Err(error)) => match O::verdict(&error) {
                Verdict::Expired => true,
                // Of one just opened it says that the camera is silent, or that there is no such footage.
                Verdict::NoData => session.opened.elapsed() >= REVIVAL,
                Verdict::Transient | Verdict::Fatal => false,
            },
            Ok(Ok(_)) | Err(_) => false,
        };
        *probed = Some(Probed { generation: session.generation, at: Instant::now(), over });
        over
    }
}

/// Addresses that led nowhere, so that asking again costs KVS nothing.
#[derive(Default)]
pub(in crate::sessions) struct Absent(VecDeque<(Resource, Instant)>);

/// A live session may list tomorrow what it has not today, and another replica may know it already.
const BRIEFLY: Duration = Duration::from_secs(2);
/// What a session shows of footage does not change.
const FOOTAGE: Duration = Duration::from_secs(10);
/// Addresses remembered per session.
const MOST: usize = 256;

impl Absent {
    pub(in crate::sessions) fn holds(&self, resource: &Resource, now: Instant) -> bool {
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
    pub(in crate::sessions) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Keeps a KVS that refuses each session at once from being asked for one after the other.
#[derive(Default)]
pub(in crate::sessions) struct Reopening(VecDeque<Instant>);

/// So many lost sessions are replaced at once …
const AT_ONCE: usize = 4;
/// … in so long.
const WINDOW: Duration = Duration::from_secs(10);

impl Reopening {
    /// Whether another lost session may be replaced now.
    pub(in crate::sessions) fn may(&self, now: Instant) -> bool {
        self.0.iter().filter(|at| now.duration_since(**at) < WINDOW).count() < AT_ONCE
    }

    /// One was replaced.
    pub(in crate::sessions) fn note(&mut self, now: Instant) {
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
        let (mut absent, start) = (Absent::default(), Instant::now());
        for number in 0..1000 {
            absent.remember(&fragment(number), start + BRIEFLY);
        }
        assert!(absent.holds(&fragment(999), start) && !absent.holds(&fragment(0), start));
        assert!(!absent.holds(&fragment(999), start + BRIEFLY));
        assert_eq!(absent.0.len(), MOST);
        absent.forget();
        assert!(!absent.holds(&fragment(999), start));
    }

    #[test]
    fn lost_sessions_are_replaced_a_few_at_once_and_then_as_time_passes() {
        let (mut reopening, start) = (Reopening::default(), Instant::now());
        let mut replaced = |seconds| {
            let now = start + Duration::from_secs(seconds);
            let mut count = 0;
            while reopening.may(now) {
                reopening.note(now);
                count += 1;
            }
            count
        };
        assert_eq!([0, 9, 10].map(&mut replaced), [AT_ONCE, 0, AT_ONCE]);
    }
}

//! Opening, renewing and replacing the upstream session: one at a time for all requests that need it.

use super::cached_playlist::PACE;
use super::shared::{SharedSession, lock};
use super::spare_sessions::SpareSessions;
use super::upstream_session::UpstreamSession;
use crate::kvs::operations::FragmentSelector;
use crate::kvs::{Protocol, SessionParameters, TimeRange};
use crate::sessions::error::Error;
use crate::sessions::numbering::Generation;
use crate::sessions::places::Place;
use crate::upstream::SessionUrl;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Why a session is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// None is open, or the one that was has ended.
    Needed,
    /// Ahead of the end of the one that is open.
    Renewal,
    /// KVS no longer accepts the one that is open.
    Lost,
}

/// A session to open.
pub(super) struct Opening {
    parameters: SessionParameters,
    why: Why,
    /// Its place among `sessions.most`, until it is taken.
    place: Mutex<Option<Place>>,
}

/// KVS opens a session in less time, or not at all.
pub(super) const LONGEST_OPENING: Duration = Duration::from_secs(10);
/// How long the lengths of fragments may take to list.
const LEARNING: Duration = Duration::from_secs(2);
/// The time of which they are listed, and how many at most.
const RECENT: Duration = Duration::from_secs(180);
const MOST_RECENT: u16 = 100;
/// Sessions that were replaced and are still remembered.
const OLDER: usize = 4;
/// The least and the longest time ahead of a session's end at which it is renewed.
const SHORTEST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);

impl SharedSession {
    /// The open session, or a new one. Concurrent requests share one opening.
    pub(in crate::sessions) async fn session(self: &Arc<Self>) -> Result<Arc<UpstreamSession>, Error> {
        self.session_other_than(None, Why::Needed).await
    }

    /// A session in the place of one that KVS no longer accepts.
    pub(super) async fn replace(
        self: &Arc<Self>,
        lost: &UpstreamSession,
    ) -> Result<Arc<UpstreamSession>, Error> {
        self.session_other_than(Some(lost.generation), Why::Lost).await
    }

    /// When to renew: a tenth of the session's life ahead of its end, at most ten minutes, and early enough
    /// that players have fetched what it listed. `None` without a session.
    pub(in crate::sessions) fn renewal(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let session = state.current.as_ref()?;
        let life = session.until.duration_since(session.opened);
        Some(session.until - (life / 10).clamp(SHORTEST.min(life / 2), LONGEST))
    }

    /// Opens the next session. The current one serves until then.
    pub(in crate::sessions) async fn renew(self: &Arc<Self>) {
        let Some(generation) = lock(&self.state).current_generation() else { return };
        // A failure is counted where it happens, and the renewal is tried again.
        let _ = self.session_other_than(Some(generation), Why::Renewal).await;
    }

    async fn session_other_than(
        self: &Arc<Self>,
        other_than: Option<Generation>,
        why: Why,
    ) -> Result<Arc<UpstreamSession>, Error> {
        loop {
            if let Some(session) = lock(&self.state).usable(other_than) {
                return Ok(session);
            }
            // The opening runs to its end even if the request that began it is dropped. It does not panic.
            let opening = self.openings.start((), || self.clone().open(other_than, why));
            let opened = opening.result().await.unwrap_or(Err(Error::Gone))?;
            // An opening that this request joined may have brought the session that is lost since.
            if Some(opened.generation) != other_than {
                return Ok(opened);
            }
        }
    }

    async fn open(
        self: Arc<Self>,
        other_than: Option<Generation>,
        why: Why,
    ) -> Result<Arc<UpstreamSession>, Error> {
        let (parameters, has_place) = {
            let state = lock(&self.state);
            if let Some(session) = state.usable(other_than) {
                return Ok(session);
            }
            if let Some((at, error)) = &state.failed
                && at.elapsed() < PACE
            {
                return Err(error.clone());
            }
            if why == Why::Lost && !state.reopening.allows(Instant::now()) {
                return Err(Error::EndsAtOnce);
            }
            (self.key.upstream(state.reached(&self.key), state.now()), state.active.is_some())
        };
        let place = if has_place { None } else { Some(self.context.places.take(&self.turn.principal())?) };
        let opening = Opening { parameters, why, place: Mutex::new(place) };
        let Some(common) = &self.common else { return self.open_at_kvs(&opening).await };
        match self.session_in_common(common, other_than, &opening).await {
            Some(Ok(session)) => {
                // Another replica opened it, and it takes its place here as well.
                let mut state = lock(&self.state);
                if let (Some(place), None) = (lock(&opening.place).take(), &state.active) {
                    state.active = Some((self.context.metrics.active(self.key.parameters.protocol), place));
                }
                Ok(session)
            }
            Some(Err(error)) => {
                lock(&self.state).failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
            None => {
                let session = self.open_at_kvs(&opening).await?;
                common.opened_alone();
                Ok(session)
            }
        }
    }

    /// Opens a session at KVS and takes it into use.
    pub(super) async fn open_at_kvs(&self, opening: &Opening) -> Result<Arc<UpstreamSession>, Error> {
        let Opening { parameters, why, .. } = opening;
        let principal = self.turn.principal();
        let asked = Instant::now();
        let opened = self.context.source.open(&self.key.stream, parameters, &principal);
        let learning = async {
            // In a fleet it is learned by whichever replica loads the first playlist.
            if self.common.is_none() {
                self.learn_target(parameters).await;
            }
        };
        let (opened, ()) = tokio::join!(timeout(LONGEST_OPENING, opened), learning);
        let error = match opened {
            Ok(Ok(url)) => {
                let place = lock(&opening.place).take();
                return Ok(self.install(url, parameters.clone(), asked, *why, place));
            }
            Ok(Err(error)) => Error::from(error),
            Err(_) => Error::Slow(LONGEST_OPENING),
        };
        if *why != Why::Needed {
            self.context.metrics.failed.inc();
        }
        lock(&self.state).failed = Some((Instant::now(), error.clone()));
        Err(error)
    }

    /// Finds out how long the camera's fragments last, ahead of the first playlist: more than KVS lists, and
    /// at the cost of one call instead of a point for each at every load. Without that KVS's own list must
    /// do.
    pub(super) async fn learn_target(&self, parameters: &SessionParameters) {
        let is_known = lock(&self.state).hls.target_is_known();
        if !self.key.is_live() || self.key.parameters.protocol != Protocol::Hls || is_known {
            return;
        }
        let now = lock(&self.state).now();
        let range = match parameters.start {
            // A replay shows what comes after.
            Some(start) => TimeRange { start, end: Some(now.min(start.plus(RECENT))) },
            None => TimeRange { start: now.minus(RECENT), end: Some(now) },
        };
        if range.end.is_none_or(|end| end <= range.start) {
            return;
        }
        let selector = FragmentSelector { kind: parameters.selector, range };
        let principal = self.turn.principal();
        let listing = self.context.source.recent(&self.key.stream, selector, MOST_RECENT, &principal);
        if let Ok(Ok(recent)) = timeout(LEARNING, listing).await {
            lock(&self.state).hls.learn_target(recent);
        }
    }

    fn install(
        &self,
        url: SessionUrl,
        parameters: SessionParameters,
        asked: Instant,
        why: Why,
        place: Option<Place>,
    ) -> Arc<UpstreamSession> {
        let metrics = &self.context.metrics;
        let mut state = lock(&self.state);
        let lives = url.expires.millis().saturating_sub(state.at(asked).millis());
        state.generation += 1;
        let session = Arc::new(UpstreamSession {
            url,
            parameters,
            turn: self.turn.clone(),
            spares: SpareSessions::new(asked),
            delay: UpstreamSession::delay_of_new(),
            replicas: self.replicas.clone(),
            generation: state.generation,
            opened: asked,
            until: asked + Duration::from_millis(lives),
        });
        state.failed = None;
        state.absent.forget();
        if let Some(place) = place {
            state.active = Some((metrics.active(self.key.parameters.protocol), place));
        }
        if let Some(before) = state.current.replace(session.clone()) {
            state.replaced += 1;
            if why == Why::Lost {
                state.reopening.note(Instant::now());
            }
            let counter = if why == Why::Renewal { &metrics.renewed } else { &metrics.reopened };
            counter.inc();
            // Even one that is lost is remembered: what it gave may be in the cache.
            state.older.push_back(before);
            while state.older.len() > OLDER {
                state.older.pop_front();
            }
        }
        session
    }
}

//! One upstream session and what its viewers share: opening, renewing, loading playlists, finding what stands behind
//! a published address.

use super::continuity::{Generation, Timeline};
use super::media_playlist::{self, MediaPlaylist};
use super::metrics::{Counted, Metrics};
use super::origin::{Opened, Origin, Verdict};
use super::periods::Periods;
use super::pool::Located;
use super::prefetch::Prefetch;
use super::slot::{Failure, Look, Outcome, Playlist, Published, Slot, Stands};
use super::viewers::{SessionInfo, Viewers};
use super::{Config, Error, SessionKey, numbering};
use crate::kvs::{DiscontinuityMode, PlaybackMode, Protocol, Resource, SelectorType, StreamRef, Timestamp};
use aws_lc_rs::digest;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// An open upstream session.
pub struct Session<H> {
    /// Half of a cache key: unique per session, no secret.
    pub id: Arc<str>,
    /// Its end.
    pub expires: Timestamp,
    /// The way to it.
    pub handle: H,
    generation: Generation,
    opened: Instant,
    until: Instant,
}

pub(super) struct Shared<O: Origin> {
    pub(super) key: SessionKey,
    pub(super) origin: Arc<O>,
    pub(super) config: Config,
    metrics: Metrics,
    state: Mutex<State<O>>,
    opening: tokio::sync::Mutex<()>,
    slots: Mutex<HashMap<Resource, Arc<Slot<O::Error>>>>,
    pub(super) viewers: Mutex<Viewers>,
    /// Fetches under way; gone with the last viewer.
    fetching: Mutex<JoinSet<()>>,
    created: Instant,
}

struct State<O: Origin> {
    current: Option<Arc<Session<O::Handle>>>,
    /// Replaced ahead of their end: what they published can still be fetched.
    older: VecDeque<Arc<Session<O::Handle>>>,
    generation: Generation,
    failed: Option<(Instant, Error<O::Error>)>,
    timeline: Timeline,
    periods: Periods,
    /// KVS's manifest has a shape that we know no continuity for: it is shown as it is.
    plain: bool,
    prefetch: Prefetch,
    /// The clock, as last told.
    clock: (Timestamp, Instant),
    touched: Instant,
    replaced: u32,
    active: Option<Counted>,
}

/// Why a session is opened, for the metric.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    /// None is there, or its time was over.
    Needed,
    /// Ahead of the end of the one that is there.
    Renewal,
    /// KVS no longer honours the one that is there.
    Lost,
}

/// KVS opens sessions and answers playlists faster, or not at all.
const OPENING: Duration = Duration::from_secs(10);
const LOADING: Duration = Duration::from_secs(5);
/// A camera that is silent is not asked for with a new session more often.
const REVIVAL: Duration = Duration::from_secs(5);
const OLDER: usize = 4;
const SHORTEST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);
/// Fetched ahead at the same time, per session: KVS allows 20 a second.
const FETCHES: usize = 4;

impl<O: Origin> Shared<O> {
    pub(super) fn new(
        key: SessionKey,
        origin: Arc<O>,
        config: Config,
        metrics: Metrics,
        now: Timestamp,
    ) -> Self {
        let start = Instant::now();
        let parameters = &key.parameters;
        let timeline = Timeline::new(
            usize::from(parameters.max_fragments),
            parameters.discontinuity == DiscontinuityMode::Always,
            parameters.mode == PlaybackMode::LiveReplay,
        );
        let periods = Periods::new(
            usize::from(parameters.max_fragments),
            parameters.show_timestamps,
            parameters.show_numbers,
        );
        let prefetch = Prefetch::new(usize::from(config.prefetch));
        let state = State {
            current: None,
            older: VecDeque::new(),
            generation: 0,
            failed: None,
            timeline,
            periods,
            plain: false,
            prefetch,
            clock: (now, start),
            touched: start,
            replaced: 0,
            active: None,
        };
        let viewers = Mutex::new(Viewers::new(metrics.viewers(key.stream.name().as_str())));
        let (state, slots) = (Mutex::new(state), Mutex::new(HashMap::new()));
        let opening = tokio::sync::Mutex::new(());
        let fetching = Mutex::new(JoinSet::new());
        Self { key, origin, config, metrics, state, opening, slots, viewers, fetching, created: start }
    }

    /// Notes that somebody asked.
    pub(super) fn touch(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        let instant = Instant::now();
        state.clock = (now, instant);
        state.touched = instant;
    }

    pub(super) fn idle(&self) -> Duration {
        lock(&self.state).touched.elapsed()
    }

    /// A playlist or manifest: at once, or after one load for all who wait.
    pub(super) async fn playlist(self: &Arc<Self>, resource: &Resource) -> Result<Playlist, Error<O::Error>> {
        let slot = lock(&self.slots).entry(resource.clone()).or_insert_with(|| Arc::new(Slot::new())).clone();
        let generation = lock(&self.state).current.as_ref().map(|session| session.generation);
        let (mut done, outcome) = match slot.look(generation, Instant::now()) {
            Look::Answer(answer) => return answer,
            Look::Wait(done) => (done, Outcome::Collapsed),
            Look::Load(done) => {
                // On its own, so that it goes on when the one who asked first has left.
                tokio::spawn(Self::load(self.clone(), resource.clone(), slot.clone()));
                (done, Outcome::Miss)
            }
        };
        // The load always ends, and tells; see `Ending`.
        match slot.meanwhile(Instant::now()) {
            None => drop(done.changed().await),
            Some(stale) => {
                if timeout(self.config.patience.0, done.changed()).await.is_err() {
                    return Ok(slot.meanwhile(Instant::now()).unwrap_or(stale));
                }
            }
        }
        slot.after(outcome, Instant::now())
    }

    async fn load(self: Arc<Self>, resource: Resource, slot: Arc<Slot<O::Error>>) {
        let mut ending = Ending { slot: Some(slot) };
        let result = self.fetch(&resource).await.map_err(|error| self.failure(error));
        ending.tell(result);
    }

    async fn fetch(self: &Arc<Self>, resource: &Resource) -> Result<Published, Error<O::Error>> {
        let mut session = self.session().await?;
        let mut second = false;
        loop {
            let asked = Instant::now();
            let answer = self.origin.playlist(&self.key, &session.handle, resource);
            let error = match timeout(LOADING, answer).await {
                Ok(Ok(text)) => return self.publish(&session, resource, &text, asked),
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::Slow(LOADING)),
            };
            // A camera that has been silent may have taken the session with it (KVS.md 5.7).
            let lost = match O::verdict(&error) {
                Verdict::Expired => true,
                Verdict::NoData => session.opened.elapsed() >= REVIVAL,
                Verdict::Transient | Verdict::Fatal => false,
            };
            if !lost || second {
                return Err(Error::Origin(error));
            }
            second = true;
            session = self.replace(&session).await?;
        }
    }

    fn publish(
        self: &Arc<Self>,
        session: &Session<O::Handle>,
        resource: &Resource,
        text: &str,
        asked: Instant,
    ) -> Result<Published, Error<O::Error>> {
        let mut state = lock(&self.state);
        let now = state.now();
        let (text, target, fixed) = match resource {
            Resource::MediaPlaylist { track } if self.key.moves() => {
                let offered = MediaPlaylist::parse(text).map_err(Error::Strange)?;
                let merged = state.timeline.merge(*track, session.generation, &offered, now);
                let merged = merged.map_err(Error::Strange)?;
                let target = Duration::from_secs(merged.target);
                (merged.render(self.key.parameters.show_timestamps), target, merged.ended)
            }
            Resource::Manifest if self.key.moves() => {
                match state.periods.merge(session.generation, text, now) {
                    Ok(merged) => (merged.text, merged.target, merged.ended),
                    Err(strange) if state.periods.is_empty() => {
                        tracing::warn!(
                            stream = stream_text(&self.key.stream),
                            "{strange}: it is passed on as it is"
                        );
                        state.plain = true;
                        (text.to_owned(), Duration::from_secs(2), false)
                    }
                    Err(strange) => return Err(Error::Strange(strange)),
                }
            }
            _ => (text.to_owned(), Duration::from_secs(60), true),
        };
        let ahead = state.plan(resource, &text, self.key.moves());
        drop(state);
        self.fetch_ahead(ahead);
        Ok(Published {
            etag: etag(&text),
            text: text.into(),
            asked,
            target,
            generation: session.generation,
            fixed,
        })
    }

    /// Fetches what viewers will ask for, as long as there are any.
    fn fetch_ahead(self: &Arc<Self>, fragments: Vec<Resource>) {
        if fragments.is_empty() || lock(&self.viewers).count() == 0 {
            return;
        }
        let mut fetching = lock(&self.fetching);
        while fetching.try_join_next().is_some() {}
        for fragment in fragments {
            if fetching.len() >= FETCHES {
                return;
            }
            let this = self.clone();
            fetching.spawn(async move {
                if let Ok((opened, resource)) = this.behind(&fragment).await {
                    this.origin.prefetch(&this.key, Located { opened, resource }).await;
                }
            });
        }
    }

    /// A viewer asks for a fragment: those that follow it will be next.
    pub(super) fn asked_for(self: &Arc<Self>, fragment: &Resource) {
        if !self.key.moves() {
            let ahead = lock(&self.state).prefetch.asked(fragment);
            self.fetch_ahead(ahead);
        }
    }

    /// Nobody watches any more.
    pub(super) fn stop_fetching(&self) {
        lock(&self.fetching).abort_all();
    }

    fn failure(&self, error: Error<O::Error>) -> Failure<O::Error> {
        let stands = match &error {
            Error::Origin(error) => match O::verdict(error) {
                Verdict::NoData => Stands::AsLongAsItTakes,
                Verdict::Expired | Verdict::Transient => Stands::AWhile,
                Verdict::Fatal => Stands::No,
            },
            _ => Stands::AWhile,
        };
        Failure { error, stands }
    }

    /// The open session, or a new one. Whoever asks meanwhile waits for the same.
    pub(super) async fn session(self: &Arc<Self>) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        self.another(None, Why::Needed).await
    }

    /// The open session, if it is not `not`, or a new one.
    async fn another(
        self: &Arc<Self>,
        not: Option<Generation>,
        why: Why,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        if let Some(session) = self.usable(not) {
            return Ok(session);
        }
        let this = self.clone();
        // On its own, so that it goes on when the one who asked first has left. It does not panic.
        tokio::spawn(async move { this.open(not, why).await }).await.unwrap_or(Err(Error::Gone))
    }

    fn usable(&self, not: Option<Generation>) -> Option<Arc<Session<O::Handle>>> {
        let state = lock(&self.state);
        let usable = |session: &&Arc<Session<O::Handle>>| {
            Some(session.generation) != not && session.until > Instant::now()
        };
        state.current.as_ref().filter(usable).cloned()
    }

    async fn open(
        &self,
        not: Option<Generation>,
        why: Why,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(session) = self.usable(not) {
            return Ok(session);
        }
        let parameters = {
            let state = lock(&self.state);
            if let Some((at, error)) = &state.failed
                && at.elapsed() < super::slot::PACE
            {
                return Err(error.clone());
            }
            self.key.upstream(state.reached(&self.key), state.now())
        };
        let asked = Instant::now();
        let result = match timeout(OPENING, self.origin.open(&self.key, &parameters)).await {
            Ok(Ok(opened)) => return Ok(self.install(opened, asked, why)),
            Ok(Err(error)) => Error::Origin(error),
            Err(_) => Error::Slow(OPENING),
        };
        if why != Why::Needed {
            self.metrics.failed.inc();
        }
        lock(&self.state).failed = Some((Instant::now(), result.clone()));
        Err(result)
    }

    fn install(&self, opened: Opened<O::Handle>, asked: Instant, why: Why) -> Arc<Session<O::Handle>> {
        let mut state = lock(&self.state);
        let lives = opened.expires.millis().saturating_sub(state.at(asked).millis());
        state.generation += 1;
        let session = Arc::new(Session {
            id: opened.id.into(),
            expires: opened.expires,
            handle: opened.handle,
            generation: state.generation,
            opened: asked,
            until: asked + Duration::from_millis(lives),
        });
        state.failed = None;
        if state.active.is_none() {
            state.active = Some(self.metrics.active(self.key.parameters.protocol));
        }
        if let Some(before) = state.current.replace(session.clone()) {
            state.replaced += 1;
            if why == Why::Renewal {
                self.metrics.renewed.inc()
            } else {
                self.metrics.reopened.inc()
            }
            if why != Why::Lost {
                state.older.push_back(before);
            }
            while state.older.len() > OLDER {
                state.older.pop_front();
            }
        }
        session
    }

    /// Another session in the place of one that KVS no longer honours.
    pub(super) async fn replace(
        self: &Arc<Self>,
        lost: &Session<O::Handle>,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        lock(&self.state).older.retain(|session| session.generation != lost.generation);
        self.another(Some(lost.generation), Why::Lost).await
    }

    /// True if a session is so young that a failure of one resource does not prove it lost.
    pub(super) fn is_young(session: &Session<O::Handle>) -> bool {
        session.opened.elapsed() < Duration::from_secs(2)
    }

    /// When to renew: a tenth of its life ahead of its end, at most ten minutes, and long enough that players have
    /// fetched what it listed. `None` without a session.
    pub(super) fn renewal(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let session = state.current.as_ref()?;
        let life = session.until.duration_since(session.opened);
        Some(session.until - (life / 10).clamp(SHORTEST.min(life / 2), LONGEST))
    }

    /// Opens the next session; the current one serves until then.
    pub(super) async fn renew(self: &Arc<Self>) {
        let Some(generation) = lock(&self.state).current.as_ref().map(|session| session.generation) else {
            return;
        };
        // Counted where it happens; what failed is tried again.
        let _ = self.another(Some(generation), Why::Renewal).await;
    }

    /// Which session and resource stand behind a published address; `None` for the session now in use and the same
    /// resource.
    pub(super) async fn behind(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<(Arc<Session<O::Handle>>, Resource), Error<O::Error>> {
        if !self.key.moves()
            || !matches!(
                resource,
                Resource::InitSegment { .. } | Resource::Mp4Fragment { .. } | Resource::TsFragment { .. }
            )
        {
            return Ok((self.session().await?, resource.clone()));
        }
        if let Some((generation, upstream)) = self.known(resource)
            && let Some(session) = self.of(generation)
        {
            return Ok((session, upstream));
        }
        self.elsewhere(resource).await
    }

    fn known(&self, resource: &Resource) -> Option<(Generation, Resource)> {
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
    fn of(&self, generation: Generation) -> Option<Arc<Session<O::Handle>>> {
        let state = lock(&self.state);
        let mut known = state.current.iter().chain(&state.older);
        known.find(|session| session.generation == generation).cloned()
    }

    /// For `/sessions`.
    pub(super) fn info(&self) -> SessionInfo {
        let (viewers, bytes) = {
            let viewers = lock(&self.viewers);
            (viewers.count(), viewers.bytes)
        };
        let state = lock(&self.state);
        SessionInfo {
            stream: stream_text(&self.key.stream).to_owned(),
            aws: self.key.entry.to_string(),
            protocol: self.key.parameters.protocol.as_str(),
            mode: self.key.parameters.mode.as_str(),
            viewers,
            age_seconds: self.created.elapsed().as_secs(),
            bytes,
            renewals: state.replaced,
            open: state.current.as_ref().is_some_and(|session| session.until > Instant::now()),
        }
    }
}

impl<O: Origin> State<O> {
    fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    fn at(&self, instant: Instant) -> Timestamp {
        let (told, then) = self.clock;
        told.plus(instant.saturating_duration_since(then)).minus(then.saturating_duration_since(instant))
    }

    /// Where a replay has come to: the start of the newest fragment it showed.
    fn reached(&self, key: &SessionKey) -> Option<Timestamp> {
        if key.parameters.protocol == Protocol::Dash {
            return self.periods.reached();
        }
        let (number, date) = self.timeline.newest()?;
        let by_server = key.parameters.selector == SelectorType::Server;
        date.or_else(|| numbering::server_time(&number).filter(|_| by_server))
    }

    /// Which fragments to fetch ahead after a playlist was published.
    fn plan(&mut self, resource: &Resource, text: &str, moves: bool) -> Vec<Resource> {
        match resource {
            Resource::MediaPlaylist { track } if moves => {
                let listed = self.timeline.fragments(*track);
                self.prefetch.listed(&listed)
            }
            Resource::MediaPlaylist { track } => {
                self.prefetch.footage(*track, media_playlist::fragments(text));
                Vec::new()
            }
            Resource::Manifest if moves => {
                let listed = self.periods.fragments();
                listed.into_iter().flat_map(|track| self.prefetch.listed(&track)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Tells whoever waits for a load, even if it panics or is dropped.
struct Ending<E: Clone> {
    slot: Option<Arc<Slot<E>>>,
}

impl<E: Clone> Ending<E> {
    fn tell(&mut self, result: Result<Published, Failure<E>>) {
        if let Some(slot) = self.slot.take() {
            slot.finish(result);
        }
    }
}

impl<E: Clone> Drop for Ending<E> {
    fn drop(&mut self) {
        self.tell(Err(Failure { error: Error::Slow(LOADING), stands: Stands::AWhile }));
    }
}

/// A strong validator: equal bytes, equal tag, on any replica.
fn etag(text: &str) -> Arc<str> {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"").into()
}

pub(super) fn stream_text(stream: &StreamRef) -> &str {
    match stream {
        StreamRef::Name(name) => name.as_str(),
        StreamRef::Arn(arn) => arn.as_str(),
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

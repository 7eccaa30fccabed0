//! One upstream session and what its viewers share: opened by single flight, renewed ahead, replaced when it is lost.
//!
//! Loading its playlists is in `load`, what its media must be moved by in `anchor`, addresses in `address`, what follows
//! when KVS refuses one in `refused`, footage
//! that takes several sessions in `parts`.

use super::cached_playlist::Slot;
use super::lost;
use super::prefetch::Prefetch;
use super::spare_sessions::Lanes;
use crate::kvs::{
    DiscontinuityMode, PlaybackMode, Protocol, Resource, SelectorType, SessionParameters, StreamRef,
    Timestamp,
};
use crate::sessions::dash::Periods;
use crate::sessions::hls::{Generation, Timeline, long_vod};
use crate::sessions::metrics::{Counted, Metrics};
use crate::sessions::origin::{Opened, Origin};
use crate::sessions::saved_state::Kept;
use crate::sessions::viewers::{SessionInfo, Viewers};
use crate::sessions::{Config, Error, SessionKey, numbering};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
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
    /// What it was opened with.
    pub parameters: SessionParameters,
    /// Sessions beside it, if it shows footage.
    pub lanes: Lanes<H>,
    /// By how much its media is moved onto the timeline of live HLS, once that is known; `None` if it cannot be.
    pub(super) moved: OnceCell<Option<Duration>>,
    pub(super) generation: Generation,
    pub(super) opened: Instant,
    pub(super) until: Instant,
}

pub(in crate::sessions) struct Shared<O: Origin> {
    pub(in crate::sessions) key: SessionKey,
    pub(in crate::sessions) origin: Arc<O>,
    pub(in crate::sessions) config: Config,
    pub(super) metrics: Metrics,
    pub(super) state: Mutex<State<O>>,
    pub(super) opening: tokio::sync::Mutex<()>,
    /// What KVS last said of a session's being over; held while it is asked.
    pub(super) probed: tokio::sync::Mutex<Option<lost::Probed>>,
    pub(super) slots: Mutex<HashMap<Resource, Arc<Slot<O::Error>>>>,
    pub(in crate::sessions) viewers: Mutex<Viewers>,
    /// Fetches under way; gone with the last viewer.
    pub(super) fetching: Mutex<JoinSet<()>>,
    pub(super) parts: Mutex<Parts<O>>,
    pub(super) created: Instant,
}

/// The upstream sessions of footage that one cannot show, see `joined`.
pub(super) struct Parts<O: Origin> {
    pub(super) plan: Option<Arc<long_vod::Plan>>,
    pub(super) open: HashMap<long_vod::Range, Arc<Shared<O>>>,
}

pub(super) struct State<O: Origin> {
    pub(super) current: Option<Arc<Session<O::Handle>>>,
    /// Replaced ahead of their end: what they published can still be fetched.
    pub(super) older: VecDeque<Arc<Session<O::Handle>>>,
    pub(super) generation: Generation,
    pub(super) failed: Option<(Instant, Error<O::Error>)>,
    pub(super) reopening: lost::Reopening,
    pub(super) absent: lost::Absent,
    pub(super) timeline: Timeline,
    pub(super) periods: Periods,
    /// KVS's manifest has a shape that we know no continuity for: it is shown as it is.
    pub(super) plain: bool,
    pub(super) prefetch: Prefetch,
    /// The clock, as last told.
    pub(super) clock: (Timestamp, Instant),
    pub(super) touched: Instant,
    pub(super) replaced: u32,
    pub(super) active: Option<Counted>,
}

/// Why a session is opened, for the metric.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// None is there, or its time was over.
    Needed,
    /// Ahead of the end of the one that is there.
    Renewal,
    /// KVS no longer honours the one that is there.
    Lost,
}

/// KVS opens sessions faster, or not at all.
const OPENING: Duration = Duration::from_secs(10);
const OLDER: usize = 4;
const SHORTEST: Duration = Duration::from_secs(20);
const LONGEST: Duration = Duration::from_secs(600);
/// Fetched ahead at the same time, per session: KVS allows 20 a second.
pub(super) const FETCHES: usize = 4;

impl<O: Origin> Shared<O> {
    pub(in crate::sessions) fn new(
        key: SessionKey,
        origin: Arc<O>,
        config: Config,
        metrics: Metrics,
        kept: Option<Kept>,
        now: Timestamp,
    ) -> Self {
        let start = Instant::now();
        let parameters = &key.parameters;
        let mut timeline = Timeline::new(
            usize::from(parameters.max_fragments),
            parameters.discontinuity == DiscontinuityMode::Always,
            parameters.mode == PlaybackMode::LiveReplay,
        );
        let mut periods = Periods::new(
            usize::from(parameters.max_fragments),
            (parameters.show_timestamps, parameters.show_numbers),
            parameters.mode == PlaybackMode::Live,
        );
        if let Some(Kept { timeline: before, periods: at, .. }) = kept {
            before.iter().for_each(|kept| timeline.resume(kept, now));
            at.into_iter().for_each(|kept| periods.resume(kept));
        }
        let prefetch = Prefetch::new(usize::from(config.prefetch));
        let state = State {
            current: None,
            older: VecDeque::new(),
            generation: 0,
            failed: None,
            reopening: lost::Reopening::default(),
            absent: lost::Absent::default(),
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
        let (opening, probed) = (tokio::sync::Mutex::new(()), tokio::sync::Mutex::new(None));
        let fetching = Mutex::new(JoinSet::new());
        let parts = Mutex::new(Parts { plan: None, open: HashMap::new() });
        Self {
            key,
            origin,
            config,
            metrics,
            state,
            opening,
            probed,
            slots,
            viewers,
            fetching,
            parts,
            created: start,
        }
    }

    /// Notes that somebody asked.
    pub(in crate::sessions) fn touch(&self, now: Timestamp) {
        let mut state = lock(&self.state);
        let instant = Instant::now();
        state.clock = (now, instant);
        state.touched = instant;
    }

    pub(in crate::sessions) fn idle(&self) -> Duration {
        lock(&self.state).touched.elapsed()
    }

    /// The open session, or a new one. Whoever asks meanwhile waits for the same.
    pub(in crate::sessions) async fn session(
        self: &Arc<Self>,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        self.another(None, Why::Needed).await
    }

    /// The open session, if it is not `not`, or a new one.
    pub(super) async fn another(
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

    pub(super) fn usable(&self, not: Option<Generation>) -> Option<Arc<Session<O::Handle>>> {
        let state = lock(&self.state);
        let usable = |session: &&Arc<Session<O::Handle>>| {
            Some(session.generation) != not && session.until > Instant::now()
        };
        state.current.as_ref().filter(usable).cloned()
    }

    pub(super) async fn open(
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
                && at.elapsed() < super::cached_playlist::PACE
            {
                return Err(error.clone());
            }
            if why == Why::Lost && !state.reopening.may(Instant::now()) {
                return Err(Error::Unsteady);
            }
            self.key.upstream(state.reached(&self.key), state.now())
        };
        let asked = Instant::now();
        let result = match timeout(OPENING, self.origin.open(&self.key, &parameters)).await {
            Ok(Ok(opened)) => return Ok(self.install(opened, parameters, asked, why)),
            Ok(Err(error)) => Error::Origin(error),
            Err(_) => Error::Slow(OPENING),
        };
        if why != Why::Needed {
            self.metrics.failed.inc();
        }
        lock(&self.state).failed = Some((Instant::now(), result.clone()));
        Err(result)
    }

    pub(super) fn install(
        &self,
        opened: Opened<O::Handle>,
        parameters: SessionParameters,
        asked: Instant,
        why: Why,
    ) -> Arc<Session<O::Handle>> {
        let mut state = lock(&self.state);
        let lives = opened.expires.millis().saturating_sub(state.at(asked).millis());
        state.generation += 1;
        let session = Arc::new(Session {
            id: opened.id.into(),
            expires: opened.expires,
            handle: opened.handle,
            parameters,
            lanes: Lanes::new(asked),
            moved: OnceCell::new(),
            generation: state.generation,
            opened: asked,
            until: asked + Duration::from_millis(lives),
        });
        state.failed = None;
        state.absent.forget();
        if state.active.is_none() {
            state.active = Some(self.metrics.active(self.key.parameters.protocol));
        }
        if let Some(before) = state.current.replace(session.clone()) {
            state.replaced += 1;
            if why == Why::Lost {
                state.reopening.note(Instant::now());
            }
            if why == Why::Renewal {
                self.metrics.renewed.inc()
            } else {
                self.metrics.reopened.inc()
            }
            // Even one that is lost: what it gave may be in the cache.
            state.older.push_back(before);
            while state.older.len() > OLDER {
                state.older.pop_front();
            }
        }
        session
    }

    /// Another session in the place of one that KVS no longer honours.
    pub(in crate::sessions) async fn replace(
        self: &Arc<Self>,
        lost: &Session<O::Handle>,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        self.another(Some(lost.generation), Why::Lost).await
    }

    /// When to renew: a tenth of its life ahead of its end, at most ten minutes, and long enough that players have
    /// fetched what it listed. `None` without a session.
    pub(in crate::sessions) fn renewal(&self) -> Option<Instant> {
        let state = lock(&self.state);
        let session = state.current.as_ref()?;
        let life = session.until.duration_since(session.opened);
        Some(session.until - (life / 10).clamp(SHORTEST.min(life / 2), LONGEST))
    }

    /// Opens the next session; the current one serves until then.
    pub(in crate::sessions) async fn renew(self: &Arc<Self>) {
        let Some(generation) = lock(&self.state).current.as_ref().map(|session| session.generation) else {
            return;
        };
        // Counted where it happens; what failed is tried again.
        let _ = self.another(Some(generation), Why::Renewal).await;
    }

    /// What the next process needs of it; `None` if nothing.
    pub(in crate::sessions) fn keep(&self) -> Option<Kept> {
        let state = lock(&self.state);
        let (timeline, periods) = (state.timeline.keep(), state.periods.keep());
        (timeline.is_some() || periods.is_some()).then(|| Kept { at: state.clock.0, timeline, periods })
    }

    /// For `/sessions`.
    pub(in crate::sessions) fn info(&self) -> SessionInfo {
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
    pub(super) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(super) fn at(&self, instant: Instant) -> Timestamp {
        let (told, then) = self.clock;
        told.plus(instant.saturating_duration_since(then)).minus(then.saturating_duration_since(instant))
    }

    /// Where a replay has come to: the start of the newest fragment it showed.
    pub(super) fn reached(&self, key: &SessionKey) -> Option<Timestamp> {
        if key.parameters.protocol == Protocol::Dash {
            return self.periods.reached();
        }
        let (number, date) = self.timeline.newest()?;
        let by_server = key.parameters.selector == SelectorType::Server;
        date.or_else(|| numbering::server_time(&number).filter(|_| by_server))
    }
}

pub(in crate::sessions) fn stream_text(stream: &StreamRef) -> &str {
    match stream {
        StreamRef::Name(name) => name.as_str(),
        StreamRef::Arn(arn) => arn.as_str(),
    }
}

pub(in crate::sessions) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

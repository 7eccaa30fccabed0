//! One playlist of one session, loaded once for everybody who asks.
//!
//! A slot says whether to answer at once, to load, or to wait for the load that is under way; and what stands in when
//! loading fails. It holds no clock and does no I/O.

use crate::sessions::Error;
use crate::sessions::hls::Generation;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A playlist or manifest for a viewer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Playlist {
    /// The same bytes for all viewers.
    pub text: Bytes,
    /// Strong, with its quotation marks.
    pub etag: Arc<str>,
    /// Compressed, made by whoever needs it first.
    pub packed: Arc<OnceLock<Bytes>>,
    /// Since KVS was asked for it.
    pub age: Duration,
    /// How long it may be taken for fresh from now on.
    pub max_age: Duration,
    /// Where it came from.
    pub outcome: Outcome,
}

/// Where a playlist came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was here.
    Hit,
    /// KVS was asked for this request.
    Miss,
    /// KVS was asked for another request at the same time.
    Collapsed,
    /// KVS fails or is slow; the last good one.
    Stale,
}

impl Outcome {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
        }
    }

    /// The value of `Cache-Status` (RFC 9211).
    #[must_use]
    pub const fn cache_status(self) -> &'static str {
        match self {
            Self::Hit => "kvs-edge; hit; detail=session",
            Self::Miss => "kvs-edge; fwd=miss; stored",
            Self::Collapsed => "kvs-edge; fwd=miss; collapsed",
            Self::Stale => "kvs-edge; hit; detail=stale",
        }
    }
}

/// A playlist as it is kept.
#[derive(Clone)]
pub(in crate::sessions) struct Published {
    pub text: Bytes,
    pub etag: Arc<str>,
    pub packed: Arc<OnceLock<Bytes>>,
    /// When KVS was asked.
    pub asked: Instant,
    /// `EXT-X-TARGETDURATION` or the like.
    pub target: Duration,
    pub generation: Generation,
    /// It does not change while the session lives.
    pub fixed: bool,
}

/// One playlist and whoever waits for it.
pub(in crate::sessions) struct Slot<E> {
    state: Mutex<State<E>>,
    done: watch::Sender<u64>,
}

struct State<E> {
    last: Option<Published>,
    tried: Option<Instant>,
    loading: bool,
    failure: Option<Failure<E>>,
}

/// Why the last load failed, and what follows.
pub(in crate::sessions) struct Failure<E> {
    pub error: Error<E>,
    pub stands: Stands,
}

/// How long the last good playlist stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sessions) enum Stands {
    /// Until KVS has data again.
    AsLongAsItTakes,
    /// Three target durations.
    AWhile,
    /// Not at all.
    No,
}

/// What to do for a request.
pub(in crate::sessions) enum Look<E> {
    Answer(Result<Playlist, Error<E>>),
    /// Load, and wait for it.
    Load(watch::Receiver<u64>),
    Wait(watch::Receiver<u64>),
}

/// A moving playlist is at most this old, and KVS is asked at most this often.
pub(in crate::sessions) const PACE: Duration = Duration::from_secs(1);
/// What a fixed one may be taken for fresh for: not for ever, the viewer's right may end.
const FIXED: Duration = Duration::from_secs(60);

impl<E: Clone> Slot<E> {
    pub(in crate::sessions) fn new() -> Self {
        let state = State { last: None, tried: None, loading: false, failure: None };
        Self { state: Mutex::new(state), done: watch::Sender::new(0) }
    }

    /// `generation` is that of the session now in use, if any.
    pub(in crate::sessions) fn look(&self, generation: Option<Generation>, now: Instant) -> Look<E> {
        let mut state = self.lock();
        if let Some(last) = state.last.as_ref().filter(|last| last.fresh(generation, now)) {
            return Look::Answer(Ok(last.shown(Outcome::Hit, now)));
        }
        if state.loading {
            return Look::Wait(self.done.subscribe());
        }
        if state.tried.is_some_and(|tried| now.duration_since(tried) < PACE) && state.failure.is_some() {
            return Look::Answer(state.stand_in(now));
        }
        state.loading = true;
        state.tried = Some(now);
        Look::Load(self.done.subscribe())
    }

    /// Ends a load.
    pub(in crate::sessions) fn finish(&self, result: Result<Published, Failure<E>>) {
        let mut state = self.lock();
        state.loading = false;
        match result {
            Ok(published) => {
                state.failure = None;
                state.last = Some(published);
            }
            Err(failure) => state.failure = Some(failure),
        }
        drop(state);
        self.done.send_modify(|count| *count += 1);
    }

    /// The answer after a load has ended: what it brought, or what stands in.
    pub(in crate::sessions) fn after(&self, outcome: Outcome, now: Instant) -> Result<Playlist, Error<E>> {
        let state = self.lock();
        match &state.last {
            Some(last) if state.failure.is_none() => Ok(last.shown(outcome, now)),
            _ => state.stand_in(now),
        }
    }

    /// The last good one while a load takes its time; `None` if there is none worth showing.
    pub(in crate::sessions) fn meanwhile(&self, now: Instant) -> Option<Playlist> {
        let state = self.lock();
        let stands = state.failure.as_ref().map_or(Stands::AWhile, |failure| failure.stands);
        state
            .last
            .as_ref()
            .filter(|last| last.stands(stands, now))
            .map(|last| last.shown(Outcome::Stale, now))
    }

    fn lock(&self) -> MutexGuard<'_, State<E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Clone> State<E> {
    fn stand_in(&self, now: Instant) -> Result<Playlist, Error<E>> {
        let Some(failure) = &self.failure else {
            return Err(Error::Gone);
        };
        match &self.last {
            Some(last) if last.stands(failure.stands, now) => Ok(last.shown(Outcome::Stale, now)),
            _ => Err(failure.error.clone()),
        }
    }
}

impl Published {
    fn fresh(&self, generation: Option<Generation>, now: Instant) -> bool {
        if self.fixed {
            generation.is_none_or(|generation| generation == self.generation)
        } else {
            now.duration_since(self.asked) < PACE
        }
    }

    fn stands(&self, how: Stands, now: Instant) -> bool {
        match how {
            Stands::No => false,
            Stands::AsLongAsItTakes => true,
            Stands::AWhile => self.fixed || now.duration_since(self.asked) <= self.target * 3 + PACE,
        }
    }

    fn shown(&self, outcome: Outcome, now: Instant) -> Playlist {
        let age = now.duration_since(self.asked);
        let max_age = if self.fixed { FIXED } else { PACE.saturating_sub(age) };
        let packed = self.packed.clone();
        Playlist { text: self.text.clone(), etag: self.etag.clone(), packed, age, max_age, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(asked: Instant, fixed: bool) -> Published {
        Published {
            text: Bytes::from_static(b"x"),
            etag: "\"x\"".into(),
            packed: Arc::default(),
            asked,
            target: Duration::from_secs(2),
            generation: 1,
            fixed,
        }
    }

    fn failure(stands: Stands) -> Failure<&'static str> {
        Failure { error: Error::Origin("down"), stands }
    }

    #[test]
    fn one_loads_and_the_others_wait() {
        let slot: Slot<&str> = Slot::new();
        let start = Instant::now();
        assert!(matches!(slot.look(None, start), Look::Load(_)));
        assert!(matches!(slot.look(None, start), Look::Wait(_)));
        slot.finish(Ok(published(start, false)));
        let at = |millis| start + Duration::from_millis(millis);
        let Look::Answer(Ok(hit)) = slot.look(None, at(999)) else { panic!("not fresh") };
        assert_eq!((hit.outcome, hit.max_age), (Outcome::Hit, Duration::from_millis(1)));
        assert!(matches!(slot.look(None, at(1000)), Look::Load(_)));
    }

    #[test]
    fn the_last_good_one_stands_as_long_as_the_failure_allows() {
        for (stands, seconds, good) in [
            (Stands::AWhile, 7, true),
            (Stands::AWhile, 8, false),
            (Stands::AsLongAsItTakes, 600, true),
            (Stands::No, 1, false),
        ] {
            let slot: Slot<&str> = Slot::new();
            let start = Instant::now();
            slot.finish(Ok(published(start, false)));
            let then = start + Duration::from_secs(seconds);
            assert!(matches!(slot.look(None, then), Look::Load(_)));
            slot.finish(Err(failure(stands)));
            let answer = slot.after(Outcome::Miss, then);
            assert_eq!(answer.is_ok(), good, "{stands:?} {seconds}");
            // KVS is not asked again at once.
            let Look::Answer(again) = slot.look(None, then) else { panic!("asked again") };
            assert_eq!(again, answer);
            if let Ok(answer) = answer {
                assert_eq!(answer.outcome, Outcome::Stale);
            }
        }
    }

    #[test]
    fn what_does_not_change_is_fresh_for_its_session() {
        let slot: Slot<&str> = Slot::new();
        let start = Instant::now();
        slot.finish(Ok(published(start, true)));
        let later = start + Duration::from_secs(9_999);
        assert!(matches!(slot.look(Some(1), later), Look::Answer(Ok(_))));
        assert!(matches!(slot.look(Some(2), later), Look::Load(_)));
        assert!(slot.meanwhile(later).is_some());
    }
}

//! One playlist of one session, loaded once for all requests that need it.
//!
//! It says whether it can answer at once or must be loaded, and what stands in when loading fails. There is
//! no clock and no I/O here.

use crate::base::room::Room;
use crate::base::stored_text::{HeldText, StoredText};
use crate::cache::{Outcome, Tier};
use crate::sessions::error::{Effect, Error};
use crate::sessions::numbering::Generation;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A playlist or manifest for a viewer.
#[derive(Clone, Debug)]
pub struct Playlist {
    /// The same for all viewers.
    pub text: Arc<StoredText>,
    /// Time since KVS was asked for it.
    pub age: Duration,
    /// How long it counts as fresh from now on.
    pub max_age: Duration,
    /// Where it came from.
    pub outcome: Outcome,
}

/// A playlist as it was last loaded.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) text: HeldText,
    /// When KVS was asked.
    pub(super) asked: Instant,
    /// `EXT-X-TARGETDURATION` or the like.
    pub(super) target: Duration,
    pub(super) generation: Generation,
    /// It does not change while the session lives.
    pub(super) fixed: bool,
    /// Until when it is the answer without another look, if all replicas hold it in common.
    pub(super) until: Option<Instant>,
}

/// One playlist.
pub(in crate::sessions) struct CachedPlaylist {
    state: Mutex<PlaylistState>,
    /// Where it is kept if it is long. If it had to make room there, it is loaded again.
    room: Room,
}

#[derive(Default)]
struct PlaylistState {
    last: Option<Published>,
    /// When the last load began.
    tried: Option<Instant>,
    /// Why the last load failed.
    failure: Option<Error>,
    /// Another replica may have shown a newer one: the last one does not stand in while it is loaded.
    doubted: bool,
}

/// How long the last good playlist stands in after a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StandsIn {
    /// Until KVS has media again.
    UntilMedia,
    /// For three target durations.
    ForAWhile,
    Never,
}

impl StandsIn {
    fn after(failure: &Error) -> Self {
        match failure.effect() {
            Effect::NoData => Self::UntilMedia,
            Effect::SessionLost | Effect::Transient => Self::ForAWhile,
            Effect::Permanent => Self::Never,
        }
    }
}

/// A playlist that changes is at most this old, and KVS is asked for it at most this often.
pub(super) const PACE: Duration = Duration::from_secs(1);
/// How long one that does not change counts as fresh. It is not for ever, because the viewer's right may end.
const FIXED: Duration = Duration::from_secs(60);

impl CachedPlaylist {
    /// One that has not been loaded.
    pub(super) fn new(room: Room) -> Self {
        Self { state: Mutex::default(), room }
    }

    /// The answer, if no load is needed for it: the playlist is fresh, or its last load failed a moment ago.
    /// `generation` is that of the session in use, if there is one.
    pub(super) fn answer(
        &self,
        generation: Option<Generation>,
        now: Instant,
    ) -> Option<Result<Playlist, Error>> {
        let state = self.lock();
        if let Some(last) = state.last.as_ref().filter(|last| last.is_fresh(generation, now))
            && let Some(playlist) = last.shown(&self.room, Outcome::Hit(Tier::Memory), now)
        {
            return Some(Ok(playlist));
        }
        let failed_lately =
            state.failure.is_some() && state.tried.is_some_and(|tried| now.duration_since(tried) < PACE);
        failed_lately.then(|| state.stand_in(&self.room, now))
    }

    /// Notes that a load begins.
    pub(super) fn begin(&self, now: Instant) {
        self.lock().tried = Some(now);
    }

    /// Notes that another replica may have shown a newer one, until it is known what is to be shown.
    pub(super) fn doubt(&self) {
        self.lock().doubted = true;
    }

    /// Notes that the last one is the newest of all replicas, and the answer until then.
    pub(super) fn confirm(&self, asked: Instant, until: Instant) {
        let mut state = self.lock();
        (state.failure, state.doubted) = (None, false);
        if let Some(last) = &mut state.last {
            last.asked = asked;
            last.until = Some(until);
        }
    }

    /// Makes the last good one the answer until then, if it still stands.
    pub(super) fn hold(&self, now: Instant, until: Instant) -> bool {
        let mut state = self.lock();
        let Some(last) = state.last.as_mut().filter(|last| last.stands_in(StandsIn::ForAWhile, now)) else {
            return false;
        };
        last.until = Some(until);
        (state.failure, state.doubted) = (None, false);
        true
    }

    /// Notes how a load ended.
    pub(super) fn finish(&self, result: Result<Published, Error>) {
        let mut state = self.lock();
        state.doubted = false;
        match result {
            Ok(published) => {
                state.failure = None;
                state.last = Some(published);
            }
            Err(failure) => state.failure = Some(failure),
        }
    }

    /// The answer after a load has ended: what it brought, or what stands in.
    pub(super) fn after_load(&self, outcome: Outcome, now: Instant) -> Result<Playlist, Error> {
        let state = self.lock();
        match &state.last {
            Some(last) if state.failure.is_none() => {
                // It had to make room at once: very much is being loaded.
                last.shown(&self.room, outcome, now).ok_or(Error::Crowded(PACE))
            }
            _ => state.stand_in(&self.room, now),
        }
    }

    /// The last good one while a load takes its time; `None` if there is none that still stands.
    pub(super) fn meanwhile(&self, now: Instant) -> Option<Playlist> {
        let state = self.lock();
        if state.doubted {
            return None;
        }
        let how = state.failure.as_ref().map_or(StandsIn::ForAWhile, StandsIn::after);
        let last = state.last.as_ref().filter(|last| last.stands_in(how, now));
        last.and_then(|last| last.shown(&self.room, Outcome::Stale, now))
    }

    /// The last good one, if it is still kept.
    pub(super) fn last(&self) -> Option<Published> {
        self.lock().last.clone()
    }

    fn lock(&self) -> MutexGuard<'_, PlaylistState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaylistState {
    fn stand_in(&self, room: &Room, now: Instant) -> Result<Playlist, Error> {
        let Some(failure) = &self.failure else { return Err(Error::Gone) };
        let last = self.last.as_ref().filter(|last| last.stands_in(StandsIn::after(failure), now));
        last.and_then(|last| last.shown(room, Outcome::Stale, now)).ok_or_else(|| failure.clone())
    }
}

impl Published {
    fn is_fresh(&self, generation: Option<Generation>, now: Instant) -> bool {
        if let Some(until) = self.until.filter(|_| !self.fixed) {
            return now < until;
        }
        if self.fixed {
            generation.is_none_or(|generation| generation == self.generation)
        } else {
            now.duration_since(self.asked) < PACE
        }
    }

    fn stands_in(&self, how: StandsIn, now: Instant) -> bool {
        match how {
            StandsIn::Never => false,
            StandsIn::UntilMedia => true,
            StandsIn::ForAWhile => self.fixed || now.duration_since(self.asked) <= self.target * 3 + PACE,
        }
    }

    fn shown(&self, room: &Room, outcome: Outcome, now: Instant) -> Option<Playlist> {
        let age = now.duration_since(self.asked);
        let max_age = if self.fixed { FIXED } else { PACE.saturating_sub(age) };
        Some(Playlist { text: self.text.get(room)?, age, max_age, outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream;

    fn published(asked: Instant, fixed: bool) -> Published {
        Published {
            text: HeldText::new(Arc::new(StoredText::new("x".to_owned())), &Room::default()),
            asked,
            target: Duration::from_secs(2),
            generation: 1,
            fixed,
            until: None,
        }
    }

    #[test]
    fn it_answers_while_it_is_fresh() {
        let playlist = CachedPlaylist::new(Room::default());
        let start = Instant::now();
        assert!(playlist.answer(None, start).is_none());
        playlist.begin(start);
        assert!(playlist.answer(None, start).is_none(), "a load under way is no answer");
        playlist.finish(Ok(published(start, false)));
        let at = |millis| start + Duration::from_millis(millis);
        let Some(Ok(hit)) = playlist.answer(None, at(999)) else { panic!("not fresh") };
        assert_eq!((hit.outcome, hit.max_age), (Outcome::Hit(Tier::Memory), Duration::from_millis(1)));
        assert!(playlist.answer(None, at(1000)).is_none());
    }

    #[test]
    fn the_last_good_one_stands_as_long_as_the_failure_allows() {
        let transient = || Error::from(upstream::Error::Unreachable("down".into()));
        let no_data = || Error::from(upstream::Error::NoData("silent".into()));
        let permanent = || Error::from(upstream::Error::NotServed("nobody's".into()));
        for (failure, seconds, good) in
            [(transient(), 7, true), (transient(), 8, false), (no_data(), 600, true), (permanent(), 1, false)]
        {
            let playlist = CachedPlaylist::new(Room::default());
            let start = Instant::now();
            playlist.finish(Ok(published(start, false)));
            let then = start + Duration::from_secs(seconds);
            assert!(playlist.answer(None, then).is_none());
            playlist.begin(then);
            playlist.finish(Err(failure.clone()));
            let answer = playlist.after_load(Outcome::Miss, then);
            assert_eq!(answer.is_ok(), good, "{failure} {seconds}");
            // KVS is not asked again at once.
            let Some(again) = playlist.answer(None, then) else { panic!("asked again") };
            let etag = |p: &Playlist| p.text.etag().clone();
            assert_eq!(again.as_ref().map(etag).ok(), answer.as_ref().map(etag).ok());
            if let Ok(answer) = answer {
                assert_eq!(answer.outcome, Outcome::Stale);
            }
        }
    }

    #[test]
    fn what_does_not_change_is_fresh_for_its_session() {
        let playlist = CachedPlaylist::new(Room::default());
        let start = Instant::now();
        playlist.finish(Ok(published(start, true)));
        let later = start + Duration::from_secs(9_999);
        assert!(matches!(playlist.answer(Some(1), later), Some(Ok(_))));
        assert!(playlist.answer(Some(2), later).is_none());
        assert!(playlist.meanwhile(later).is_some());
    }
}

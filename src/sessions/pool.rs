//! All shared sessions: found by key, opened on demand, kept while there are viewers, closed afterwards.
//!
//! A session is held from the moment that it is open: a key whose session cannot be opened takes no room.

use super::context::Context;
use super::error::Error;
use super::key::{SessionKey, ViewerId};
use super::live_window::LiveWindow;
use super::packaged::PackagedViewers;
use super::places::Holder;
use super::recent_failures::RecentFailures;
use super::saved_state::{self, SavedStreams};
use super::session::{SharedSession, lock};
use super::turn::{Turn, Visit};
use super::viewers::SessionInfo;
use crate::base::clock;
use crate::base::single_flight::SingleFlight;
use crate::base::task::spawn_self_ending;
use crate::caller::Caller;
use crate::kvs::{StreamRef, Timestamp};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// All shared sessions. When the last handle is dropped, its tasks end.
pub(super) struct Pool {
    pub(super) context: Arc<Context>,
    sessions: Mutex<HashMap<SessionKey, HeldSession, foldhash::fast::RandomState>>,
    /// Sessions that are being opened for the first time.
    openings: SingleFlight<SessionKey, Result<Arc<SharedSession>, Error>>,
    failed: Mutex<RecentFailures>,
    saved: Mutex<SavedStreams>,
    /// Who watches what needs no session.
    packaged: PackagedViewers,
}

struct HeldSession {
    session: Arc<SharedSession>,
    /// Whose place it takes.
    opened_by: Arc<str>,
}

/// Viewers are counted, idle sessions let go, and the state saved this often.
const ROUND: Duration = Duration::from_secs(5);
/// A renewal that failed is tried again after this time.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a request waits for an opening that another caller began, before that one's failure is its own.
const ATTEMPTS: u32 = 3;
/// When there is no place left, this part of all sessions is let go at once, as far as they have no viewers.
const PART_LET_GO: usize = 64;

impl Pool {
    pub(super) fn new(context: Context) -> Arc<Self> {
        let config = &context.config;
        let saved = SavedStreams::open(config.state.as_deref(), config.most, Timestamp::from(clock::now()));
        let is_saved = saved.path().is_some();
        let (context, sessions) = (Arc::new(context), Mutex::default());
        let packaged = PackagedViewers::default();
        let (openings, failed) = (SingleFlight::default(), Mutex::default());
        let saved = Mutex::new(saved);
        let pool = Arc::new(Self { context, sessions, openings, failed, saved, packaged });
        let holder = Arc::downgrade(&pool);
        pool.context.places.held_by(holder);
        if is_saved {
            spawn_self_ending(save_regularly(Arc::downgrade(&pool)));
        }
        pool
    }

    /// The shared session of a key, opened if there is none. Counts as a request. Concurrent requests share
    /// one opening.
    ///
    /// # Errors
    /// [`Error`], if it cannot be opened; then nothing of it is held.
    pub(super) async fn session(
        self: &Arc<Self>,
        key: &SessionKey,
        visit: Visit<'_>,
    ) -> Result<Arc<SharedSession>, Error> {
        let mut attempts = 1;
        loop {
            if let Some(session) = self.existing(key) {
                session.touch(visit);
                return Ok(session);
            }
            if let Some(error) = lock(&self.failed).get(key, Instant::now()) {
                return Err(error);
            }
            let open = || self.clone().open(key.clone(), visit.caller.clone(), visit.now);
            // Runs to its end even if the request that began it is dropped. It does not panic.
            let opening = self.openings.start(key.clone(), open);
            let is_joined = opening.joined();
            match opening.result().await.unwrap_or(Err(Error::Gone)) {
                Ok(session) => {
                    session.touch(visit);
                    return Ok(session);
                }
                // What the caller that began it may not have, this one may.
                Err(error) if is_joined && error.is_of_caller() && attempts < ATTEMPTS => attempts += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn open(
        self: Arc<Self>,
        key: SessionKey,
        caller: Caller,
        now: Timestamp,
    ) -> Result<Arc<SharedSession>, Error> {
        // Another opening may have ended since the request looked.
        if let Some(session) = self.existing(&key) {
            return Ok(session);
        }
        let saved = lock(&self.saved).get(&key, now);
        let turn = Turn::new(&caller, self.context.next_number());
        let opened_by = turn.principal();
        let session = SharedSession::new(key.clone(), self.context.clone(), saved, turn, now);
        if let Err(error) = session.open_any().await {
            if !error.is_of_caller() {
                lock(&self.failed).insert(key, error.clone(), Instant::now());
            }
            return Err(error);
        }
        let held = HeldSession { session: session.clone(), opened_by };
        lock(&self.sessions).insert(key, held);
        spawn_self_ending(keep_up(Arc::downgrade(&session), Arc::downgrade(&self)));
        Ok(session)
    }

    /// The shared session of a key, if there is one.
    pub(super) fn existing(&self, key: &SessionKey) -> Option<Arc<SharedSession>> {
        lock(&self.sessions).get(key).map(|held| held.session.clone())
    }

    /// Notes a request for footage that is packaged here.
    pub(super) fn note_packaged(self: &Arc<Self>, key: &SessionKey, viewer: ViewerId) {
        if self.packaged.note(key, viewer, &self.context.metrics, Instant::now()) {
            spawn_self_ending(forget_packaged(Arc::downgrade(self)));
        }
    }

    /// Counts media bytes that were sent to a viewer, of a session or of footage that is packaged here.
    pub(super) fn count_bytes(&self, key: &SessionKey, viewer: ViewerId, bytes: u64) {
        match self.existing(key) {
            Some(session) => session.note_viewer(viewer, bytes),
            None => self.packaged.count(key, viewer, bytes, Instant::now()),
        }
    }

    /// All shared sessions and what is packaged here, sorted, as the admin listener shows them.
    pub(super) fn list(&self) -> Vec<SessionInfo> {
        let mut list: Vec<_> = self.all().iter().map(|session| session.info()).collect();
        list.extend(self.packaged.list());
        list.sort_by(|a, b| (&a.stream, a.mode, a.protocol).cmp(&(&b.stream, b.mode, b.protocol)));
        list
    }

    /// What live HLS of a stream lists, by the session that is furthest.
    pub(super) fn live_window(&self, entry: &str, stream: &StreamRef, now: Timestamp) -> Option<LiveWindow> {
        let is_of =
            |session: &&Arc<SharedSession>| *session.key.entry == *entry && session.key.stream == *stream;
        let all = self.all();
        all.iter().filter(is_of).filter_map(|session| session.live_window(now)).max_by_key(|window| window.to)
    }

    /// How many streams are held for a restart.
    #[cfg(test)]
    pub(super) fn saved_streams(&self) -> usize {
        lock(&self.saved).len()
    }

    fn all(&self) -> Vec<Arc<SharedSession>> {
        lock(&self.sessions).values().map(|held| held.session.clone()).collect()
    }

    /// Writes what the next process needs to `sessions.state`, if that is set.
    pub(super) async fn save(&self) {
        let (path, text) = {
            let sessions = self.all();
            let mut saved = lock(&self.saved);
            let Some(path) = saved.path().map(Path::to_owned) else { return };
            for session in sessions {
                if let Some(stream) = session.saved() {
                    saved.put(&session.key, stream);
                }
            }
            saved.prune(Timestamp::from(clock::now()));
            (path, saved.text())
        };
        let shown = path.clone();
        let written = tokio::task::spawn_blocking(move || saved_state::write(&path, &text)).await;
        let problem = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(path = %shown.display(), "what a restart needs of playback sessions was not written: {problem}");
    }

    /// Lets go of a session unless there was a request meanwhile. True if it was let go.
    fn let_go(&self, session: &SharedSession) -> bool {
        let mut sessions = lock(&self.sessions);
        if session.idle() < self.context.config.idle.0 {
            return false;
        }
        // It may have made room for others, and another one may have been opened for its key since.
        if sessions.get(&session.key).is_some_and(|held| std::ptr::eq(&*held.session, session)) {
            sessions.remove(&session.key);
        }
        drop(sessions);
        self.save_released(session);
        true
    }

    /// A player that was paused may come back.
    fn save_released(&self, session: &SharedSession) {
        if let Some(stream) = session.saved() {
            let mut saved = lock(&self.saved);
            saved.put(&session.key, stream);
            saved.prune(Timestamp::from(clock::now()));
        }
    }
}

impl Holder for Pool {
    fn let_go_unwatched(&self, opened_by: Option<&str>) {
        let released = {
            let mut sessions = lock(&self.sessions);
            let of_these = |held: &&HeldSession| opened_by.is_none_or(|by| by == &*held.opened_by);
            // One that is in use would keep its place.
            let is_free = |held: &&HeldSession| Arc::strong_count(&held.session) == 1;
            let unwatched = sessions
                .values()
                .filter(of_these)
                .filter(is_free)
                .filter_map(|held| Some((held.session.unwatched_since()?, held.session.clone())));
            let mut unwatched: Vec<_> = unwatched.collect();
            unwatched.sort_unstable_by_key(|(since, _)| *since);
            unwatched.truncate(if opened_by.is_some() { 1 } else { sessions.len() / PART_LET_GO + 1 });
            for (_, session) in &unwatched {
                sessions.remove(&session.key);
            }
            unwatched
        };
        for (_, session) in released {
            self.save_released(&session);
        }
    }
}

async fn save_regularly(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.save().await;
    }
}

/// Forgets viewers of packaged footage that have gone, as long as there are any.
async fn forget_packaged(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        if pool.packaged.forget_idle(pool.context.config.viewer_timeout.0, Instant::now()) {
            return;
        }
    }
}

/// Renews a session ahead of its end, forgets viewers that have gone, and lets go of it when there are no
/// requests. Ends with the session.
async fn keep_up(session: Weak<SharedSession>, pool: Weak<Pool>) {
    loop {
        let next = {
            let Some(session) = session.upgrade() else { return };
            let round = Instant::now() + ROUND;
            session.renewal().map_or(round, |renewal| renewal.clamp(Instant::now() + PAUSE, round))
        };
        tokio::time::sleep_until(next).await;
        let (Some(session), Some(pool)) = (session.upgrade(), pool.upgrade()) else { return };
        session.forget_idle_viewers();
        session.share_viewers().await;
        if session.idle() >= pool.context.config.idle.0 && pool.let_go(&session) {
            return;
        }
        if session.renewal().is_some_and(|renewal| renewal <= Instant::now()) {
            session.renew().await;
        }
    }
}

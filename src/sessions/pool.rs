//! All shared sessions: found by key, made on demand, kept while there are viewers, closed afterwards.

use super::context::Context;
use super::error::Error;
use super::key::{SessionKey, ViewerId};
use super::packaged::PackagedViewers;
use super::saved_state::{self, SavedStreams};
use super::session::{SharedSession, lock};
use super::viewers::SessionInfo;
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::kvs::Timestamp;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// All shared sessions. When the last handle is dropped, its tasks end.
pub(super) struct Pool {
    pub(super) context: Arc<Context>,
    sessions: Mutex<HashMap<SessionKey, Arc<SharedSession>, foldhash::fast::RandomState>>,
    saved: Mutex<SavedStreams>,
    /// Who watches what needs no session.
    packaged: PackagedViewers,
}

/// Viewers are counted, idle sessions let go, and the state saved this often.
const ROUND: Duration = Duration::from_secs(5);
/// A renewal that failed is tried again after this time.
const PAUSE: Duration = Duration::from_secs(1);

impl Pool {
    pub(super) fn new(context: Context) -> Arc<Self> {
        let config = &context.config;
        let saved = SavedStreams::open(config.state.as_deref(), config.most, Timestamp::from(clock::now()));
        let is_saved = saved.path().is_some();
        let (context, sessions) = (Arc::new(context), Mutex::default());
        let packaged = PackagedViewers::default();
        let pool = Arc::new(Self { context, sessions, saved: Mutex::new(saved), packaged });
        if is_saved {
            spawn_self_ending(save_regularly(Arc::downgrade(&pool)));
        }
        pool
    }

    /// The shared session of a key, made if there is none. Counts as a request.
    pub(super) fn session(
        self: &Arc<Self>,
        key: &SessionKey,
        now: Timestamp,
    ) -> Result<Arc<SharedSession>, Error> {
        let mut sessions = lock(&self.sessions);
        if let Some(session) = sessions.get(key) {
            session.touch(now);
            return Ok(session.clone());
        }
        // Each has at least one upstream session, or is about to open it.
        if sessions.len() >= self.context.config.most {
            return Err(Error::Full);
        }
        let saved = lock(&self.saved).get(key, now);
        let session = SharedSession::new(key.clone(), self.context.clone(), saved, now);
        sessions.insert(key.clone(), session.clone());
        spawn_self_ending(keep_up(Arc::downgrade(&session), Arc::downgrade(self)));
        Ok(session)
    }

    /// The shared session of a key, if there is one.
    pub(super) fn existing(&self, key: &SessionKey) -> Option<Arc<SharedSession>> {
        lock(&self.sessions).get(key).cloned()
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

    /// How many streams are held for a restart.
    #[cfg(test)]
    pub(super) fn saved_streams(&self) -> usize {
        lock(&self.saved).len()
    }

    fn all(&self) -> Vec<Arc<SharedSession>> {
        lock(&self.sessions).values().cloned().collect()
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
        sessions.remove(&session.key);
        drop(sessions);
        // A player that was paused may come back.
        if let Some(stream) = session.saved() {
            let mut saved = lock(&self.saved);
            saved.put(&session.key, stream);
            saved.prune(Timestamp::from(clock::now()));
        }
        true
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
        if session.idle() >= pool.context.config.idle.0 && pool.let_go(&session) {
            return;
        }
        if session.renewal().is_some_and(|renewal| renewal <= Instant::now()) {
            session.renew().await;
        }
    }
}

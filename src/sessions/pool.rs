//! All sessions: found by key, made on demand, kept alive while somebody watches, let go after.

use super::key::{SessionKey, ViewerId};
use super::metrics::Metrics;
use super::origin::Origin;
use super::saved_state::{self as store, Store};
use super::session::cached_playlist::Playlist;
use super::session::{Refusal, Session, Shared, lock};
use super::viewers::{SessionInfo, Viewing};
use super::{Config, Error};
use crate::kvs::{Resource, Timestamp};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// The pool. Cheap to clone; when the last clone is dropped, its tasks end.
pub struct Sessions<O: Origin> {
    inner: Arc<Inner<O>>,
}

impl<O: Origin> Clone for Sessions<O> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

struct Inner<O: Origin> {
    origin: Arc<O>,
    config: Config,
    metrics: Metrics,
    shared: Mutex<HashMap<SessionKey, Arc<Shared<O>>>>,
    store: Mutex<Store>,
}

/// What stands behind a published address.
pub struct Located<H> {
    /// The upstream session; its `id` and `resource` make the cache key.
    pub opened: Arc<Session<H>>,
    /// The resource by the name KVS knows it.
    pub resource: Resource,
    /// Ticks to add to the times in its media: live fMP4 runs on one timeline over all sessions. 0 for all else.
    pub moved: u64,
}

impl<H> Clone for Located<H> {
    fn clone(&self) -> Self {
        Self { opened: self.opened.clone(), resource: self.resource.clone(), moved: self.moved }
    }
}

/// Viewers are counted out, and sessions let go, this often.
const ROUND: Duration = Duration::from_secs(5);

impl<O: Origin> Sessions<O> {
    /// An empty pool.
    #[must_use]
    pub fn new(origin: O, config: Config, metrics: Metrics) -> Self {
        let store = Store::open(config.state.as_deref(), config.most, Timestamp::now());
        let keeps = store.path().is_some();
        let (shared, store) = (Mutex::new(HashMap::new()), Mutex::new(store));
        let inner = Arc::new(Inner { origin: Arc::new(origin), config, metrics, shared, store });
        if keeps {
            tokio::spawn(save_now_and_then(Arc::downgrade(&inner)));
        }
        Self { inner }
    }

    /// Writes what the next process needs to go on where this one is (`sessions.state`), if that is wished.
    pub async fn save(&self) {
        self.inner.save().await;
    }

    /// The playlist or manifest `resource` for a viewer: at most a second old where it changes, loaded once for all.
    ///
    /// # Errors
    /// [`Error`], when there is nothing to show, not even an older one that still stands.
    pub async fn playlist(
        &self,
        key: &SessionKey,
        resource: &Resource,
        viewer: ViewerId,
        now: Timestamp,
    ) -> Result<Playlist, Error<O::Error>> {
        let shared = self.shared(key, now)?;
        lock(&shared.viewers).seen(viewer, 0, Instant::now());
        shared.playlist(resource).await
    }

    /// The upstream session for a key, opened if need be.
    ///
    /// # Errors
    /// [`Error`], when none can be opened.
    pub async fn session(
        &self,
        key: &SessionKey,
        now: Timestamp,
    ) -> Result<Arc<Session<O::Handle>>, Error<O::Error>> {
        self.shared(key, now)?.any_session().await
    }

    /// Which upstream session and resource stand behind an address that a playlist of ours showed.
    ///
    /// # Errors
    /// [`Error`], when no session can be opened; [`Error::Gone`] when the address outlived its session.
    pub async fn locate(
        &self,
        key: &SessionKey,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        let shared = self.shared(key, now)?;
        let located = shared.behind(resource).await?;
        shared.asked_for(resource);
        Ok(located)
    }

    /// Says that KVS refused `resource` of the session `lost`, and asks where else it may be: another session takes
    /// the place of one that is over, once for all who say so. What `lost` gave before can still be located.
    ///
    /// # Errors
    /// [`Error`], when no session can be opened; [`Error::Gone`] when no session has it, or none any more: 404.
    pub async fn relocate(
        &self,
        key: &SessionKey,
        resource: &Resource,
        lost: &Arc<Session<O::Handle>>,
        why: Refusal,
        now: Timestamp,
    ) -> Result<Located<O::Handle>, Error<O::Error>> {
        self.shared(key, now)?.instead(resource, lost, why).await
    }

    /// Counts media bytes that went to a viewer.
    pub fn watching(&self, key: &SessionKey, viewer: ViewerId, bytes: u64) {
        if let Some(shared) = lock(&self.inner.shared).get(key) {
            lock(&shared.viewers).seen(viewer, bytes, Instant::now());
        }
    }

    /// Who watches what. No secrets.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let shared: Vec<_> = lock(&self.inner.shared).values().cloned().collect();
        let mut list: Vec<_> = shared.iter().map(|shared| shared.info()).collect();
        list.sort_by(|a, b| (&a.stream, a.mode, a.protocol).cmp(&(&b.stream, b.mode, b.protocol)));
        list
    }

    fn shared(&self, key: &SessionKey, now: Timestamp) -> Result<Arc<Shared<O>>, Error<O::Error>> {
        let inner = &self.inner;
        let mut all = lock(&inner.shared);
        if let Some(shared) = all.get(key) {
            shared.touch(now);
            return Ok(shared.clone());
        }
        if all.len() >= inner.config.most {
            return Err(Error::Full);
        }
        let kept = lock(&inner.store).get(key, now);
        let (origin, config, metrics) = (inner.origin.clone(), inner.config.clone(), inner.metrics.clone());
        let shared = Arc::new(Shared::new(key.clone(), origin, config, metrics, kept, now));
        all.insert(key.clone(), shared.clone());
        tokio::spawn(keep(Arc::downgrade(&shared), Arc::downgrade(inner)));
        Ok(shared)
    }
}

impl<O: Origin> Inner<O> {
    async fn save(&self) {
        let live: Vec<_> = lock(&self.shared).values().cloned().collect();
        let (path, text) = {
            let mut store = lock(&self.store);
            let Some(path) = store.path().map(Path::to_owned) else { return };
            for shared in live {
                if let Some(kept) = shared.keep() {
                    store.put(&shared.key, kept);
                }
            }
            store.forget(Timestamp::now());
            (path, store.text())
        };
        let shown = path.clone();
        let written = tokio::task::spawn_blocking(move || store::write(&path, &text)).await;
        let problem = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(path = %shown.display(), "what a restart needs of playback sessions was not written: {problem}");
    }
}

async fn save_now_and_then<O: Origin>(pool: Weak<Inner<O>>) {
    loop {
        tokio::time::sleep(ROUND).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.save().await;
    }
}

/// Renews a session ahead of its end, counts viewers out, and lets go of what nobody watches. Ends with the session.
async fn keep<O: Origin>(shared: Weak<Shared<O>>, pool: Weak<Inner<O>>) {
    loop {
        let next = {
            let Some(shared) = shared.upgrade() else { return };
            let round = Instant::now() + ROUND;
            shared.renewal().map_or(round, |renewal| renewal.clamp(Instant::now() + PAUSE, round))
        };
        tokio::time::sleep_until(next).await;
        let (Some(shared), Some(pool)) = (shared.upgrade(), pool.upgrade()) else { return };
        let timeout = shared.config.viewer_timeout.0;
        part(&shared, Some(timeout));
        if shared.idle() >= shared.config.idle.0 {
            let mut all = lock(&pool.shared);
            // Asked for again between the two lines above: kept.
            if shared.idle() >= shared.config.idle.0 {
                all.remove(&shared.key);
                drop(all);
                // A player that was paused may come back.
                if let Some(kept) = shared.keep() {
                    lock(&pool.store).put(&shared.key, kept);
                }
                part(&shared, None);
                return;
            }
        }
        if shared.renewal().is_some_and(|renewal| renewal <= Instant::now()) {
            shared.renew().await;
        }
    }
}

/// A renewal that failed is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

fn part<O: Origin>(shared: &Arc<Shared<O>>, timeout: Option<Duration>) {
    let gone = lock(&shared.viewers).gone(timeout, Instant::now());
    for (viewer, watched, bytes) in gone {
        shared.origin.left(Viewing { key: shared.key.clone(), viewer, watched, bytes });
    }
    if lock(&shared.viewers).count() == 0 {
        shared.stop_fetching();
    }
}

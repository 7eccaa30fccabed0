//! Playlists while the store does not answer and each replica goes by itself: KVS is asked once a second, and
//! what it lists is shown as it gets old enough. All replicas have loaded it by then, so all show the same at
//! the same time, and a player that is sent from one to another does not go back.

use super::cached_playlist::{CachedPlaylist, PACE};
use super::shared::{SharedSession, lock};
use super::upstream_session::LoadedPlaylist;
use crate::kvs::{Resource, Timestamp};
use crate::sessions::common::Common;
use crate::sessions::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Fragments are shown this much after their end while every replica goes by itself.
pub(super) const HELD_BACK: Duration = Duration::from_millis(2500);

impl SharedSession {
    /// What KVS listed last while this process goes by itself, if that is fresh.
    pub(super) fn loaded_alone(&self, resource: &Resource) -> Option<LoadedPlaylist> {
        lock(&self.loaded_alone).get(resource).filter(|kept| kept.asked.elapsed() < PACE).cloned()
    }

    /// Asks KVS what it lists.
    pub(super) async fn load_alone(
        self: &Arc<Self>,
        resource: &Resource,
        cached: &CachedPlaylist,
    ) -> Result<LoadedPlaylist, Error> {
        cached.begin(Instant::now());
        let loaded = self.load_and_learn(resource).await?;
        lock(&self.loaded_alone).insert(resource.clone(), loaded.clone());
        Ok(loaded)
    }

    /// Goes on without the others.
    pub(super) async fn show_alone(
        self: &Arc<Self>,
        common: &Common,
        resource: &Resource,
        cached: &CachedPlaylist,
    ) {
        let shown = match self.loaded_alone(resource) {
            Some(kept) => self.show_when_sure(common, resource, cached, kept).await,
            None => match self.load_alone(resource, cached).await {
                Ok(loaded) => self.show_when_sure(common, resource, cached, loaded).await,
                Err(error) => Err(error),
            },
        };
        match shown {
            Ok(()) => self.plan_ahead(resource, &[]),
            Err(error) => self.load_failed(cached, error).await,
        }
    }

    /// Shows what is old enough. What ended before the store was away may have been shown by another replica,
    /// or by none: nothing is shown until it is old enough for all.
    async fn show_when_sure(
        self: &Arc<Self>,
        common: &Common,
        resource: &Resource,
        cached: &CachedPlaylist,
        loaded: LoadedPlaylist,
    ) -> Result<(), Error> {
        loop {
            let (playlist, withheld) = self.merge_for_all(resource, loaded.clone()).await?;
            let Some(unsure) = common.alone_since().and_then(|since| self.unsure_for(since, &withheld))
            else {
                self.take_over_playlist(cached, playlist, loaded.asked, Instant::now()).await;
                return Ok(());
            };
            tokio::time::sleep(unsure).await;
        }
    }

    /// For how long it is not known whether another replica has shown what is withheld here: the store has
    /// not answered since then.
    fn unsure_for(&self, since: Instant, withheld: &[Timestamp]) -> Option<Duration> {
        let (now, since) = {
            let state = lock(&self.state);
            (state.now(), state.at(since))
        };
        let newest = withheld.iter().filter(|ends| **ends <= since).max()?;
        // It is at most HELD_BACK from now, as `since` is past.
        Some(now.age(newest.plus(HELD_BACK)).max(Duration::from_millis(1)))
    }
}

//! Media bytes: one fetch, many readers, never a partial body (docs/BEHAVIOUR.md 7).
//!
//! [`Cache::get_or_fill`] looks in memory, then in the tiers below it, then joins the fetch in progress or
//! starts one. The cache does not depend on where bytes come from, because the fetch is handed in, nor on
//! users: its callers hold a permit already. Trouble in a tier is a miss.
//!
//! - [`Key`] makes two requests the same bytes; [`freshness`] says how long those may be kept.
//! - `fill` brings bodies in: one task per key, whose state its readers share.
//! - `memory` holds whole bodies in blocks; each block counts against the budget until its last slice is
//!   dropped.
//! - `share` is room in the same budget for what requests hold besides.
//! - `store` is what the tiers below memory have in common; `disk` is the first of them.
//! - `shared` is what replicas share: a store such as Redis, and a bucket; `claimed` is for those who fetch
//!   many objects at once on behalf of all replicas.
//! - `purges` remembers what was purged; `tiers` puts all of it together.

mod claimed;
mod config;
mod disk;
mod entry;
mod fill;
pub mod freshness;
mod key;
mod memory;
mod metrics;
mod purges;
mod reader;
mod share;
mod shared;
mod store;
mod sync;
mod tiers;

pub use claimed::{AtReplicas, Ours};
pub use config::{Config, DiskConfig};
pub use entry::{Fetched, Head, Keep, Outcome, Sharing, Tier};
pub use key::{Key, Picture};
pub use metrics::Metrics;
pub use reader::{Reader, Reading};
pub use share::Share;

use crate::base::task::spawn_self_ending;
use crate::fleet;
use crate::fleet::s3::S3;
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use entry::Entry;
use fill::handle::ReaderHandle;
use fill::in_flight::Joined;
use fill::state::{Answer, FetchError, Opening};
use fill::task::Fetch;
use key::PurgeTarget;
use memory::budget::Budget;
use purges::Purges;
use shared::{Shared, SharedState};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use store::{Loaded, Store};
use tiers::{Clock, Tiers};
use tracing::Instrument as _;

/// The media cache. Clones share it.
#[derive(Clone)]
pub struct Cache(Arc<Tiers>);

/// What a lookup found, and how.
pub struct Found {
    /// How it went, for the log, the metrics and `Cache-Status`.
    pub outcome: Outcome,
    /// The bytes, whole or on their way.
    pub entry: Reading,
}

/// Why the cache could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was opened outside a tokio runtime, in which its tasks live.
    #[error("the cache needs a tokio runtime")]
    NoRuntime,
}

/// Why there is no answer. Nothing was stored, and nothing was given out.
#[derive(Debug, thiserror::Error)]
pub enum FillError<E> {
    /// The error of the fetch, shared by all who waited for it.
    #[error("{0}")]
    Fetch(Arc<E>),
    /// The fetch stalled or died before it answered.
    #[error("the fetch gave no answer: {0}")]
    Broken(Broken),
}

impl Cache {
    /// Opens the cache.
    ///
    /// # Errors
    /// There is no runtime.
    pub fn open(config: &Config, metrics: Metrics) -> Result<Self, Error> {
        Self::open_at(config, metrics, Clock::Wall, |_, _, _| Vec::new())
    }

    /// Opens the cache over the store that replicas share, and over their bucket, if they have one.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn open_shared(
        config: &Config,
        metrics: Metrics,
        store: fleet::Store,
        bucket: Option<S3>,
    ) -> Result<Self, Error> {
        let lowest = |budget: &Budget, purges: &Arc<Purges>, metrics: &Metrics| {
            let state = SharedState::open(store, bucket, budget, purges, metrics.shared.clone());
            vec![Arc::new(Shared::new(state)) as Arc<dyn Store>]
        };
        Self::open_at(config, metrics, Clock::Wall, lowest)
    }

    /// `lowest` gives the tiers below the disk.
    fn open_at(
        config: &Config,
        metrics: Metrics,
        clock: Clock,
        lowest: impl FnOnce(&Budget, &Arc<Purges>, &Metrics) -> Vec<Arc<dyn Store>>,
    ) -> Result<Self, Error> {
        let _on_a_runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        Ok(Self(Tiers::open(config, metrics, clock, lowest)))
    }

    /// Looks for `key` in memory, then in the tiers below, then joins the fetch in progress or starts one
    /// with `fetch`. If replicas share objects, they share this one.
    ///
    /// `fetch` may be called twice: a body that breaks before any reader has been given a byte is fetched
    /// once more for all of them. It runs in a task of its own, which a caller that goes away does not
    /// stop. All callers of one key must use the same error type.
    ///
    /// # Errors
    /// The fetch failed; see [`FillError`].
    pub async fn get_or_fill<F, Fut, E>(&self, key: Key, fetch: F) -> Result<Found, FillError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        self.get_or_fill_as(key, Sharing::Always, fetch).await
    }

    /// As [`Cache::get_or_fill`], shared with other replicas as `sharing` says.
    ///
    /// # Errors
    /// As there.
    pub async fn get_or_fill_as<F, Fut, E>(
        &self,
        key: Key,
        sharing: Sharing,
        fetch: F,
    ) -> Result<Found, FillError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let found = match self.0.lookup(&key) {
            Some(entry) => Found::new(Outcome::Hit(Tier::Memory), entry),
            // In a box: the way of a hit should not carry the room that a fill takes.
            None => Box::pin(self.fill(key, sharing, erase(fetch))).await.map_err(|error| error.typed())?,
        };
        self.0.metrics.count(found.outcome);
        Ok(found)
    }

    /// What memory holds under `key`, without waiting: for callers for whom preparing a fetch
    /// is work. A hit is counted; a miss is counted by the [`Cache::get_or_fill`] that follows.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Found> {
        let entry = self.0.lookup(key)?;
        let found = Found::new(Outcome::Hit(Tier::Memory), entry);
        self.0.metrics.count(found.outcome);
        Some(found)
    }

    /// Whether some tier holds `key` according to its index: nothing is read and nothing is counted. The
    /// entry may still turn out to be damaged, or be evicted before it is requested.
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        self.0.memory.holds(key) || self.0.below.iter().any(|store| store.holds(key, self.0.clock.now()))
    }

    /// Whether there are tiers below memory, in which looking takes time.
    #[must_use]
    pub fn has_tiers_below(&self) -> bool {
        !self.0.below.is_empty()
    }

    /// Why tiers below memory are not used at the moment, for `/readyz`.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.0.below.iter().filter_map(|store| store.problem()).collect()
    }

    /// Waits until all orders to write to the tiers below memory are done, at most `patience` long. Gives
    /// whether they are. What was not written is absent later, nothing more.
    pub async fn flush(&self, patience: Duration) -> bool {
        let idle = async {
            while !self.0.below.iter().all(|store| store.idle()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(patience, idle).await.is_ok()
    }

    /// Removes everything of a stream, given by its ARN or its name, from every tier of this process, and
    /// gives the number of entries removed. Fetches in progress finish for their readers and are not stored;
    /// the next request starts another. Files are deleted before this returns. The work runs on a thread
    /// for blocking work, and to its end even if this is dropped.
    pub async fn purge(&self, stream: &str) -> usize {
        self.purge_before(stream, self.0.clock.now()).await
    }

    /// As [`Cache::purge`], of a purge that was ordered at `at`: whatever of the stream was fetched from a
    /// time before that is a miss from now on, wherever it is found. `at` is in the past of this process's
    /// clock.
    pub async fn purge_before(&self, stream: &str, at: Timestamp) -> usize {
        let (target, inner) = (PurgeTarget::of(stream), Arc::clone(&self.0));
        inner.purges.note(target, at);
        let purging = tokio::task::spawn_blocking(move || {
            let below = || inner.below.iter().map(|store| store.purge(target)).sum();
            inner.in_flight.purge(target, below, || inner.memory.purge(target))
        });
        // Cancelled only while the runtime shuts down.
        purging.await.unwrap_or_else(|error| error.try_into_panic().map_or(0, |panic| resume_unwind(panic)))
    }

    /// Makes sure that `key` is held, and gives the number of bytes that were fetched for that.
    ///
    /// # Errors
    /// The fetch failed, or its body broke.
    pub async fn warm<F, Fut, E>(&self, key: Key, sharing: Sharing, fetch: F) -> Result<u64, FillError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let found = self.get_or_fill_as(key, sharing, fetch).await?;
        // Held already, or not to be held at all.
        if matches!(found.outcome, Outcome::Hit(_) | Outcome::Bypass) {
            return Ok(0);
        }
        let mut reader = found.entry.body(None);
        let mut bytes = 0;
        while let Some(chunk) = reader.next().await {
            bytes += chunk.map_err(FillError::Broken)?.len() as u64;
        }
        Ok(bytes)
    }

    /// Joins the fill of `key`, or starts one and runs it.
    fn join(&self, key: Key, sharing: Sharing, fetch: &Fetch) -> Joined {
        let joined = self.0.in_flight.join(key, || self.0.lookup(&key));
        if let Joined::Started(fill, _) = &joined {
            let run = Arc::clone(fill).run(Arc::clone(&self.0), Arc::clone(fetch), sharing);
            spawn_self_ending(run.in_current_span());
        }
        joined
    }

    async fn fill(&self, key: Key, sharing: Sharing, fetch: Fetch) -> Result<Found, FillError<Untyped>> {
        let patience = self.0.config.patience.0;
        for _ in 0..2 {
            let (reader, started) = match self.join(key, sharing, &fetch) {
                Joined::InProgress(reader) => (reader, false),
                Joined::Started(_, reader) => (reader, true),
                Joined::Held(entry) => return Ok(Found::new(Outcome::Hit(Tier::Memory), entry)),
            };
            match tokio::time::timeout(patience, reader.opening()).await {
                Ok(opening) => return Found::opened(reader, opening, started),
                // All readers that waited too long do this: the first frees the key, and the next one takes
                // it.
                Err(_) => self.0.in_flight.remove(reader.fill()),
            }
        }
        Err(FillError::Broken(Broken::Stalled(patience)))
    }
}

impl Found {
    fn new(outcome: Outcome, entry: Arc<Entry>) -> Self {
        Self { outcome, entry: Reading::whole_entry(entry) }
    }

    fn opened(reader: ReaderHandle, opening: Opening, started: bool) -> Result<Self, FillError<Untyped>> {
        match opening {
            Opening::Growing(opened) => {
                let outcome = match (started, opened.expires) {
                    (false, _) => Outcome::Collapsed,
                    (true, Some(_)) => Outcome::Miss,
                    (true, None) => Outcome::Bypass,
                };
                Ok(Self { outcome, entry: Reading::growing(reader, opened) })
            }
            Opening::Answered(Answer::Stored(tier, loaded)) => {
                let entry = match loaded {
                    Loaded::Whole(entry) => Reading::whole_entry(entry),
                    Loaded::Open(object) => Reading::stored(object),
                };
                Ok(Self { outcome: Outcome::Hit(tier), entry })
            }
            Opening::Answered(Answer::Failed(failure)) => Err(FillError::Fetch(Arc::new(Untyped(failure)))),
            Opening::Broken(broken) => Err(FillError::Broken(broken)),
        }
    }
}

/// An error whose type is erased.
struct Untyped(FetchError);

impl FillError<Untyped> {
    fn typed<E: Send + Sync + 'static>(self) -> FillError<E> {
        match self {
            Self::Broken(broken) => FillError::Broken(broken),
            Self::Fetch(failure) => match Arc::clone(&failure.0).downcast() {
                Ok(error) => FillError::Fetch(error),
                Err(_) => FillError::Broken(Broken::Refused(
                    "the shared fetch failed with another error type".into(),
                )),
            },
        }
    }
}

fn erase<F, Fut, E>(fetch: F) -> Fetch
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Fetched, E>> + Send + 'static,
    E: Send + Sync + 'static,
{
    Arc::new(move || {
        let fetching = fetch();
        Box::pin(async move { fetching.await.map_err(|error| Arc::new(error) as FetchError) })
    })
}

#[cfg(test)]
mod tests;

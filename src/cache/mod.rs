//! Media bytes: one fetch, many readers, never a partial body (docs/BEHAVIOUR.md 7).
//!
//! [`Cache::get_or_fill`] looks in memory, then on the disk, then joins the fetch in progress or starts
//! one. The cache does not depend on where bytes come from, because the fetch is handed in, nor on users:
//! its callers hold a permit already. Trouble in a tier is a miss.
//!
//! - [`Key`] makes two requests the same bytes; [`freshness`] says how long those may be kept.
//! - `fill` brings bodies in: one task per key, whose state its readers share.
//! - `memory` holds whole bodies in blocks; each block counts against the budget until its last slice is
//!   dropped.
//! - `share` is room in the same budget for what requests hold besides.
//! - `disk` is the tier below memory; `tiers` puts all of it together.

mod config;
mod disk;
mod entry;
mod fill;
pub mod freshness;
mod key;
mod memory;
mod metrics;
mod reader;
mod share;
mod sync;
mod tiers;

pub use config::{Config, DiskConfig};
pub use entry::{Fetched, Head, Keep, Outcome, Tier};
pub use key::{Key, Picture};
pub use metrics::Metrics;
pub use reader::{Reader, Reading};
pub use share::Share;

use crate::base::task::spawn_self_ending;
use crate::net::body::Broken;
use disk::{Disk, DiskLoaded};
use entry::Entry;
use fill::handle::ReaderHandle;
use fill::in_flight::Joined;
use fill::state::{Answer, FetchError, Opening};
use fill::task::Fetch;
use key::PurgeTarget;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
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
        Self::open_at(config, metrics, Clock::Wall)
    }

    fn open_at(config: &Config, metrics: Metrics, clock: Clock) -> Result<Self, Error> {
        let _on_a_runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::NoRuntime)?;
        Ok(Self(Tiers::open(config, metrics, clock)))
    }

    /// Looks for `key` in memory, then on the disk, then joins the fetch in progress or starts one with
    /// `fetch`.
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
        let found = match self.0.lookup(&key) {
            Some(entry) => Found::new(Outcome::Hit(Tier::Memory), entry),
            // In a box: the way of a hit should not carry the room that a fill takes.
            None => Box::pin(self.fill(key, erase(fetch))).await.map_err(|error| error.typed())?,
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
        let on_disk = |disk: &Disk| disk.holds(key, self.0.clock.now());
        self.0.memory.holds(key) || self.0.disk.as_ref().is_some_and(on_disk)
    }

    /// Waits until all orders to write to the disk are done, at most `patience` long. Gives whether they
    /// are. What was not written is absent after a restart, nothing more.
    pub async fn flush(&self, patience: Duration) -> bool {
        let Some(disk) = &self.0.disk else { return true };
        let idle = async {
            while !disk.idle() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(patience, idle).await.is_ok()
    }

    /// Removes everything of a stream, given by its ARN or its name, from every tier, and gives the number
    /// of entries removed. Fetches in progress finish for their readers and are not stored; the next
    /// request starts another. Files are deleted before this returns. The work runs on a thread for
    /// blocking work, and to its end even if this is dropped.
    pub async fn purge(&self, stream: &str) -> usize {
        let (target, inner) = (PurgeTarget::of(stream), Arc::clone(&self.0));
        let purging = tokio::task::spawn_blocking(move || {
            let disk = || inner.disk.as_ref().map_or(0, |disk| disk.purge(target));
            inner.in_flight.purge(target, disk, || inner.memory.purge(target))
        });
        // Cancelled only while the runtime shuts down.
        purging.await.unwrap_or_else(|error| error.try_into_panic().map_or(0, |panic| resume_unwind(panic)))
    }

    /// Makes sure that `key` is held, and gives the number of bytes that were fetched for that.
    ///
    /// # Errors
    /// The fetch failed, or its body broke.
    pub async fn warm<F, Fut, E>(&self, key: Key, fetch: F) -> Result<u64, FillError<E>>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched, E>> + Send + 'static,
        E: Send + Sync + 'static,
    {
        let found = self.get_or_fill(key, fetch).await?;
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
    fn join(&self, key: Key, fetch: &Fetch) -> Joined {
        let joined = self.0.in_flight.join(key, || self.0.lookup(&key));
        if let Joined::Started(fill, _) = &joined {
            spawn_self_ending(Arc::clone(fill).run(Arc::clone(&self.0), Arc::clone(fetch)).in_current_span());
        }
        joined
    }

    async fn fill(&self, key: Key, fetch: Fetch) -> Result<Found, FillError<Untyped>> {
        let patience = self.0.config.patience.0;
        for _ in 0..2 {
            let (reader, started) = match self.join(key, &fetch) {
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
            Opening::Answered(Answer::OnDisk(loaded)) => {
                let entry = match loaded {
                    DiskLoaded::Whole(entry) => Reading::whole_entry(entry),
                    DiskLoaded::Open(file) => Reading::on_disk(file),
                };
                Ok(Self { outcome: Outcome::Hit(Tier::Disk), entry })
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

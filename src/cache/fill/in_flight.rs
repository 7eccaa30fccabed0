//! The fills in progress: at most one per key.
//!
//! A hit does not reach this table. It is split by key, so that misses of different keys rarely contend.

use super::handle::{Fill, ReaderHandle};
use crate::cache::entry::Entry;
use crate::cache::key::{DigestHash, Key, PurgeTarget};
use crate::cache::sync::{Mutex, MutexGuard, lock};
use std::collections::HashMap;
use std::sync::Arc;

type Shard = HashMap<Key, Arc<Fill>, DigestHash>;

/// The fills in progress.
#[derive(Default)]
pub(in crate::cache) struct InFlight([Mutex<Shard>; 16]);

/// Where a request finds its place.
pub(in crate::cache) enum Joined {
    /// A reader of a fill in progress.
    InProgress(ReaderHandle),
    /// At a fill that begins now and is to be run.
    Started(Arc<Fill>, ReaderHandle),
    /// It has become whole in the meantime.
    Held(Arc<Entry>),
}

impl InFlight {
    /// Joins the fill of `key`, or begins one. `held` looks into memory.
    pub(in crate::cache) fn join(&self, key: Key, held: impl FnOnce() -> Option<Arc<Entry>>) -> Joined {
        let mut shard = self.shard(&key);
        if let Some(reader) = shard.get(&key).and_then(Fill::join) {
            return Joined::InProgress(reader);
        }
        // A fill stores before it frees its key, so one that has just ended is found here.
        if let Some(entry) = held() {
            return Joined::Held(entry);
        }
        let fill = Fill::new(key);
        let reader = fill.join().expect("a fill that has just begun has a place for everybody");
        shard.insert(key, Arc::clone(&fill));
        Joined::Started(fill, reader)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.0[(key.spread() >> 60) as usize])
    }

    /// Frees the key if it still belongs to this fill; the next request starts another.
    pub(in crate::cache) fn remove(&self, fill: &Arc<Fill>) {
        let mut shard = self.shard(&fill.key);
        if shard.get(&fill.key).is_some_and(|known| Arc::ptr_eq(known, fill)) {
            shard.remove(&fill.key);
        }
    }

    /// Removes everything of `target`, here and in the tiers below, each given as what empties it.
    pub(in crate::cache) fn purge(
        &self,
        target: PurgeTarget,
        below: impl FnOnce() -> usize,
        memory: impl FnOnce() -> usize,
    ) -> usize {
        // A fill that ends now either sees the mark, or has stored what is removed next. Between the two
        // marks a fill may have begun to read from a tier what was removed there a moment later.
        self.stop(target);
        let removed = below();
        self.stop(target);
        removed + memory()
    }

    /// Removes the fills of `target` from the table, so that later requests start new ones, and keeps them
    /// from being stored.
    fn stop(&self, target: PurgeTarget) {
        for shard in &self.0 {
            lock(shard).retain(|key, fill| {
                let goes = key.is_of(target);
                if goes {
                    fill.purge();
                }
                !goes
            });
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(in crate::cache) fn len(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).len()).sum()
    }
}

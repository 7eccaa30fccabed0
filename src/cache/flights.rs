//! Which fills are under way: one per key.
//!
//! A hit never comes here. The table is split by key, so that misses of different keys seldom meet.

use super::Key;
use super::fill::Fill;
use super::key::{Spread, Target};
use super::sync::{Mutex, MutexGuard, lock};
use std::collections::HashMap;
use std::sync::Arc;

type Shard = HashMap<Key, Arc<Fill>, Spread>;

/// The fills under way.
#[derive(Default)]
pub(super) struct Flights([Mutex<Shard>; 16]);

impl Flights {
    /// The shard of a key, locked: look, and start a fill in the same breath.
    pub(super) fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.0[(key.spread() >> 60) as usize])
    }

    /// Frees the key if it is still this fill's.
    pub(super) fn remove(&self, fill: &Arc<Fill>) {
        let mut shard = self.shard(&fill.key);
        if shard.get(&fill.key).is_some_and(|known| Arc::ptr_eq(known, fill)) {
            shard.remove(&fill.key);
        }
    }

    /// Takes the fills of `target` out, so that whoever asks next starts anew.
    pub(super) fn purge(&self, target: Target) -> Vec<Arc<Fill>> {
        let mut gone = Vec::new();
        for shard in &self.0 {
            lock(shard).retain(|key, fill| {
                let of = key.is_of(target);
                if of {
                    gone.push(Arc::clone(fill));
                }
                !of
            });
        }
        gone
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|shard| lock(shard).len()).sum()
    }
}

//! The task that brings the fragments of a batch.

use super::at_replicas;
use super::batch::{Batch, BatchReader, Batches, Ending, FragmentState, lock};
use super::call;
use super::source::{Claims, FragmentSource};
use crate::base::task::spawn_self_ending;
use crate::cache::Key;
use crate::kvs::operations::GetMediaForFragmentList;
use std::sync::Arc;

/// Brings the fragments of a batch, in a task of its own.
pub(super) fn start(
    reader: &BatchReader,
    batches: &Batches,
    source: FragmentSource,
    list: GetMediaForFragmentList,
) {
    let (batch, batches) = (reader.batch.clone(), batches.clone());
    spawn_self_ending(async move {
        let ending = EndGuard { batch: &batch, batches: &batches };
        let driven = match source.cache.is_shared() {
            // Boxed: it is much larger than the other.
            true => Box::pin(at_replicas::drive(&batch, &batches, &source, &list)).await,
            false => call::fetch(&batch, &batches, &source, &list, Claims::new()).await,
        };
        drop(source);
        if let Err(error) = driven {
            lock(&batch.state).ended = Some(Ending::Refused(Arc::new(error)));
        }
        drop(ending);
    });
}

/// Whatever ends the task ends the batch.
struct EndGuard<'a> {
    batch: &'a Batch,
    batches: &'a Batches,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let left: Vec<Key> = {
            let mut state = lock(&self.batch.state);
            state.ended.get_or_insert(Ending::Over);
            let coming = |(key, fragment): (&Key, &FragmentState)| {
                matches!(fragment, FragmentState::Coming).then_some(*key)
            };
            state.fragments.iter().filter_map(coming).collect()
        };
        for key in left {
            self.batches.forget(self.batch, &key);
        }
        self.batch.changed.notify_waiters();
    }
}

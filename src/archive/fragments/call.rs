//! One call to KVS that brings fragments of a batch.

use super::batch::{Batch, Batches, FragmentState, lock};
use super::source::{Claims, FragmentSource, arrived, keep};
use crate::cache::Key;
use crate::kvs::operations::GetMediaForFragmentList;
use crate::package::Document;
use crate::upstream::{self, Chunk};
use std::sync::atomic::Ordering;

/// Calls KVS for a list of fragments. Those that are `claimed` are fetched on behalf of all replicas.
///
/// # Errors
/// KVS refuses the call.
pub(super) async fn fetch(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    list: &GetMediaForFragmentList,
    mut claimed: Claims,
) -> Result<(), upstream::Error> {
    let asking = source.upstream.media(source.stream.located(), list, &source.on_behalf_of);
    let mut chunks = tokio::select! {
        chunks = asking => chunks?,
        () = batch.until(|state| state.readers == 0) => return Ok(()),
    };
    batch.begins();
    loop {
        if !batch.waits_for_room().await {
            return Ok(());
        }
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            () = batch.until(|state| state.readers == 0) => return Ok(()),
        };
        match chunk {
            None => return Ok(()),
            Some(Ok(chunk)) => deliver(batch, batches, source, list, chunk, &mut claimed).await,
            Some(Err(broken)) => {
                let stream = source.stream.located().stream.name();
                tracing::warn!(%stream, %broken, "a list of fragments broke");
                return Ok(());
            }
        }
    }
}

async fn deliver(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    list: &GetMediaForFragmentList,
    chunk: Chunk,
    claimed: &mut Claims,
) {
    let is_coming = |key: &Key| matches!(lock(&batch.state).fragments.get(key), Some(FragmentState::Coming));
    let key = match &chunk.number {
        Some(number) => Some(Key::mkv(source.stream.arn(), number)),
        // An error that does not say whose it is stands where its fragment would.
        None if chunk.error.is_some() => {
            list.fragments.iter().map(|number| Key::mkv(source.stream.arn(), number)).find(is_coming)
        }
        None => None,
    };
    let Some(key) = key.filter(is_coming) else { return };
    let ours = claimed.remove(&key);
    if let Some(error) = chunk.error {
        lock(&batch.state).fragments.insert(key, FragmentState::Failed(error));
        batches.forget(batch, &key);
        batch.changed.notify_waiters();
        return;
    }
    // First into the cache: a request that finds it gone from here looks there next.
    let cached = match batch.purged.load(Ordering::SeqCst) {
        true => None,
        false => keep(source, key, chunk.bytes.clone(), ours).await,
    };
    let held = cached.is_some();
    arrived(batch, batches, key, cached.unwrap_or_else(|| Document::from(chunk.bytes)), held);
}

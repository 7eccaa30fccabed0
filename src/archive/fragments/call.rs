//! The call to KVS that fills a batch.

use super::batch::{Batch, BatchReader, Batches, Ending, FragmentState, lock};
use crate::archive::Stream;
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Cache, Fetched, Head, Key, freshness};
use crate::kvs::Timestamp;
use crate::kvs::operations::GetMediaForFragmentList;
use crate::net::body::whole;
use crate::package::Document;
use crate::upstream::{self, Chunk, OnBehalfOf, Upstream};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The type of KVS's Matroska documents.
pub const MATROSKA: &str = "video/webm";

/// A batch that no reader has waited on for so long closes its connection; a later reader calls KVS anew.
const IDLE: Duration = Duration::from_secs(30);

/// What a batch is made with.
pub struct FragmentSource {
    /// The way to KVS.
    pub upstream: Upstream,
    /// The stream.
    pub stream: Stream,
    /// On whose behalf KVS is called.
    pub on_behalf_of: OnBehalfOf,
    /// Where fragments go.
    pub cache: Cache,
    /// How long they stay.
    pub rules: Rules,
}

/// Calls KVS for the fragments of a batch, in a task of its own.
pub(super) fn start(
    reader: &BatchReader,
    batches: &Batches,
    source: FragmentSource,
    list: GetMediaForFragmentList,
) {
    let (batch, batches) = (reader.batch.clone(), batches.clone());
    spawn_self_ending(async move {
        let ending = EndGuard { batch: &batch, batches: &batches };
        let refused = drive(&batch, &batches, &source, &list).await.err();
        drop(source);
        if let Some(error) = refused {
            lock(&batch.state).ended = Some(Ending::Refused(Arc::new(error)));
        }
        drop(ending);
    });
}

async fn drive(
    batch: &Batch,
    batches: &Batches,
    source: &FragmentSource,
    list: &GetMediaForFragmentList,
) -> Result<(), upstream::Error> {
    let asking = source.upstream.media(source.stream.located(), list, &source.on_behalf_of);
    let mut chunks = tokio::select! {
        chunks = asking => chunks?,
        () = batch.until(|state| state.readers == 0) => return Ok(()),
    };
    lock(&batch.state).answered = true;
    batch.changed.notify_waiters();
    loop {
        let room = batch.until(|state| state.readers == 0 || state.has_room());
        if tokio::time::timeout(IDLE, room).await.is_err() {
            return Ok(());
        }
        let chunk = tokio::select! {
            chunk = chunks.next() => chunk,
            () = batch.until(|state| state.readers == 0) => return Ok(()),
        };
        match chunk {
            None => return Ok(()),
            Some(Ok(chunk)) => deliver(batch, batches, source, list, chunk).await,
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
    if let Some(error) = chunk.error {
        lock(&batch.state).fragments.insert(key, FragmentState::Failed(error));
        batches.forget(batch, &key);
        batch.changed.notify_waiters();
        return;
    }
    // First into the cache: a request that finds it gone from here looks there next.
    let cached = match batch.purged.load(Ordering::SeqCst) {
        true => None,
        false => keep(source, key, chunk.bytes.clone()).await,
    };
    batches.forget(batch, &key);
    let mut state = lock(&batch.state);
    state.cached = cached.is_some();
    let document = cached.unwrap_or_else(|| Document::from(chunk.bytes));
    if !state.arrive(key, &document) {
        state.fragments.insert(key, FragmentState::Passed);
    }
    drop(state);
    batch.changed.notify_waiters();
}

/// Puts a fragment into the cache. Returns it as the cache holds it, so that it takes its memory once; `None`
/// if the cache does not hold it.
async fn keep(source: &FragmentSource, key: Key, bytes: Bytes) -> Option<Document> {
    let now = Timestamp::from(clock::now());
    let keep = freshness::keep(Kind::Mkv, StatusCode::OK, now, &source.rules);
    let fetch = move || {
        let head = Head::new(HeaderValue::from_static(MATROSKA), Some(bytes.len() as u64), now);
        let body = whole(bytes.clone());
        std::future::ready(Ok::<_, upstream::Error>(Fetched { head, keep, body }))
    };
    // Twice, because another request may just be looking for it on the disk. Otherwise it is only not kept.
    for _ in 0..2 {
        let Ok(found) = source.cache.get_or_fill(key, fetch.clone()).await else { continue };
        let mut entry = found.entry;
        // An entry that is not kept is for the readers of its fetch alone.
        if entry.expires().is_none() || entry.reaches(u64::MAX).await.is_err() {
            return None;
        }
        return entry.whole_bytes().map(|pieces| Document::new(pieces.to_vec()));
    }
    None
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

//! What a batch is made with, and how what arrives is kept.

use super::batch::{Batch, Batches, FragmentState, lock};
use crate::archive::Stream;
use crate::base::clock;
use crate::cache::freshness::{Kind, Rules};
use crate::cache::{Cache, Fetched, Head, Key, Ours, Reading, freshness};
use crate::kvs::Timestamp;
use crate::net::body::{Broken, whole};
use crate::package::Document;
use crate::upstream::{self, OnBehalfOf, Upstream};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use std::collections::HashMap;

/// The type of KVS's Matroska documents.
pub const MATROSKA: &str = "video/webm";
/// The largest fragment; KVS takes 50 MB.
const LARGEST: usize = 64 << 20;

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

/// The rights to fetch fragments on behalf of all replicas.
pub(super) type Claims = HashMap<Key, Ours>;

/// Puts a fragment into the cache, and gives it to the other replicas if it is ours to give. Returns it as
/// the cache holds it, so that it takes its memory once; `None` if the cache does not hold it.
pub(super) async fn keep(
    source: &FragmentSource,
    key: Key,
    bytes: Bytes,
    ours: Option<Ours>,
) -> Option<Document> {
    let now = Timestamp::from(clock::now());
    let keep = freshness::keep(Kind::Mkv, StatusCode::OK, now, &source.rules);
    let head = Head::new(HeaderValue::from_static(MATROSKA), Some(bytes.len() as u64), now);
    if source.cache.is_shared() {
        // Others have been looked at already.
        let kept = source.cache.put(key, &head, keep, &bytes, ours)?;
        return kept.whole_bytes().map(|pieces| Document::new(pieces.to_vec()));
    }
    let fetch = move || {
        let (head, body) = (head.clone(), whole(bytes.clone()));
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

/// A fragment is here; `cached`: the cache holds it.
pub(super) fn arrived(batch: &Batch, batches: &Batches, key: Key, document: Document, cached: bool) {
    batches.forget(batch, &key);
    let mut state = lock(&batch.state);
    state.cached = cached;
    if !state.arrive(key, &document) {
        state.fragments.insert(key, FragmentState::Passed);
    }
    drop(state);
    batch.changed.notify_waiters();
}

/// A cached fragment, in the pieces that the cache holds it in.
pub(super) async fn pieces(entry: Reading) -> Result<Document, Broken> {
    if let Some(pieces) = entry.whole_bytes() {
        return Ok(Document::new(pieces.to_vec()));
    }
    let mut body = entry.body(None);
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let piece = piece?;
        length += piece.len();
        if length > LARGEST {
            return Err(Broken::Refused(format!("a fragment is longer than {LARGEST} bytes")));
        }
        pieces.push(piece);
    }
    Ok(Document::new(pieces))
}

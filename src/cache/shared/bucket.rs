//! Bodies in the bucket: written in one piece, read by ranges.
//!
//! An object begins with the length of its record's value and that value, as the store has it. The sealed
//! blocks of the body follow. What is in the bucket therefore says what it is, and an object that was put in
//! place of another is found at the first look.

use super::record::Record;
use crate::cache::entry::{Entry, Head};
use crate::cache::key::Key;
use crate::cache::memory::budget::{Budget, Reservation};
use crate::cache::metrics::SharedCounters;
use crate::cache::store::{Loaded, OpenObject, Work};
use crate::fleet::s3::{self, S3};
use crate::fleet::{self, BLOCK, BLOCK_OVERHEAD, Blocks, Rejection};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::{Buf as _, Bytes};
use http::HeaderValue;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Up to this size a body is loaded whole.
const SMALL: u64 = 4 << 20;
/// What is read at once of a larger one: a multiple of the block.
const PIECE: u64 = 16 * BLOCK;
/// Bodies that wait to be written hold twice their memory. Beyond this many bytes further ones are not
/// written.
const MOST_QUEUED: u64 = 32 << 20;
/// How often a piece is asked for.
const TRIES: u32 = 2;

/// The bucket.
pub(super) struct Bucket {
    s3: S3,
    store: fleet::Store,
    budget: Budget,
    queued: Arc<AtomicU64>,
}

/// Why a body cannot be had.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The bucket has none.
    Missing,
    /// It has something else.
    Damaged,
    /// It does not give it in time.
    Slow,
    /// It does not give it.
    Failed(s3::Error),
    /// There is no memory for it.
    NoRoom,
}

impl From<s3::Error> for Trouble {
    fn from(error: s3::Error) -> Self {
        match error {
            s3::Error::Missing => Self::Missing,
            error if error.is_late() => Self::Slow,
            error => Self::Failed(error),
        }
    }
}

/// Counts what went wrong.
pub(super) fn note(counters: &SharedCounters, trouble: &Trouble) {
    if let Trouble::Failed(error) = trouble {
        tracing::debug!(%error, "the bucket was of no help");
    }
    let counter = match trouble {
        Trouble::Missing => &counters.miss,
        Trouble::Damaged => &counters.damaged,
        Trouble::Slow => &counters.slow,
        Trouble::Failed(_) => &counters.error,
        Trouble::NoRoom => &counters.skipped,
    };
    counter.inc();
}

impl Bucket {
    pub(super) fn new(s3: S3, store: &fleet::Store, budget: &Budget) -> Self {
        Self { s3, store: store.clone(), budget: budget.clone(), queued: Arc::default() }
    }

    /// Whether a body of this length belongs here.
    pub(super) fn takes(&self, length: u64) -> bool {
        self.store.config().s3.as_ref().is_some_and(|s3| length >= s3.min_size.0)
    }

    /// Nothing waits to be written.
    pub(super) fn idle(&self) -> bool {
        self.queued.load(Ordering::Acquire) == 0
    }

    /// Room to write so many bytes; `None` if the bucket does not keep up.
    pub(super) fn queue(&self, bytes: u64) -> Option<Queued> {
        let before = self.queued.fetch_add(bytes, Ordering::AcqRel);
        let queued = Queued { bytes, of: Arc::clone(&self.queued) };
        (before == 0 || before + bytes <= MOST_QUEUED).then_some(queued)
    }

    /// Writes a body behind the value of its record.
    pub(super) async fn write(
        &self,
        name: &str,
        value: &[u8],
        entry: &Arc<Entry>,
        blocks: Blocks,
    ) -> Result<(), Trouble> {
        let mut room = self.budget.reserve();
        let size = body_at(value) + sealed_length(entry.length());
        if !room.grow_to(size) {
            return Err(Trouble::NoRoom);
        }
        let (value, entry) = (value.to_vec(), Arc::clone(entry));
        let sealing = tokio::task::spawn_blocking(move || sealed(&value, &entry, &blocks, size));
        let sealed = sealing.await.ok().flatten().ok_or(Trouble::Damaged)?;
        self.s3.put(name, sealed.into()).await?;
        Ok(())
    }

    /// A small body whole, a larger one to be read from.
    pub(super) async fn open(&self, object: Object) -> Result<Loaded, Trouble> {
        let (length, body_at) = (object.length(), object.body_at);
        if length <= SMALL {
            let mut room = self.budget.reserve();
            if !room.grow_to(length) {
                return Err(Trouble::NoRoom);
            }
            let range = 0..length.div_ceil(BLOCK);
            let pieces = object.fetch(&self.s3, &self.store, range, &mut room).await?;
            let expires = Some(object.record.expires);
            let etag = Some(object.etag);
            let entry = Entry::new(object.key, &object.record.head, expires, pieces.into(), etag);
            return Ok(Loaded::Whole(Arc::new(entry.since(object.began).counted(&mut room))));
        }
        // Before anything is promised to a client.
        let found = self.s3.get(&object.name, Some(0..body_at)).await?;
        if found.length != body_at + sealed_length(length) || found.bytes()[..] != object.head[..] {
            self.store.rejected(Rejection::Mac);
            return Err(Trouble::Damaged);
        }
        Ok(Loaded::Open(Arc::new(Opened {
            object,
            s3: self.s3.clone(),
            store: self.store.clone(),
            budget: self.budget.clone(),
        })))
    }
}

/// Bytes that wait to be written.
pub(super) struct Queued {
    bytes: u64,
    of: Arc<AtomicU64>,
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What an object begins with.
fn head(value: &[u8]) -> Vec<u8> {
    let mut head = u32::try_from(value.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    head.extend_from_slice(value);
    head
}

fn body_at(value: &[u8]) -> u64 {
    4 + value.len() as u64
}

/// The length of a body's sealed blocks.
fn sealed_length(length: u64) -> u64 {
    length + length.div_ceil(BLOCK) * BLOCK_OVERHEAD
}

/// A whole object as it is written.
fn sealed(value: &[u8], entry: &Entry, blocks: &Blocks, size: u64) -> Option<Vec<u8>> {
    let mut to = Vec::with_capacity(usize::try_from(size).ok()?);
    to.extend_from_slice(&head(value));
    let (mut block, mut number) = (Vec::with_capacity(BLOCK as usize), 0);
    for piece in entry.pieces() {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(BLOCK as usize - block.len()));
            block.extend_from_slice(now);
            rest = later;
            if block.len() == BLOCK as usize {
                blocks.seal(number, &block, &mut to)?;
                block.clear();
                number += 1;
            }
        }
    }
    if !block.is_empty() {
        blocks.seal(number, &block, &mut to)?;
    }
    Some(to)
}

/// An object of the bucket, as the store describes it.
pub(super) struct Object {
    name: String,
    key: Key,
    record: Record,
    etag: HeaderValue,
    began: Timestamp,
    blocks: Blocks,
    /// What it has to begin with.
    head: Vec<u8>,
    body_at: u64,
}

impl Object {
    /// `None` if the record has no entity tag.
    pub(super) fn new(
        name: &str,
        key: Key,
        record: Record,
        began: Timestamp,
        blocks: Blocks,
        value: &[u8],
    ) -> Option<Self> {
        let (name, etag) = (name.to_owned(), record.etag()?);
        Some(Self { name, key, record, etag, began, blocks, head: head(value), body_at: body_at(value) })
    }

    fn length(&self) -> u64 {
        self.record.head.length.unwrap_or(0)
    }

    /// These blocks, opened, in memory that is taken from the reservation.
    async fn fetch(
        &self,
        s3: &S3,
        store: &fleet::Store,
        numbers: Range<u64>,
        room: &mut Reservation,
    ) -> Result<Vec<Bytes>, Trouble> {
        let length = self.length();
        let at = |number: u64| self.body_at + sealed_length((number * BLOCK).min(length));
        let found = s3.get(&self.name, Some(at(numbers.start)..at(numbers.end))).await?;
        if found.length != self.body_at + sealed_length(length) {
            store.rejected(Rejection::Format);
            return Err(Trouble::Damaged);
        }
        let mut chunks: VecDeque<Bytes> = found.chunks.into();
        let (mut pieces, mut sealed) = (Vec::new(), Vec::new());
        for number in numbers {
            let plain = (length - number * BLOCK).min(BLOCK);
            take(&mut chunks, plain + BLOCK_OVERHEAD, &mut sealed);
            let mut opened = vec![0; plain as usize];
            self.blocks.open(number, &sealed, &mut opened).map_err(|reason| {
                store.rejected(reason);
                Trouble::Damaged
            })?;
            pieces.extend(room.blocks(&opened));
            // A whole body is many blocks; others get a turn.
            tokio::task::yield_now().await;
        }
        Ok(pieces)
    }
}

/// Takes so many bytes from the front of `chunks`, as far as they go.
fn take(chunks: &mut VecDeque<Bytes>, bytes: u64, to: &mut Vec<u8>) {
    to.clear();
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0
        && let Some(front) = chunks.front_mut()
    {
        let now = front.len().min(left);
        to.extend_from_slice(&front[..now]);
        front.advance(now);
        left -= now;
        if front.is_empty() {
            chunks.pop_front();
        }
    }
}

/// An object that is read by ranges.
struct Opened {
    object: Object,
    s3: S3,
    store: fleet::Store,
    budget: Budget,
}

impl OpenObject for Opened {
    fn head(&self) -> &Head {
        &self.object.record.head
    }

    fn expires(&self) -> Timestamp {
        self.object.record.expires
    }

    fn began(&self) -> Timestamp {
        self.object.began
    }

    fn etag(&self) -> &HeaderValue {
        &self.object.etag
    }

    fn read(self: Arc<Self>, range: Range<u64>) -> Work<'static, Result<VecDeque<Bytes>, Broken>> {
        Box::pin(async move { self.piece(range).await })
    }
}

impl Opened {
    async fn piece(&self, range: Range<u64>) -> Result<VecDeque<Bytes>, Broken> {
        let first = range.start / BLOCK;
        let end = range.end.min(first * BLOCK + PIECE);
        let numbers = first..end.div_ceil(BLOCK);
        let mut room = self.budget.reserve();
        room.stretch_to((numbers.end - numbers.start) * BLOCK);
        for left in (0..TRIES).rev() {
            match self.object.fetch(&self.s3, &self.store, numbers.clone(), &mut room).await {
                Ok(pieces) => return Ok(sliced(pieces, first * BLOCK, range.start..end)),
                Err(trouble) if left > 0 => {
                    tracing::debug!(?trouble, "a piece of an object is asked for again")
                }
                Err(trouble) => tracing::warn!(?trouble, "the bucket could not give the rest of an object"),
            }
        }
        Err(Broken::Cut("the bucket does not give the rest of the object".to_owned()))
    }
}

/// What lies in `range` of pieces that begin at `at`.
fn sliced(pieces: Vec<Bytes>, mut at: u64, range: Range<u64>) -> VecDeque<Bytes> {
    let mut chunks = VecDeque::with_capacity(pieces.len());
    for piece in pieces {
        let length = piece.len() as u64;
        // Both lie in the piece.
        let from = range.start.saturating_sub(at).min(length) as usize;
        let to = range.end.saturating_sub(at).min(length) as usize;
        if from < to {
            chunks.push_back(piece.slice(from..to));
        }
        at += length;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_out_of_pieces() {
        let pieces =
            || vec![Bytes::from_static(b"abc"), Bytes::from_static(b"def"), Bytes::from_static(b"g")];
        let cut = |range| sliced(pieces(), 10, range).into_iter().flatten().collect::<Vec<u8>>();
        assert_eq!(cut(10..17), b"abcdefg");
        assert_eq!(cut(12..15), b"cde");
        assert_eq!(cut(13..13), b"");
    }

    #[test]
    fn bytes_are_taken_across_chunks() {
        let mut chunks: VecDeque<Bytes> = [&b"ab"[..], b"cdef", b"g"].map(Bytes::from_static).into();
        let mut taken = Vec::new();
        take(&mut chunks, 3, &mut taken);
        assert_eq!(taken, b"abc");
        take(&mut chunks, 30, &mut taken);
        assert_eq!(taken, b"defg");
    }

    #[test]
    fn each_block_is_longer_by_its_seal() {
        assert_eq!(sealed_length(0), 0);
        assert_eq!(sealed_length(1), 17);
        assert_eq!(sealed_length(BLOCK), BLOCK + 16);
        assert_eq!(sealed_length(BLOCK + 1), BLOCK + 33);
    }
}

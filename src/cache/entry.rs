//! The stored form of a response, and the types for what a fetch brings and what a lookup found.
//!
//! An [`Entry`] is whole and never changes, so readers share its chunks without a lock. Its length is
//! always known. Its entity tag is computed when it is first needed.

use super::key::Key;
use super::memory::account::Weight;
use super::memory::block;
use super::memory::budget::Reservation;
use crate::kvs::Timestamp;
use crate::net::body::ByteStream;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::HeaderValue;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What is known of a body before its first byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its `Content-Type`, kept as it is: no slice of a larger buffer, of which `net::client` gives none.
    pub content_type: HeaderValue,
    /// Its length in bytes, if KVS announced one. A body that turns out to be longer or shorter is broken.
    pub length: Option<u64>,
    /// When KVS answered: `Age` counts from here, and so do the durations of [`Keep`].
    pub stored: Timestamp,
    /// A short note of the fetcher's, kept with the body, such as the instant that a picture really shows.
    /// At most 1 KiB; a longer one keeps the entry off the disk.
    pub note: Option<Arc<str>>,
}

impl Head {
    /// A head without a note.
    #[must_use]
    pub fn new(content_type: HeaderValue, length: Option<u64>, stored: Timestamp) -> Self {
        Self { content_type, length, stored, note: None }
    }

    /// Whether a reader that has already passed on the head `self` may be given the body behind `other`.
    pub(super) fn promises_the_same_as(&self, other: &Self) -> bool {
        self.content_type == other.content_type && self.length == other.length && self.note == other.note
    }
}

/// What a fetch brings.
pub struct Fetched {
    /// What is known ahead of the body.
    pub head: Head,
    /// How long it may be kept; see [`super::freshness`].
    pub keep: Keep,
    /// The body. An error in it means that nothing is stored. A fetch that finds out only at the end that
    /// its body must not be kept therefore ends the body with an error.
    pub body: ByteStream,
}

/// How long a body may be kept, counted from [`Head::stored`]. `cache.max_age` bounds it further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// For so long.
    For(Duration),
    /// Not at all: requests that arrive during the fetch share it, and nothing is kept afterwards.
    No,
}

/// A tier of the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tier {
    /// The first.
    Memory,
    /// The second.
    Disk,
    /// The store that replicas share.
    Redis,
    /// The bucket that replicas share.
    S3,
}

impl Tier {
    /// As in metric labels and `Cache-Status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Redis => "redis",
            Self::S3 => "s3",
        }
    }
}

/// Whether an object is looked for in, and given to, what replicas share, if there is any.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sharing {
    /// It is not.
    No,
    /// It is part of a stream that is watched live.
    Live {
        /// How many replicas have viewers of the stream, as far as is known; this one counts.
        replicas: u32,
    },
    /// Anything else.
    Always,
}

/// How a lookup went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// It was held.
    Hit(Tier),
    /// It was fetched for this request.
    Miss,
    /// It was being fetched for another request.
    Collapsed,
    /// It was held, is past its freshness, and is being refreshed.
    Stale,
    /// It was fetched and will not be kept.
    Bypass,
}

impl Outcome {
    /// The word in metric labels, logs and `Cache-Status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit(_) => "hit",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
            Self::Bypass => "bypass",
        }
    }
}

impl Keep {
    /// Until when a body that was answered at `stored` is kept, at most for `max_age`; `None`: not at all.
    pub(super) fn expiry(self, stored: Timestamp, max_age: Duration) -> Option<Timestamp> {
        match self {
            Self::For(span) => Some(stored.plus(span.min(max_age))).filter(|expires| *expires > stored),
            Self::No => None,
        }
    }
}

/// A whole body with its head.
pub(super) struct Entry {
    pub(super) key: Key,
    /// Its length is always there.
    pub(super) head: Arc<Head>,
    /// Until when it may be given out; `None`: only to the readers of its fetch.
    pub(super) expires: Option<Timestamp>,
    /// When its fetch began: a purge after that covers it.
    pub(super) began: Timestamp,
    pieces: Box<[Bytes]>,
    /// Where each piece ends.
    ends: Box<[u64]>,
    etag: OnceLock<HeaderValue>,
    /// What it takes of the budget beside its blocks.
    own: Option<Weight>,
}

impl Entry {
    /// Puts an entry together; its entity tag may be known already.
    pub(super) fn new(
        key: Key,
        head: &Head,
        expires: Option<Timestamp>,
        pieces: Box<[Bytes]>,
        etag: Option<HeaderValue>,
    ) -> Self {
        let mut end = 0;
        let ends: Box<[u64]> = pieces
            .iter()
            .map(|piece| {
                end += piece.len() as u64;
                end
            })
            .collect();
        let began = head.stored;
        let head = Arc::new(Head { length: Some(end), ..head.clone() });
        let etag = etag.map(OnceLock::from).unwrap_or_default();
        Self { key, head, expires, began, pieces, ends, etag, own: None }
    }

    /// The same, of a fetch that began then; without this, when KVS answered.
    pub(super) fn since(mut self, began: Timestamp) -> Self {
        self.began = began;
        self
    }

    /// Counts the entry against the budget. Its pieces are blocks, which count themselves.
    pub(super) fn counted(mut self, reservation: &mut Reservation) -> Self {
        self.own = Some(reservation.split(self.bookkeeping()));
        self
    }

    /// The body's length.
    pub(super) fn length(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(super) fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// Which piece holds byte `at`, and how far into it; past the end it is one past the last piece.
    pub(super) fn find(&self, at: u64) -> (usize, usize) {
        let index = self.ends.partition_point(|end| *end <= at);
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        (index, usize::try_from(at - start).unwrap_or(usize::MAX))
    }

    /// The strong entity tag, computed at most once. Bodies over [`LAZY`] are hashed while they arrive, so
    /// this is cheap.
    pub(super) fn etag(&self) -> &HeaderValue {
        self.etag.get_or_init(|| {
            let mut context = Context::new(&SHA256);
            self.pieces.iter().for_each(|piece| context.update(piece));
            entity_tag(context.finish().as_ref())
        })
    }

    /// The entity tag, if it has been computed.
    pub(super) fn known_etag(&self) -> Option<&HeaderValue> {
        self.etag.get()
    }

    /// What it costs to hold: its blocks, and moka's and our own bookkeeping.
    pub(super) fn weight(&self) -> u64 {
        self.bookkeeping() + self.pieces.iter().map(|piece| block::weight(piece.len())).sum::<u64>()
    }

    fn bookkeeping(&self) -> u64 {
        let texts = self.head.content_type.len() + self.head.note.as_deref().map_or(0, str::len);
        (PER_ENTRY + texts) as u64
    }
}

/// Up to this length the entity tag is computed when it is first needed. A longer body is hashed as it
/// arrives, because hashing it in one go would hold up a worker for more than half a millisecond.
pub(super) const LAZY: u64 = 1 << 20;

/// `Entry`, `Head`, a content type, an entity tag, and moka's hash slot, entry and two queue nodes.
const PER_ENTRY: usize = 800;

/// `"` + 32 hexadecimal digits + `"`: the first half of a SHA-256, so that equal tags mean equal bytes.
pub(super) fn entity_tag(digest: &[u8]) -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Vec::with_capacity(34);
    text.push(b'"');
    for byte in digest.iter().take(16) {
        text.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text.push(b'"');
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("quotes and hexadecimal digits are legal")
}

/// The sixteen bytes behind an entity tag of ours.
pub(super) fn tag_bytes(etag: &HeaderValue) -> Option<[u8; 16]> {
    let digits = etag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    (digits.len() == 32).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::tests_support::key;

    fn entry(pieces: &[&'static str]) -> Entry {
        let head = Head::new(HeaderValue::from_static("a/b"), None, Timestamp::from_millis(0));
        let pieces = pieces.iter().map(|piece| Bytes::from_static(piece.as_bytes())).collect();
        Entry::new(key(1), &head, None, pieces, None)
    }

    #[test]
    fn the_entity_tag_depends_on_the_bytes_and_not_on_their_cuts() {
        assert_eq!(entry(&["abc", "def"]).etag(), entry(&["a", "bcdef"]).etag());
        assert_ne!(entry(&["abc"]).etag(), entry(&["abd"]).etag());
        // echo -n abc | sha256sum
        assert_eq!(entry(&["abc"]).etag(), "\"ba7816bf8f01cfea414140de5dae2223\"");
    }

    #[test]
    fn every_byte_is_found_in_its_piece() {
        let entry = entry(&["ab", "c", "def"]);
        let found: Vec<_> = (0..7).map(|at| entry.find(at)).collect();
        assert_eq!(found, [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0)]);
        assert_eq!(super::Entry::length(&entry), 6);
    }

    #[test]
    fn no_life_is_longer_than_the_bound() {
        let (at, hour) = (Timestamp::from_millis(1000), Duration::from_secs(3600));
        assert_eq!(Keep::No.expiry(at, hour), None);
        assert_eq!(Keep::For(Duration::ZERO).expiry(at, hour), None);
        assert_eq!(Keep::For(hour / 2).expiry(at, hour), Some(at.plus(hour / 2)));
        assert_eq!(Keep::For(hour * 9).expiry(at, hour), Some(at.plus(hour)));
    }
}

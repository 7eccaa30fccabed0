//! What the store has of an object: what its head says, and either the body or where in the bucket that is.
//!
//! The value in the store begins with the time at which the fetch began, in clear, so that a script can tell
//! whether a purge covers it. That time is the version that the rest is sealed as, so it cannot be changed.

use crate::cache::entry::{Head, entity_tag};
use crate::fleet::{BLOCKS_ID, ID_LEN};
use crate::kvs::Timestamp;
use http::HeaderValue;
use std::sync::Arc;

/// The layout of a record.
const FORMAT: u8 = 1;
/// Up to the texts.
const FIXED: usize = 2 + 3 * 8 + 16 + 2 * 2;
/// What the second byte says.
const IN_BUCKET: u8 = 1;
const HASHED: u8 = 2;
/// There is no note.
const NO_NOTE: u16 = u16::MAX;
/// Digits of the time that a value begins with.
pub(super) const TIME: usize = 13;

/// An object as the store describes it. Times are the store's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    /// Its length is always there.
    pub(super) head: Head,
    pub(super) expires: Timestamp,
    /// The first half of the SHA-256 of the body, as in its entity tag. Always known of a body in the bucket;
    /// a smaller one is hashed where its tag is needed.
    pub(super) digest: Option<[u8; 16]>,
    pub(super) place: BodyPlace,
}

/// Where the body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyPlace {
    /// Behind the record.
    Inline,
    /// In the bucket.
    Bucket {
        /// The id that its blocks are sealed with.
        id: [u8; BLOCKS_ID],
        /// The id of the playback key that they are sealed with.
        key: [u8; ID_LEN],
    },
}

impl Record {
    /// The strong entity tag, as far as it is known.
    pub(super) fn etag(&self) -> Option<HeaderValue> {
        self.digest.as_ref().map(|digest| entity_tag(digest))
    }

    /// The record; an inline body follows it.
    ///
    /// `None` if a text is too long.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let (kind, note) = (self.head.content_type.as_bytes(), self.head.note.as_deref());
        let length = |text: &[u8]| u16::try_from(text.len()).ok().filter(|length| *length < NO_NOTE);
        let mut to = Vec::with_capacity(FIXED + 128);
        to.push(FORMAT);
        let (bucket, hashed) = (matches!(self.place, BodyPlace::Bucket { .. }), self.digest.is_some());
        to.push(u8::from(bucket) * IN_BUCKET + u8::from(hashed) * HASHED);
        for number in [self.head.stored.millis(), self.expires.millis(), self.head.length?] {
            to.extend_from_slice(&number.to_be_bytes());
        }
        to.extend_from_slice(&self.digest.unwrap_or_default());
        to.extend_from_slice(&length(kind)?.to_be_bytes());
        let note_length = note.map_or(Some(NO_NOTE), |note| length(note.as_bytes()))?;
        to.extend_from_slice(&note_length.to_be_bytes());
        to.extend_from_slice(kind);
        to.extend_from_slice(note.unwrap_or_default().as_bytes());
        if let BodyPlace::Bucket { id, key } = &self.place {
            to.extend_from_slice(id);
            to.extend_from_slice(key);
        }
        Some(to)
    }

    /// Reads a record; gives what follows it, which is the body of an inline one.
    pub(super) fn decode(all: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = all;
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at_checked(length)?;
            rest = left;
            Some(taken)
        };
        let [format, flags]: [u8; 2] = take(2)?.try_into().ok()?;
        if format != FORMAT || flags > IN_BUCKET + HASHED {
            return None;
        }
        let mut number = || Some(u64::from_be_bytes(take(8)?.try_into().ok()?));
        let (stored, expires, length) = (number()?, number()?, number()?);
        let digest = Some(take(16)?.try_into().ok()?).filter(|_| flags & HASHED != 0);
        let mut number = || Some(u16::from_be_bytes(take(2)?.try_into().ok()?));
        let (kind, note) = (number()?, number()?);
        let content_type = HeaderValue::from_bytes(take(kind.into())?).ok()?;
        let note = match note {
            NO_NOTE => None,
            length => Some(Arc::from(std::str::from_utf8(take(length.into())?).ok()?)),
        };
        let place = match flags & IN_BUCKET {
            0 => BodyPlace::Inline,
            _ => BodyPlace::Bucket {
                id: take(BLOCKS_ID)?.try_into().ok()?,
                key: take(ID_LEN)?.try_into().ok()?,
            },
        };
        let whole = match place {
            BodyPlace::Inline => rest.len() as u64 == length,
            BodyPlace::Bucket { .. } => rest.is_empty() && digest.is_some(),
        };
        let stored = Timestamp::from_millis(stored);
        let head = Head { note, ..Head::new(content_type, Some(length), stored) };
        let expires = Timestamp::from_millis(expires);
        whole.then_some((Self { head, expires, digest, place }, rest))
    }
}

/// A value: when its fetch began, and the sealed rest.
pub(super) fn value(began: Timestamp, sealed: &[u8]) -> Vec<u8> {
    let mut value = format!("{:0TIME$}", began.millis()).into_bytes();
    value.extend_from_slice(sealed);
    value
}

/// When the fetch of a value began, and the sealed rest.
pub(super) fn split(value: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (time, sealed) = value.split_at_checked(TIME)?;
    let digits = time.iter().all(u8::is_ascii_digit);
    let millis = std::str::from_utf8(time).ok().filter(|_| digits)?.parse().ok()?;
    Some((Timestamp::from_millis(millis), sealed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::entry::tag_bytes;
    use proptest::prelude::*;

    fn record(place: BodyPlace, length: u64, note: Option<&str>) -> Record {
        let head = Head::new(HeaderValue::from_static("video/mp4"), Some(length), Timestamp::from_millis(7));
        let head = Head { note: note.map(Into::into), ..head };
        let digest = (length != 1).then_some([3; 16]);
        Record { head, expires: Timestamp::from_millis(9), digest, place }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_anything_else_is_read_or_refused_without_panic(
            body: Vec<u8>, note in proptest::option::of("\\PC{0,20}"), at: usize, byte: u8,
        ) {
            let inline = record(BodyPlace::Inline, body.len() as u64, note.as_deref());
            let mut bytes = inline.encode().unwrap();
            bytes.extend_from_slice(&body);
            prop_assert_eq!(Record::decode(&bytes), Some((inline, &body[..])));
            let at = at % bytes.len();
            prop_assert!(Record::decode(&bytes[..bytes.len() - 1]).is_none());
            bytes[at] = byte;
            let _ = Record::decode(&bytes);
            let _ = Record::decode(&body);
            let _ = split(&body);
        }
    }

    #[test]
    fn a_body_in_the_bucket_is_named_by_its_id_and_its_key() {
        let record = record(BodyPlace::Bucket { id: [1; 16], key: *b"key1" }, 5 << 20, None);
        let bytes = record.encode().unwrap();
        assert_eq!(Record::decode(&bytes), Some((record.clone(), &[][..])));
        let etag = record.etag().unwrap();
        assert_eq!(tag_bytes(&etag), Some([3; 16]));
        assert!(Record::decode(&[bytes, vec![0]].concat()).is_none());
    }

    #[test]
    fn a_value_begins_with_its_time_in_thirteen_digits() {
        let value = value(Timestamp::from_millis(1_767_225_600_000), b"sealed");
        assert_eq!(value, b"1767225600000sealed");
        assert_eq!(split(&value), Some((Timestamp::from_millis(1_767_225_600_000), &b"sealed"[..])));
        for wrong in [&b""[..], b"123", b"+767225600000sealed", b"176722560000xsealed"] {
            assert_eq!(split(wrong), None);
        }
    }
}

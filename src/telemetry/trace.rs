//! Ids of a request: its own, and the trace that it is part of (W3C Trace Context).
//!
//! Ids are unique, not secret. Nothing here is sent to AWS.

use http::{HeaderMap, HeaderName};
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The longest id of a proxy that is used.
const LONGEST: usize = 64;

/// A new id for a request: 32 hexadecimal digits.
#[must_use]
pub fn request_id() -> Arc<str> {
    text(&random_bytes::<16>())
}

/// The id in `x-request-id`, if it is harmless (letters, digits, `-`, `_`, `.`, at most 64). Call it only
/// when a trusted proxy sent the request.
#[must_use]
pub fn request_id_of(headers: &HeaderMap) -> Option<Arc<str>> {
    let value = headers.get("x-request-id")?.to_str().ok()?;
    let harmless = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    ((1..=LONGEST).contains(&value.len()) && value.bytes().all(harmless)).then(|| value.into())
}

/// The trace that a request is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace {
    id: [u8; 16],
    parent: [u8; 8],
    sampled: bool,
}

impl Trace {
    /// Reads `traceparent`: `00-{32 hex}-{16 hex}-{2 hex}`. Later versions are read by their first four
    /// fields.
    #[must_use]
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(&TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else { return None };
        Self::parse(value.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split('-');
        let version: [u8; 1] = unhex(fields.next()?)?;
        let (id, parent) = (unhex(fields.next()?)?, unhex(fields.next()?)?);
        let [flags] = unhex(fields.next()?)?;
        let surplus = fields.next().is_some();
        if version == [0xff] || version == [0] && surplus || id == [0; 16] || parent == [0; 8] {
            return None;
        }
        Some(Self { id, parent, sampled: flags & 1 == 1 })
    }

    /// The trace's id, 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> Arc<str> {
        text(&self.id)
    }

    /// The caller's span, 16 hexadecimal digits.
    #[must_use]
    pub fn parent(&self) -> Arc<str> {
        text(&self.parent)
    }

    pub(super) fn id_bytes(&self) -> [u8; 16] {
        self.id
    }

    pub(super) fn parent_bytes(&self) -> [u8; 8] {
        self.parent
    }

    /// Whether the caller keeps this trace.
    #[must_use]
    pub fn sampled(&self) -> bool {
        self.sampled
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// At most 16 bytes as hexadecimal digits.
fn text(bytes: &[u8]) -> Arc<str> {
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    std::str::from_utf8(&digits[..bytes.len() * 2]).expect("hexadecimal digits are ASCII").into()
}

/// Lower case only, as the standard says.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let value = |digit: u8| DIGITS.iter().position(|d| *d == digit);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// Bytes that do not repeat: splitmix64 from a seed per thread, which the standard library draws from the
/// system.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    let mut bytes = [0; N];
    for part in bytes.chunks_mut(8) {
        let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        STATE.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes()[..part.len()]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn request_ids_are_new_or_harmless() {
        let ids: std::collections::HashSet<Arc<str>> = (0..1000).map(|_| request_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        let taken = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-request-id", http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
            request_id_of(&headers)
        };
        assert_eq!(&*taken("Root-1.abc_DEF").unwrap(), "Root-1.abc_DEF");
        for bad in ["", "a b", "a\"b", "a;b", "\u{e4}", &"a".repeat(65)] {
            assert_eq!(taken(bad), None, "{bad}");
        }
        assert_eq!(request_id_of(&HeaderMap::new()), None);
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::parse(good).unwrap();
        assert_eq!(&*trace.id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!((&*trace.parent(), trace.sampled()), ("00f067aa0ba902b7", true));
        assert!(Trace::parse(&good.replace("00-4", "cc-4")).is_some());
        assert!(Trace::parse(&(good.replace("00-4", "cc-4") + "-more")).is_some());
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(bad), None, "{bad}");
        }
        let mut two = HeaderMap::new();
        two.append("traceparent", good.parse().unwrap());
        assert!(Trace::read(&two).is_some());
        two.append("traceparent", good.parse().unwrap());
        assert_eq!(Trace::read(&two), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f-]{0,60}|.{0,60}") {
            let _ = Trace::parse(&text);
        }
    }
}

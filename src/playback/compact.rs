//! A small binary form for capabilities: numbers of 1 to 10 bytes, texts with their length, UUIDs in 16
//! bytes.
//!
//! A capability stands in the path of every playback request, so its length counts: groups of a company's
//! identity provider are often UUIDs, or texts that share a beginning. JSON would not fit 30 of them into 1
//! KB; this does. Reading is strict: what has not been written exactly like this is refused.

use super::error::Error;
use crate::base::hex;

const BROKEN: Error = Error::Malformed("the playback capability's content is not understood");

/// Writes.
#[derive(Default)]
pub(super) struct FieldWriter(Vec<u8>);

impl FieldWriter {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Seven bits a byte, lowest first.
    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    /// Length + 1 and the bytes; or 0 and the 16 bytes of a UUID in its usual spelling.
    pub(super) fn text(&mut self, text: &str) {
        if let Some(uuid) = uuid_bytes(text) {
            self.0.push(0);
            self.0.extend_from_slice(&uuid);
        } else {
            self.number(text.len() as u64 + 1);
            self.0.extend_from_slice(text.as_bytes());
        }
    }

    /// A text by its parts between slashes, for URLs that hold a UUID.
    pub(super) fn path(&mut self, text: &str) {
        self.number(text.split('/').count() as u64);
        for part in text.split('/') {
            self.text(part);
        }
    }

    /// Sorted texts: each as the length + 1 of what it shares with the one before, and the rest; or 0 and a
    /// UUID.
    pub(super) fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.number(texts.len() as u64);
        let mut before = "";
        for text in texts {
            if let Some(uuid) = uuid_bytes(text) {
                self.0.push(0);
                self.0.extend_from_slice(&uuid);
            } else {
                let shared = shared_prefix(before, text);
                self.number(shared as u64 + 1);
                self.bytes(&text.as_bytes()[shared..]);
            }
            before = text;
        }
    }
}

/// Reads; every method fails on input that no [`FieldWriter`] wrote.
pub(super) struct FieldReader<'a>(pub(super) &'a [u8]);

impl<'a> FieldReader<'a> {
    pub(super) fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(BROKEN) }
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(BROKEN)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(BROKEN)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.length()?;
        self.take(length)
    }

    pub(super) fn number(&mut self) -> Result<u64, Error> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(BROKEN);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(BROKEN)
    }

    /// A number of things that are still to come: never more than bytes are left, so that nothing large is
    /// reserved.
    pub(super) fn length(&mut self) -> Result<usize, Error> {
        let length = usize::try_from(self.number()?).map_err(|_| BROKEN)?;
        if length > self.0.len() { Err(BROKEN) } else { Ok(length) }
    }

    pub(super) fn text(&mut self) -> Result<String, Error> {
        match self.number()? {
            0 => Ok(uuid_text(self.take(16)?)),
            length => {
                let length = usize::try_from(length - 1).map_err(|_| BROKEN)?;
                String::from_utf8(self.take(length)?.to_vec()).map_err(|_| BROKEN)
            }
        }
    }

    pub(super) fn path(&mut self) -> Result<String, Error> {
        let parts: Result<Vec<String>, Error> = (0..self.length()?).map(|_| self.text()).collect();
        Ok(parts?.join("/"))
    }

    pub(super) fn texts(&mut self) -> Result<Vec<String>, Error> {
        let count = self.length()?;
        let mut texts: Vec<String> = Vec::with_capacity(count);
        for _ in 0..count {
            let shared = usize::try_from(self.number()?).map_err(|_| BROKEN)?;
            if shared == 0 {
                texts.push(uuid_text(self.take(16)?));
                continue;
            }
            let before = texts.last().map_or("", String::as_str);
            let mut text = before.get(..shared - 1).ok_or(BROKEN)?.to_owned();
            text.push_str(std::str::from_utf8(self.bytes()?).map_err(|_| BROKEN)?);
            texts.push(text);
        }
        Ok(texts)
    }

    /// Says that the content is not understood.
    pub(super) fn broken<T>() -> Result<T, Error> {
        Err(BROKEN)
    }
}

fn shared_prefix(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// The bytes of a UUID written in lower case with four hyphens, so that the text comes back exactly.
fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = 0;
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | value;
        digits += 1;
    }
    Some(bytes)
}

fn uuid_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        hex::push(&mut text, *byte);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            number: u64, text in "\\PC{0,40}", uuid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            texts in proptest::collection::btree_set(
                "((team-)?[a-c\u{e9}]{0,6}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})", 0..12
            ),
        ) {
            let mut to = FieldWriter::default();
            to.number(number);
            to.text(&text);
            to.text(&uuid);
            to.path(&text);
            to.texts(texts.iter().map(String::as_str));
            let bytes = to.finish();
            let mut from = FieldReader(&bytes);
            prop_assert_eq!(from.number(), Ok(number));
            prop_assert_eq!(from.text(), Ok(text.clone()));
            prop_assert_eq!(from.text(), Ok(uuid));
            prop_assert_eq!(from.path(), Ok(text));
            prop_assert_eq!(from.texts().unwrap(), texts.into_iter().collect::<Vec<_>>());
            prop_assert!(from.end().is_ok());
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..60)
        ) {
            let _ = FieldReader(&bytes).texts();
            let _ = FieldReader(&bytes).text();
            let _ = FieldReader(&bytes).bytes();
        }
    }
}

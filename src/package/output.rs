//! Bytes on their way out: small ones are copied together, large ones are shared with the cache.

use super::Document;
use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// Below this length a copy costs less than a shared slice and its own entry in a vectored write.
const COPIED: usize = 1024;
/// A slot of small frames is copied into one piece of this size at most.
const RESERVED: usize = 32 << 10;
/// What padding is made of.
static ZEROS: [u8; 16 << 10] = [0; 16 << 10];

/// A sequence of bytes that is being put together.
#[derive(Default)]
pub(super) struct Output {
    done: Vec<Bytes>,
    /// Copied, and not in `done` yet.
    current: BytesMut,
    length: usize,
}

impl Output {
    /// With room for so many bytes, if they are few enough to be copied together.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let current = BytesMut::with_capacity(bytes.min(RESERVED));
        Self { current, ..Self::default() }
    }

    /// How many bytes it has so far.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Appends a copy.
    pub(super) fn copy(&mut self, bytes: &[u8]) {
        self.current.extend_from_slice(bytes);
        self.length += bytes.len();
    }

    /// Appends a range of a document, shared unless it is small.
    pub(super) fn stored(&mut self, document: &Document, range: Range<usize>) {
        if range.len() >= COPIED {
            document.slices(range).for_each(|slice| self.shared(slice));
            return;
        }
        let start = self.current.len();
        self.current.resize(start + range.len(), 0);
        self.length += document.read(range.start, &mut self.current[start..]);
    }

    /// Appends bytes, shared unless they are few.
    pub(super) fn shared(&mut self, bytes: Bytes) {
        if bytes.len() < COPIED {
            self.copy(&bytes);
        } else {
            self.flush();
            self.length += bytes.len();
            self.done.push(bytes);
        }
    }

    /// Appends zeros.
    pub(super) fn zeros(&mut self, mut count: usize) {
        while count > 0 {
            let part = count.min(ZEROS.len());
            self.shared(Bytes::from_static(&ZEROS[..part]));
            count -= part;
        }
    }

    /// All of it, in order.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.done
    }

    fn flush(&mut self) {
        if !self.current.is_empty() {
            self.done.push(self.current.split().freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_parts_are_shared_and_small_ones_are_copied_together() {
        let large = Bytes::from(vec![7; 5000]);
        let document = Document::new(vec![large.clone(), Bytes::from_static(b"small")]);
        let mut output = Output::default();
        output.copy(b"head");
        output.stored(&document, 0..5005);
        output.zeros(20_000);
        output.copy(b"end");
        assert_eq!(output.len(), 4 + 5005 + 20_000 + 3);
        let pieces = output.finish();
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
        let expected = [&b"head"[..], &[7; 5000], b"small", &[0; 20_000], b"end"].concat();
        assert_eq!(pieces.concat(), expected);
    }
}

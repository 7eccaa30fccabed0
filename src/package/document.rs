//! The bytes of one stored fragment, in the pieces that the cache holds them in.

use bytes::Bytes;
use std::ops::Range;

/// One Matroska document, read by offset. Clones and slices share the bytes.
#[derive(Clone, Debug, Default)]
pub struct Document {
    pieces: Vec<Bytes>,
    /// Where each piece ends.
    ends: Vec<usize>,
}

impl Document {
    /// A document that lies in these pieces, one after the other.
    #[must_use]
    pub fn new(pieces: Vec<Bytes>) -> Self {
        let ends = pieces
            .iter()
            .scan(0, |end, piece| {
                *end += piece.len();
                Some(*end)
            })
            .collect();
        Self { pieces, ends }
    }

    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies the bytes from `at` on, as many as `into` has room for. Returns how many there were.
    pub fn read(&self, at: usize, into: &mut [u8]) -> usize {
        // Nearly always in one piece: this is called for each frame.
        let index = self.ends.partition_point(|end| *end <= at);
        if let Some(piece) = self.pieces.get(index) {
            let start = at + piece.len() - self.ends[index];
            if let Some(bytes) = piece.get(start..start.saturating_add(into.len())) {
                into.copy_from_slice(bytes);
                return into.len();
            }
        }
        let mut filled = 0;
        for part in self.parts(at..at.saturating_add(into.len())) {
            into[filled..filled + part.len()].copy_from_slice(part);
            filled += part.len();
        }
        filled
    }

    /// A copy of a range, as far as it lies inside the document.
    #[must_use]
    pub fn copy(&self, range: Range<usize>) -> Vec<u8> {
        let mut copy = Vec::with_capacity(range.len().min(self.len()));
        self.parts(range).for_each(|part| copy.extend_from_slice(part));
        copy
    }

    /// The pieces of a range, as far as it lies inside the document; nothing is copied.
    pub fn slices(&self, range: Range<usize>) -> impl Iterator<Item = Bytes> + '_ {
        self.places(range).map(
            |(piece, within)| {
                if within.len() == piece.len() { piece.clone() } else { piece.slice(within) }
            },
        )
    }

    fn parts(&self, range: Range<usize>) -> impl Iterator<Item = &[u8]> {
        self.places(range).map(|(piece, within)| &piece[within])
    }

    /// Each piece that a range touches, and which part of it.
    fn places(&self, range: Range<usize>) -> impl Iterator<Item = (&Bytes, Range<usize>)> {
        let first = self.ends.partition_point(|end| *end <= range.start);
        let rest = self.pieces.iter().zip(&self.ends).skip(first);
        rest.map_while(move |(piece, end)| {
            let start = end - piece.len();
            let within = range.start.saturating_sub(start)..range.end.min(*end).saturating_sub(start);
            (range.end > start && !range.is_empty()).then_some((piece, within))
        })
    }
}

impl From<Bytes> for Document {
    fn from(whole: Bytes) -> Self {
        Self::new(vec![whole])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_is_the_same_however_the_document_is_cut(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..6),
            at in 0..30_usize, length in 0..30_usize,
        ) {
            let whole = pieces.concat();
            let document = Document::new(pieces.into_iter().map(Bytes::from).collect());
            let expected = &whole[at.min(whole.len())..(at + length).min(whole.len())];
            prop_assert_eq!(document.len(), whole.len());
            prop_assert_eq!(&document.copy(at..at + length)[..], expected);
            let sliced: Vec<u8> = document.slices(at..at + length).flatten().collect();
            prop_assert_eq!(&sliced[..], expected);
            let mut room = vec![0; length];
            let filled = document.read(at, &mut room);
            prop_assert_eq!(&room[..filled], expected);
        }
    }
}

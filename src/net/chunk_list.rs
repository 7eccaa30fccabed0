//! What goes to a socket in one write: a few shared chunks in a row, passed to the kernel together without a
//! copy.
//!
//! A body that is stored in blocks would otherwise cost a system call for each of them.

use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::IoSlice;

/// Chunks in a row.
#[derive(Clone, Debug, Default)]
pub struct ChunkList {
    /// Empty only if all is.
    first: Bytes,
    more: VecDeque<Bytes>,
    /// Bytes in `more`.
    behind: usize,
}

impl ChunkList {
    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.first.len() + self.behind
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Appends a chunk.
    pub fn push(&mut self, chunk: Bytes) {
        if self.first.is_empty() {
            self.first = chunk;
        } else if !chunk.is_empty() {
            self.behind += chunk.len();
            self.more.push_back(chunk);
        }
    }
}

impl From<Bytes> for ChunkList {
    fn from(only: Bytes) -> Self {
        Self { first: only, ..Self::default() }
    }
}

impl Buf for ChunkList {
    fn remaining(&self) -> usize {
        self.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let chunks = std::iter::once(&self.first).chain(&self.more).filter(|chunk| !chunk.is_empty());
        into.iter_mut().zip(chunks).map(|(slice, chunk)| *slice = IoSlice::new(chunk)).count()
    }

    /// # Panics
    /// Beyond the end, as `Buf` demands.
    fn advance(&mut self, mut by: usize) {
        while by >= self.first.len() && !self.more.is_empty() {
            by -= self.first.len();
            self.first = self.more.pop_front().unwrap_or_default();
            self.behind -= self.first.len();
        }
        self.first.advance(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However the kernel takes it, the bytes are those of the chunks in their order.
        #[test]
        fn whatever_is_taken_at_a_time_the_bytes_are_the_same(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), 0..6),
            steps in prop::collection::vec(0..7_usize, 0..30),
        ) {
            let mut piece = ChunkList::default();
            chunks.iter().for_each(|chunk| piece.push(Bytes::from(chunk.clone())));
            let whole = chunks.concat();
            let mut at = 0;
            for step in steps.into_iter().chain([whole.len()]) {
                prop_assert_eq!(piece.remaining(), whole.len() - at);
                prop_assert_eq!(piece.is_empty(), piece.remaining() == 0);
                let mut slices = [IoSlice::new(&[]); 8];
                let count = piece.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert_eq!(&seen[..], &whole[at..]);
                prop_assert!(whole[at..].starts_with(piece.chunk()));
                prop_assert!(piece.has_remaining() != piece.chunk().is_empty());
                let step = step.min(piece.remaining());
                piece.advance(step);
                at += step;
            }
        }
    }
}

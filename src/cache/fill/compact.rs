//! Copies a body from the network's buffers into blocks of the cache's own.
//!
//! A chunk from the network is a slice of a read buffer of up to 400 KiB, shared with whatever arrived in
//! the same read. Kept as it is, a 2 KB picture could pin two hundred times its size. So each chunk is
//! copied once, after the readers have been given the original, whether the body will be stored or only be
//! held for those who read it now. A large body that will be stored is hashed for its entity tag at the same
//! time.

use crate::cache::entry::LAZY;
use crate::cache::memory::block::LARGEST;
use crate::cache::memory::budget::Reservation;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use bytes::{Buf as _, Bytes};
use std::collections::VecDeque;

/// Which pieces of a body are blocks.
pub(in crate::cache) struct Compactor {
    /// The body is held whole, as far as is known now.
    holds: bool,
    /// It will be stored, so that its entity tag is needed.
    kept: bool,
    /// So many pieces are.
    done: usize,
    /// So many bytes are not yet.
    pending: usize,
    joined: u64,
    hashing: Context,
    /// Blocks that are not hashed yet. A body that turns out to be small is not hashed here at all.
    unhashed: Vec<Bytes>,
}

impl Compactor {
    pub(in crate::cache) fn new(holds: bool, kept: bool) -> Self {
        Self {
            holds,
            kept,
            done: 0,
            pending: 0,
            joined: 0,
            hashing: Context::new(&SHA256),
            unhashed: Vec::new(),
        }
    }

    /// Whether the body is still held whole.
    pub(in crate::cache) fn holds(&self) -> bool {
        self.holds
    }

    /// The body streams from here on: nothing is copied any more.
    pub(in crate::cache) fn stop(&mut self) {
        self.holds = false;
    }

    /// How many pieces are blocks.
    pub(in crate::cache) fn done(&self) -> usize {
        self.done
    }

    /// Notes a chunk; true when there is a block's worth to copy.
    pub(in crate::cache) fn due(&mut self, size: usize) -> bool {
        self.pending += size;
        self.holds && self.pending >= LARGEST
    }

    /// Whether there is something left to copy at the end of the body.
    pub(in crate::cache) fn due_at_end(&self) -> bool {
        self.pending > 0
    }

    /// What takes the place of the pieces that are not blocks yet: as many blocks as they fill, at the end
    /// of the body the few more that take the rest; what is left is as it was.
    pub(in crate::cache) fn compact(
        &mut self,
        mut tail: VecDeque<Bytes>,
        reservation: &mut Reservation,
        at_end: bool,
    ) -> Vec<Bytes> {
        self.pending = tail.iter().map(Bytes::len).sum();
        let mut pieces = Vec::with_capacity(self.pending / LARGEST + 1);
        while self.pending >= LARGEST || (at_end && self.pending > 0) {
            let mut block = reservation.block(self.pending);
            fill(block.bytes_mut(), &mut tail);
            let block = block.freeze();
            self.pending -= block.len();
            self.done += 1;
            self.joined += block.len() as u64;
            if self.kept {
                self.unhashed.push(block.clone());
            }
            pieces.push(block);
        }
        if self.joined > LAZY {
            self.unhashed.drain(..).for_each(|block| self.hashing.update(&block));
        }
        pieces.extend(tail);
        pieces
    }

    /// The SHA-256 of a body that is too large to be hashed on demand.
    pub(in crate::cache) fn digest(self) -> Option<Digest> {
        (self.kept && self.joined > LAZY).then(|| self.hashing.finish())
    }
}

/// Takes as many bytes from the front of `tail` as there is room for.
fn fill(mut room: &mut [u8], tail: &mut VecDeque<Bytes>) {
    while let Some(front) = tail.front_mut()
        && !room.is_empty()
    {
        let now = front.len().min(room.len());
        let (to, rest) = room.split_at_mut(now);
        front.copy_to_slice(to);
        room = rest;
        if front.is_empty() {
            tail.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::budget::tests_support::plenty;
    use aws_lc_rs::digest::digest;

    /// Gives a body of `length` bytes in chunks of `size`; what is in blocks after each chunk, and the
    /// digest at the end.
    fn compacted(length: usize, size: usize) -> (Vec<usize>, Option<Vec<u8>>) {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut reservation = plenty().reserve();
        let mut compactor = Compactor::new(true, true);
        let (mut pieces, mut in_blocks) = (Vec::<Bytes>::new(), Vec::new());
        let mut compact = |compactor: &mut Compactor, pieces: &mut Vec<Bytes>, at_end| {
            let tail = pieces.split_off(compactor.done()).into();
            pieces.extend(compactor.compact(tail, &mut reservation, at_end));
        };
        for chunk in body.chunks(size) {
            pieces.push(Bytes::copy_from_slice(chunk));
            if compactor.due(chunk.len()) {
                compact(&mut compactor, &mut pieces, false);
            }
            in_blocks.push(pieces[..compactor.done()].iter().map(Bytes::len).sum());
        }
        if compactor.due_at_end() {
            compact(&mut compactor, &mut pieces, true);
        }
        assert_eq!(pieces.len(), compactor.done());
        assert!(pieces.len() <= length / LARGEST + 5);
        assert!(pieces.concat() == body);
        let hashed = compactor.digest().map(|d| d.as_ref().to_vec());
        assert!(hashed.as_ref().is_none_or(|hash| *hash == digest(&SHA256, &body).as_ref()));
        (in_blocks, hashed)
    }

    #[test]
    fn what_has_come_is_in_blocks_but_for_less_than_one() {
        assert_eq!(
            compacted(3 * LARGEST + 1, LARGEST - 1).0,
            [0, LARGEST, 2 * LARGEST, 3 * LARGEST, 3 * LARGEST][..4]
        );
        assert_eq!(compacted(3 * LARGEST, 2 * LARGEST).0, [2 * LARGEST, 3 * LARGEST]);
        assert_eq!(compacted(100, 30).0, [0; 4]);
    }

    #[test]
    fn a_large_body_is_hashed_on_the_way_and_a_small_one_left_for_later() {
        for (length, hashed) in
            [(0, false), (1, false), (1 << 20, false), ((1 << 20) + 1, true), (3 << 20, true)]
        {
            assert_eq!(compacted(length, 40_000).1.is_some(), hashed, "{length}");
        }
    }
}

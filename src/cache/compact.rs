//! Putting small chunks together, so that an entry weighs what it says.
//!
//! A chunk from the network is a slice of a read buffer of up to 400 KiB, shared with whatever else came in the same
//! read; kept as it is, a 2 KB picture could pin two hundred times its size. So each block of chunks is copied once
//! into an allocation of its exact size, after the readers have had the chunks themselves. The copy also leaves few
//! large pieces, which are cheaper to send. On the way a large body is hashed for its entity tag.

use super::entry::LAZY;
use aws_lc_rs::digest::{Context, Digest, SHA256};
use bytes::Bytes;

/// Which pieces have their final form.
pub(super) struct Compactor {
    /// The body is held whole, as far as anybody knows.
    holds: bool,
    /// It will be stored.
    kept: bool,
    done: usize,
    pending: u64,
    joined: u64,
    hashing: Context,
    /// Joined and not hashed yet: the body may turn out small enough to leave it at that.
    unhashed: Vec<Bytes>,
}

/// Copies happen in blocks of about this many bytes: some 20 microseconds each.
const BLOCK: u64 = 256 << 10;

impl Compactor {
    pub(super) fn new(holds: bool, kept: bool) -> Self {
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
    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    /// The body streams from here on: nothing is put together any more.
    pub(super) fn stop(&mut self) {
        self.holds = false;
    }

    /// How many pieces have their final form.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Notes a chunk; true when it is time to join what has come since the last time.
    pub(super) fn due(&mut self, size: u64) -> bool {
        self.pending += size;
        self.holds && self.kept && self.pending >= BLOCK
    }

    /// Whether the last pieces want joining.
    pub(super) fn due_at_end(&self, tail: &[Bytes]) -> bool {
        self.kept && !tail.is_empty()
    }

    /// One allocation of the exact size with the bytes of all.
    pub(super) fn join(&self, pieces: &[Bytes]) -> Bytes {
        let mut whole = Vec::with_capacity(pieces.iter().map(Bytes::len).sum());
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.into()
    }

    /// The tail has become this one piece, in its final form.
    pub(super) fn advance(&mut self, piece: Bytes) {
        self.done += 1;
        self.pending = 0;
        self.joined += piece.len() as u64;
        self.unhashed.push(piece);
        if self.joined > LAZY {
            self.unhashed.drain(..).for_each(|piece| self.hashing.update(&piece));
        }
    }

    /// The SHA-256 of a body that is too large to be hashed when somebody asks.
    pub(super) fn digest(self) -> Option<Digest> {
        (self.joined > LAZY).then(|| self.hashing.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::digest;

    #[test]
    fn a_large_body_is_hashed_on_the_way_and_a_small_one_left_for_later() {
        for (blocks, hashed) in [(1, false), (4, false), (5, true), (9, true)] {
            let mut compactor = Compactor::new(true, true);
            let mut body = Vec::new();
            for number in 0..blocks {
                let chunk = vec![number; BLOCK as usize];
                body.extend_from_slice(&chunk);
                assert!(compactor.due(BLOCK));
                let piece = compactor.join(&[chunk.into()]);
                compactor.advance(piece);
            }
            let expected = hashed.then(|| digest(&SHA256, &body));
            assert_eq!(
                compactor.digest().map(|d| d.as_ref().to_vec()),
                expected.map(|d| d.as_ref().to_vec())
            );
        }
    }
}

//! Large values that are read by ranges: sealed block by block.
//!
//! AES-256-GCM with a key of its own for each value, derived from a playback key, the name of the value's key
//! in the store, and a random id. The nonce is the block's number, which that key sees once. Version and
//! length of the value are authenticated with each block, so that no block opens at another place, in another
//! value, or in one that was cut.

use super::rejection::Rejection;
use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

/// Bytes of a block before it is sealed; the last one may have fewer.
pub const BLOCK: u64 = 64 << 10;
/// How many bytes longer a sealed block is.
pub const BLOCK_OVERHEAD: u64 = 16;
/// Length of the id of a value.
pub const BLOCKS_ID: usize = 16;

/// What a value of blocks is bound to, besides the name of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlocksOf {
    /// Random, and never used again.
    pub id: [u8; BLOCKS_ID],
    /// The version of the value.
    pub version: u64,
    /// Its length before it is sealed.
    pub length: u64,
}

/// Seals and opens the blocks of one value.
pub struct Blocks {
    key: LessSafeKey,
    bound: [u8; 16],
}

impl Blocks {
    pub(super) fn new(key: LessSafeKey, of: &BlocksOf) -> Self {
        let mut bound = [0; 16];
        bound[..8].copy_from_slice(&of.version.to_be_bytes());
        bound[8..].copy_from_slice(&of.length.to_be_bytes());
        Self { key, bound }
    }

    /// Adds a sealed block to `to`. `None` if it is longer than [`BLOCK`].
    pub fn seal(&self, number: u64, block: &[u8], to: &mut Vec<u8>) -> Option<()> {
        if block.len() as u64 > BLOCK {
            return None;
        }
        let at = to.len();
        to.extend_from_slice(block);
        let (nonce, aad) = (nonce(number), Aad::from(self.bound));
        let tag = self.key.seal_in_place_separate_tag(nonce, aad, &mut to[at..]).ok()?;
        to.extend_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens a block into `plain`, which has its length.
    ///
    /// # Errors
    /// It is not the block of this number as it was sealed.
    pub fn open(&self, number: u64, sealed: &[u8], plain: &mut [u8]) -> Result<(), Rejection> {
        let length = sealed.len().checked_sub(BLOCK_OVERHEAD as usize).ok_or(Rejection::Format)?;
        if length != plain.len() {
            return Err(Rejection::Format);
        }
        let (text, tag) = sealed.split_at(length);
        let opened = self.key.open_separate_gather(nonce(number), Aad::from(self.bound), text, tag, plain);
        opened.map_err(|_| Rejection::Mac)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

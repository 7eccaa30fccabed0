//! The memory that bodies are kept in: blocks of five sizes, which are reused.
//!
//! An allocator keeps each size, and each thread's share of it, in pages of its own. Bodies of all sizes
//! that are allocated and freed on all threads leave most of those pages nearly empty: a cache of 64 MiB
//! was seen to hold 330. So a body lies in blocks of 64 KiB and a few smaller ones for its end. Freed
//! blocks wait here for the next body, which then also writes to memory that is mapped already.

use super::account::Weight;
use crate::cache::sync::{Mutex, lock};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The largest block.
pub(in crate::cache) const LARGEST: usize = 64 << 10;

/// The smallest block. What is smaller still is left to the allocator, which is good at that.
const SMALLEST: usize = 4 << 10;

/// What a block costs beside its bytes: its handle, its counters, its end in the entry, and what the
/// allocator rounds up.
const OVERHEAD: usize = 128 + 32;

/// Blocks that are not in use.
#[derive(Default)]
pub(in crate::cache) struct Pool {
    /// By size: 4, 8, 16, 32 and 64 KiB.
    idle: [Mutex<Vec<Vec<u8>>>; 5],
    /// How many bytes those are.
    bytes: AtomicU64,
}

/// Bytes that count against the budget until the last slice of them is dropped.
pub(in crate::cache) struct Block {
    bytes: Vec<u8>,
    length: usize,
    pool: Arc<Pool>,
    weight: Weight,
}

/// How many of `left` bytes the next block takes: all of them if little of it stays empty.
pub(in crate::cache) fn length(left: usize) -> usize {
    if left >= LARGEST {
        LARGEST
    } else if left <= SMALLEST || size(left) - left <= left / 8 {
        left
    } else {
        size(left) / 2
    }
}

/// The size of the block for `length` bytes.
fn size(length: usize) -> usize {
    if length <= SMALLEST { length } else { length.next_power_of_two() }
}

/// What a block of `length` bytes counts.
pub(in crate::cache) fn weight(length: usize) -> u64 {
    (size(length) + OVERHEAD) as u64
}

impl Pool {
    /// Gives an eighth of what lies idle back to the system. To be called once in a while.
    pub(in crate::cache) fn shrink(&self) {
        for size in &self.idle {
            let mut idle = lock(size);
            let left = idle.len() - idle.len().div_ceil(8);
            let gone = idle.split_off(left);
            drop(idle);
            self.left(gone.iter().map(Vec::len).sum());
        }
    }

    fn take(&self, size: usize) -> Option<Vec<u8>> {
        let block = lock(self.of(size)?).pop()?;
        self.left(size);
        Some(block)
    }

    fn left(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Where idle blocks of this size lie, if they are kept.
    fn of(&self, size: usize) -> Option<&Mutex<Vec<Vec<u8>>>> {
        self.idle.get((size / SMALLEST).checked_ilog2()? as usize)
    }
}

impl Block {
    /// A block of `length` bytes, which are whatever was there before.
    pub(in crate::cache) fn new(length: usize, pool: &Arc<Pool>, weight: Weight) -> Self {
        let size = size(length);
        let bytes = pool.take(size).unwrap_or_else(|| vec![0; size]);
        Self { bytes, length, pool: Arc::clone(pool), weight }
    }

    /// To be filled.
    pub(in crate::cache) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// Filled.
    pub(in crate::cache) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let pool = &self.pool;
        if let Some(idle) = pool.of(self.bytes.len())
            && self.weight.leaves_room_for(pool.bytes.load(Ordering::Relaxed))
        {
            pool.bytes.fetch_add(self.bytes.len() as u64, Ordering::Relaxed);
            lock(idle).push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::memory::budget::tests_support::plenty;

    #[test]
    fn a_body_lies_in_few_blocks_of_which_little_stays_empty() {
        for body in [0, 1, 4095, 4097, 9_000, 33_000, 60_000, 65_535, 65_536, 100_000, 262_144, 300_001] {
            let (mut left, mut blocks, mut sizes) = (body, 0, 0);
            while left > 0 {
                let next = length(left);
                assert!(next > 0 && next <= left);
                (left, blocks, sizes) = (left - next, blocks + 1, sizes + size(next));
            }
            assert!(sizes - body <= body / 8, "{body} bytes take {sizes}");
            assert!(blocks <= body / LARGEST + 5, "{body} bytes take {blocks} blocks");
        }
    }

    #[test]
    fn a_block_that_is_let_go_is_used_again_and_given_back_in_the_end() {
        let pool = Arc::new(Pool::default());
        let idle = |size| pool.of(size).map_or(0, |idle| lock(idle).len());
        let block = |length| Block::new(length, &pool, plenty().reserve().split(0));
        let mut first = block(LARGEST);
        first.bytes_mut().fill(7);
        let slice = first.freeze().slice(9..10);
        assert_eq!(idle(LARGEST), 0);
        drop(slice);
        assert_eq!(idle(LARGEST), 1);
        assert_eq!(block(LARGEST).as_ref()[9], 7, "the same memory");
        drop((block(5000), block(100)));
        assert_eq!((idle(8 << 10), idle(100)), (1, 0));
        pool.shrink();
        assert_eq!((idle(8 << 10), idle(LARGEST), pool.bytes.load(Ordering::Relaxed)), (0, 0, 0));
    }
}

//! How much memory all bodies of the cache may take together: those that are arriving, those that are held,
//! and those that were evicted but are still read or wait to be written to the disk.
//!
//! Bytes are counted where they live. A fill makes a [`Reservation`]; the blocks and entries made from it
//! take their [`Weight`] along, and give it back when their last slice is dropped, wherever that is.
//!
//! A body that finds no room is not refused: it streams, with a small window, and is not kept.

use super::account::{Account, Weight};
use super::block::{self, Block, Pool};
use bytes::Bytes;
use prometheus::IntGauge;
use std::sync::Arc;

/// The budget. Clones share it.
#[derive(Clone)]
pub(in crate::cache) struct Budget {
    account: Arc<Account>,
    pool: Arc<Pool>,
    filling: IntGauge,
}

/// What one fill has reserved; what it has not split off is given back when dropped.
pub(in crate::cache) struct Reservation {
    weight: Weight,
    /// What others have taken of it.
    split: u64,
    pool: Arc<Pool>,
    filling: IntGauge,
}

impl Budget {
    /// A budget of `limit` bytes; `filling` shows what fills have reserved of it.
    pub(in crate::cache) fn new(limit: u64, filling: IntGauge) -> Self {
        Self { account: Arc::new(Account::new(limit)), pool: Arc::default(), filling }
    }

    /// An empty reservation.
    pub(in crate::cache) fn reserve(&self) -> Reservation {
        let weight = Weight::nothing(&self.account);
        Reservation { weight, split: 0, pool: Arc::clone(&self.pool), filling: self.filling.clone() }
    }

    /// Gives some of the idle blocks back to the system. Called once in a while.
    pub(in crate::cache) fn tidy(&self) {
        self.pool.shrink();
    }

    /// All there is.
    pub(in crate::cache) fn limit(&self) -> u64 {
        self.account.limit()
    }

    /// What is taken, by whomever.
    pub(in crate::cache) fn used(&self) -> u64 {
        self.account.used()
    }
}

/// A reservation grows in steps, so that the counter that all fills share is touched rarely.
const STEP: u64 = 256 << 10;

impl Reservation {
    /// Makes the reservation, with what was split off, at least `bytes` large. False if there is no room.
    pub(in crate::cache) fn grow_to(&mut self, bytes: u64) -> bool {
        let missing = self.missing(bytes);
        let more = if self.weight.bytes() == 0 { missing } else { missing.next_multiple_of(STEP) };
        if !self.weight.grow(more) {
            return false;
        }
        self.filling.add(signed(more));
        true
    }

    /// As `grow_to`, for bytes that exist whether or not there is room.
    pub(in crate::cache) fn stretch_to(&mut self, bytes: u64) {
        let more = self.missing(bytes);
        self.weight.stretch(more);
        self.filling.add(signed(more));
    }

    fn missing(&self, bytes: u64) -> u64 {
        bytes.saturating_sub(self.weight.bytes() + self.split)
    }

    /// Gives `bytes` of the reservation to something that is counted on its own. It exists already, so it
    /// is counted even if it is more than was reserved.
    pub(in crate::cache) fn split(&mut self, bytes: u64) -> Weight {
        let mut own = self.weight.split(bytes);
        let reserved = own.bytes();
        self.split += reserved;
        self.filling.sub(signed(reserved));
        own.stretch(bytes - reserved);
        own
    }

    /// A block for the first of `left` bytes, to be filled.
    pub(in crate::cache) fn block(&mut self, left: usize) -> Block {
        let length = block::length(left);
        let weight = self.split(block::weight(length));
        Block::new(length, &self.pool, weight)
    }

    /// A body that is here, copied into blocks.
    pub(in crate::cache) fn blocks(&mut self, mut body: &[u8]) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        while !body.is_empty() {
            let mut block = self.block(body.len());
            let (now, rest) = body.split_at(block.bytes_mut().len());
            block.bytes_mut().copy_from_slice(now);
            pieces.push(block.freeze());
            body = rest;
        }
        pieces
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.filling.sub(signed(self.weight.bytes()));
    }
}

#[cfg(test)]
pub(in crate::cache) mod tests_support {
    use super::*;

    /// A budget that is never used up.
    pub(in crate::cache) fn plenty() -> Budget {
        Budget::new(u64::MAX / 2, IntGauge::new("g", "g").unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(limit: u64) -> Budget {
        Budget::new(limit, IntGauge::new("g", "g").unwrap())
    }

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = budget(4 * STEP);
        let mut one = budget.reserve();
        assert!(one.grow_to(1) && one.grow_to(STEP) && one.grow_to(2 * STEP));
        let mut two = budget.reserve();
        assert!(two.grow_to(STEP) && !two.grow_to(2 * STEP + 1));
        drop(one);
        assert!(two.grow_to(4 * STEP));
        drop(two);
        assert_eq!((budget.used(), budget.filling.get()), (0, 0));
    }

    #[test]
    fn a_block_counts_until_its_last_slice_is_gone() {
        let budget = budget(1 << 20);
        let mut reservation = budget.reserve();
        assert!(reservation.grow_to(1000));
        let block = reservation.block(900).freeze();
        let counted = block::weight(900);
        let slice = block.slice(10..20);
        assert_eq!(budget.used(), counted);
        drop((reservation, block));
        assert_eq!((budget.used(), budget.filling.get()), (counted, 0));
        drop(slice);
        assert_eq!(budget.used(), 0);
    }
}

//! How much memory the bodies that are still growing may take together.
//!
//! A body that does not find room is not refused: it streams, with a small window, and is not kept.

use prometheus::IntGauge;
use std::sync::atomic::{AtomicU64, Ordering};

/// The budget.
pub(super) struct Budget {
    limit: u64,
    used: AtomicU64,
    shown: IntGauge,
}

/// What one fill has taken of it; given back when dropped.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    taken: u64,
}

impl Budget {
    pub(super) fn new(limit: u64, shown: IntGauge) -> Self {
        Self { limit, used: AtomicU64::new(0), shown }
    }

    /// An empty share.
    pub(super) fn share(&self) -> Share<'_> {
        Share { budget: self, taken: 0 }
    }
}

/// Shares grow in steps, so that the counter that all fills share is touched seldom.
const STEP: u64 = 256 << 10;

impl Share<'_> {
    /// Makes the share at least `bytes` large, or says that there is no room.
    pub(super) fn grow_to(&mut self, bytes: u64) -> bool {
        if bytes <= self.taken {
            return true;
        }
        let more = (bytes - self.taken).next_multiple_of(STEP);
        let before = self.budget.used.fetch_add(more, Ordering::Relaxed);
        if before.saturating_add(more) > self.budget.limit {
            self.budget.used.fetch_sub(more, Ordering::Relaxed);
            return false;
        }
        self.taken += more;
        self.budget.shown.add(i64::try_from(more).unwrap_or(0));
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.taken, Ordering::Relaxed);
        self.budget.shown.sub(i64::try_from(self.taken).unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(4 * STEP, IntGauge::new("g", "g").unwrap());
        let mut one = budget.share();
        assert!(one.grow_to(1) && one.grow_to(STEP) && one.grow_to(3 * STEP));
        let mut two = budget.share();
        assert!(two.grow_to(STEP) && !two.grow_to(STEP + 1));
        drop(one);
        assert!(two.grow_to(4 * STEP));
        drop(two);
        assert_eq!((budget.used.load(Ordering::Relaxed), budget.shown.get()), (0, 0));
    }
}

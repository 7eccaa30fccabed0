//! A queue in which principals have equal shares: the requests of one principal wait behind each other, not
//! in front of those of others, however many or large they are.
//!
//! Start-time fair queueing. Every waiter gets a tag when it arrives: where the last request of its
//! principal ends on the queue's own clock, or the current time of that clock if its principal has none
//! waiting. The lowest tag goes next, and the clock moves to it. Plain turns would let ten clips of two
//! hundred points hold up every one-point segment of a live view.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Waiters of many principals: names of whoever has a share. Within a principal the order is that of arrival.
pub struct Turns<W> {
    /// By tag, then by arrival.
    line: BTreeMap<(u64, u64), Waiting<W>>,
    principals: HashMap<Arc<str>, Principal>,
    /// The tag that went last.
    clock: u64,
    arrivals: u64,
}

struct Waiting<W> {
    principal: Arc<str>,
    cost: u32,
    waiter: W,
}

#[derive(Default)]
struct Principal {
    waiting: usize,
    /// Where its last request ends.
    end: u64,
}

/// Beyond this many principals, those without a waiter or a debt are forgotten.
const MANY: usize = 1024;

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self { line: BTreeMap::new(), principals: HashMap::new(), clock: 0, arrivals: 0 }
    }
}

impl<W> Turns<W> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether no turn is waiting.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// How many waiters a principal has.
    #[must_use]
    pub fn of(&self, principal: &str) -> usize {
        self.principals.get(principal).map_or(0, |principal| principal.waiting)
    }

    /// Queues a waiter of a principal at this cost.
    pub fn push(&mut self, principal: &Arc<str>, cost: u32, waiter: W) {
        if self.principals.len() >= MANY {
            let clock = self.clock;
            self.principals.retain(|_, principal| principal.waiting > 0 || principal.end > clock);
        }
        let tag = self.tag(principal);
        let entry = self.principals.entry(principal.clone()).or_default();
        entry.waiting += 1;
        entry.end = tag + u64::from(cost.max(1));
        self.arrivals += 1;
        self.line.insert((tag, self.arrivals), Waiting { principal: principal.clone(), cost, waiter });
    }

    /// The waiter whose turn is next, and its cost.
    #[must_use]
    pub fn peek(&self) -> Option<(&W, u32)> {
        self.line.first_key_value().map(|(_, next)| (&next.waiter, next.cost))
    }

    /// Takes the next one out.
    pub fn pop(&mut self) -> Option<(W, u32)> {
        let ((tag, _), next) = self.line.pop_first()?;
        self.clock = self.clock.max(tag);
        self.left(&next.principal);
        Some((next.waiter, next.cost))
    }

    /// Takes out the next one whose principal `may_go` lets go, if its cost `fits`. Those before it keep
    /// their place.
    pub fn pop_of(
        &mut self,
        may_go: impl Fn(&Arc<str>, u32) -> bool,
        fits: impl FnOnce(u32) -> bool,
    ) -> Option<(Arc<str>, u32, W)> {
        let (&place, next) = self.line.iter().find(|(_, next)| may_go(&next.principal, next.cost))?;
        if !fits(next.cost) {
            return None;
        }
        let next = self.line.remove(&place)?;
        self.clock = self.clock.max(place.0);
        self.left(&next.principal);
        Some((next.principal, next.cost, next.waiter))
    }

    /// The cost of all waiters before a request of this principal that arrives now.
    #[must_use]
    pub fn ahead(&self, principal: &str) -> u64 {
        let tag = self.tag(principal);
        self.line.range(..=(tag, u64::MAX)).map(|(_, waiting)| u64::from(waiting.cost)).sum()
    }

    /// Forgets waiters that are not wanted any more.
    pub fn retain(&mut self, mut wanted: impl FnMut(&W) -> bool) {
        let principals = &mut self.principals;
        self.line.retain(|_, waiting| {
            let keep = wanted(&waiting.waiter);
            if let Some(principal) = principals.get_mut(&waiting.principal).filter(|_| !keep) {
                principal.waiting -= 1;
            }
            keep
        });
    }

    fn tag(&self, principal: &str) -> u64 {
        self.principals.get(principal).map_or(0, |principal| principal.end).max(self.clock)
    }

    fn left(&mut self, principal: &Arc<str>) {
        let Some(entry) = self.principals.get_mut(principal) else { return };
        entry.waiting -= 1;
        if entry.waiting == 0 && entry.end <= self.clock {
            self.principals.remove(principal);
        }
        if self.line.is_empty() {
            self.principals.clear(); // none is owed anything
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn principals_take_turns() {
        let mut turns = Turns::default();
        for (principal, waiter) in [("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)] {
            turns.push(&principal.into(), 1, waiter);
        }
        assert_eq!((turns.len(), turns.of("a"), turns.of("x")), (6, 3, 0));
        assert_eq!((turns.ahead("x"), turns.ahead("b"), turns.ahead("a")), (3, 6, 6));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).map(|(waiter, _)| waiter).collect();
        assert_eq!(order, [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn shares_are_equal_in_points_not_in_requests() {
        let mut turns = Turns::default();
        for i in 0..50 {
            turns.push(&"clips".into(), 200, ("clips", i));
            turns.push(&"live".into(), 1, ("live", i));
        }
        let first: Vec<_> = std::iter::from_fn(|| turns.pop()).take(52).collect();
        let live = first.iter().filter(|((who, _), _)| *who == "live").count();
        assert_eq!(live, 50, "all segments before the second clip or two");
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_order_is_kept_within_a_principal(
            pushes in prop::collection::vec((0..5_u8, 0..300_u32), 0..80)
        ) {
            let mut turns = Turns::default();
            for (i, (principal, cost)) in pushes.iter().enumerate() {
                turns.push(&principal.to_string().into(), *cost, (*principal, i));
            }
            turns.retain(|(_, i)| i % 7 != 3);
            let kept: Vec<_> = (0..pushes.len()).filter(|i| i % 7 != 3).collect();
            prop_assert_eq!(turns.len(), kept.len());
            let order: Vec<_> = std::iter::from_fn(|| turns.pop()).map(|(waiter, _)| waiter).collect();
            let mut sorted: Vec<_> = order.iter().map(|(_, i)| *i).collect();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, kept);
            for principal in 0..5_u8 {
                let his: Vec<_> = order.iter().filter(|(p, _)| *p == principal).map(|(_, i)| *i).collect();
                prop_assert!(his.is_sorted());
            }
        }

        #[test]
        fn while_all_want_more_nobody_is_ahead_by_more_than_one_request(
            costs in prop::collection::vec((1..200_u32, 1..200_u32), 20..40), pops in 1..30_usize
        ) {
            let mut turns = Turns::default();
            for (a, b) in &costs {
                turns.push(&"a".into(), *a, 'a');
                turns.push(&"b".into(), *b, 'b');
            }
            let (mut a, mut b) = (0, 0);
            for _ in 0..pops {
                let Some((who, cost)) = turns.pop() else { break };
                if turns.of("a") == 0 || turns.of("b") == 0 { break }
                if who == 'a' { a += cost } else { b += cost }
            }
            prop_assert!(a.abs_diff(b) <= 400, "{a} {b}");
        }
    }
}

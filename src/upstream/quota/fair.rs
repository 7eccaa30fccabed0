//! A queue in which principals take turns: one who asks a hundred times waits behind himself, not before others.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Waiters of many principals. Within a principal first come, first served.
pub(super) struct Turns<W> {
    ring: VecDeque<Arc<str>>,
    waiting: HashMap<Arc<str>, VecDeque<W>>,
    length: usize,
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self { ring: VecDeque::new(), waiting: HashMap::new(), length: 0 }
    }
}

impl<W> Turns<W> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many waiters a principal has.
    pub(super) fn of(&self, principal: &str) -> usize {
        self.waiting.get(principal).map_or(0, VecDeque::len)
    }

    pub(super) fn push(&mut self, principal: &Arc<str>, waiter: W) {
        let queue = self.waiting.entry(principal.clone()).or_default();
        if queue.is_empty() {
            self.ring.push_back(principal.clone());
        }
        queue.push_back(waiter);
        self.length += 1;
    }

    /// Whose turn is next.
    pub(super) fn peek(&self) -> Option<&W> {
        self.waiting.get(self.ring.front()?)?.front()
    }

    /// Takes the next one out; his principal goes to the end of the line.
    pub(super) fn pop(&mut self) -> Option<W> {
        let principal = self.ring.pop_front()?;
        let queue = self.waiting.get_mut(&principal)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&principal);
        } else {
            self.ring.push_back(principal);
        }
        self.length -= usize::from(waiter.is_some());
        waiter
    }

    /// Every principal's waiters.
    pub(super) fn queues(&self) -> impl Iterator<Item = (&str, &VecDeque<W>)> {
        self.waiting.iter().map(|(principal, queue)| (&**principal, queue))
    }

    /// Forgets waiters that are not wanted any more.
    pub(super) fn retain(&mut self, mut wanted: impl FnMut(&W) -> bool) {
        self.waiting.values_mut().for_each(|queue| queue.retain(&mut wanted));
        self.waiting.retain(|_, queue| !queue.is_empty());
        self.ring.retain(|principal| self.waiting.contains_key(principal));
        self.length = self.waiting.values().map(VecDeque::len).sum();
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
            turns.push(&principal.into(), waiter);
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, [1, 10, 20, 2, 11, 3]);
        assert_eq!(turns.len(), 0);
    }

    proptest! {
        #[test]
        fn nobody_is_lost_and_nobody_waits_longer_than_a_round(pushes in prop::collection::vec(0..5_u8, 0..60)) {
            let mut turns = Turns::default();
            for (i, principal) in pushes.iter().enumerate() {
                turns.push(&principal.to_string().into(), (*principal, i));
            }
            turns.retain(|(_, i)| i % 7 != 3);
            let kept = pushes.iter().enumerate().filter(|(i, _)| i % 7 != 3).count();
            prop_assert_eq!(turns.len(), kept);
            let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
            prop_assert_eq!(order.len(), kept);
            for principal in 0..5_u8 {
                let places: Vec<_> = (0..order.len()).filter(|i| order[*i].0 == principal).collect();
                for pair in places.windows(2) { prop_assert!(pair[1] - pair[0] <= 5); }
            }
        }
    }
}

//! Slots that are held for a while, such as a stream's five media connections, and waited for in fair turns.
//!
//! Work may take several slots, so that large work counts for more, and one principal may be kept from
//! holding all of them.

use super::fair::Turns;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So many slots.
pub struct FairSlots {
    of_one: u32,
    state: Mutex<SlotState>,
}

struct SlotState {
    free: u32,
    /// By principal; none has zero.
    held: HashMap<Arc<str>, u32>,
    turns: Turns<oneshot::Sender<HeldSlots>>,
}

/// Slots that are held. Dropping this gives them to the next in line.
pub struct HeldSlots {
    slots: Option<Arc<FairSlots>>,
    principal: Arc<str>,
    count: u32,
}

/// When to try again after none was free: what holds them takes a while.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// More waiters of one principal, or of all, are refused at once.
const MOST_OF_ONE: usize = 64;
const MOST: usize = 4096;

impl FairSlots {
    /// `all` slots, of which one principal may hold `of_one` at a time. Both are at least 1.
    #[must_use]
    pub fn new(all: u32, of_one: u32) -> Arc<Self> {
        let (all, of_one) = (all.max(1), of_one.max(1));
        let state = SlotState { free: all, held: HashMap::new(), turns: Turns::default() };
        Arc::new(Self { of_one: of_one.min(all), state: Mutex::new(state) })
    }

    /// Takes `count` slots, or as many as one principal may hold, waiting for them until `deadline` at most.
    ///
    /// # Errors
    /// When to come again.
    pub async fn take(
        self: &Arc<Self>,
        principal: &Arc<str>,
        count: u32,
        deadline: Instant,
    ) -> Result<HeldSlots, Duration> {
        let count = count.clamp(1, self.of_one);
        let turn = {
            let mut state = self.lock();
            if state.turns.of(principal) >= MOST_OF_ONE || state.turns.len() >= MOST {
                state.turns.retain(|turn| !turn.is_closed());
            }
            if state.turns.of(principal) >= MOST_OF_ONE || state.turns.len() >= MOST {
                return Err(RETRY_AFTER);
            }
            let (turn, mine) = oneshot::channel();
            state.turns.push(principal, count, turn);
            mine
        };
        self.grant();
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(slots)) => Ok(slots),
            _ => Err(RETRY_AFTER),
        }
    }

    /// How many there are in all.
    /// Hands out what is free to those whose turn it is.
    fn grant(self: &Arc<Self>) {
        // Handing over happens outside of the lock: slots that are not taken come back through this function.
        while let Some((slots, turn)) = self.next() {
            drop(turn.send(slots));
        }
    }

    fn next(self: &Arc<Self>) -> Option<(HeldSlots, oneshot::Sender<HeldSlots>)> {
        let mut state = self.lock();
        let SlotState { free, held, turns } = &mut *state;
        loop {
            let own = |principal: &Arc<str>| held.get(principal).copied().unwrap_or(0);
            let may_go = |principal: &Arc<str>, count| own(principal) + count <= self.of_one;
            let (principal, count, turn) = turns.pop_of(may_go, |count| count <= *free)?;
            if turn.is_closed() {
                continue; // its caller has left
            }
            *free -= count;
            *held.entry(principal.clone()).or_default() += count;
            return Some((HeldSlots { slots: Some(Arc::clone(self)), principal, count }, turn));
        }
    }

    fn release(self: &Arc<Self>, principal: &Arc<str>, count: u32) {
        {
            let mut state = self.lock();
            state.free += count;
            if let Some(held) = state.held.get_mut(principal) {
                *held -= count;
                if *held == 0 {
                    state.held.remove(principal);
                }
            }
        }
        self.grant();
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldSlots {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.release(&self.principal, self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn five_at_a_time_and_turns_for_the_rest() {
        let slots = FairSlots::new(5, 5);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(slots.take(&"greedy".into(), 1, soon()).await.unwrap());
        }
        assert!(
            slots.take(&"late".into(), 1, soon()).await.is_err(),
            "no slot was released for five seconds"
        );
        let mut greedy = Vec::new();
        for _ in 0..3 {
            let slots = slots.clone();
            greedy.push(tokio::spawn(async move { slots.take(&"greedy".into(), 1, soon()).await }));
            tokio::task::yield_now().await;
        }
        let modest = {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&"modest".into(), 1, soon()).await })
        };
        tokio::task::yield_now().await;
        held.truncate(3);
        assert!(modest.await.unwrap().is_ok(), "second in turn, though fourth to come");
        greedy.into_iter().for_each(|one| one.abort());
        drop(held);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut again = Vec::new();
        for _ in 0..5 {
            again.push(slots.take(&"a".into(), 1, soon()).await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_principal_leaves_slots_for_others_and_waits_behind_itself() {
        let slots = FairSlots::new(10, 4);
        let first = slots.take(&"a".into(), 3, soon()).await.unwrap();
        let second = {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&"a".into(), 2, soon()).await })
        };
        tokio::task::yield_now().await;
        let _other = slots.take(&"b".into(), 4, soon()).await.unwrap();
        assert!(!second.is_finished(), "three and two are more than four");
        drop(first);
        drop(second.await.unwrap().unwrap());
        // More than one may hold counts as all that one may hold.
        drop(slots.take(&"c".into(), 100, soon()).await.unwrap());
        assert_eq!(slots.lock().free, 6);
        assert_eq!(slots.lock().held.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn small_work_does_not_keep_large_work_waiting_for_ever() {
        let slots = FairSlots::new(4, 4);
        let small = slots.take(&"small".into(), 2, soon()).await.unwrap();
        let large = {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&"large".into(), 4, soon()).await })
        };
        tokio::task::yield_now().await;
        let next = {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&"small".into(), 1, soon()).await })
        };
        tokio::task::yield_now().await;
        assert!(!next.is_finished(), "it would overtake");
        drop(small);
        drop(large.await.unwrap().unwrap());
        assert!(next.await.unwrap().is_ok());
    }
}

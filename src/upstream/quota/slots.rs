//! Slots that are held for a while, such as a stream's five media connections, and waited for in
//! fair turns.

use super::fair::Turns;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// So many places.
pub(super) struct ConnectionSlots {
    what: &'static str,
    state: Mutex<SlotState>,
}

struct SlotState {
    free: u32,
    turns: Turns<oneshot::Sender<ConnectionSlot>>,
}

/// A place. Dropping it gives it to the next in line.
pub(in crate::upstream) struct ConnectionSlot(Option<Arc<ConnectionSlots>>);

/// When to try again after no slot was free: downloads take a while.
const RETRY_AFTER: Duration = Duration::from_secs(2);
const MOST_OF_ONE: usize = 64;

impl ConnectionSlots {
    pub(super) fn new(what: &'static str, places: u32) -> Arc<Self> {
        Arc::new(Self { what, state: Mutex::new(SlotState { free: places.max(1), turns: Turns::default() }) })
    }

    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Takes a place, waiting for one until `deadline` at most.
    ///
    /// # Errors
    /// When to come again.
    pub(super) async fn take(
        self: &Arc<Self>,
        principal: &Arc<str>,
        deadline: Instant,
    ) -> Result<ConnectionSlot, Duration> {
        let turn = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(ConnectionSlot(Some(Arc::clone(self))));
            }
            if state.turns.of(principal) >= MOST_OF_ONE {
                state.turns.retain(|turn| !turn.is_closed());
            }
            if state.turns.of(principal) >= MOST_OF_ONE {
                return Err(RETRY_AFTER);
            }
            let (turn, mine) = oneshot::channel();
            state.turns.push(principal, 1, turn);
            mine
        };
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(RETRY_AFTER),
        }
    }

    fn release(self: Arc<Self>) {
        // Handing over happens outside the lock: a slot that is not taken comes back through this function.
        let next = {
            let mut state = self.lock();
            loop {
                match state.turns.pop() {
                    Some((turn, _)) if turn.is_closed() => {}
                    Some((turn, _)) => break Some(turn),
                    None => {
                        state.free += 1;
                        break None;
                    }
                }
            }
        };
        if let Some(turn) = next {
            drop(turn.send(ConnectionSlot(Some(self))));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(slots) = self.0.take() {
            slots.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_at_a_time_and_turns_for_the_rest() {
        let slots = ConnectionSlots::new("x", 5);
        let soon = || Instant::now() + Duration::from_secs(5);
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(slots.take(&"greedy".into(), soon()).await.unwrap());
        }
        assert!(slots.take(&"late".into(), soon()).await.is_err(), "nobody let go for five seconds");
        let mut greedy = Vec::new();
        for _ in 0..3 {
            let slots = slots.clone();
            greedy.push(tokio::spawn(async move { slots.take(&"greedy".into(), soon()).await }));
            tokio::task::yield_now().await;
        }
        let modest = {
            let slots = slots.clone();
            tokio::spawn(async move { slots.take(&"modest".into(), soon()).await })
        };
        tokio::task::yield_now().await;
        held.truncate(3);
        assert!(modest.await.unwrap().is_ok(), "second in turn, though fourth to come");
        greedy.into_iter().for_each(|one| one.abort());
        drop(held);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut again = Vec::new();
        for _ in 0..5 {
            again.push(slots.take(&"a".into(), soon()).await.unwrap());
        }
    }
}

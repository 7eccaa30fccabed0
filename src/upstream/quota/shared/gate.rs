//! The local queue ahead of the store: fair turns between callers, of which the head reserves.
//!
//! Where nothing is scarce, calls do not queue: several of them reserve at once, each only if it may go at
//! once. One that would have to wait goes into the queue. Only the head of the queue has a reservation ahead
//! of its time, so that one caller cannot reserve a stretch of time for many requests.

use crate::base::fair::Turns;
use crate::base::task::spawn_self_ending;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What became of a request for a turn.
pub(in crate::upstream::quota) enum Grant<R> {
    /// It is time.
    Go(R),
    /// It would take too long; when to try again.
    Late(Duration),
    /// The store does not answer.
    Away,
}

/// What the store says.
pub(super) enum ReserveOutcome<R> {
    /// Reserved, from so far ahead.
    After(Duration, R),
    /// Nothing is reserved: it would be so far ahead.
    Late(Duration),
    /// Nothing is reserved: all connections are in use.
    NoConnection,
}

/// The queue of one set of buckets.
pub(super) struct Gate<R> {
    queue: Mutex<Queue<R>>,
    direct: AtomicUsize,
}

struct Queue<R> {
    turns: Turns<Waiter<R>>,
    /// A task grants turns while requests wait.
    serving: bool,
}

struct Waiter<R> {
    reserve: Reserve<R>,
    deadline: Instant,
    grant: oneshot::Sender<Grant<R>>,
}

type Reserve<R> = Box<dyn Fn(Duration) -> ReserveAnswer<R> + Send + Sync>;
type ReserveAnswer<R> = Pin<Box<dyn Future<Output = Result<ReserveOutcome<R>, crate::fleet::Error>> + Send>>;

/// So many reserve at once without a queue.
const MOST_DIRECT: usize = 16;
/// More waiters than this, of one principal or of all, are refused at once.
const MOST_OF_ONE: usize = 256;
const MOST: usize = 4096;
/// How long until a connection is asked for again when all were in use.
const CONNECTION_PAUSE: Duration = Duration::from_millis(40);
/// Who is refused comes back no sooner.
const RETRY_AFTER: Duration = Duration::from_millis(500);

impl<R> Default for Gate<R> {
    fn default() -> Self {
        let queue = Queue { turns: Turns::default(), serving: false };
        Self { queue: Mutex::new(queue), direct: AtomicUsize::new(0) }
    }
}

impl<R: Send + 'static> Gate<R> {
    /// Waits for a turn here and for the reserved time, until `deadline` at most. `weight` is how much of a
    /// second's time the request takes, in milliseconds.
    pub(super) async fn pass(
        self: &Arc<Self>,
        principal: &Arc<str>,
        weight: u32,
        deadline: Instant,
        reserve: impl Fn(Duration) -> ReserveAnswer<R> + Send + Sync + 'static,
    ) -> Grant<R> {
        if let Some(direct) = self.direct() {
            match reserve(Duration::ZERO).await {
                Ok(ReserveOutcome::After(_, reservation)) => return Grant::Go(reservation),
                Ok(ReserveOutcome::Late(_) | ReserveOutcome::NoConnection) => drop(direct),
                Err(_) => return Grant::Away,
            }
        }
        let turn = {
            let mut queue = self.lock();
            let turns = &mut queue.turns;
            if turns.len() >= MOST || turns.of(principal) >= MOST_OF_ONE {
                turns.retain(|waiter| !waiter.grant.is_closed());
            }
            let full = turns.len() >= MOST || turns.of(principal) >= MOST_OF_ONE;
            // Other replicas take their turns too, so it takes at least as long.
            let wait = Duration::from_millis(turns.ahead(principal));
            if full || Instant::now() + wait > deadline {
                return Grant::Late(wait.max(RETRY_AFTER));
            }
            let (grant, turn) = oneshot::channel();
            turns.push(principal, weight, Waiter { reserve: Box::new(reserve), deadline, grant });
            if !queue.serving {
                queue.serving = true;
                // Ends when no request waits any more, which the deadlines of the waiters bound.
                spawn_self_ending(Arc::clone(self).serve());
            }
            turn
        };
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(grant)) => grant,
            _ => Grant::Late(RETRY_AFTER.max(Duration::from_millis(self.lock().turns.ahead(principal)))),
        }
    }

    /// A place beside the queue, while nothing waits in it.
    fn direct(self: &Arc<Self>) -> Option<Direct<R>> {
        if self.lock().serving {
            return None;
        }
        let taken = self.direct.fetch_add(1, Ordering::AcqRel);
        let place = Direct(Arc::clone(self));
        (taken < MOST_DIRECT).then_some(place)
    }

    /// Grants turns until no request waits.
    async fn serve(self: Arc<Self>) {
        loop {
            let waiter = {
                let mut queue = self.lock();
                match queue.turns.pop() {
                    Some((waiter, _)) => waiter,
                    None => {
                        queue.serving = false;
                        return;
                    }
                }
            };
            if !self.grant(waiter).await {
                // None of the others waits for a store that is away.
                let mut queue = self.lock();
                while let Some((waiter, _)) = queue.turns.pop() {
                    let _ = waiter.grant.send(Grant::Away);
                }
            }
        }
    }

    /// Reserves for one request and sleeps until its time. False: the store does not answer.
    async fn grant(&self, mut waiter: Waiter<R>) -> bool {
        while !waiter.grant.is_closed() {
            let most = waiter.deadline.saturating_duration_since(Instant::now());
            let answer = (waiter.reserve)(most).await;
            let away = answer.is_err();
            let grant = match answer {
                Ok(ReserveOutcome::After(wait, reservation)) => {
                    tokio::select! {
                        () = tokio::time::sleep(wait) => Grant::Go(reservation),
                        // Its caller has left: it is given back by being dropped.
                        () = waiter.grant.closed() => return true,
                    }
                }
                Ok(ReserveOutcome::Late(wait)) => Grant::Late(wait.max(RETRY_AFTER)),
                Ok(ReserveOutcome::NoConnection) => {
                    tokio::time::sleep(CONNECTION_PAUSE).await;
                    continue;
                }
                Err(_) => Grant::Away,
            };
            let _ = waiter.grant.send(grant);
            return !away;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue<R>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Direct<R>(Arc<Gate<R>>);

impl<R> Drop for Direct<R> {
    fn drop(&mut self) {
        self.0.direct.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
#[path = "../../tests/quota_gate.rs"]
mod tests;

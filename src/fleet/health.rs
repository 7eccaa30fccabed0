//! Which shards of the store answer: a breaker for each, and when a connection is in doubt.
//!
//! A primary that hangs keeps its connections, and the client goes on waiting for it. So what counts is that
//! answers stay away: then the breaker of the shard opens, and the connection is built anew, which finds the
//! node that has taken over. An open breaker refuses at once; after a pause one probe goes through.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A shard, by its primary: after a failover it is another one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ShardId(pub(super) u64);

/// So many failures in a row open a breaker.
const FAILURES: u32 = 5;
/// And so many time-outs within [`WINDOW`], whatever was answered between them.
const TIMEOUTS: usize = 8;
const WINDOW: Duration = Duration::from_secs(2);
/// How long a breaker stays open before a probe.
const PAUSE: Duration = Duration::from_secs(1);

/// All shards.
#[derive(Default)]
pub(super) struct Health(Mutex<HashMap<ShardId, Shard>>);

#[derive(Default)]
struct Shard {
    failures: u32,
    timeouts: VecDeque<Instant>,
    state: State,
    /// When the first operation failed since the shard answered last.
    out_since: Option<Instant>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open(Instant),
    Probing,
}

/// How an operation failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// No answer came in time.
    TimedOut,
    /// The connection broke, or the server cannot serve.
    Broken,
}

impl Health {
    /// Whether an operation may be sent to the shard. Its outcome has to be reported.
    pub(super) fn pass(&self, shard: ShardId, now: Instant) -> bool {
        self.with(shard, |shard| match shard.state {
            State::Closed => true,
            State::Open(until) if now >= until => {
                shard.state = State::Probing;
                true
            }
            State::Open(_) | State::Probing => false,
        })
    }

    /// The shard answered.
    pub(super) fn answered(&self, shard: ShardId) {
        self.with(shard, |shard| {
            (shard.failures, shard.out_since) = (0, None);
            if shard.state != State::Closed {
                *shard = Shard::default();
            }
        });
    }

    /// The shard did not answer. True: the connection is in doubt and should be built anew.
    pub(super) fn failed(&self, shard: ShardId, failure: Failure, now: Instant) -> bool {
        self.with(shard, |shard| {
            shard.failures += 1;
            let out_since = *shard.out_since.get_or_insert(now);
            if failure == Failure::TimedOut {
                shard.timeouts.push_back(now);
                while shard.timeouts.front().is_some_and(|first| now - *first > WINDOW) {
                    shard.timeouts.pop_front();
                }
            }
            let opens = shard.state == State::Probing
                || shard.failures >= FAILURES
                || shard.timeouts.len() >= TIMEOUTS;
            if opens {
                let state = State::Open(now + PAUSE);
                *shard = Shard { state, out_since: Some(out_since), ..Shard::default() };
            }
            opens
        })
    }

    /// The request of the operation was dropped before its outcome was known.
    pub(super) fn dropped(&self, shard: ShardId, now: Instant) {
        self.with(shard, |shard| {
            if shard.state == State::Probing {
                shard.state = State::Open(now);
            }
        });
    }

    /// The connection is new: whatever is open may be probed at once.
    pub(super) fn renewed(&self, now: Instant) {
        let mut shards = self.lock();
        shards.retain(|_, shard| shard.state != State::Closed);
        for shard in shards.values_mut() {
            shard.state = State::Open(now);
        }
    }

    /// Since when the shard has not answered; `None` if it answers, as far as is known.
    pub(super) fn out_since(&self, shard: ShardId) -> Option<Instant> {
        self.lock().get(&shard).and_then(|shard| shard.out_since)
    }

    /// Whether every shard answers, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.lock().values().all(|shard| shard.state == State::Closed)
    }

    /// Drops what is known of shards that are no more.
    pub(super) fn keep_only(&self, known: impl Fn(ShardId) -> bool) {
        self.lock().retain(|shard, _| known(*shard));
    }

    fn with<T>(&self, shard: ShardId, change: impl FnOnce(&mut Shard) -> T) -> T {
        change(self.lock().entry(shard).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ShardId, Shard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ShardId = ShardId(1);

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_a_breaker_and_one_probe_closes_it() {
        let (health, now) = (Health::default(), Instant::now());
        for _ in 0..4 {
            assert!(health.pass(ONE, now) && !health.failed(ONE, Failure::Broken, now));
        }
        health.answered(ONE);
        for at in 0..5 {
            assert_eq!(health.failed(ONE, Failure::Broken, now), at == 4, "answers begin the count anew");
        }
        assert!(!health.pass(ONE, now) && !health.is_well());
        assert!(health.pass(ShardId(2), now), "other shards are not affected");
        let later = now + PAUSE;
        assert!(health.pass(ONE, later) && !health.pass(ONE, later), "one probe");
        assert!(health.failed(ONE, Failure::TimedOut, later), "a failed probe: the connection is in doubt");
        let later = later + PAUSE;
        assert!(health.pass(ONE, later));
        health.dropped(ONE, later);
        assert!(health.pass(ONE, later), "a probe that was dropped lets the next one through");
        health.answered(ONE);
        assert!(health.pass(ONE, later) && health.is_well());
    }

    #[tokio::test(start_paused = true)]
    async fn eight_time_outs_in_two_seconds_are_doubt_whatever_is_answered_between() {
        let (health, now) = (Health::default(), Instant::now());
        let mut doubted = 0;
        for step in 0..8_u32 {
            doubted +=
                u32::from(health.failed(ONE, Failure::TimedOut, now + step * Duration::from_millis(250)));
            health.answered(ShardId(2));
            if step < 7 {
                health.answered(ONE);
            }
        }
        assert_eq!(doubted, 1);
        let slow = Health::default();
        for step in 0..20_u32 {
            assert!(!slow.failed(ONE, Failure::TimedOut, now + step * Duration::from_millis(300)));
            slow.answered(ONE);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_is_tried_at_once() {
        let (health, now) = (Health::default(), Instant::now());
        for _ in 0..FAILURES {
            health.failed(ONE, Failure::Broken, now);
        }
        assert!(!health.pass(ONE, now));
        health.renewed(now);
        assert!(health.pass(ONE, now) && !health.pass(ONE, now), "by one probe");
        health.keep_only(|_| false);
        assert!(health.is_well());
    }
}

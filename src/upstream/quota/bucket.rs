//! A token bucket whose tokens are waited for in fair turns.
//!
//! It holds one second's worth, as KVS's does. A fifth of it stays in reserve, because requests that leave
//! here evenly arrive there in bunches: without the reserve, network jitter alone makes KVS throttle a
//! client that keeps to the rate. A request larger than the bucket may run it into debt once it is full.
//! KVS accepts lists of 1,000 fragments at 500 points a second, so it does the same.

use crate::base::bucket::{self, Rate};
use crate::base::fair::Turns;
use crate::base::task::spawn_self_ending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// One bucket.
pub(super) struct QuotaBucket {
    what: &'static str,
    /// It holds one second's worth.
    rate: Rate,
    state: Mutex<BucketState>,
}

struct BucketState {
    tokens: bucket::Bucket,
    /// When it was last more than half full.
    high: Instant,
    /// When it last had to count in place of the shared store.
    cut_off: Option<Instant>,
    turns: Turns<Waiter>,
    /// A task grants turns while requests wait.
    granting: bool,
    meter: Meter,
}

type Waiter = oneshot::Sender<()>;

/// One part in so many of the bucket is not used for small requests.
const RESERVE: u64 = 5;
/// More waiters than this, of one principal or of all, are refused at once.
const MOST_OF_ONE: usize = 256;
const MOST: usize = 4096;
/// No wait is said to be longer.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

impl QuotaBucket {
    pub(super) fn new(what: &'static str, per_second: u32) -> Arc<Self> {
        let rate = u64::from(per_second.max(1));
        let rate = Rate { per_second: rate, burst: rate };
        let now = Instant::now();
        let state = BucketState {
            tokens: bucket::Bucket::default(),
            high: now,
            cut_off: None,
            turns: Turns::default(),
            granting: false,
            meter: Meter::new(now),
        };
        Arc::new(Self { what, rate, state: Mutex::new(state) })
    }

    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// How many tokens it gains in a second.
    pub(super) fn per_second(&self) -> u32 {
        u32::try_from(self.rate.per_second).unwrap_or(u32::MAX)
    }

    /// Notes what was taken in the shared store instead.
    pub(super) fn note(&self, cost: u32) {
        self.lock().meter.add(f64::from(cost), Instant::now());
    }

    /// This bucket counts, because the shared store has not answered since then, or since now. What was taken
    /// there lately is not known, and what was reserved ahead is still to be sent: so it had a second's debt
    /// at that time, and has filled since.
    pub(super) fn cut_off(&self, since: Option<Instant>) {
        let mut state = self.lock();
        let now = self.look(&mut state);
        let since = since.unwrap_or(now);
        if state.cut_off.is_none_or(|at| since.saturating_duration_since(at) >= SECOND * 2) {
            state.tokens.empty(self.rate, now.into_std());
            state.tokens.spend(self.rate.burst, self.rate, now.into_std());
            let millis = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
            let gained = millis.saturating_mul(self.rate.per_second) / 1000;
            state.tokens.give(gained, 0, self.rate, now.into_std());
        }
        state.cut_off = Some(now);
    }

    /// Whether this bucket has counted within the time in which KVS's may still lack what was taken here.
    pub(super) fn was_cut_off(&self) -> bool {
        self.lock().cut_off.is_some_and(|at| at.elapsed() < SECOND * 2)
    }

    /// Takes `cost`, waiting for a turn until `deadline` at most.
    ///
    /// # Errors
    /// When to try again; given at once if the wait would be too long.
    pub(super) async fn take(
        self: &Arc<Self>,
        cost: u32,
        principal: &Arc<str>,
        deadline: Instant,
    ) -> Result<(), Duration> {
        let turn = {
            let mut state = self.lock();
            let now = self.look(&mut state);
            if state.turns.is_empty() && self.missing(&mut state, cost, now).is_zero() {
                self.spend(&mut state, cost, now);
                return Ok(());
            }
            self.enqueue(&mut state, cost, principal, deadline)?
        };
        match tokio::time::timeout_at(deadline, turn).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(self.wait(&mut self.lock(), cost, principal).max(Duration::from_millis(500))),
        }
    }

    /// Gives back what was taken at `since` and not used.
    ///
    /// What KVS did not charge has filled its bucket meanwhile. If that overflowed, it is lost there and
    /// must not come back here. It cannot have overflowed as long as our level, lower by as much, was never
    /// above half.
    pub(super) fn give_back(&self, cost: u32, since: Instant) {
        let mut state = self.lock();
        let now = self.look(&mut state);
        state.meter.add(-f64::from(cost), now);
        if state.high <= since {
            let cost = u64::from(cost).min(self.rate.burst / 2);
            state.tokens.give(cost, 0, self.rate, now.into_std());
        }
    }

    /// KVS says that there is nothing left.
    pub(super) fn empty(&self) {
        let mut state = self.lock();
        let now = self.look(&mut state);
        state.tokens.empty(self.rate, now.into_std());
    }

    /// What was taken within about the last second, as a share of what may be.
    pub(super) fn utilization(&self) -> f64 {
        let most = self.rate.burst as f64;
        (self.lock().meter.last_second(Instant::now()) / most).clamp(0.0, 1.0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BucketState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time, and on record if the bucket is half full by now.
    fn look(&self, state: &mut BucketState) -> Instant {
        let now = Instant::now();
        if state.tokens.wait(self.rate.burst / 2, self.rate, now.into_std()).is_zero() {
            state.high = now;
        }
        now
    }

    /// How long until a request of this cost may go, if none waits before it.
    fn missing(&self, state: &mut BucketState, cost: u32, now: Instant) -> Duration {
        state.tokens.wait(self.needs(cost), self.rate, now.into_std())
    }

    fn spend(&self, state: &mut BucketState, cost: u32, now: Instant) {
        state.tokens.spend(cost.into(), self.rate, now.into_std());
        state.meter.add(f64::from(cost), now);
    }

    /// What has to be there before a request of this cost may go.
    fn needs(&self, cost: u32) -> u64 {
        // A bucket of one or two has no fifth to spare.
        (u64::from(cost) + self.rate.burst / RESERVE).min(self.rate.burst)
    }

    fn enqueue(
        self: &Arc<Self>,
        state: &mut BucketState,
        cost: u32,
        principal: &Arc<str>,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<()>, Duration> {
        if state.turns.len() >= MOST || state.turns.of(principal) >= MOST_OF_ONE {
            state.turns.retain(|waiter| !waiter.is_closed());
        }
        let wait = self.wait(state, cost, principal);
        let full = state.turns.len() >= MOST || state.turns.of(principal) >= MOST_OF_ONE;
        if full || Instant::now() + wait > deadline {
            return Err(wait.max(Duration::from_millis(500)));
        }
        let (turn, mine) = oneshot::channel();
        state.turns.push(principal, cost, turn);
        if !state.granting {
            state.granting = true;
            // Ends when no request waits any more, which the deadlines of the waiters bound.
            spawn_self_ending(grant_turns(Arc::clone(self)));
        }
        Ok(mine)
    }

    /// How long a request of this principal will wait, if none arrives that is owed more.
    fn wait(&self, state: &mut BucketState, cost: u32, principal: &str) -> Duration {
        let before = state.turns.ahead(principal).saturating_add(self.needs(cost));
        state.tokens.wait(before, self.rate, Instant::now().into_std()).min(LONGEST_WAIT)
    }
}

/// Grants turns as the bucket fills, until no request waits.
async fn grant_turns(bucket: Arc<QuotaBucket>) {
    loop {
        let pause = {
            let mut state = bucket.lock();
            let now = bucket.look(&mut state);
            loop {
                let Some((next, cost)) = state.turns.peek() else {
                    state.granting = false;
                    return;
                };
                if next.is_closed() {
                    state.turns.pop(); // its caller has left
                    continue;
                }
                let missing = bucket.missing(&mut state, cost, now);
                if !missing.is_zero() {
                    break missing;
                }
                if let Some((turn, cost)) = state.turns.pop()
                    && turn.send(()).is_ok()
                {
                    bucket.spend(&mut state, cost, now);
                }
            }
        };
        tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
    }
}

/// Counts over about a second: this one, and what still counts of the last one.
struct Meter {
    start: Instant,
    current: f64,
    last: f64,
}

const SECOND: Duration = Duration::from_secs(1);

impl Meter {
    fn new(now: Instant) -> Self {
        Self { start: now, current: 0.0, last: 0.0 }
    }

    fn add(&mut self, cost: f64, now: Instant) {
        self.turn_over(now);
        self.current += cost;
    }

    fn last_second(&mut self, now: Instant) -> f64 {
        self.turn_over(now);
        let into = now.saturating_duration_since(self.start).as_secs_f64().min(1.0);
        self.current + self.last * (1.0 - into)
    }

    fn turn_over(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.start);
        if age >= SECOND * 2 {
            *self = Self::new(now);
        } else if age >= SECOND {
            *self = Self { start: self.start + SECOND, current: 0.0, last: self.current };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn who(name: &str) -> Arc<str> {
        name.into()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate_holds() {
        let bucket = QuotaBucket::new("x", 5);
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..9 {
            bucket.take(1, &who("a"), soon()).await.unwrap();
            times.push(start.elapsed().as_millis() / 100);
        }
        assert_eq!(times, [0, 0, 0, 0, 2, 4, 6, 8, 10], "four at once, then one each 200 ms");
    }

    #[tokio::test(start_paused = true)]
    async fn over_any_time_no_more_passes_than_kvs_allows() {
        let bucket = QuotaBucket::new("x", 500);
        let passed = Arc::new(Mutex::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..300_u32)
            .map(|i| {
                let (bucket, passed) = (bucket.clone(), passed.clone());
                tokio::spawn(async move {
                    let cost = i % 13 + 1;
                    if bucket.take(cost, &who(&(i % 10).to_string()), soon()).await.is_ok() {
                        *passed.lock().unwrap() += cost;
                        let allowed = 500.0 + 500.0 * start.elapsed().as_secs_f64();
                        assert!(f64::from(*passed.lock().unwrap()) <= allowed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert!(*passed.lock().unwrap() > 2000, "{}", passed.lock().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn one_greedy_user_does_not_starve_another() {
        let bucket = QuotaBucket::new("x", 5);
        for _ in 0..30 {
            let bucket = bucket.clone();
            tokio::spawn(async move { bucket.take(1, &who("greedy"), soon()).await });
        }
        tokio::task::yield_now().await;
        let start = Instant::now();
        bucket.take(1, &who("modest"), soon()).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(700), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_hopeless_wait_is_refused_at_once_with_the_time_to_come_again() {
        let bucket = QuotaBucket::new("x", 5);
        let start = Instant::now();
        let mut refused = Vec::new();
        let mut waiting = Vec::new();
        for _ in 0..40 {
            let bucket = bucket.clone();
            waiting.push(tokio::spawn(async move { bucket.take(1, &who("a"), soon()).await }));
            tokio::task::yield_now().await;
        }
        for one in waiting {
            if let Err(again) = one.await.unwrap() {
                refused.push(again);
            }
        }
        // Four at once and five a second for five seconds.
        assert!((10..=12).contains(&refused.len()), "{}", refused.len());
        assert!(refused.iter().all(|again| *again >= Duration::from_millis(500)), "{refused:?}");
        assert!(start.elapsed() <= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_costs_nothing() {
        let bucket = QuotaBucket::new("x", 5);
        for _ in 0..4 {
            bucket.take(1, &who("a"), soon()).await.unwrap();
        }
        for _ in 0..20 {
            let leaver = {
                let bucket = bucket.clone();
                tokio::spawn(async move { bucket.take(1, &who("b"), soon()).await })
            };
            tokio::task::yield_now().await;
            leaver.abort();
        }
        let start = Instant::now();
        bucket.take(1, &who("a"), soon()).await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(210), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() {
        let bucket = QuotaBucket::new("x", 500);
        bucket.take(1000, &who("a"), soon()).await.unwrap();
        let start = Instant::now();
        bucket.take(100, &who("a"), soon()).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 1400, "500 of debt, 100 of cost, 100 of reserve");
    }

    #[tokio::test(start_paused = true)]
    async fn in_place_of_a_store_it_begins_with_a_debt_of_a_second_once() {
        let bucket = QuotaBucket::new("x", 500);
        assert!(!bucket.was_cut_off());
        bucket.cut_off(None);
        let start = Instant::now();
        bucket.take(100, &who("a"), soon()).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 1400, "500 of debt, 100 of cost, 100 of reserve");
        bucket.cut_off(Some(start));
        bucket.take(100, &who("a"), soon()).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 1600, "no new debt while it goes on");
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(!bucket.was_cut_off());
        bucket.cut_off(Some(start));
        bucket.take(400, &who("a"), soon()).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 4600, "the same outage");
    }

    #[tokio::test(start_paused = true)]
    async fn the_debt_is_that_of_the_time_when_the_store_went_away() {
        let bucket = QuotaBucket::new("x", 500);
        let start = Instant::now();
        tokio::time::advance(Duration::from_millis(1200)).await;
        bucket.cut_off(Some(start));
        bucket.take(100, &who("a"), soon()).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 1400, "500 of debt, 100 of cost, 100 of reserve");
        tokio::time::advance(Duration::from_secs(5)).await;
        let again = Instant::now();
        bucket.cut_off(Some(again));
        bucket.take(100, &who("a"), soon()).await.unwrap();
        assert_eq!(again.elapsed().as_millis(), 1400, "another outage");
    }

    #[tokio::test(start_paused = true)]
    async fn utilization_follows_use() {
        let bucket = QuotaBucket::new("x", 100);
        assert!(bucket.utilization() < 0.01);
        bucket.take(50, &who("a"), soon()).await.unwrap();
        assert!((0.4..0.6).contains(&bucket.utilization()));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(bucket.utilization() < 0.01);
        bucket.take(10, &who("a"), soon()).await.unwrap();
        bucket.give_back(10, Instant::now());
        assert!(bucket.utilization() < 0.01);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_counts_only_while_kvs_has_it_too() {
        let bucket = QuotaBucket::new("x", 500);
        // In tokens, from how long a full bucket takes.
        let level = || {
            let full = bucket.lock().tokens.wait(500, bucket.rate, Instant::now().into_std());
            500.0 - full.as_secs_f64() * 500.0
        };
        bucket.take(300, &who("a"), soon()).await.unwrap();
        bucket.take(100, &who("a"), soon()).await.unwrap();
        let taken = Instant::now();
        tokio::time::advance(Duration::from_millis(200)).await;
        bucket.give_back(50, taken);
        assert!((249.0..251.0).contains(&level()), "100 left, 100 new, 50 back: {}", level());
        tokio::time::advance(Duration::from_millis(300)).await;
        bucket.take(300, &who("a"), soon()).await.unwrap();
        let before = level();
        bucket.give_back(50, taken);
        assert!((level() - before).abs() < 1e-6, "KVS's was full in between and did not keep it");
    }
}

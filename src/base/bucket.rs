//! A token bucket that may run into debt. Pure: the time is handed in.
//!
//! A bucket fills evenly, holds at most its burst, and starts full. Where a cost is known before,
//! [`Bucket::take`] asks for it. Where it is known only once it has been spent, [`Bucket::spend`] takes it
//! whatever there is, and the next one waits until the debt is paid.
//!
//! The rate is handed in with each use and is not kept, so that a bucket survives a change of settings. All
//! arithmetic is in whole billionths of a token: nothing is lost to rounding, however often a bucket is
//! looked at.

use std::time::{Duration, Instant};

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Tokens per second.
    pub per_second: u64,
    /// The most tokens it holds.
    pub burst: u64,
}

/// One bucket. The default is a full one.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    /// By how much it is less than full, in billionths of a token; more than the burst is a debt. Below zero
    /// it holds more than time alone would give it.
    missing: i128,
    /// When that was true.
    at: Option<Instant>,
}

/// Billionths. A rate per second times nanoseconds is in these without any division.
const TOKEN: i128 = 1_000_000_000;

impl Bucket {
    /// Takes `cost` if it is there.
    ///
    /// # Errors
    /// How long until it will be; nothing was taken.
    pub fn take(&mut self, cost: u64, rate: Rate, now: Instant) -> Result<(), Duration> {
        let wait = self.wait(cost, rate, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.missing += i128::from(cost) * TOKEN;
        Ok(())
    }

    /// Takes `cost`, however little there is.
    pub fn spend(&mut self, cost: u64, rate: Rate, now: Instant) {
        self.refill(rate, now);
        self.missing += i128::from(cost) * TOKEN;
    }

    /// How long until there are `tokens`, if none are taken; zero if they are there. For more than the
    /// burst: as long as it would take if the bucket held that much.
    pub fn wait(&mut self, tokens: u64, rate: Rate, now: Instant) -> Duration {
        self.refill(rate, now);
        let lacking = self.missing + (i128::from(tokens) - i128::from(rate.burst)) * TOKEN;
        let per_second = i128::from(rate.per_second.max(1));
        // Rounded up, so that they are there after the wait.
        let nanos = lacking.max(0).saturating_add(per_second - 1) / per_second;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Adds tokens that were taken and not used, or that were earned. At most `beyond` tokens are kept beyond
    /// a full bucket.
    pub fn give(&mut self, tokens: u64, beyond: u64, rate: Rate, now: Instant) {
        self.refill(rate, now);
        let most = -i128::from(beyond) * TOKEN;
        self.missing = (self.missing - i128::from(tokens) * TOKEN).max(most.min(self.missing));
    }

    /// Takes all there is. A debt stays as it is.
    pub fn empty(&mut self, rate: Rate, now: Instant) {
        self.refill(rate, now);
        self.missing = self.missing.max(i128::from(rate.burst) * TOKEN);
    }

    fn refill(&mut self, rate: Rate, now: Instant) {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        if self.missing > 0 {
            let gained = i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
            let gained = gained.saturating_mul(i128::from(rate.per_second));
            self.missing = self.missing.saturating_sub(gained).max(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEN: Rate = Rate { per_second: 10, burst: 20 };

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        let mut now = start;
        for _ in 0..20 {
            assert_eq!(bucket.take(1, TEN, now), Ok(()));
        }
        for _ in 0..30 {
            let wait = bucket.take(1, TEN, now).unwrap_err();
            assert_eq!(wait, millis(100));
            now += wait;
            assert_eq!(bucket.take(1, TEN, now), Ok(()), "what was waited for is there");
        }
        assert_eq!(now - start, Duration::from_secs(3));
    }

    #[test]
    fn a_debt_is_paid_before_anything_else() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        bucket.spend(50, TEN, start);
        assert_eq!(bucket.wait(0, TEN, start), Duration::from_secs(3));
        assert_eq!(bucket.take(1, TEN, start), Err(millis(3100)));
        assert_eq!(bucket.wait(30, TEN, start), Duration::from_secs(6), "as if it held that much");
        assert_eq!(bucket.wait(0, TEN, start + Duration::from_secs(3)), Duration::ZERO);
    }

    #[test]
    fn an_emptied_bucket_holds_nothing_and_keeps_its_debt() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        bucket.empty(TEN, start);
        assert_eq!(bucket.wait(1, TEN, start), millis(100));
        bucket.spend(10, TEN, start);
        bucket.empty(TEN, start);
        assert_eq!(bucket.wait(0, TEN, start), Duration::from_secs(1));
    }

    #[test]
    fn what_is_given_fills_it_and_goes_beyond_only_as_far_as_it_may() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        bucket.spend(5, TEN, start);
        bucket.give(50, 0, TEN, start);
        assert_eq!(bucket.wait(21, TEN, start), millis(100), "full and no more");
        bucket.give(50, 7, TEN, start);
        assert_eq!(bucket.take(27, TEN, start), Ok(()));
        assert_eq!(bucket.wait(1, TEN, start), millis(100));
        bucket.give(27, 7, TEN, start);
        bucket.give(1, 0, TEN, start);
        assert_eq!(
            bucket.take(27, TEN, start + Duration::from_secs(9)),
            Ok(()),
            "time does not take it away"
        );
    }

    #[test]
    fn a_rate_may_change_while_it_is_used() {
        let (mut bucket, start) = (Bucket::default(), Instant::now());
        bucket.spend(20, TEN, start);
        let faster = Rate { per_second: 100, burst: 20 };
        assert_eq!(bucket.wait(10, faster, start), millis(100));
        assert_eq!(
            bucket.wait(1, Rate { per_second: 0, burst: 20 }, start),
            Duration::from_secs(1),
            "no crash"
        );
    }

    proptest! {
        /// Over any time no more passes than the burst and what the rate gives in that time.
        #[test]
        fn no_more_passes_than_the_rate_allows(
            per_second in 1..2000_u64, burst in 1..500_u64,
            steps in proptest::collection::vec((0..400_u64, 1..60_u64), 1..200),
        ) {
            let (rate, start) = (Rate { per_second, burst }, Instant::now());
            let (mut bucket, mut now, mut passed) = (Bucket::default(), start, 0_u128);
            for (pause, cost) in steps {
                now += millis(pause);
                if bucket.take(cost, rate, now).is_ok() {
                    passed += u128::from(cost);
                }
                let filled = (now - start).as_nanos() * u128::from(per_second);
                let allowed = u128::from(burst) * 1_000_000_000 + filled;
                prop_assert!(passed * 1_000_000_000 <= allowed);
            }
        }

        /// After the wait that it gave, and not a nanosecond before, the tokens are there.
        #[test]
        fn a_wait_is_exact(
            per_second in 1..3000_u64, burst in 1..500_u64, spent in 0..1000_u64, wanted in 1..500_u64,
        ) {
            prop_assume!(wanted <= burst);
            let (rate, start) = (Rate { per_second, burst }, Instant::now());
            let mut bucket = Bucket::default();
            bucket.spend(spent, rate, start);
            let wait = bucket.wait(wanted, rate, start);
            if !wait.is_zero() {
                let before = start + wait - Duration::from_nanos(1);
                prop_assert!(bucket.clone().take(wanted, rate, before).is_err());
            }
            prop_assert!(bucket.take(wanted, rate, start + wait).is_ok());
        }
    }
}

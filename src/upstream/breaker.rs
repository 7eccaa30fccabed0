//! Circuit breakers: when to stop calling an endpoint that fails, and when to try it again.
//!
//! One per endpoint and operation: an operation that fails for its own reasons does not affect the others
//! of the same host, and a dead host opens them all within a few calls. Consecutive failures count; any
//! answer at all, a refusal too, closes. An open breaker refuses at once; after a pause one probe goes
//! through, and its outcome decides. A probe that is dropped lets the next call probe.

use http::uri::Authority;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// All breakers.
#[derive(Debug)]
pub(super) struct Breakers {
    failures: u32,
    pause: Duration,
    states: Mutex<HashMap<BreakerKey, BreakerState>>,
}

type BreakerKey = (Authority, &'static str);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BreakerState {
    /// So many failures in a row.
    Closed(u32),
    /// Refusing until then; the pause that led there.
    Open(Instant, Duration),
    /// One probe is out; if it fails, the pause doubles.
    Probing(Duration),
}

/// How many pauses the longest one is.
const LONGEST: u32 = 30;
/// Hosts are few; beyond this, closed breakers are forgotten.
const MOST: usize = 4096;

impl Breakers {
    pub(super) fn new(failures: u32, pause: Duration) -> Self {
        Self { failures: failures.max(1), pause, states: Mutex::default() }
    }

    /// Permission to send one request.
    ///
    /// # Errors
    /// How long to wait before the next try.
    pub(super) fn pass(&self, authority: &Authority, api: &'static str) -> Result<Pass<'_>, Duration> {
        let key = (authority.clone(), api);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(&key) {
            *state = state.asked(Instant::now(), self.pause)?;
        }
        Ok(Pass { breakers: self, key, reported: false })
    }

    fn set(&self, key: &BreakerKey, change: impl FnOnce(BreakerState) -> BreakerState) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.get(key).copied().unwrap_or(BreakerState::Closed(0));
        match change(before) {
            BreakerState::Closed(0) => drop(states.remove(key)),
            after => {
                if states.len() >= MOST {
                    states.retain(|_, state| !matches!(state, BreakerState::Closed(_)));
                }
                states.insert(key.clone(), after);
            }
        }
    }
}

impl BreakerState {
    fn asked(self, now: Instant, pause: Duration) -> Result<Self, Duration> {
        match self {
            Self::Closed(_) => Ok(self),
            Self::Open(until, pause) if now >= until => Ok(Self::Probing(pause)),
            Self::Open(until, _) => Err(until - now),
            Self::Probing(_) => Err(pause),
        }
    }

    fn failed(self, now: Instant, most: u32, pause: Duration) -> Self {
        match self {
            Self::Closed(failures) if failures + 1 < most => Self::Closed(failures + 1),
            Self::Closed(_) => Self::Open(now + pause, pause),
            Self::Open(..) => self, // began before it opened
            Self::Probing(last) => {
                let next = (last * 2).min(pause * LONGEST);
                Self::Open(now + next, next)
            }
        }
    }

    fn dropped(self, now: Instant) -> Self {
        match self {
            Self::Probing(pause) => Self::Open(now, pause),
            other => other,
        }
    }
}

/// Permission to send one request; its outcome has to be reported.
pub(super) struct Pass<'a> {
    breakers: &'a Breakers,
    key: BreakerKey,
    reported: bool,
}

impl Pass<'_> {
    /// The endpoint answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.reported = true;
        self.breakers.set(&self.key, |_| BreakerState::Closed(0));
    }

    /// It did not, or answered with trouble of its own.
    pub(super) fn failed(mut self) {
        self.reported = true;
        let (most, pause) = (self.breakers.failures, self.breakers.pause);
        self.breakers.set(&self.key, |state| state.failed(Instant::now(), most, pause));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.reported {
            self.breakers.set(&self.key, |state| state.dropped(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn host() -> Authority {
        Authority::from_static("h")
    }

    fn open() -> Breakers {
        let breakers = Breakers::new(3, SECOND);
        for _ in 0..3 {
            breakers.pass(&host(), "GetClip").ok().unwrap().failed();
        }
        breakers
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_it_for_that_operation_only() {
        let breakers = open();
        assert_eq!(breakers.pass(&host(), "GetClip").err(), Some(SECOND));
        assert!(breakers.pass(&host(), "GetImages").is_ok());
        let mixed = Breakers::new(3, SECOND);
        for _ in 0..10 {
            mixed.pass(&host(), "GetClip").ok().unwrap().failed();
            mixed.pass(&host(), "GetClip").ok().unwrap().failed();
            mixed.pass(&host(), "GetClip").ok().unwrap().answered();
        }
        assert!(mixed.pass(&host(), "GetClip").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_decides_and_the_pause_doubles() {
        let breakers = open();
        tokio::time::advance(SECOND).await;
        let probe = breakers.pass(&host(), "GetClip").ok().unwrap();
        assert!(breakers.pass(&host(), "GetClip").is_err(), "only one probe at a time");
        probe.failed();
        assert_eq!(breakers.pass(&host(), "GetClip").err(), Some(SECOND * 2));
        for _ in 0..20 {
            tokio::time::advance(SECOND * 30).await;
            breakers.pass(&host(), "GetClip").ok().unwrap().failed();
        }
        assert_eq!(breakers.pass(&host(), "GetClip").err(), Some(SECOND * 30), "bounded");
        tokio::time::advance(SECOND * 30).await;
        breakers.pass(&host(), "GetClip").ok().unwrap().answered();
        assert!(breakers.pass(&host(), "GetClip").is_ok());
        assert!(breakers.pass(&host(), "GetClip").is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_probe_lets_the_next_one_through() {
        let breakers = open();
        tokio::time::advance(SECOND).await;
        drop(breakers.pass(&host(), "GetClip"));
        assert!(breakers.pass(&host(), "GetClip").is_ok());
    }
}

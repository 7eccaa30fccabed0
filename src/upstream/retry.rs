//! What is worth another try, when, and what has to change before it. Decisions only; `call` acts on them.
//!
//! The rules are docs/KVS.md 6. A throttle is a 400 that no SDK retries. It gets the longer ladder and costs
//! nothing of the budget, because the local buckets slow down with it. Everything else gets two more tries,
//! paid from a budget of 20 % of the calls, so that a failing KVS does not get three times the calls. All
//! waits have full jitter. Nothing is retried once a byte has been passed on.

use super::attempt::AttemptFailure;
use super::config::Config;
use crate::base::bucket::{Bucket, Rate};
use crate::kvs::Fault;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Why something was sent again; the metric's label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RetryReason {
    Throttled,
    Trouble,
    Connect,
    Reset,
    /// The 90-byte success, or another sign that the endpoint does not serve the stream.
    Moved,
    Credentials,
    Clock,
    /// An in-band FRAGMENT_NOT_FOUND of a fragment that may only just be arriving.
    FragmentNotFound,
}

impl RetryReason {
    pub(super) const ALL: [Self; 8] = [
        Self::Throttled,
        Self::Trouble,
        Self::Connect,
        Self::Reset,
        Self::Moved,
        Self::Credentials,
        Self::Clock,
        Self::FragmentNotFound,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Trouble => "server_error",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::Moved => "endpoint_moved",
            Self::Credentials => "credentials",
            Self::Clock => "clock_skew",
            Self::FragmentNotFound => "fragment_not_found",
        }
    }
}

/// What has happened to a call so far.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Attempts {
    /// Attempts again after failures other than throttles.
    pub failed: u32,
    /// Attempts again after throttles.
    pub throttled: u32,
    /// Attempts again for a fragment that is not there yet.
    pub missing: u32,
    /// The endpoint was looked up again.
    pub moved: bool,
    /// The credentials were renewed.
    pub renewed: bool,
    /// The clock was set.
    pub set_clock: bool,
}

impl Attempts {
    /// One more, for this reason.
    pub(super) fn count(&mut self, reason: RetryReason) {
        match reason {
            RetryReason::Throttled => self.throttled += 1,
            RetryReason::FragmentNotFound => self.missing += 1,
            _ => self.failed += 1,
        }
    }
}

/// What to do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NextStep {
    /// Pass it on.
    Fail,
    /// Try again after a wait of at most this; the real one is random.
    Retry { at_most: Duration, reason: RetryReason, paid: bool },
    /// Look the endpoint up again, then retry at once. `sure` if even the same endpoint is worth a retry.
    Resolve { sure: bool },
    /// Renew the credentials, then try again at once.
    Renew,
    /// Sign with the clock of KVS, which shows this time, then try again at once.
    SetClock { kvs_time: SystemTime },
}

/// First waits and the most a wait can be.
const FAILURE_WAIT: Duration = Duration::from_millis(100);
const THROTTLE_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// How often, and after how long, a missing fragment is requested again: it is written within a second or
/// so.
const FRAGMENT_TRIES: u32 = 4;
const FRAGMENT_WAIT: Duration = Duration::from_millis(500);
/// Clocks may differ by 15 minutes for AWS (docs/KVS.md 3.3); below this, skew is not the reason.
pub(super) const SKEW: Duration = Duration::from_secs(240);

/// How the request that failed was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// The endpoint came from GetDataEndpoint, and can therefore be stale.
    pub data: bool,
    /// The time that the request was signed with, if it was signed.
    pub signed_at: Option<SystemTime>,
}

/// Decides.
pub(super) fn next(failure: &AttemptFailure, tries: Attempts, sent: Sent, config: &Config) -> NextStep {
    let data = sent.data;
    let again = |reason| {
        if tries.failed < config.retries {
            let at_most = doubled(FAILURE_WAIT, tries.failed);
            NextStep::Retry { at_most, reason, paid: true }
        } else {
            NextStep::Fail
        }
    };
    match failure {
        AttemptFailure::Fault { fault, kvs_time } => match diagnose(fault, skewed(*kvs_time, sent.signed_at))
        {
            Diagnosis::Throttle if tries.throttled < config.throttle_retries => {
                let at_most = doubled(THROTTLE_WAIT, tries.throttled);
                NextStep::Retry { at_most, reason: RetryReason::Throttled, paid: false }
            }
            Diagnosis::Trouble => again(RetryReason::Trouble),
            Diagnosis::Skewed(kvs_time) if !tries.set_clock => NextStep::SetClock { kvs_time },
            Diagnosis::Expired if !tries.renewed => NextStep::Renew,
            Diagnosis::Moved { sure } if data && !tries.moved => NextStep::Resolve { sure },
            _ => NextStep::Fail,
        },
        AttemptFailure::WrongHost if data && !tries.moved => NextStep::Resolve { sure: true },
        // The control plane's host is fixed: once more, in case it was one of its machines.
        AttemptFailure::WrongHost if !data && tries.failed == 0 => again(RetryReason::Moved),
        AttemptFailure::Connect(_) if data && !tries.moved && tries.failed < config.retries => {
            NextStep::Resolve { sure: true }
        }
        AttemptFailure::Connect(_) => again(RetryReason::Connect),
        AttemptFailure::Reset(_) => again(RetryReason::Reset),
        AttemptFailure::FragmentNotFound(_) if tries.missing < FRAGMENT_TRIES => NextStep::Retry {
            at_most: doubled(FRAGMENT_WAIT, tries.missing),
            reason: RetryReason::FragmentNotFound,
            paid: false,
        },
        AttemptFailure::WrongHost
        | AttemptFailure::FragmentNotFound(_)
        | AttemptFailure::Late(_)
        | AttemptFailure::Garbled(_)
        | AttemptFailure::Refused(_) => NextStep::Fail,
    }
}

/// A random wait: a share, from 0 to 1, of the most it may be.
pub(super) fn jittered(at_most: Duration, share: f64) -> Duration {
    at_most.mul_f64(share.clamp(0.0, 1.0))
}

/// When a caller should try again after a throttle that outlasted our retries.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

fn doubled(first: Duration, times: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_WAIT)
}

enum Diagnosis {
    Throttle,
    Trouble,
    Expired,
    Skewed(SystemTime),
    Moved { sure: bool },
    Final,
}

/// KVS's time, if it is far from the time that the request was signed with. The time of signing counts and
/// not our clock: the two differ while an earlier offset is in force, and our clock may have been put right
/// since then.
fn skewed(kvs_time: Option<SystemTime>, signed_at: Option<SystemTime>) -> Option<SystemTime> {
    let (kvs_time, signed_at) = (kvs_time?, signed_at?);
    let apart = kvs_time.duration_since(signed_at).unwrap_or_else(|behind| behind.duration());
    (apart >= SKEW).then_some(kvs_time)
}

fn diagnose(fault: &Fault, skewed: Option<SystemTime>) -> Diagnosis {
    let about_time = fault.is_expired_credentials()
        || matches!(
            fault.kind.as_str(),
            "InvalidSignatureException"
                | "SignatureDoesNotMatch"
                | "RequestTimeTooSkewed"
                | "RequestInTheFuture"
        );
    if fault.is_throttle() {
        Diagnosis::Throttle
    } else if fault.is_trouble() {
        Diagnosis::Trouble
    } else if about_time && let Some(kvs_time) = skewed {
        Diagnosis::Skewed(kvs_time)
    } else if fault.is_expired_credentials() {
        Diagnosis::Expired
    } else if fault.kind == "InvalidEndpointException"
        || fault.said.starts_with("Unable to determine service")
    {
        Diagnosis::Moved { sure: true }
    } else if matches!(fault.status, 403 | 404) && !fault.said.starts_with("No fragments found") {
        // A stream that moved to another cell looks like a stream that is not there, or not ours.
        Diagnosis::Moved { sure: false }
    } else {
        Diagnosis::Final
    }
}

/// The retry budget: every call earns a share of a retry, every retry costs one; half a retry a second is
/// there anyway, up to ten, so that a quiet gateway can try again too.
#[derive(Debug)]
pub(super) struct Budget {
    balance: Mutex<Bucket>,
    /// What a call earns.
    share: u64,
}

/// The price of one retry; a call earns so many per cent of it.
const PRICE: u64 = 100;
/// What is added with time alone, and its bound.
const GIVEN: Rate = Rate { per_second: PRICE / 2, burst: 10 * PRICE };
/// What may be earned beyond that.
const SAVED: u64 = 90 * PRICE;

impl Budget {
    pub(super) fn new(percent: u32) -> Self {
        Self { balance: Mutex::default(), share: u64::from(percent).min(PRICE) }
    }

    /// A call begins.
    pub(super) fn earn(&self, now: Instant) {
        self.lock().give(self.share, SAVED, GIVEN, now.into_std());
    }

    /// Takes the price of one retry; false if it is not there.
    pub(super) fn pay(&self, now: Instant) -> bool {
        self.lock().take(PRICE, GIVEN, now.into_std()).is_ok()
    }

    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "tests/retry.rs"]
mod tests;

//! What one caller may take: requests, bytes and KVS's points per second, and cameras at a time
//! (docs/LIMITS.md).
//!
//! Callers are counted apart by issuer and subject, whatever tokens, capabilities or addresses they come
//! with. A bucket holds some seconds' worth, so that a page full of thumbnails passes. Bytes and points are
//! known only when they are spent, so they run a bucket into debt, and the next request waits until it is
//! paid; what is under way is never cut. Points are charged to the caller whose request made KVS be called:
//! what is held in the cache costs none, and neither do shared playback sessions.

use crate::base::bucket::{Bucket, Rate};
use crate::caller::Caller;
use crate::kvs::StreamName;
use crate::setting::{ByteSize, Mistake, Span};
use crate::telemetry::spans::Steps;
use crate::upstream::{CallLog, OnBehalfOf, PointsAccount};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// `[rates]`: per caller. Absent rates are no bound.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Requests per second of one address whose callers have no credential, where `requests` is not less.
    pub anonymous_requests: u32,
    /// Body bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<ByteSize>,
    /// Points of KVS's quotas per second, media and metadata together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<u32>,
    /// How much may be taken at once: so many seconds' worth.
    pub burst: Span,
    /// Cameras that are played at a time.
    pub streams: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            requests: None,
            anonymous_requests: 50,
            bytes: None,
            points: None,
            burst: Span::seconds(10),
            streams: 64,
        }
    }
}

impl Config {
    /// Everything that cannot be, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let rates = [
            ("requests", self.requests.map(u64::from)),
            ("anonymous_requests", Some(self.anonymous_requests.into())),
            ("bytes", self.bytes.map(|size| size.0)),
            ("points", self.points.map(u64::from)),
            ("streams", Some(self.streams.into())),
            ("burst", Some(self.burst.0.as_secs())),
        ];
        let zero = rates.into_iter().filter(|(_, rate)| *rate == Some(0));
        zero.map(|(key, _)| {
            Mistake::at(format!("rates.{key}"), "must be at least 1; leave it out for no bound of your own")
        })
        .collect()
    }
}

/// Why a caller has to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("too many {what} for one caller; try again later")]
pub struct Limited {
    /// Of what.
    what: &'static str,
    /// When to come again.
    pub retry_after: Duration,
}

impl Limited {
    /// Too much footage is being prepared for playback at the same time.
    #[must_use]
    pub fn long_ranges(retry_after: Duration) -> Self {
        Self { what: "hours of footage to prepare for playback at a time", retry_after }
    }
}

/// What all callers took lately; outlives reloads.
#[derive(Clone)]
pub struct Callers(Arc<Accounts>, RandomState);

/// By a hash of issuer and subject, made by the standard library's hasher: it stands for them alone.
type Accounts = moka::sync::Cache<u64, Arc<Mutex<AccountState>>, foldhash::fast::RandomState>;

impl Default for Callers {
    fn default() -> Self {
        let held = moka::sync::Cache::builder().max_capacity(MOST).time_to_idle(FORGET);
        Self(Arc::new(held.build_with_hasher(Default::default())), RandomState::new())
    }
}

/// Callers beyond these are forgotten, the least recent first.
const MOST: u64 = 100_000;
/// The longest `Retry-After`.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// By then a bucket is full, unless its owner is deep in debt and has waited all that time.
const FORGET: Duration = Duration::from_secs(600);
/// A camera without a request of its player for so long is not played any more.
const PLAYED: Duration = Duration::from_secs(30);

#[derive(Default)]
struct AccountState {
    requests: Bucket,
    bytes: Bucket,
    points: Bucket,
    playing: HashMap<StreamName, Instant, foldhash::fast::RandomState>,
}

/// One caller's account under the settings in force. It is looked up on first use, so a
/// request that nothing bounds does not pay for it.
#[derive(Clone)]
pub struct Allowance {
    config: Arc<Config>,
    callers: Callers,
    caller: Arc<Caller>,
    taken: OnceLock<Arc<Mutex<AccountState>>>,
}

impl Callers {
    /// A caller's account.
    #[must_use]
    pub fn of(&self, caller: &Arc<Caller>, config: &Arc<Config>) -> Allowance {
        let (config, callers, caller) = (config.clone(), self.clone(), caller.clone());
        Allowance { config, callers, caller, taken: OnceLock::new() }
    }

    fn taken(&self, caller: &Caller) -> Arc<Mutex<AccountState>> {
        let key = self.1.hash_one((&*caller.issuer, &*caller.subject));
        self.0.get_with(key, Arc::default)
    }
}

impl PointsAccount for Allowance {
    fn charge(&self, points: u32) {
        self.spend_points(points, Instant::now());
    }
}

impl Allowance {
    /// Whether body bytes count.
    #[must_use]
    pub fn bounds_bytes(&self) -> bool {
        self.config.bytes.is_some()
    }

    /// Whether requests may be refused for what came before them: otherwise [`Allowance::admit`] lets all in.
    #[must_use]
    pub fn bounds_requests(&self) -> bool {
        self.requests().is_some() || self.config.bytes.is_some()
    }

    /// Requests per second.
    fn requests(&self) -> Option<u32> {
        let of_address = self.caller.is_anonymous().then_some(self.config.anonymous_requests);
        [self.config.requests, of_address].into_iter().flatten().min()
    }

    /// One more request.
    ///
    /// # Errors
    /// There were too many, or too many bytes.
    pub fn admit(&self, now: Instant) -> Result<(), Limited> {
        if !self.bounds_requests() {
            return Ok(());
        }
        let mut taken = self.lock();
        if let Some(per_second) = self.config.bytes {
            let wait = taken.bytes.wait(0, self.rate(per_second.0), now);
            limited("bytes", wait)?;
        }
        if let Some(per_second) = self.requests() {
            let taken = taken.requests.take(1, self.rate(per_second.into()), now);
            limited("requests", taken.err().unwrap_or_default())?;
        }
        Ok(())
    }

    /// Whether KVS may be called for this caller.
    ///
    /// # Errors
    /// The account is overdrawn.
    pub fn check_points(&self, now: Instant) -> Result<(), Limited> {
        let Some(per_second) = self.config.points else { return Ok(()) };
        let wait = self.lock().points.wait(0, self.rate(per_second.into()), now);
        limited("quota points of Kinesis Video Streams", wait)
    }

    fn spend_points(&self, points: u32, now: Instant) {
        if let Some(per_second) = self.config.points {
            self.lock().points.spend(points.into(), self.rate(per_second.into()), now);
        }
    }

    /// The party that KVS is called for when this caller's request needs it.
    #[must_use]
    pub fn on_behalf_of(&self, caller: &Caller, steps: Steps, log: Arc<CallLog>) -> OnBehalfOf {
        OnBehalfOf::caller(caller.principal(), Arc::new(self.clone()), steps, log)
    }

    /// Charges body bytes.
    pub fn spend_bytes(&self, bytes: usize, now: Instant) {
        if let Some(per_second) = self.config.bytes {
            self.lock().bytes.spend(bytes as u64, self.rate(per_second.0), now);
        }
    }

    /// Notes that the caller plays this camera.
    ///
    /// # Errors
    /// There are too many others.
    pub fn play(&self, stream: &StreamName, now: Instant) -> Result<(), Limited> {
        let playing = &mut self.lock().playing;
        if let Some(last) = playing.get_mut(stream) {
            *last = now;
            return Ok(());
        }
        playing.retain(|_, last| now.saturating_duration_since(*last) < PLAYED);
        if playing.len() >= self.config.streams as usize {
            return Err(Limited { what: "cameras at a time", retry_after: PLAYED });
        }
        playing.insert(stream.clone(), now);
        Ok(())
    }

    /// A bucket holds `burst` seconds' worth, and one token at least.
    fn rate(&self, per_second: u64) -> Rate {
        let burst = per_second.saturating_mul(self.config.burst.0.as_secs()).max(1);
        Rate { per_second, burst }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, AccountState> {
        let taken = self.taken.get_or_init(|| self.callers.taken(&self.caller));
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error if there is something to wait for, an hour at most.
fn limited(what: &'static str, wait: Duration) -> Result<(), Limited> {
    if wait.is_zero() { Ok(()) } else { Err(Limited { what, retry_after: wait.min(LONGEST_WAIT) }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::Timestamp;
    use proptest::prelude::*;

    fn caller(subject: &str) -> Arc<Caller> {
        Arc::new(Caller {
            issuer: "https://login.test/".into(),
            subject: subject.into(),
            token_id: None,
            groups: Default::default(),
            groups_withheld: false,
            attributes: Default::default(),
            expires: Timestamp::from_millis(0),
        })
    }

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    #[test]
    fn requests_are_bounded_for_each_caller_apart() {
        let (callers, start) = (Callers::default(), Instant::now());
        let config = Arc::new(Config { requests: Some(2), burst: Span::seconds(5), ..Config::default() });
        let alice = callers.of(&caller("alice"), &config);
        for _ in 0..10 {
            assert_eq!(alice.admit(start), Ok(()));
        }
        let limited = callers.of(&caller("alice"), &config).admit(start).unwrap_err();
        assert_eq!((limited.what, limited.retry_after), ("requests", Duration::from_millis(500)));
        assert_eq!(callers.of(&caller("bob"), &config).admit(start), Ok(()));
        assert_eq!(alice.admit(after(start, 0.6)), Ok(()));
        assert!(alice.admit(after(start, 0.6)).is_err());
    }

    #[test]
    fn bytes_and_points_are_paid_for_afterwards() {
        let (callers, start) = (Callers::default(), Instant::now());
        let config = Config {
            bytes: Some(ByteSize(1000)),
            points: Some(100),
            burst: Span::seconds(1),
            ..Config::default()
        };
        let alice = callers.of(&caller("alice"), &Arc::new(config));
        assert_eq!((alice.admit(start), alice.check_points(start)), (Ok(()), Ok(())));
        alice.spend_bytes(5000, start);
        alice.spend_points(425, start);
        assert_eq!(alice.admit(start).unwrap_err().retry_after, Duration::from_secs(4));
        assert_eq!(alice.check_points(start).unwrap_err().retry_after, Duration::from_millis(3250));
        assert_eq!((alice.admit(after(start, 4.1)), alice.check_points(after(start, 3.3))), (Ok(()), Ok(())));
    }

    #[test]
    fn cameras_are_bounded_at_a_time() {
        let (callers, start) = (Callers::default(), Instant::now());
        let config = Arc::new(Config { streams: 2, ..Config::default() });
        let alice = callers.of(&caller("alice"), &config);
        let camera = |name: &str| StreamName::parse(name).unwrap();
        for name in ["cam-1", "cam-2", "cam-1"] {
            assert_eq!(alice.play(&camera(name), start), Ok(()));
        }
        assert!(alice.play(&camera("cam-3"), start).is_err());
        assert_eq!(alice.play(&camera("cam-1"), after(start, 20.0)), Ok(()));
        assert_eq!(alice.play(&camera("cam-3"), after(start, 40.0)), Ok(()), "cam-2 is not played any more");
    }

    #[test]
    fn zero_is_a_mistake() {
        assert_eq!(Config::default().check(), []);
        let zero = Config {
            requests: Some(0),
            anonymous_requests: 0,
            bytes: Some(ByteSize(0)),
            points: Some(0),
            burst: Span::seconds(0),
            streams: 0,
        };
        assert_eq!(zero.check().len(), 6);
    }

    #[test]
    fn anonymous_callers_are_bounded_by_address() {
        let (callers, start) = (Callers::default(), Instant::now());
        let config = Config { anonymous_requests: 2, burst: Span::seconds(1), ..Config::default() };
        let config = Arc::new(config);
        let from = |address: &str| {
            let caller = Caller::anonymous(address.parse().unwrap(), Timestamp::from_millis(0));
            callers.of(&Arc::new(caller), &config)
        };
        for address in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert_eq!(from(address).admit(start), Ok(()));
        }
        assert!(from("192.0.2.1").admit(start).is_err());
        assert_eq!(from("192.0.2.2").admit(start), Ok(()));
        assert!(!callers.of(&caller("alice"), &config).bounds_requests());
        let both = Arc::new(Config { requests: Some(1), ..Config::clone(&config) });
        let strict = callers
            .of(&Arc::new(Caller::anonymous("192.0.2.3".parse().unwrap(), Timestamp::from_millis(0))), &both);
        assert_eq!((strict.admit(start), strict.admit(start).is_err()), (Ok(()), true));
    }

    proptest! {
        /// However the requests come, no more are let in than the burst and what the time brings.
        #[test]
        fn the_rate_holds(gaps in prop::collection::vec(0..400_u64, 1..200), rate in 1..20_u32) {
            let start = Instant::now();
            let burst = Span::seconds(3);
            let config = Arc::new(Config { requests: Some(rate), burst, ..Config::default() });
            let alice = Callers::default().of(&caller("alice"), &config);
            let (mut now, mut let_in) = (start, 0_u32);
            for gap in gaps {
                now += Duration::from_millis(gap);
                let_in += u32::from(alice.admit(now).is_ok());
            }
            let most = f64::from(rate) * (3.0 + (now - start).as_secs_f64());
            prop_assert!(f64::from(let_in) <= most + 0.001, "{let_in} of {most}");
        }
    }
}

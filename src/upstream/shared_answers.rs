//! Answers of KVS that replicas share: endpoints, descriptions and tags. One replica fetches them for all.
//!
//! Looking is one script, which gives the answer, or the lease to ask KVS, or says that another replica is
//! asking. A look followed by a write would let several replicas ask at once. What the store does not give in
//! time is asked for as if there were no store.

use super::error::Error;
use crate::fleet::{
    Arg, Digest, Key, KeyPart, LEASE_LIFE, Lease, LeaseKind, LeaseResult, Operation, Reply, Script, Store,
    Unit,
};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// What can be shared: written as bytes, and read again.
pub(super) trait SharedAnswer: Sized {
    fn to_bytes(&self) -> Vec<u8>;
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// An answer, how old it is, and which version it is in the store; 0 if it is not there.
#[derive(Clone, Debug)]
pub(super) struct Aged<V> {
    pub(super) value: V,
    pub(super) age: Duration,
    pub(super) version: u64,
}

impl<V> Aged<V> {
    /// An answer that was just given and that no other replica knows.
    pub(super) fn new(value: V) -> Self {
        Self { value, age: Duration::ZERO, version: 0 }
    }
}

/// Which answer.
pub(super) struct SharedAnswerName<'a> {
    /// The `[[aws]]` entry.
    pub(super) entry: &'a str,
    /// The stream, as it is asked for.
    pub(super) stream: &'a str,
    /// One word for what is asked.
    pub(super) api: &'a str,
}

/// A call to KVS that has not begun.
pub(super) type Asking<V> = Pin<Box<dyn Future<Output = Result<V, Error>> + Send>>;

/// Another replica asks: how long until the store is looked at again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// How long another replica's answer is waited for. Its lease lasts for as long as it asks.
const PATIENCE: Duration = Duration::from_secs(20);

/// KEYS: answer, lease. ARGV: a name for this attempt, how long a lease lasts, the oldest answer that serves,
/// the version that does not. Gives what is there, its version, the time, the answer.
static LOOK: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local version = tonumber(redis.call('HGET', KEYS[1], 'v') or 0)
if version > tonumber(ARGV[4]) and now - version < tonumber(ARGV[3]) then
  return {'known', version, now, redis.call('HGET', KEYS[1], 'd')}
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return {'yours', math.max(version + 1, now), now}
end
return {'busy', version, now}",
);

/// KEYS: answer, lease. ARGV: the name of the attempt, version, answer, how long it is of use.
static COMMIT: Script = Script::new(
    r"
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'v', ARGV[2], 'd', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('DEL', KEYS[2])
return 1",
);

/// The answers in the store, if there is one.
pub(super) struct SharedAnswers(Option<Store>);

/// What a look found.
enum Look {
    Known { version: u64, age: Duration, sealed: Vec<u8> },
    Yours { lease: Lease, version: u64 },
    Busy,
}

impl SharedAnswers {
    pub(super) fn new(store: Option<Store>) -> Self {
        Self(store)
    }

    /// An answer that is younger than `max_age` and not `known` already: from the store, or of KVS by `ask`.
    ///
    /// # Errors
    /// KVS's.
    pub(super) async fn get<V: SharedAnswer>(
        &self,
        name: SharedAnswerName<'_>,
        max_age: Duration,
        known: u64,
        ask: Asking<V>,
    ) -> Result<Aged<V>, Error> {
        let Some(store) = &self.0 else { return ask.await.map(Aged::new) };
        let unit = Unit::Stream(Digest::of("stream", &[name.entry.as_bytes(), name.stream.as_bytes()]));
        let keys = AnswerKeys {
            store,
            answer: store.keys().key(&unit, &KeyPart::Answer(name.api)),
            lease: store.keys().key(&unit, &KeyPart::Lease(name.api)),
        };
        let started = Instant::now();
        let (mut known, mut pause) = (known, SHORTEST_PAUSE);
        while started.elapsed() < PATIENCE {
            match keys.look(max_age, known).await {
                Some(Look::Known { version, age, sealed }) => {
                    let opened = store.open_value(&keys.answer, version, sealed).ok();
                    if let Some(value) = opened.and_then(|bytes| V::from_bytes(&bytes)) {
                        return Ok(Aged { value, age, version });
                    }
                    known = version; // not ours: ask for another one
                }
                Some(Look::Yours { lease, version }) => {
                    store.metrics().lease(LeaseKind::Endpoint, LeaseResult::Taken);
                    // A failure drops the lease, so that another replica may try.
                    let value = ask.await?;
                    return Ok(keys.publish(lease, value, version, max_age).await);
                }
                Some(Look::Busy) => {
                    store.metrics().lease(LeaseKind::Endpoint, LeaseResult::Busy);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                None => break,
            }
        }
        ask.await.map(Aged::new)
    }
}

/// Where an answer and its lease are in the store.
struct AnswerKeys<'a> {
    store: &'a Store,
    answer: Key,
    lease: Key,
}

impl AnswerKeys<'_> {
    /// `None`: the store does not answer.
    async fn look(&self, max_age: Duration, known: u64) -> Option<Look> {
        let holder = self.store.unique_name();
        let args = [holder.as_str().into(), LEASE_LIFE.into(), max_age.into(), known.into()];
        let mut reply = self.run(&LOOK, &args).await?.list();
        let what = reply.next()?;
        let mut number = || u64::try_from(reply.next()?.number()?).ok();
        let (version, now) = (number()?, number()?);
        let age = Duration::from_millis(now.saturating_sub(version));
        if what.is("known") {
            return Some(Look::Known { version, age, sealed: reply.next()?.bytes()? });
        }
        if what.is("yours") {
            let lease = Lease::held(self.store, &self.lease, holder);
            return Some(Look::Yours { lease, version });
        }
        Some(Look::Busy)
    }

    /// Gives what KVS said to the other replicas too.
    async fn publish<V: SharedAnswer>(
        &self,
        lease: Lease,
        value: V,
        version: u64,
        life: Duration,
    ) -> Aged<V> {
        let mut committed = false;
        if let Ok(sealed) = self.store.seal(&self.answer, version, &value.to_bytes()) {
            let args = [lease.holder().into(), version.into(), sealed.as_slice().into(), life.into()];
            let reply = self.run(&COMMIT, &args).await;
            committed = reply.as_ref().and_then(Reply::number) == Some(1);
        }
        if committed {
            lease.end();
        } else {
            self.store.metrics().lease(LeaseKind::Endpoint, LeaseResult::Lost);
        }
        Aged { value, age: Duration::ZERO, version: if committed { version } else { 0 } }
    }

    async fn run(&self, script: &Script, args: &[Arg<'_>]) -> Option<Reply> {
        let (keys, within) = ([&self.answer, &self.lease], self.store.config().timeout.0);
        self.store.run(Operation::Describe, script, &keys, args, within).await.ok()
    }
}

//! Which replicas there are, and whether they have the same settings.
//!
//! Each replica writes every second that it is there; one that has not for ten seconds is not counted. The
//! number outlives the store: while it does not answer, each replica takes one part in so many of what all
//! of them may take.

use super::error::Error;
use super::key::{KeyPart, Unit};
use super::metrics::Operation;
use super::script::Script;
use super::store::Store;
use crate::base::hex;
use std::time::Duration;

/// A replica that writes that it is there.
pub struct Presence {
    store: Store,
    /// The name of this process.
    replica: String,
}

/// How often a replica writes that it is there.
pub const EVERY: Duration = Duration::from_secs(1);
/// After so long without that it is not counted.
const LIFE: Duration = Duration::from_secs(10);

/// KEYS: replicas by name, their settings by name. ARGV: name, a digest of settings, how long it counts.
/// Gives how many there are, and how many different settings they have.
static BEAT: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local life = tonumber(ARGV[3])
redis.call('ZADD', KEYS[1], now + life, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now)) do
  redis.call('ZREM', KEYS[1], gone)
  redis.call('HDEL', KEYS[2], gone)
end
redis.call('PEXPIRE', KEYS[1], 60000)
redis.call('PEXPIRE', KEYS[2], 60000)
local seen, different = {}, 0
for _, settings in ipairs(redis.call('HVALS', KEYS[2])) do
  if not seen[settings] then seen[settings] = true different = different + 1 end
end
return {redis.call('ZCARD', KEYS[1]), different}",
);

impl Presence {
    /// Of this process, in this store.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).expect("the system gives randomness");
        Self { store, replica: hex::encode(&random) }
    }

    /// Writes that this replica is there, with a digest of its settings, and counts the replicas.
    ///
    /// # Errors
    /// There is no answer: as many as before count.
    pub async fn beat(&self, settings: &str) -> Result<(), Error> {
        let key = |part| self.store.keys().key(&Unit::Replicas, &KeyPart::Replica(part));
        let (names, all) = (key("names"), key("settings"));
        let args = [self.replica.as_str().into(), settings.into(), LIFE.into()];
        let within = self.store.config().timeout.0;
        let reply = self.store.run(Operation::Presence, &BEAT, &[&names, &all], &args, within).await?;
        let counts: Vec<usize> =
            reply.list().filter_map(|count| usize::try_from(count.number()?).ok()).collect();
        let [replicas, configurations] = counts[..] else {
            return Err(Error::Failed("the count of replicas has no form that is known".into()));
        };
        self.store.counted(replicas, configurations);
        Ok(())
    }
}

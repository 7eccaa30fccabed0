//! Which replicas there are, and whether they agree: each says every second what it is made of. The number
//! outlives the store: while it does not answer, each replica takes one part in so many of what all of them
//! may take.

use super::error::Error;
use super::key::{KeyPart, Unit};
use super::metrics::Operation;
use super::script::Script;
use super::store::Store;
use crate::base::task::OwnedTask;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a replica says of itself. Digests are equal where what they stand for is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Replica {
    /// Of the program.
    pub version: String,
    /// Where it listens.
    pub address: String,
    /// Of the settings that must be the same everywhere.
    pub settings: String,
    /// Of the policies.
    pub policies: String,
    /// Of the ids of all playback keys, in any order: keys rotate one replica at a time.
    pub keys: String,
}

/// How often a replica says that it is there, and after which time it counts as gone.
const BEAT: Duration = Duration::from_secs(1);
const LIFE: Duration = Duration::from_secs(10);

/// Notes a replica, and gives all of them. Key: replicas. Arguments: replica, what it is, life (ms).
static PRESENT: Script = Script::new(
    r"local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2], 'at:' .. ARGV[1], now)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local all, found = redis.call('HGETALL', KEYS[1]), {}
local value, at = {}, {}
for i = 1, #all, 2 do
  if string.sub(all[i], 1, 3) == 'at:' then at[string.sub(all[i], 4)] = tonumber(all[i + 1])
  else value[all[i]] = all[i + 1] end
end
for id, bytes in pairs(value) do
  if now - (at[id] or 0) > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], id, 'at:' .. id)
  else found[#found + 1] = bytes end
end
return found",
);

/// The replicas of the fleet, as this one sees them.
#[derive(Clone)]
pub struct Presence {
    state: Arc<Mutex<SeenReplicas>>,
    _beat: Arc<OwnedTask>,
}

#[derive(Default)]
struct SeenReplicas {
    own: Replica,
    others: Vec<Replica>,
}

impl Presence {
    /// Says every second that this replica is there.
    #[must_use]
    pub fn start(store: &Store, own: Replica) -> Self {
        let state = Arc::new(Mutex::new(SeenReplicas { own, others: Vec::new() }));
        let (beating, store) = (state.clone(), store.clone());
        let beat = OwnedTask::spawn(async move {
            loop {
                let own = lock(&beating).own.clone();
                // Without an answer what was seen last stands; the store says itself that it is away.
                if let Ok(seen) = say(&store, &own).await {
                    let different: BTreeSet<_> =
                        seen.iter().map(|r| (&r.settings, &r.policies, &r.keys)).collect();
                    store.counted(seen.len(), different.len());
                    lock(&beating).others = seen;
                }
                tokio::time::sleep(BEAT).await;
            }
        });
        Self { state, _beat: Arc::new(beat) }
    }

    /// Says something else of this replica from the next time on, after a reload.
    pub fn describe(&self, own: Replica) {
        lock(&self.state).own = own;
    }

    /// What other replicas differ in, for people. A player that is sent from one to another may notice.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let state = lock(&self.state);
        let differ = |what: &str, of: fn(&Replica) -> &String| {
            let other = state.others.iter().find(|other| of(other) != of(&state.own))?;
            Some(format!("cache.shared: the replica {} has other {what} than this one", other.address))
        };
        let found = [
            differ("settings", |replica| &replica.settings),
            differ("policies", |replica| &replica.policies),
            differ("playback keys", |replica| &replica.keys),
        ];
        found.into_iter().flatten().collect()
    }
}

async fn say(store: &Store, own: &Replica) -> Result<Vec<Replica>, Error> {
    let key = store.keys().key(&Unit::Replicas, &KeyPart::Replica("all"));
    let plain = serde_json::to_vec(own).unwrap_or_default();
    let sealed = store.seal(&key, 0, &plain)?;
    let args = [store.replica().into(), sealed.as_slice().into(), LIFE.into()];
    let reply = store.run(Operation::Presence, &PRESENT, &[&key], &args, store.config().timeout.0).await?;
    let read = |sealed| serde_json::from_slice(&store.open_value(&key, 0, sealed).ok()?).ok();
    Ok(reply.list().filter_map(super::script::Reply::bytes).filter_map(read).collect())
}

fn lock(state: &Mutex<SeenReplicas>) -> std::sync::MutexGuard<'_, SeenReplicas> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

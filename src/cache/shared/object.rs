//! What the store does for one object: a look that gives the value, or the lease to fetch it, or says that
//! another replica has that; and the commit of what was fetched.
//!
//! Looking and leasing are one script. A look that is followed by a lease of its own would let two replicas
//! fetch the same object.

use crate::fleet::{
    self, Arg, Digest, Key, KeyPart, LEASE_LIFE, LeaseKind, LeaseResult, Operation, Script, Unit,
};
use crate::kvs::Timestamp;
use std::time::Duration;

/// How long a commit may take. Nothing waits for it.
const WITHIN: Duration = Duration::from_secs(1);

// ARGV: the holder, the lease in ms, purged before, the beginning of a value that is of no use.
static LOOK: Script = Script::new(
    "local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local d = redis.call('GET', KEYS[1])
local began = d and tonumber(string.sub(d, 1, 13))
if began and began >= tonumber(ARGV[3]) and (ARGV[4] == '' or string.sub(d, 1, #ARGV[4]) ~= ARGV[4]) then
  return {now, d}
end
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return {now, 1} end
return {now, 0}",
);

// ARGV: the holder of the lease, or nothing; the value, its life in ms.
static COMMIT: Script = Script::new(
    "local l = redis.call('GET', KEYS[2])
if ARGV[1] ~= '' and l ~= ARGV[1] then return 0 end
if ARGV[1] == '' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
if l == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1",
);

/// The keys of one object in the store.
#[derive(Clone)]
pub(super) struct ObjectKeys {
    pub(super) data: Key,
    pub(super) lease: Key,
    /// Its name in the bucket.
    pub(super) name: String,
}

impl ObjectKeys {
    pub(super) fn of(store: &fleet::Store, key: &crate::cache::key::Key) -> Self {
        let stream = Digest::of("stream", &[&key.arn.to_be_bytes(), &key.name.to_be_bytes()]);
        let object = Digest::of("object", &[&key.digest]);
        let name = format!("{}/{}", stream.as_str(), object.as_str());
        let unit = Unit::Object(stream, object);
        let of = |part: KeyPart<'_>| store.keys().key(&unit, &part);
        Self { data: of(KeyPart::Data), lease: of(KeyPart::Lease("d")), name }
    }
}

/// What a look gives, and the store's time.
pub(super) struct AtStore {
    pub(super) now: Timestamp,
    pub(super) answer: Answered,
}

pub(super) enum Answered {
    Value(Vec<u8>),
    /// The lease is this replica's.
    Ours,
    /// Another replica has it.
    Busy,
}

/// The length of what tells a value from another under the same key: its time and the head of its seal.
const MARKER: usize = super::record::TIME + 17;

/// The beginning of a value by which [`look`] passes over it.
pub(super) fn marker(value: &[u8]) -> &[u8] {
    &value[..value.len().min(MARKER)]
}

/// Looks for an object. Values whose fetch began before `purged`, and the one that begins with `useless`, are
/// none.
pub(super) async fn look(
    store: &fleet::Store,
    keys: &ObjectKeys,
    holder: &str,
    purged: Option<Timestamp>,
    useless: &[u8],
) -> Result<AtStore, fleet::Error> {
    let purged = purged.map_or(0, Timestamp::millis);
    let args = [holder.into(), LEASE_LIFE.into(), purged.into(), Arg::Bytes(useless)];
    let within = store.config().object_timeout.0;
    let reply = store.run(Operation::ObjectLook, &LOOK, &[&keys.data, &keys.lease], &args, within).await?;
    let mut reply = reply.list();
    let unknown = || fleet::Error::Failed("an answer of another form".to_owned());
    let now = reply.next().and_then(|now| u64::try_from(now.number()?).ok()).ok_or_else(unknown)?;
    let answer = match reply.next().ok_or_else(unknown)? {
        fleet::Reply::Bytes(value) => Answered::Value(value),
        fleet::Reply::Number(1) => Answered::Ours,
        _ => Answered::Busy,
    };
    let lease = match answer {
        Answered::Value(_) => None,
        Answered::Ours => Some(LeaseResult::Taken),
        Answered::Busy => Some(LeaseResult::Busy),
    };
    lease.into_iter().for_each(|result| store.metrics().lease(LeaseKind::Object, result));
    Ok(AtStore { now: Timestamp::from_millis(now), answer })
}

/// Writes a value, and ends the lease of `holder`. It is refused if the lease was lost, or, without one, if
/// there is a value already.
pub(super) async fn commit(
    store: &fleet::Store,
    keys: &ObjectKeys,
    holder: Option<&str>,
    value: &[u8],
    life: Duration,
) {
    let args = [holder.unwrap_or_default().into(), value.into(), life.into()];
    let written =
        store.run(Operation::ObjectCommit, &COMMIT, &[&keys.data, &keys.lease], &args, WITHIN).await;
    if holder.is_some() && written.is_ok_and(|written| written.number() == Some(0)) {
        store.metrics().lease(LeaseKind::Object, LeaseResult::Lost);
    }
}

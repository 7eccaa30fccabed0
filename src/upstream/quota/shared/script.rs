//! The scripts of buckets and connections in the store.
//!
//! A bucket is the time at which all that was taken will have been refilled (`tat`, the generic cell rate
//! algorithm), and when it was last more than half full (`high`), both in milliseconds of the store's clock.
//! A fifth is kept back, as in a local bucket.

use crate::fleet::{Arg, Error, Key, Operation, Script, Store};
use std::time::Duration;

/// What a call is charged in one bucket.
#[derive(Clone)]
pub(super) struct Charge {
    pub(super) key: Key,
    pub(super) cost: u32,
    pub(super) per_second: u32,
}

/// What the store says to a request for a reservation.
pub(super) enum TakeAnswer {
    /// It is reserved from so far ahead, at this time of the store.
    After(Duration, u64),
    /// Nothing is reserved: it would be so far ahead.
    Late(Duration),
    /// Nothing is reserved: all connections are in use.
    NoConnection,
}

/// One part in so many of a bucket is not used for small requests.
const RESERVE: u32 = 5;
/// Connections of a replica that is gone are free after this.
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(10);
/// What is sent behind waits so long for the store.
const BEHIND: Duration = Duration::from_secs(1);

/// KEYS: buckets, then the set of connections if ARGV[4] > 0. ARGV: how far ahead at most; whether buckets
/// hold nothing now; the holder of a connection, how many there are, how long one lives; then for each
/// bucket cost, rate and burst.
static TAKE: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
local most, cold, connections = tonumber(ARGV[1]), ARGV[2] == '1', tonumber(ARGV[4])
local buckets = #KEYS
if connections > 0 then
  buckets = buckets - 1
  redis.call('ZREMRANGEBYSCORE', KEYS[#KEYS], '-inf', now)
  if redis.call('ZCARD', KEYS[#KEYS]) >= connections then return {2, 0, math.floor(now)} end
end
local longest, after, high = 0, {}, {}
for i = 1, buckets do
  local at = 3 + i * 3
  local cost, rate, burst = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local each = 1000 / rate
  local kept = redis.call('HMGET', KEYS[i], 'tat', 'high')
  local tat = math.max(tonumber(kept[1] or 0), cold and now or now - burst * each)
  high[i] = tonumber(kept[2] or 0)
  if tat <= now - burst * each / 2 then high[i] = now end
  after[i] = tat + cost * each
  longest = math.max(longest, math.min(after[i], tat + burst * each) - now)
end
longest = math.ceil(longest)
if longest > most then return {1, longest, math.floor(now)} end
for i = 1, buckets do
  local at = 3 + i * 3
  local rate, burst = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  redis.call('HSET', KEYS[i], 'tat', string.format('%.3f', after[i]), 'high', string.format('%.0f', high[i]))
  redis.call('PEXPIRE', KEYS[i], math.ceil(math.max(after[i] - now, 0) + burst * 1000 / rate) + 2000)
end
if connections > 0 then
  redis.call('ZADD', KEYS[#KEYS], now + longest + ARGV[5], ARGV[3])
  redis.call('PEXPIRE', KEYS[#KEYS], longest + ARGV[5] * 2)
end
return {0, longest, math.floor(now)}",
);

/// KEYS: buckets. ARGV: when it was taken; then for each bucket how much, rate and burst. What KVS did not
/// charge has filled its bucket meanwhile: if that overflowed, it is lost there and does not come back here.
static GIVE_BACK: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
for i = 1, #KEYS do
  local at = i * 3 - 1
  local cost, rate, burst = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local each = 1000 / rate
  local kept = redis.call('HMGET', KEYS[i], 'tat', 'high')
  local tat, high = tonumber(kept[1] or 0), tonumber(kept[2] or 0)
  if kept[1] and tat > now - burst * each / 2 and high <= tonumber(ARGV[1]) then
    tat = tat - math.min(cost, burst / 2) * each
    redis.call('HSET', KEYS[i], 'tat', string.format('%.3f', tat))
  end
end
return 1",
);

/// KEYS: buckets, which hold nothing from now on. ARGV: for each of them cost, rate and burst.
static EMPTY: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + t[2] / 1000
for i = 1, #KEYS do
  local rate, burst = tonumber(ARGV[i * 3 - 1]), tonumber(ARGV[i * 3])
  local tat = math.max(tonumber(redis.call('HGET', KEYS[i], 'tat') or 0), now)
  redis.call('HSET', KEYS[i], 'tat', string.format('%.3f', tat))
  redis.call('PEXPIRE', KEYS[i], math.ceil(tat - now + burst * 1000 / rate) + 2000)
end
return 1",
);

/// KEYS: the set of connections. ARGV: a holder, and for how long it holds on: 0 gives the connection back.
static HOLD: Script = Script::new(
    r"
if ARGV[2] == '0' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'XX', t[1] * 1000 + t[2] / 1000 + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2] * 2)
return 1",
);

/// Reserves what all charges need together, at most so far ahead.
pub(super) async fn take(
    store: &Store,
    charges: &[Charge],
    connections: Option<(&Key, u32, &str)>,
    most: Duration,
    cold: bool,
) -> Result<TakeAnswer, Error> {
    let mut keys: Vec<&Key> = charges.iter().map(|charge| &charge.key).collect();
    let (mut holder, mut count) = ("", 0);
    if let Some((key, most, name)) = connections {
        keys.push(key);
        (holder, count) = (name, most);
    }
    let mut args: Vec<Arg<'_>> = vec![most.into(), u64::from(cold).into(), holder.into()];
    args.extend([Arg::from(u64::from(count)), Arg::from(CONNECTION_LIFE)]);
    args.extend(charges.iter().flat_map(arguments));
    let reply = store.run(Operation::Take, &TAKE, &keys, &args, store.config().timeout.0).await?;
    let numbers: Vec<u64> = reply.list().filter_map(|reply| u64::try_from(reply.number()?).ok()).collect();
    match numbers[..] {
        [0, wait, now] => Ok(TakeAnswer::After(Duration::from_millis(wait), now)),
        [1, wait, _] => Ok(TakeAnswer::Late(Duration::from_millis(wait))),
        [2, ..] => Ok(TakeAnswer::NoConnection),
        _ => Err(Error::Failed("a reservation has no answer that is known".into())),
    }
}

/// Gives back what these charges took at `since`. Nothing waits for it.
pub(super) fn give_back(store: &Store, charges: Vec<Charge>, since: u64) {
    behind(store, &GIVE_BACK, charges, Some(since));
}

/// Takes all that these buckets hold. Nothing waits for it.
pub(super) fn empty(store: &Store, charges: Vec<Charge>) {
    behind(store, &EMPTY, charges, None);
}

/// Holds a connection for so long from now on, or gives it back. Nothing waits for it.
pub(super) fn hold(store: &Store, connections: Key, holder: String, life: Duration) {
    let owned = store.clone();
    store.behind(Operation::Take, holder.len() + connections.as_str().len(), async move {
        let args = [holder.as_str().into(), life.into()];
        let _ = owned.run(Operation::Take, &HOLD, &[&connections], &args, BEHIND).await;
    });
}

fn behind(store: &Store, script: &'static Script, charges: Vec<Charge>, since: Option<u64>) {
    let (owned, bytes) = (store.clone(), charges.len() * 100);
    store.behind(Operation::Take, bytes, async move {
        let keys: Vec<&Key> = charges.iter().map(|charge| &charge.key).collect();
        let first = since.map(Arg::from);
        let args: Vec<Arg<'_>> = first.into_iter().chain(charges.iter().flat_map(arguments)).collect();
        let _ = owned.run(Operation::Take, script, &keys, &args, BEHIND).await;
    });
}

/// Cost, rate and burst.
fn arguments<'a>(charge: &Charge) -> [Arg<'a>; 3] {
    let rate = charge.per_second.max(1);
    [charge.cost, rate, rate - rate / RESERVE].map(|number| u64::from(number).into())
}

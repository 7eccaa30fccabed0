//! The log of purges: what one replica is ordered to purge, all of them purge.
//!
//! It is a stream in the store, read from the last entry on, so that nothing is lost while a replica is
//! cut off: it reads what it has missed when it comes back. (Messages of pub/sub would be gone.) Entries are
//! sealed like everything else, so whoever can write to the store can purge nothing.

use super::config::Purge;
use super::error::Error;
use super::key::{Key, KeyPart, Unit};
use super::metrics::Operation;
use super::script::{Reply, Script};
use super::store::Store;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// An order to purge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PurgeOrder {
    /// The stream, by its name or ARN.
    pub stream: String,
    /// How long ago it was ordered, by the store's clock.
    pub age: Duration,
}

/// The log, and how far this replica has read it. Clones share it.
#[derive(Clone)]
pub struct PurgeLog {
    store: Store,
    key: Key,
    reading: Arc<Mutex<LogPosition>>,
}

struct LogPosition {
    /// The last entry that was read, in the stream's own numbering.
    last: String,
    /// When everything was read last; at first, since when it should be.
    since: Instant,
    /// The latest order of each stream that was carried out here. An order may be in the log twice.
    done: HashMap<String, u64>,
}

/// How often the log is read.
const EVERY: Duration = Duration::from_millis(500);
/// A replica that has not read the log for so long may not know of a purge.
const LONGEST_LAG: Duration = Duration::from_secs(10);
/// How long orders are kept: longer than anything is cached.
const LIFE: Duration = Duration::from_secs(25 * 3600);
/// Entries that are read at once.
const PAGE: u64 = 500;
/// How long reading or writing may take.
const WITHIN: Duration = Duration::from_secs(1);
/// An order is written again after this. A store that loses its primary may lose what it has acknowledged
/// (redis/redis#4819).
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Beyond so many streams it is forgotten which orders were carried out: they may be carried out again.
const MOST_DONE: usize = 10_000;
/// If the store's clock goes back, or the store has lost the log, entries may come before the last one.
const LOOK_BACK_MILLIS: u64 = 60_000;

/// KEYS: log. ARGV: version and sealed order, how long it is kept. Gives the time.
static APPEND: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local oldest = string.format('%.0f', now - ARGV[3])
redis.call('XADD', KEYS[1], 'MINID', '~', oldest, '*', 'v', ARGV[1], 'd', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return now",
);

/// KEYS: log. ARGV: the last entry that is known, how many at most. Gives the time, and the entries.
static READ: Script = Script::new(
    r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return {now, redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}",
);

impl PurgeLog {
    /// The log of this store. It is read from its beginning: what is on the disk may be older than an order.
    #[must_use]
    pub fn new(store: Store) -> Self {
        let key = store.keys().key(&Unit::Log, &KeyPart::Entries);
        let reading = LogPosition { last: "0-0".to_owned(), since: Instant::now(), done: HashMap::new() };
        Self { store, key, reading: Arc::new(Mutex::new(reading)) }
    }

    /// Tells all other replicas to purge a stream. The caller purges it here.
    ///
    /// # Errors
    /// The store did not take the order: the other replicas do not know of it.
    pub async fn order(&self, stream: &str) -> Result<(), Error> {
        let ordered = self.append(stream, 0).await?;
        self.is_new(stream, ordered);
        let (again, stream) = (self.clone(), stream.to_owned());
        self.store.behind(Operation::Log, stream.len(), async move {
            tokio::time::sleep(AGAIN_AFTER).await;
            let _ = again.append(&stream, ordered).await;
        });
        Ok(())
    }

    /// Reads the log for as long as it is polled, and gives each order of another replica to `purge`.
    pub async fn follow<F>(&self, purge: impl Fn(PurgeOrder) -> F + Send + Sync)
    where
        F: Future<Output = ()> + Send,
    {
        let mut next = tokio::time::interval(EVERY);
        next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            next.tick().await;
            let began = Instant::now();
            if let Err(error) = self.read(&purge).await {
                tracing::debug!(%error, "the log of purges cannot be read");
            } else {
                self.lock().since = began;
            }
            self.store.metrics().purge_lag(self.lag());
        }
    }

    /// How long ago the log was read.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.lock().since.elapsed()
    }

    /// Whether media must not be served, because this replica may not know of a purge: `purge = "closed"`.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.store.config().purge == Purge::Closed && self.lag() > LONGEST_LAG
    }

    async fn read<F>(&self, purge: &(impl Fn(PurgeOrder) -> F + Sync)) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send,
    {
        loop {
            let last = self.lock().last.clone();
            let args = [last.as_str().into(), PAGE.into()];
            let mut reply = self.store.run(Operation::Log, &READ, &[&self.key], &args, WITHIN).await?.list();
            let broken = || Error::Failed("the log of purges has no form that is known".into());
            let now = reply.next().and_then(|now| u64::try_from(now.number()?).ok()).ok_or_else(broken)?;
            let entries: Vec<Reply> = reply.next().ok_or_else(broken)?.list().collect();
            if entries.is_empty() {
                if millis(&last).is_some_and(|last| last > now + 1000) {
                    self.lock().last = format!("{}-0", now.saturating_sub(LOOK_BACK_MILLIS));
                }
                return Ok(());
            }
            for entry in entries {
                let mut entry = entry.list();
                let id = entry.next().and_then(Reply::bytes).ok_or_else(broken)?;
                let id = String::from_utf8(id).map_err(|_| broken())?;
                if let Some(order) = entry.next().and_then(|fields| self.open(&id, fields, now)) {
                    purge(order).await;
                }
                // Not before it is done: a reader that is stopped here reads it again.
                self.lock().last = id;
            }
        }
    }

    /// Whether an order of this time is not carried out yet; from now on it counts as carried out.
    fn is_new(&self, stream: &str, ordered: u64) -> bool {
        let done = &mut self.lock().done;
        if done.get(stream).is_some_and(|known| *known >= ordered) {
            return false;
        }
        if done.len() >= MOST_DONE {
            done.clear();
        }
        done.insert(stream.to_owned(), ordered);
        true
    }

    /// What an entry says, unless it is not of this fleet or was carried out before.
    fn open(&self, id: &str, fields: Reply, now: u64) -> Option<PurgeOrder> {
        let fields: Vec<Reply> = fields.list().collect();
        let at = |name: &str| fields.iter().position(|field| field.is(name)).map(|at| at + 1);
        let version = fields.get(at("v")?)?.number()?;
        let sealed = fields.get(at("d")?)?.clone().bytes()?;
        let plain = self.store.open_value(&self.key, u64::try_from(version).ok()?, sealed).ok()?;
        let (ordered, stream) = read_order(&plain)?;
        let ordered = if ordered == 0 { millis(id)? } else { ordered };
        self.is_new(&stream, ordered).then_some(())?;
        Some(PurgeOrder { stream, age: Duration::from_millis(now.saturating_sub(ordered)) })
    }

    /// Appends an order of that time, or of the time at which it is appended. Gives the time.
    async fn append(&self, stream: &str, ordered: u64) -> Result<u64, Error> {
        let version = random_version();
        let sealed = self.store.seal(&self.key, version, &write_order(stream, ordered))?;
        let args = [version.into(), sealed.as_slice().into(), LIFE.into()];
        let reply = self.store.run(Operation::Log, &APPEND, &[&self.key], &args, WITHIN).await?;
        let now = reply.number().and_then(|now| u64::try_from(now).ok());
        now.ok_or_else(|| Error::Failed("an order has no answer that is known".into()))
    }

    fn lock(&self) -> MutexGuard<'_, LogPosition> {
        self.reading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of an entry, from the stream's numbering.
fn millis(id: &str) -> Option<u64> {
    id.split_once('-')?.0.parse().ok()
}

/// Any number that Lua can hold: each entry is sealed for itself.
fn random_version() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_be_bytes(bytes) >> 12
}

const PURGE: &str = "purge";

fn write_order(stream: &str, ordered: u64) -> Vec<u8> {
    format!("{PURGE} {ordered} {stream}").into_bytes()
}

/// What kinds there are may grow: another kind is no order to purge.
fn read_order(plain: &[u8]) -> Option<(u64, String)> {
    let mut words = std::str::from_utf8(plain).ok()?.splitn(3, ' ');
    let (kind, ordered, stream) = (words.next()?, words.next()?, words.next()?);
    (kind == PURGE).then_some((ordered.parse().ok()?, stream.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_as_they_were_written_and_other_kinds_are_none() {
        let arn = "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1720751492346";
        for stream in ["cam-1", arn] {
            assert_eq!(read_order(&write_order(stream, 7)), Some((7, stream.to_owned())));
        }
        for other in ["", "purge", "purge x cam-1", "revoke 0 cam-1", "\u{fffd}"] {
            assert_eq!(read_order(other.as_bytes()), None, "{other}");
        }
        assert_eq!(read_order(&[0xff, 0xfe]), None);
    }

    #[test]
    fn an_entry_s_number_tells_its_time() {
        assert_eq!(millis("1764559000123-4"), Some(1_764_559_000_123));
        assert_eq!((millis("0-0"), millis("x-1"), millis("5")), (Some(0), None, None));
    }
}

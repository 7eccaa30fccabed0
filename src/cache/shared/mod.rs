//! The tier that replicas share: small bodies in Redis or Valkey, large ones in a bucket, all of it sealed.
//!
//! A look gives the object, or the right to fetch it on behalf of all replicas, or waits for the replica that
//! has that right. Everything has a time limit, after which the object is fetched as if there were no such
//! tier; what does not open is a miss as well. What was fetched is written behind the request.
//!
//! - `record` is what the store has of an object;
//! - `lease` is what the store does: look, lease and commit;
//! - `bucket` writes and reads bodies in the bucket;
//! - `state` is what all of these share;
//! - `claim` holds a lease while the object is fetched, and writes it.

mod bucket;
mod claim;
mod object;
mod record;
mod state;

use super::entry::{Entry, Sharing, Tier};
use super::key::{Key, PurgeTarget};
use super::store::{Loaded, Looked, Lookup, Store, Work};
use crate::fleet;
use crate::kvs::Timestamp;
use bucket::{Bucket, Trouble};
use claim::ObjectClaim;
use object::{Answered, ObjectKeys};
use record::BodyPlace;
pub(super) use state::SharedState;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the replica is waited for that fetches an object, and how long between looks.
const PATIENCE: Duration = Duration::from_secs(3);
const PAUSES: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(20), Duration::from_millis(40)];
/// Clocks are compared over the network: what began so little after a purge counts as before it.
const MARGIN: Duration = Duration::from_millis(50);

/// The shared tier.
pub(super) struct Shared(Arc<SharedState>);

impl Shared {
    pub(super) fn new(state: Arc<SharedState>) -> Self {
        Self(state)
    }

    /// Looks until there is an answer, at most for [`PATIENCE`].
    async fn wait(&self, key: Key, sharing: Sharing, now: Timestamp) -> Lookup {
        let keys = ObjectKeys::of(&self.0.store, &key);
        let began = Instant::now();
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.look_once(key, &keys, sharing, now.plus(began.elapsed())).await {
                Looked::Found(tier, loaded) => {
                    self.0.metrics.hit(tier);
                    return Lookup::Found(tier, loaded);
                }
                Looked::Ours(claim) => {
                    self.0.metrics.redis.miss.inc();
                    return Lookup::Missing(Some(claim));
                }
                Looked::Nothing => return Lookup::Missing(None),
                Looked::Busy if began.elapsed() >= PATIENCE => {
                    // The other replica takes too long. What is fetched here is written if it is the first.
                    self.0.metrics.redis.slow.inc();
                    let alone = ObjectClaim::alone(&self.0, &keys, sharing, self.0.theirs(now));
                    return Lookup::Missing(Some(Box::new(alone)));
                }
                Looked::Busy => sleep(pauses.next().unwrap_or(PAUSES[2])).await,
            }
        }
    }

    /// One look; another one if what is found is of no use.
    async fn look_once(&self, key: Key, keys: &ObjectKeys, sharing: Sharing, now: Timestamp) -> Looked {
        let purged = self.0.purges.since(&key).map(|at| self.0.theirs(at.plus(MARGIN)));
        let mut useless = Vec::new();
        loop {
            let holder = self.0.store.unique_name();
            let object::AtStore { now: theirs, answer } =
                match object::look(&self.0.store, keys, &holder, purged, &useless).await {
                    Ok(looked) => looked,
                    Err(error) => {
                        let trouble = &self.0.metrics.redis;
                        let counter = if matches!(error, fleet::Error::TimedOut) {
                            &trouble.slow
                        } else {
                            &trouble.error
                        };
                        counter.inc();
                        return Looked::Nothing;
                    }
                };
            self.0.compare_clocks(theirs, now);
            match answer {
                Answered::Ours => {
                    return Looked::Ours(Box::new(ObjectClaim::leased(
                        &self.0, keys, holder, sharing, theirs,
                    )));
                }
                Answered::Busy => return Looked::Busy,
                Answered::Value(value) => match self.read(key, keys, &value, now).await {
                    Ok((tier, loaded)) => return Looked::Found(tier, loaded),
                    // The object is sound, and is passed on without being kept here.
                    Err(Trouble::NoRoom) => return Looked::Nothing,
                    // Once: a value that is as useless again is left alone.
                    Err(_) if useless.is_empty() => useless = object::marker(&value).to_vec(),
                    Err(_) => return Looked::Nothing,
                },
            }
        }
    }

    /// Opens a value and reads what it names.
    async fn read(
        &self,
        key: Key,
        keys: &ObjectKeys,
        value: &[u8],
        now: Timestamp,
    ) -> Result<(Tier, Loaded), Trouble> {
        let Some((began, record, body)) = self.0.opened(keys, value) else {
            self.0.metrics.redis.damaged.inc();
            return Err(Trouble::Damaged);
        };
        let record = self.0.in_our_time(record);
        if record.expires <= now {
            return Err(Trouble::Missing);
        }
        let ours = self.0.ours(began).minus(MARGIN);
        match record.place {
            BodyPlace::Inline => {
                let mut room = self.0.budget.reserve();
                if !room.grow_to(body.len() as u64) {
                    self.0.metrics.redis.skipped.inc();
                    return Err(Trouble::NoRoom);
                }
                let pieces = room.blocks(&body).into();
                let entry = Entry::new(key, &record.head, Some(record.expires), pieces, record.etag());
                let entry = entry.since(ours).counted(&mut room);
                Ok((Tier::Redis, Loaded::Whole(Arc::new(entry))))
            }
            BodyPlace::Bucket { id, key: sealed_by } => {
                let length = record.head.length.unwrap_or(0);
                let of = fleet::BlocksOf { id, version: began.millis(), length };
                let blocks = self.0.store.open_blocks(&keys.data, sealed_by, &of).ok();
                let named = |blocks| bucket::Object::new(&keys.name, key, record, ours, blocks, value);
                let (Some(object), Some(bucket)) = (blocks.and_then(named), &self.0.bucket) else {
                    return Err(Trouble::Damaged);
                };
                let opened = bucket.open(object).await.map(|loaded| (Tier::S3, loaded));
                opened.inspect_err(|trouble| bucket::note(&self.0.metrics.s3, trouble))
            }
        }
    }
}

impl Store for Shared {
    fn load(&self, key: Key, sharing: Sharing, now: Timestamp) -> Work<'_, Lookup> {
        Box::pin(async move {
            if !self.0.shares(sharing) {
                return Lookup::Missing(None);
            }
            self.wait(key, sharing, now).await
        })
    }

    fn is_shared(&self) -> bool {
        self.0.keeps_objects()
    }

    fn look(&self, key: Key, sharing: Sharing, now: Timestamp) -> Work<'_, Looked> {
        Box::pin(async move {
            if !self.0.shares(sharing) {
                return Looked::Nothing;
            }
            let keys = ObjectKeys::of(&self.0.store, &key);
            let looked = self.look_once(key, &keys, sharing, now).await;
            match &looked {
                Looked::Found(tier, _) => self.0.metrics.hit(*tier),
                Looked::Ours(_) => self.0.metrics.redis.miss.inc(),
                Looked::Busy | Looked::Nothing => {}
            }
            looked
        })
    }

    /// Objects are taken in by claims.
    fn store(&self, _: &Arc<Entry>, _: Timestamp) {}

    /// Asking would take a while.
    fn holds(&self, _: &Key, _: Timestamp) -> bool {
        false
    }

    /// Nothing is removed: what a purge covers is a miss for every replica that has read of it.
    fn purge(&self, _: PurgeTarget) -> usize {
        0
    }

    fn idle(&self) -> bool {
        self.0.bucket.as_ref().is_none_or(Bucket::idle)
    }
}

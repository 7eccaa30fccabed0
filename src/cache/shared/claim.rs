//! The right to fetch an object on behalf of all replicas: held while it is fetched, and used up when it is
//! written.

use super::bucket;
use super::object::{self, ObjectKeys};
use super::record::{self, BodyPlace, Record};
use super::state::{LIVE_LIFE, SHORTEST_LIFE, SharedState};
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::cache::entry::{Entry, Head, Sharing, tag_bytes};
use crate::cache::store::Claim;
use crate::fleet::{BLOCKS_ID, BlocksOf, Lease, Operation};
use crate::kvs::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// The right to fetch one object.
pub(super) struct ObjectClaim {
    state: Arc<SharedState>,
    keys: ObjectKeys,
    sharing: Sharing,
    /// When the fetch began, on the store's clock.
    began: Timestamp,
    /// Without a lease the object is written only if no other replica has.
    lease: Option<Lease>,
}

impl ObjectClaim {
    /// With a lease, which is prolonged from now on.
    pub(super) fn leased(
        state: &Arc<SharedState>,
        keys: &ObjectKeys,
        holder: String,
        sharing: Sharing,
        began: Timestamp,
    ) -> Self {
        let lease = Some(Lease::held(&state.store, &keys.lease, holder));
        Self { state: Arc::clone(state), keys: keys.clone(), sharing, began, lease }
    }

    /// Without a lease.
    pub(super) fn alone(
        state: &Arc<SharedState>,
        keys: &ObjectKeys,
        sharing: Sharing,
        began: Timestamp,
    ) -> Self {
        Self { state: Arc::clone(state), keys: keys.clone(), sharing, began, lease: None }
    }

    /// For how long the object is of use to others.
    fn life(&self, entry: &Entry) -> Option<Duration> {
        let now = Timestamp::from(clock::now());
        let life = now.age(entry.expires?);
        let most = if matches!(self.sharing, Sharing::Live { .. }) { LIVE_LIFE } else { Duration::MAX };
        Some(life.min(most)).filter(|life| *life >= SHORTEST_LIFE)
    }

    fn record(&self, entry: &Entry, digest: Option<[u8; 16]>, place: BodyPlace) -> Option<Record> {
        let head = Head { stored: self.state.theirs(entry.head.stored), ..(*entry.head).clone() };
        Some(Record { head, expires: self.state.theirs(entry.expires?), digest, place })
    }

    /// Writes the value of the object, and gives the lease back.
    async fn write(&mut self, value: &[u8], life: Duration) {
        let lease = self.lease.take();
        let holder = lease.as_ref().map(Lease::holder);
        object::commit(&self.state.store, &self.keys, holder, value, life).await;
        lease.into_iter().for_each(Lease::end);
    }

    /// The body in the store itself.
    async fn write_inline(mut self, entry: Arc<Entry>, life: Duration) -> Option<()> {
        let digest = entry.known_etag().and_then(tag_bytes);
        let mut plain = self.record(&entry, digest, BodyPlace::Inline)?.encode()?;
        plain.reserve(usize::try_from(entry.length()).ok()?);
        entry.pieces().iter().for_each(|piece| plain.extend_from_slice(piece));
        let sealed = self.state.store.seal(&self.keys.data, self.began.millis(), &plain).ok()?;
        drop(plain);
        self.write(&record::value(self.began, &sealed), life).await;
        Some(())
    }

    /// The body in the bucket, and then where it is in the store.
    async fn write_to_bucket(mut self, entry: Arc<Entry>, life: Duration) -> Option<()> {
        let state = Arc::clone(&self.state);
        let bucket = state.bucket.as_ref()?;
        let mut id = [0; BLOCKS_ID];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let of = BlocksOf { id, version: self.began.millis(), length: entry.length() };
        let (key, blocks) = state.store.seal_blocks(&self.keys.data, &of).ok()?;
        // Hashed when it arrived, if it is large.
        let digest = tag_bytes(entry.etag());
        let plain = self.record(&entry, digest, BodyPlace::Bucket { id, key })?.encode()?;
        let sealed = state.store.seal(&self.keys.data, self.began.millis(), &plain).ok()?;
        let value = record::value(self.began, &sealed);
        if let Err(trouble) = bucket.write(&self.keys.name, &value, &entry, blocks).await {
            bucket::note(&state.metrics.s3, &trouble);
            return None;
        }
        self.write(&value, life).await;
        Some(())
    }
}

impl Claim for ObjectClaim {
    fn takes(&self, length: u64) -> bool {
        let live = matches!(self.sharing, Sharing::Live { .. });
        let bucket = || self.state.bucket.as_ref().is_some_and(|bucket| bucket.takes(length));
        length <= self.state.store.config().object_limit.0 || (!live && bucket())
    }

    fn commit(self: Box<Self>, entry: &Arc<Entry>) {
        let Some(life) = self.life(entry) else { return };
        let (state, entry, bytes) = (Arc::clone(&self.state), Arc::clone(entry), entry.length());
        if bytes <= state.store.config().object_limit.0 {
            // The value, and what it is made of.
            let held = usize::try_from(bytes).unwrap_or(usize::MAX);
            state.store.behind(Operation::ObjectCommit, held, async move {
                self.write_inline(entry, life).await;
            });
            return;
        }
        let Some(bucket) = state.bucket.as_ref().filter(|_| self.takes(bytes)) else { return };
        match bucket.queue(bytes) {
            Some(queued) => {
                // Ends with the deadline of a PUT.
                spawn_self_ending(async move {
                    self.write_to_bucket(entry, life).await;
                    drop(queued);
                });
            }
            None => state.metrics.s3.skipped.inc(),
        }
    }
}

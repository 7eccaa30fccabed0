//! Objects that are fetched many at a time, such as the fragments of one call: looked for one by one at the
//! other replicas, and kept one by one.

use super::entry::{Entry, Head, Keep, Sharing, Tier};
use super::key::Key;
use super::store::{Claim, Loaded, Looked};
use super::{Cache, Reading};
use crate::kvs::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// What the other replicas have of an object.
pub enum AtReplicas {
    /// The object.
    Found(Reading),
    /// Nothing: it is to be fetched here, on behalf of all.
    Ours(Ours),
    /// One of them fetches it; to be looked for again soon.
    Busy,
    /// Nobody knows: it is fetched as if there were no others.
    Nothing,
}

/// The right to fetch an object on behalf of all replicas. Dropping it gives it up.
pub struct Ours {
    claim: Box<dyn Claim>,
    began: Timestamp,
}

impl Cache {
    /// Whether replicas share objects, so that looking for them there is worth it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.below.iter().any(|store| store.is_shared())
    }

    /// Looks once for an object that no tier of this process has.
    pub async fn look_at_replicas(&self, key: Key) -> AtReplicas {
        let began = self.0.clock.now();
        let Some(store) = self.0.below.iter().find(|store| store.is_shared()) else {
            return AtReplicas::Nothing;
        };
        match store.look(key, Sharing::Always, began).await {
            Looked::Found(tier, loaded) => self.found(key, tier, loaded),
            Looked::Ours(claim) => AtReplicas::Ours(Ours { claim, began }),
            Looked::Busy => AtReplicas::Busy,
            Looked::Nothing => AtReplicas::Nothing,
        }
    }

    fn found(&self, key: Key, tier: Tier, loaded: Loaded) -> AtReplicas {
        match loaded {
            Loaded::Whole(entry) if self.0.purges.cover(&key, entry.began) => AtReplicas::Nothing,
            Loaded::Whole(entry) => {
                self.0.keep_above(tier, &entry);
                self.0.memory.settle();
                AtReplicas::Found(Reading::whole_entry(entry))
            }
            Loaded::Open(object) if self.0.purges.cover(&key, object.began()) => AtReplicas::Nothing,
            Loaded::Open(object) => AtReplicas::Found(Reading::stored(object)),
        }
    }

    /// Keeps a body that was fetched whole, from `began` on, and gives it to the other replicas if it is ours
    /// to give. Gives it as the cache holds it; `None` if it does not.
    #[must_use]
    pub fn put(
        &self,
        key: Key,
        head: &Head,
        keep: Keep,
        body: &Bytes,
        ours: Option<Ours>,
    ) -> Option<Reading> {
        let tiers = &self.0;
        let length = body.len() as u64;
        let mut room = tiers.budget.reserve();
        let expires = keep.expiry(head.stored, tiers.config.max_age.0)?;
        if length > tiers.largest || !room.grow_to(length) {
            return None;
        }
        let began = ours.as_ref().map_or(head.stored, |ours| ours.began);
        let pieces = room.blocks(body);
        let entry = Entry::new(key, head, Some(expires), pieces.into(), None).since(began);
        let entry = Arc::new(entry.counted(&mut room));
        if tiers.purges.cover(&key, began) {
            return None;
        }
        let claims = ours.into_iter().map(|ours| ours.claim).collect();
        tiers.store(&entry, claims);
        tiers.memory.settle();
        Some(Reading::whole_entry(entry))
    }
}

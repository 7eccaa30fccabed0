//! What the tiers below memory have in common: each is asked for an object by its key, answers with all of it
//! or with something to read ranges from, and takes new objects in. Each has time limits of its own, and its
//! trouble is a miss.
//!
//! A tier that replicas share may give a [`Claim`] with a miss: the right to fetch the object on behalf of
//! all of them.

use super::entry::{Entry, Head, Sharing, Tier};
use super::key::{Key, PurgeTarget};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use http::HeaderValue;
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

/// Work of a tier.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A tier below memory.
pub(super) trait Store: Send + Sync {
    /// Whatever it has under `key` that may be given out at `now`.
    fn load(&self, key: Key, sharing: Sharing, now: Timestamp) -> Work<'_, Lookup>;

    /// Whether replicas share it.
    fn is_shared(&self) -> bool {
        false
    }

    /// One look, without waiting for another replica.
    fn look(&self, key: Key, sharing: Sharing, now: Timestamp) -> Work<'_, Looked> {
        let _ = (key, sharing, now);
        Box::pin(std::future::ready(Looked::Nothing))
    }

    /// Has a new object written, if it is worth it and the tier keeps up. Neither waits nor fails. A tier
    /// that gives claims takes objects in by them instead.
    fn store(&self, entry: &Arc<Entry>, now: Timestamp);

    /// Whether it should have an object under `key` that may be given out at `now`, as far as is known here
    /// without asking.
    fn holds(&self, key: &Key, now: Timestamp) -> bool;

    /// Removes the objects of `target`; gives their number. May block.
    fn purge(&self, target: PurgeTarget) -> usize;

    /// Why it is not used at the moment; `None` if it is.
    fn problem(&self) -> Option<String> {
        None
    }

    /// Nothing waits to be written.
    fn idle(&self) -> bool;
}

/// What one look gives at an object that is to be fetched with others.
pub(super) enum Looked {
    /// It is there.
    Found(Tier, Loaded),
    /// It is to be fetched here, on behalf of all replicas.
    Ours(Box<dyn Claim>),
    /// Another replica fetches it.
    Busy,
    /// The tier is of no help.
    Nothing,
}

/// What a look-up gives.
pub(super) enum Lookup {
    /// The object.
    Found(Tier, Loaded),
    /// There is none to be had; perhaps with the right to fetch it.
    Missing(Option<Box<dyn Claim>>),
}

/// An object of a tier.
#[derive(Clone)]
pub(in crate::cache) enum Loaded {
    /// The whole body, checked.
    Whole(Arc<Entry>),
    /// To be read by ranges.
    Open(Arc<dyn OpenObject>),
}

/// An object whose body stays where it is and is read by ranges.
pub(in crate::cache) trait OpenObject: Send + Sync {
    /// What is known of the body. Its length is always there.
    fn head(&self) -> &Head;

    /// Until when it may be given out.
    fn expires(&self) -> Timestamp;

    /// When its fetch began: a purge after that covers it.
    fn began(&self) -> Timestamp;

    /// Its strong entity tag.
    fn etag(&self) -> &HeaderValue;

    /// The beginning of `range`, checked: as much as is read at once.
    fn read(self: Arc<Self>, range: Range<u64>) -> Work<'static, Result<VecDeque<Bytes>, Broken>>;
}

/// The right to fetch an object on behalf of all replicas. It is kept up until it is committed or dropped.
pub(super) trait Claim: Send + Sync {
    /// Whether a body of this length would be given to the other replicas. If not, the claim is of no use.
    fn takes(&self, length: u64) -> bool;

    /// The object has been fetched: it is given to the other replicas, behind the request that fetched it.
    fn commit(self: Box<Self>, entry: &Arc<Entry>);
}

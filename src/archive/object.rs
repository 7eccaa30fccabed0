//! What can be asked of the archive, and what fetching it needs.

use crate::cache::freshness::{self, Kind, Rules};
use crate::cache::{Fetched, Keep, Key};
use crate::kvs::{Call, Timestamp};
use crate::upstream::{self, Answer, Located, OnBehalfOf, Upstream};
use bytes::Bytes;
use http::StatusCode;
use std::time::Duration;

/// One thing that KVS has stored. Implementations say what makes two requests the same bytes and how those
/// bytes are fetched; looking, charging, coalescing and keeping is `Archive::get`'s, for all of them.
pub trait Object: Clone + Send + Sync + 'static {
    /// Where its stream is served from.
    fn located(&self) -> &Located;

    /// How long KVS retains the stream's footage, where that bounds how long the object may be kept.
    fn retention(&self) -> Option<Duration>;

    /// What makes two requests the same bytes. Never holds a caller (law 1).
    fn key(&self) -> Key;

    /// Calls KVS. May run twice: a body that breaks before its first byte was read is fetched once more.
    fn fetch(self, from: Source) -> impl Future<Output = Result<Fetched, upstream::Error>> + Send;
}

/// The way to KVS for one fetch.
#[derive(Clone)]
pub struct Source {
    pub(super) upstream: Upstream,
    pub(super) located: Located,
    pub(super) rules: Rules,
    pub(super) on_behalf_of: OnBehalfOf,
}

impl Source {
    /// Makes a call about the stream; its points are charged to the account that the fetch is made for.
    ///
    /// # Errors
    /// As [`Upstream::call`].
    pub async fn call(&self, call: &Call) -> Result<Answer, upstream::Error> {
        self.upstream.call(&self.located, call, &self.on_behalf_of).await
    }

    /// Makes a call and reads the whole answer, at most `bound` bytes of it.
    ///
    /// # Errors
    /// As [`Upstream::call`]; [`upstream::Error::BrokenAnswer`] if the body breaks or is longer.
    pub async fn read(&self, call: &Call, bound: usize) -> Result<Bytes, upstream::Error> {
        let body = self.call(call).await?.bytes(bound).await;
        body.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))
    }

    /// How long an answer of status 200 may be kept (`cache::freshness`).
    #[must_use]
    pub fn keep(&self, kind: Kind, now: Timestamp) -> Keep {
        freshness::keep(kind, StatusCode::OK, now, &self.rules)
    }
}

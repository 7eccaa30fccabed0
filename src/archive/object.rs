//! What can be asked of the archive, and what fetching it needs.

use crate::cache::freshness::{self, Kind, Rules};
use crate::cache::{Cache, Fetched, Keep, Key, Share};
use crate::kvs::{Call, Timestamp};
use crate::upstream::{self, Answer, Located, OnBehalfOf, Upstream};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt;
use std::sync::Arc;
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
    pub(super) cache: Cache,
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

    /// Makes a call and reads the whole answer, at most `bound` bytes of it. They count against the cache's
    /// budget for as long as they are held.
    ///
    /// # Errors
    /// As [`Upstream::call`]; [`upstream::Error::BrokenAnswer`] if the body breaks or is longer,
    /// [`upstream::Error::NoRoom`] if the budget has no room for it.
    pub async fn read(&self, call: &Call, bound: usize) -> Result<Bytes, upstream::Error> {
        let broken = |why: String| upstream::Error::BrokenAnswer(why);
        let Answer { length, mut body, .. } = self.call(call).await?;
        let is_longer = |bytes: u64| bytes > bound as u64;
        if length.is_some_and(is_longer) {
            return Err(broken(format!("it is larger than {bound} bytes")));
        }
        let mut share = self.cache.share();
        let announced = length.unwrap_or(0);
        room(&mut share, announced).await?;
        let mut whole = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
        while let Some(frame) = body.frame().await {
            let Ok(chunk) = frame.map_err(|error| broken(error.to_string()))?.into_data() else { continue };
            let size = (whole.len() + chunk.len()) as u64;
            if is_longer(size) {
                return Err(broken(format!("it is larger than {bound} bytes")));
            }
            room(&mut share, size).await?;
            whole.extend_from_slice(&chunk);
        }
        Ok(Arc::new(share).hold(whole.freeze()))
    }

    /// How long an answer of status 200 may be kept (`cache::freshness`).
    #[must_use]
    pub fn keep(&self, kind: Kind, now: Timestamp) -> Keep {
        freshness::keep(kind, StatusCode::OK, now, &self.rules)
    }
}

/// Answers up to this size are counted but never refused, so that large ones do not shut out small ones.
const SMALL: u64 = 64 << 10;
/// How long a large answer waits for room, and how often it looks.
const PATIENCE: u32 = 50;
const PACE: Duration = Duration::from_millis(100);

/// Makes a share at least so large, after a while of waiting if need be.
pub(super) async fn room(share: &mut Share, bytes: u64) -> Result<(), upstream::Error> {
    if bytes <= SMALL {
        share.stretch_to(bytes);
        return Ok(());
    }
    for _ in 0..PATIENCE {
        if share.grow_to(bytes) {
            return Ok(());
        }
        tokio::time::sleep(PACE).await;
    }
    Err(upstream::Error::NoRoom(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Config, Metrics};
    use crate::setting::ByteSize;

    #[tokio::test(start_paused = true)]
    async fn large_answers_wait_for_room_and_small_ones_are_never_refused() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let config = Config { memory: ByteSize(4 << 20), ..Config::default() };
        let cache = Cache::open(&config, metrics).unwrap();
        let (mut first, mut second, mut small) = (cache.share(), cache.share(), cache.share());
        room(&mut first, 3 << 20).await.unwrap();
        assert!(matches!(room(&mut second, 3 << 20).await, Err(upstream::Error::NoRoom(_))));
        room(&mut small, SMALL).await.unwrap();
        let waiting = tokio::spawn(async move { room(&mut second, 3 << 20).await.is_ok() });
        tokio::time::sleep(PACE * 3).await;
        drop(first);
        assert!(waiting.await.unwrap(), "room that is given back is found");
    }
}

//! The way to KVS, handed in by the gateway.

use super::pool::Located;
use super::{SessionKey, Viewing};
use crate::kvs::{Resource, SessionParameters, Timestamp};
use std::future::Future;
use std::time::Duration;

/// Opens upstream sessions and fetches their playlists.
pub trait Origin: Send + Sync + 'static {
    /// What reaches an opened session: host, token. Never shown.
    type Handle: Send + Sync + 'static;
    /// Why it failed. Told to every viewer that waits, hence `Clone`.
    type Error: Clone + Send + Sync + 'static;

    /// Opens an upstream session with exactly these parameters (which differ from the key's own), at the longest
    /// `Expires`.
    fn open(
        &self,
        key: &SessionKey,
        parameters: &SessionParameters,
    ) -> impl Future<Output = Result<Opened<Self::Handle>, Self::Error>> + Send;

    /// Fetches a playlist or manifest and takes token and foreign matter out of it (`playback::rewrite`).
    fn playlist(
        &self,
        key: &SessionKey,
        session: &Self::Handle,
        resource: &Resource,
    ) -> impl Future<Output = Result<String, Self::Error>> + Send;

    /// Looks into an init segment of a live session; `None` if it is nothing whose media's times can be moved
    /// ([`Located::moved`]).
    fn track(
        &self,
        key: &SessionKey,
        init: Located<Self::Handle>,
    ) -> impl Future<Output = Result<Option<Track>, Self::Error>> + Send;

    /// Fetches a fragment into the cache, its times moved so that it begins at `begins`, and says by how much that is:
    /// by as much the whole session is moved ([`Located::moved`]). `None` if its times cannot be moved there.
    fn anchor(
        &self,
        key: &SessionKey,
        fragment: Located<Self::Handle>,
        begins: Timestamp,
        track: Track,
    ) -> impl Future<Output = Result<Option<Duration>, Self::Error>> + Send;

    /// What a failure means for the session.
    fn verdict(error: &Self::Error) -> Verdict;

    /// Fetches a fragment into the cache, because viewers will ask for it. Dropped with the last viewer.
    fn prefetch(&self, key: &SessionKey, located: Located<Self::Handle>) -> impl Future<Output = ()> + Send {
        let _ = (key, located);
        std::future::ready(())
    }

    /// A viewer has gone: for the audit log.
    fn left(&self, viewing: Viewing) {
        let _ = viewing;
    }
}

/// What is known of a track by its init segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// Ticks per second that its media counts time in.
    pub timescale: u32,
    /// Equal for equal codec settings, in every process.
    pub mark: u64,
}

impl Track {
    /// How much later than its own time, in ticks, a fragment shall begin; `None` if earlier. Less than a second
    /// earlier is two clocks, and counts as none.
    #[must_use]
    pub fn away(self, own: u64, begins: Timestamp) -> Option<Duration> {
        let own = u128::from(own) * 1000 / u128::from(self.timescale.max(1));
        let begins = u128::from(begins.millis());
        let away = if begins + 1000 < own { None } else { Some(begins.saturating_sub(own)) }?;
        u64::try_from(away).ok().map(Duration::from_millis)
    }

    /// A span in ticks of its media.
    #[must_use]
    pub fn ticks(self, span: Duration) -> u64 {
        u64::try_from(span.as_millis() * u128::from(self.timescale) / 1000).unwrap_or(u64::MAX)
    }
}

/// An upstream session as its [`Origin`] opened it.
pub struct Opened<H> {
    /// Half of a cache key: unique per session, no secret.
    pub id: String,
    /// Its end.
    pub expires: Timestamp,
    /// The way to it.
    pub handle: H,
}

/// What a failure means for a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The session is no more (403, or 404 of a session resource): open another.
    Expired,
    /// LIVE without fragments (404 "no fragments"): the camera may come back.
    NoData,
    /// Throttled, slow, broken on the way: the same again may work.
    Transient,
    /// Nothing will help: unknown stream, no right, unusable codec.
    Fatal,
}

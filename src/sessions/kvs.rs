//! The two calls to KVS that playback sessions are made of. Tests put another source in their place.

use crate::kvs::bounds::SESSION_SECONDS_MAX;
use crate::kvs::{Resource, SessionParameters, StreamRef};
use crate::upstream::{Answer, Error, SessionUrl, Upstream};
use async_trait::async_trait;
use std::time::Duration;

/// Under which name shared sessions wait for their turn under the quotas of KVS.
const ON_BEHALF_OF: &str = "shared playback sessions";

/// Where upstream sessions come from.
#[async_trait]
pub(super) trait SessionSource: Send + Sync + 'static {
    /// Opens a session with these parameters, for as long as KVS allows.
    async fn open(&self, stream: &StreamRef, parameters: &SessionParameters) -> Result<SessionUrl, Error>;

    /// Fetches a resource of a session. `max_fragments` is the session's own bound, by which KVS charges
    /// playlists.
    async fn fetch(
        &self,
        stream: &StreamRef,
        session: &SessionUrl,
        resource: &Resource,
        max_fragments: u16,
    ) -> Result<Answer, Error>;
}

#[async_trait]
impl SessionSource for Upstream {
    async fn open(&self, stream: &StreamRef, parameters: &SessionParameters) -> Result<SessionUrl, Error> {
        let located = self.locate(stream)?;
        let longest = Duration::from_secs(SESSION_SECONDS_MAX.into());
        self.open_session(&located, parameters, longest, ON_BEHALF_OF).await
    }

    async fn fetch(
        &self,
        stream: &StreamRef,
        session: &SessionUrl,
        resource: &Resource,
        max_fragments: u16,
    ) -> Result<Answer, Error> {
        let located = self.locate(stream)?;
        Upstream::fetch(self, &located, session, resource, max_fragments).await
    }
}

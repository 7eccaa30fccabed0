//! The two calls to KVS that playback sessions are made of. Tests put another source in their place.

use crate::kvs::bounds::SESSION_SECONDS_MAX;
use crate::kvs::{Resource, SessionParameters, StreamRef};
use crate::upstream::{Answer, Error, SessionUrl, Upstream};
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// Where upstream sessions come from.
#[async_trait]
pub(super) trait SessionSource: Send + Sync + 'static {
    /// Opens a session with these parameters, for as long as KVS allows. `principal` is whose turn it takes
    /// under the quotas of KVS.
    async fn open(
        &self,
        stream: &StreamRef,
        parameters: &SessionParameters,
        principal: &Arc<str>,
    ) -> Result<SessionUrl, Error>;

    /// Fetches a resource of a session. `max_fragments` is the session's own bound, by which KVS charges
    /// playlists, and `principal` is whose turn it takes.
    async fn fetch(
        &self,
        stream: &StreamRef,
        session: &SessionUrl,
        resource: &Resource,
        max_fragments: u16,
        principal: &Arc<str>,
    ) -> Result<Answer, Error>;
}

#[async_trait]
impl SessionSource for Upstream {
    async fn open(
        &self,
        stream: &StreamRef,
        parameters: &SessionParameters,
        principal: &Arc<str>,
    ) -> Result<SessionUrl, Error> {
        let located = self.locate(stream)?;
        let longest = Duration::from_secs(SESSION_SECONDS_MAX.into());
        self.open_session(&located, parameters, longest, principal).await
    }

    async fn fetch(
        &self,
        stream: &StreamRef,
        session: &SessionUrl,
        resource: &Resource,
        max_fragments: u16,
        principal: &Arc<str>,
    ) -> Result<Answer, Error> {
        let located = self.locate(stream)?;
        Upstream::fetch(self, &located, session, resource, max_fragments, principal).await
    }
}

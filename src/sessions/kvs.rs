//! The calls to KVS that playback sessions are made of. Tests put another source in their place.

use super::hls::Recent;
use crate::kvs::bounds::SESSION_SECONDS_MAX;
use crate::kvs::operations::{FragmentSelector, ListFragments};
use crate::kvs::{Call, Resource, SessionParameters, StreamRef, Timestamp};
use crate::upstream::{Answer, Error, OnBehalfOf, SessionUrl, Upstream};
use async_trait::async_trait;
use serde::Deserialize;
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

    /// A session that another replica has opened.
    fn adopt(
        &self,
        stream: &StreamRef,
        base: &str,
        token: &str,
        expires: Timestamp,
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

    /// How long a playlist of the present may take, its wait for a turn included.
    fn playlist_deadline(&self) -> Duration;

    /// Up to `most` of the fragments stored of a range, in no order. KVS charges a point for each of `most`.
    async fn recent(
        &self,
        stream: &StreamRef,
        selector: FragmentSelector,
        most: u16,
        principal: &Arc<str>,
    ) -> Result<Vec<Recent>, Error>;
}

/// A page of ListFragments. Unknown members are ignored.
#[derive(Deserialize)]
struct FragmentsPage {
    #[serde(rename = "Fragments", default)]
    fragments: Option<Vec<Row>>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "ServerTimestamp")]
    server: f64,
    #[serde(rename = "FragmentLengthInMilliseconds", default)]
    length: f64,
}

/// A page of a hundred rows has some 30 KB.
const LONGEST_PAGE: usize = 256 << 10;

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

    fn adopt(
        &self,
        stream: &StreamRef,
        base: &str,
        token: &str,
        expires: Timestamp,
    ) -> Result<SessionUrl, Error> {
        self.adopt_session(&self.locate(stream)?, base, token, expires)
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

    fn playlist_deadline(&self) -> Duration {
        Upstream::playlist_deadline(self)
    }

    async fn recent(
        &self,
        stream: &StreamRef,
        selector: FragmentSelector,
        most: u16,
        principal: &Arc<str>,
    ) -> Result<Vec<Recent>, Error> {
        let located = self.locate(stream)?;
        let call = Call::ListFragments(ListFragments {
            stream: stream.clone(),
            selector: Some(selector),
            max_results: Some(most),
            next_token: None,
        });
        let answer = self.call(&located, &call, &OnBehalfOf::all_callers(principal.clone())).await?;
        let broken = |why: String| Error::BrokenAnswer(why);
        let body = answer.bytes(LONGEST_PAGE).await.map_err(|why| broken(why.to_string()))?;
        let page: FragmentsPage = serde_json::from_slice(&body)
            .map_err(|why| broken(format!("ListFragments gave no list of fragments: {why}")))?;
        let millis = |row: Row| Recent { start: (row.server * 1000.0) as u64, length: row.length as u64 };
        Ok(page.fragments.unwrap_or_default().into_iter().map(millis).collect())
    }
}

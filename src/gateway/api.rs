//! Answers the nine calls.

use super::error::Error;
use super::permitted::Permitted;
use super::playback_url::PlaybackUrls;
use super::reply::{CACHE_STATUS, Reply, cache_status, cache_status_of_parts};
use super::streams::{API_PAGE, Streams, page_of};
use crate::accounting::{BodySource, Record};
use crate::archive::{Archive, Clip, JsonAnswer, MATROSKA, page_token};
use crate::kvs::operations::{GetClip, GetImages, GetMediaForFragmentList, ListFragments, ListStreams};
use crate::kvs::{Call, MediaFormat, SelectorType, SessionParameters, TimeRange};
use crate::playback::Keys;
use crate::upstream::{self, Upstream};
use http::header::HeaderValue;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The type of KVS's JSON answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long GetDataEndpoint waits to learn whether there is such a stream.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

/// Answers calls.
pub(super) struct Api {
    pub(super) archive: Archive,
    pub(super) streams: Streams,
    pub(super) playback_urls: Arc<PlaybackUrls>,
    /// Seals page tokens.
    pub(super) keys: Arc<Keys>,
    pub(super) upstream: Upstream,
    /// The data endpoint of every stream.
    pub(super) public_url: Arc<str>,
}

impl Api {
    /// The answer to a call, in KVS's shape.
    ///
    /// # Errors
    /// KVS's, or ours.
    pub(super) async fn answer(&self, permitted: &Permitted, record: &mut Record) -> Result<Reply, Error> {
        match permitted.call()? {
            Call::GetDataEndpoint(_) => self.data_endpoint(permitted, record).await,
            Call::ListStreams(list) => self.streams(permitted, list).await,
            Call::DescribeStream(_) => self.description(permitted, record).await,
            Call::ListFragments(_) | Call::GetImages(_) => self.page(permitted, record).await,
            Call::GetClip(clip) => self.clip(permitted, clip, record).await,
            Call::GetMediaForFragmentList(list) => self.fragments(permitted, list, record).await,
            Call::GetHlsStreamingSessionUrl(call) => {
                self.session_url(permitted, ("HLSStreamingSessionURL", &call.session, call.expires), record)
                    .await
            }
            Call::GetDashStreamingSessionUrl(call) => {
                self.session_url(permitted, ("DASHStreamingSessionURL", &call.session, call.expires), record)
                    .await
            }
        }
    }

    /// Our own address. A stream that KVS is known not to have is refused, so that a misspelt name shows at
    /// the first step. Whatever else keeps KVS from saying so is no reason to refuse.
    async fn data_endpoint(&self, permitted: &Permitted, record: &mut Record) -> Result<Reply, Error> {
        let describing = self.upstream.describe(permitted.located()?, || permitted.caller().principal());
        match tokio::time::timeout(KNOWN_WITHIN, describing).await {
            Ok(Err(upstream::Error::Kvs(fault))) if fault.status == 404 => {
                Err(upstream::Error::Kvs(fault).into())
            }
            described => {
                if !matches!(described, Ok(Ok(_))) {
                    record.existence_is_open();
                }
                Ok(Reply::json(&json!({ "DataEndpoint": &*self.public_url })))
            }
        }
    }

    async fn streams(&self, permitted: &Permitted, list: &ListStreams) -> Result<Reply, Error> {
        let size = list.max_results.map_or(API_PAGE, usize::from);
        let page = self.streams.page(permitted, list, size).await?;
        let members = page.streams.iter().map(|(stream, _)| &*stream.members);
        page_of("StreamInfoList", members, &json!({ "NextToken": page.next })).await
    }

    async fn description(&self, permitted: &Permitted, record: &mut Record) -> Result<Reply, Error> {
        let asked = JsonAnswer::about(permitted.located()?, permitted.call()?.clone());
        let on_behalf_of = || permitted.on_behalf_of(record);
        let answer = self.archive.answer(&asked, permitted.now, on_behalf_of).await?;
        record.cache = answer.outcome.as_str();
        Ok(Reply::api(JSON, BodySource::Whole(answer.body)))
    }

    /// A call whose answer goes on with a token: KVS's token is sealed into one of ours. What the cache did
    /// is said of footage that has settled; an answer that may still change is only shared by requests of the
    /// same second.
    async fn page(&self, permitted: &Permitted, record: &mut Record) -> Result<Reply, Error> {
        let call = permitted.call()?;
        let asked = JsonAnswer::page(permitted.stream(&self.archive).await?, call.clone());
        let answering = self.archive.answer(&asked, permitted.now, || permitted.on_behalf_of(record));
        let answer = permitted.steps.time("cache", answering).await?;
        record.cache = answer.outcome.as_str();
        let body = match (answer.next_token().await?, footage_of(call)) {
            (Some(token), Some((kind, range))) => {
                let sealed = page_token::seal(&self.keys, permitted.located()?, kind, range, &token.text);
                BodySource::Passing(answer.with_token(&token, &sealed))
            }
            _ => BodySource::Whole(answer.body.clone()),
        };
        let reply = Reply::api(JSON, body);
        Ok(if answer.settled {
            reply.with(CACHE_STATUS, cache_status(answer.outcome, answer.settled))
        } else {
            reply
        })
    }

    async fn clip(&self, permitted: &Permitted, call: &GetClip, record: &mut Record) -> Result<Reply, Error> {
        let clip = Clip { stream: permitted.stream(&self.archive).await?.clone(), call: call.clone() };
        let getting = self.archive.get(&clip, || permitted.on_behalf_of(record));
        let found = permitted.steps.time("cache", getting).await?;
        record.cache = found.outcome.as_str();
        let status = cache_status(found.outcome, found.entry.is_stored());
        let content_type = HeaderValue::from_static(MediaFormat::Mp4.content_type());
        let cutting = self.archive.truncation(&clip, permitted.now, || permitted.on_behalf_of(record));
        let truncation = cutting.await;
        let body = BodySource::Cached(found.entry.body(None));
        let reply = Reply::api(content_type, body).with(CACHE_STATUS, status);
        Ok(reply.truncated(truncation.as_ref(), record))
    }

    async fn fragments(
        &self,
        permitted: &Permitted,
        list: &GetMediaForFragmentList,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let stream = permitted.stream(&self.archive).await?;
        let answer = self.archive.fragments(stream, list, || permitted.on_behalf_of(record)).await?;
        record.cache = answer.outcome.as_str();
        let reply = Reply::api(HeaderValue::from_static(MATROSKA), BodySource::Passing(answer.body));
        Ok(reply.with(CACHE_STATUS, cache_status_of_parts(answer.outcome)))
    }

    async fn session_url(
        &self,
        permitted: &Permitted,
        (member, session, expires): (&str, &SessionParameters, u32),
        record: &Record,
    ) -> Result<Reply, Error> {
        let url = self.playback_urls.open(permitted, session, expires, record).await?;
        let reply = Reply::json(&json!({ member: format!("{}{}", self.public_url, url.path) }));
        Ok(self.playback_urls.with_cookie(reply, &url))
    }
}

/// The footage that a page token continues.
fn footage_of(call: &Call) -> Option<(SelectorType, TimeRange)> {
    match call {
        Call::ListFragments(ListFragments { selector: Some(selector), .. }) => {
            Some((selector.kind, selector.range))
        }
        Call::GetImages(GetImages { selector, range, .. }) => Some((*selector, *range)),
        _ => None,
    }
}

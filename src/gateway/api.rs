//! Answers the nine calls.

use super::authenticate::lifetime;
use super::body::Source;
use super::error::Error;
use super::pages::base_path;
use super::record::Record;
use super::reply::{CACHE_STATUS, Reply, cache_status};
use super::truncation::told_cut;
use super::{Ask, Gateway, listing, page_token};
use crate::kvs::operations::{GetImages, ListFragments};
use crate::kvs::{Call, Operation, Protocol, Request, SessionParameters, StreamRef, TimeRange};
use crate::playback::{Bind, Binding, Statement};
use crate::upstream::{self, Located};
use http::header::{self, HeaderValue};
use serde_json::{Value, json};
use std::time::Duration;

/// Some players and proxies take no longer path segments.
const LONGEST_CAPABILITY: usize = 1023;
/// Which requests carry the binding cookie.
const COOKIE_PATHS: [&str; 5] =
    ["/hls/", "/dash/", "/streams/", "/getHLSStreamingSessionURL", "/getDASHStreamingSessionURL"];
/// The type of KVS's JSON answers.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// How long GetDataEndpoint waits to learn whether there is such a stream.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);

impl Gateway {
    pub(super) async fn api(&self, ask: Ask<'_>, record: &mut Record) -> Result<Reply, Error> {
        let Request::Call(call) = ask.request() else { return Err(super::route::Lost::Unknown.into()) };
        match call {
            Call::GetDataEndpoint(_) => {
                self.exists(ask.located()?).await?;
                Ok(Reply::json(&json!({ "DataEndpoint": &*self.public_url })))
            }
            Call::ListStreams(list) => {
                let seen = self.visible(ask.caller(), ask.scene).await?;
                let (streams, token) = listing::page(seen, list)?;
                let streams: Vec<Value> = streams.into_iter().map(|stream| stream.members).collect();
                Ok(Reply::json(&json!({ "StreamInfoList": streams, "NextToken": token })))
            }
            Call::ListFragments(_) | Call::GetImages(_) => self.paged(&ask, call, record).await,
            Call::GetClip(clip) => {
                let found = self.clip(&ask, clip, record).await?;
                record.cache = found.outcome.as_str();
                let status = cache_status(found.outcome);
                let content_type = found.entry.head().content_type.clone();
                let cut = self.cut_short(&ask, clip, record).await;
                let body = Source::Cached(found.entry.body(None));
                Ok(told_cut(Reply::api(content_type, body).with(CACHE_STATUS, status), cut))
            }
            Call::GetMediaForFragmentList(list) => self.fragments(&ask, list, record).await,
            Call::DescribeStream(_) => {
                let body = self.ask_together(&ask, call, record).await?;
                Ok(Reply::api(JSON, Source::Whole(body)))
            }
            Call::GetHlsStreamingSessionUrl(url) => {
                let (path, cookie) = self.session_url(&ask, &url.session, url.expires, record).await?;
                let url = format!("{}{path}", self.public_url);
                Ok(self.with_cookie(Reply::json(&json!({ "HLSStreamingSessionURL": url })), cookie))
            }
            Call::GetDashStreamingSessionUrl(url) => {
                let (path, cookie) = self.session_url(&ask, &url.session, url.expires, record).await?;
                let url = format!("{}{path}", self.public_url);
                Ok(self.with_cookie(Reply::json(&json!({ "DASHStreamingSessionURL": url })), cookie))
            }
        }
    }

    /// Refuses a stream that KVS is known not to have, so that a misspelt name is told at the first step. Whatever else
    /// keeps KVS from saying so is no reason to refuse: it is our own address that is asked for.
    async fn exists(&self, located: &Located) -> Result<(), Error> {
        match tokio::time::timeout(KNOWN_WITHIN, self.upstream.describe(located)).await {
            Ok(Err(upstream::Error::Kvs(fault))) if fault.status == 404 => {
                Err(upstream::Error::Kvs(fault).into())
            }
            _ => Ok(()),
        }
    }

    /// A call whose answer goes on with a token: the token is sealed into one of ours. The answer comes from the cache
    /// if its footage has settled; what may still change serves those who ask at once.
    async fn paged(&self, ask: &Ask<'_>, call: &Call, record: &mut Record) -> Result<Reply, Error> {
        let (body, status) = match self.settled_answer(ask, call, record).await? {
            Some((body, outcome)) => (body, Some(cache_status(outcome))),
            None => (self.ask_together(ask, call, record).await?, None),
        };
        let reply = self.page_of(ask, call, body)?;
        Ok(match status {
            Some(status) => reply.with(CACHE_STATUS, status),
            None => reply,
        })
    }

    fn page_of(&self, ask: &Ask<'_>, call: &Call, body: bytes::Bytes) -> Result<Reply, Error> {
        let mut json: Value = serde_json::from_slice(&body).map_err(|_| broken_json(call.operation()))?;
        if let (Some(token), Some((kind, range))) =
            (json.get("NextToken").and_then(Value::as_str), paging(call))
        {
            json["NextToken"] = page_token::seal(&self.keys, ask.located()?, kind, range, token).into();
            return Ok(Reply::json(&json));
        }
        Ok(Reply::api(JSON, Source::Whole(body)))
    }

    /// Opens the shared session, so that the caller learns here whether there is anything to play, and seals the way
    /// to it: a path that begins with a slash, and a cookie if capabilities are bound to one.
    pub(super) async fn session_url(
        &self,
        ask: &Ask<'_>,
        session: &SessionParameters,
        expires: u32,
        record: &mut Record,
    ) -> Result<(String, Option<String>), Error> {
        let located = ask.located()?;
        let stream = self.lasting_name(ask).await?;
        let key = self.session_key(located, &stream, session, ask.now);
        ask.steps.time("session", self.sessions.open(&key, ask.now)).await?;
        record.attempts = record.attempts.max(1);
        let (bind, cookie) = match self.playback.bind {
            Bind::None => (None, None),
            Bind::Address => (Some(Binding::Address(record.client)), None),
            Bind::Cookie => {
                let carried = super::authenticate::cookie(ask.parts, super::authenticate::BINDING_COOKIE);
                let value = self.keys.binding_cookie(&ask.caller().principal(), carried);
                (Some(Binding::cookie(&value)), Some(value))
            }
        };
        let caller = ask.caller();
        let statement = Statement {
            caller: caller.as_ref().clone(),
            stream,
            session: session.clone(),
            issued: ask.now,
            expires: lifetime(ask.now, expires, caller, &self.playback),
            bind,
            policies: None,
        };
        let capability = self.capability(statement)?;
        let file = match session.protocol {
            Protocol::Hls => "getHLSMasterPlaylist.m3u8",
            Protocol::Dash => "getDASHManifest.mpd",
        };
        Ok((format!("/{}/v1/{capability}/{file}", session.protocol.as_str()), cookie))
    }

    /// Seals a statement. If the caller's groups make it too long for a path, those are left out that no policy in force
    /// names: that decides nothing, and the playback URL ends with these policies.
    fn capability(&self, mut statement: Statement) -> Result<String, Error> {
        let whole = self.keys.seal(&statement);
        if whole.len() <= LONGEST_CAPABILITY {
            return Ok(whole);
        }
        statement.caller.groups.retain(|group| self.policy.names_group(group));
        statement.policies = Some(self.policy.version().clone());
        let abridged = self.keys.seal(&statement);
        if abridged.len() <= LONGEST_CAPABILITY { Ok(abridged) } else { Err(Error::LongCapability) }
    }

    /// Ties a browser to its capabilities: out of reach for scripts, and sent on the paths of playback and of the calls
    /// that give out playback URLs only, so that these see which value the browser has. Over plain HTTP, which is for
    /// development, browsers take no `Secure` cookie, and `None` from no other site.
    pub(super) fn with_cookie(&self, mut reply: Reply, value: Option<String>) -> Reply {
        let Some(value) = value else { return reply };
        let (name, base) = (super::authenticate::BINDING_COOKIE, base_path(&self.public_url));
        let secure = self.public_url.starts_with("https://");
        let scope = if secure { "Secure; SameSite=None" } else { "SameSite=Lax" };
        let seconds = self.playback.max_ttl.0.as_secs();
        for path in COOKIE_PATHS {
            let line = format!("{name}={value}; Path={base}{path}; HttpOnly; {scope}; Max-Age={seconds}");
            if let Ok(line) = HeaderValue::from_str(&line) {
                reply.headers.append(header::SET_COOKIE, line);
            }
        }
        reply
    }

    /// The stream by ARN, so that a capability dies with its stream; by name where KVS will not describe it to us.
    async fn lasting_name(&self, ask: &Ask<'_>) -> Result<StreamRef, Error> {
        let fallback = || ask.stream().cloned();
        let by_arn = match ask.located() {
            Ok(located) => self.arn(located).await.ok().map(StreamRef::Arn),
            Err(_) => None,
        };
        by_arn.or_else(fallback).ok_or(Error::Lost(super::route::Lost::Unknown))
    }
}

fn paging(call: &Call) -> Option<(crate::kvs::SelectorType, TimeRange)> {
    match call {
        Call::ListFragments(ListFragments { selector: Some(selector), .. }) => {
            Some((selector.kind, selector.range))
        }
        Call::GetImages(GetImages { selector, range, .. }) => Some((*selector, *range)),
        _ => None,
    }
}

fn broken_json(operation: Operation) -> Error {
    upstream::Error::BrokenAnswer(format!("{operation} did not answer with JSON")).into()
}

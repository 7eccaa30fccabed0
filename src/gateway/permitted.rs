//! A request that policy permits, with what its answer needs.

use super::error::Error;
use crate::accounting::Record;
use crate::accounting::rates::Allowance;
use crate::archive::{Archive, Stream};
use crate::caller::{Caller, SigningKey};
use crate::kvs::{Call, Request, StreamRef, Timestamp};
use crate::net::query::Query;
use crate::playback::{OpenedCapability, Opens};
use crate::policy::{Permit, RequestContext};
use crate::telemetry::spans::Steps;
use crate::upstream::{Located, OnBehalfOf};
use http::request::Parts;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// What `authorize` gives to the answer: caller, request and stream as they were judged.
pub(super) struct Permitted {
    pub(super) permit: Permit,
    /// The capability that the caller showed, on a playback path.
    pub(super) capability: Option<Arc<OpenedCapability>>,
    /// The key that verified the caller's token, if one was shown.
    pub(super) key: Option<SigningKey>,
    /// Where the stream is served from; none for a list of streams.
    pub(super) located: Option<Located>,
    /// What policy judged by besides the caller and the request.
    pub(super) context: RequestContext,
    /// The head of the HTTP request, for conditions and ranges.
    pub(super) parts: Parts,
    pub(super) now: Timestamp,
    /// What the caller may still take.
    pub(super) allowance: Allowance,
    /// Where the steps of the answer are noted.
    pub(super) steps: Steps,
    pub(super) described: OnceLock<Stream>,
}

impl Permitted {
    /// The caller.
    pub(super) fn caller(&self) -> &Arc<Caller> {
        self.permit.caller()
    }

    /// The request that was permitted.
    pub(super) fn request(&self) -> &Request {
        self.permit.request()
    }

    /// The KVS call that was permitted.
    pub(super) fn call(&self) -> Result<&Call, Error> {
        match self.request() {
            Request::Call(call) => Ok(call),
            Request::Playback { .. } => Err(Error::Bug("a playback resource where a call belongs")),
        }
    }

    /// The query of the plain address that was judged: the one of the request, or the one that its link
    /// holds.
    pub(super) fn query(&self) -> Query<'_> {
        match self.capability.as_ref().map(|capability| &capability.opens) {
            Some(Opens::Link(link)) => Query::from(link.query.as_str()),
            _ => Query::from(self.parts.uri.query().unwrap_or_default()),
        }
    }

    /// Where the stream is served from.
    pub(super) fn located(&self) -> Result<&Located, Error> {
        self.located.as_ref().ok_or(Error::Bug("a request about a stream that was not located"))
    }

    /// The stream with its ARN, described once for the whole answer.
    pub(super) async fn stream(&self, archive: &Archive) -> Result<&Stream, Error> {
        if let Some(stream) = self.described.get() {
            return Ok(stream);
        }
        let stream = archive.describe(self.located()?, || self.caller().principal()).await?;
        Ok(self.described.get_or_init(|| stream))
    }

    /// The stream by ARN, so that a capability ends with its stream; by name where KVS does not describe it
    /// to us.
    pub(super) async fn stream_reference(&self, archive: &Archive) -> Result<StreamRef, Error> {
        match self.stream(archive).await {
            Ok(stream) => Ok(StreamRef::Arn(stream.arn().clone())),
            Err(_) => Ok(self.located()?.stream.clone()),
        }
    }

    /// For calls to KVS that the answer needs; `record` notes them.
    ///
    /// # Errors
    /// The caller's account is overdrawn.
    pub(super) fn on_behalf_of(&self, record: &Record) -> Result<OnBehalfOf, Error> {
        self.allowance.check_points(Instant::now())?;
        Ok(self.allowance.on_behalf_of(self.caller(), self.steps.clone(), record.calls()))
    }
}

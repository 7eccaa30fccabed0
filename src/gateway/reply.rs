//! Answers: status, headers and where the body comes from; and the HTTP of cached media.
//!
//! Headers are set here from an allow-list of our own making; nothing that KVS sent is passed on.

use crate::accounting::Record;
use crate::accounting::{Body, BodySource};
use crate::archive::Truncation;
use crate::base::stored_text::StoredText;
use crate::cache::{Found, Outcome, Reading};
use crate::kvs::Timestamp;
use crate::net::body::{self, Broken};
use crate::net::range::{self, Selection};
use crate::playback::OpenedCapability;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use std::ops::Range;

/// An answer that has no record yet.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub source: BodySource,
}

/// Room for the headers of most answers, so that the map never grows.
const USUAL_HEADERS: usize = 12;

/// RFC 9211: how our cache handled the request.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// Says that a clip is shorter than its range, and where it ends.
const TRUNCATED: HeaderName = HeaderName::from_static("kvs-edge-truncated");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// KVS's and our own request id.
pub const AMZN_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

impl Reply {
    /// An empty answer.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::with_capacity(USUAL_HEADERS), source: BodySource::Empty }
    }

    /// JSON at hand. It describes the present, so it is not kept.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        Self::api(HeaderValue::from_static("application/json"), BodySource::Whole(value.to_string().into()))
    }

    /// The answer to a call: made for this caller, now.
    #[must_use]
    pub fn api(content_type: HeaderValue, source: BodySource) -> Self {
        let mut reply = Self::empty(StatusCode::OK);
        reply.headers.insert(header::CONTENT_TYPE, content_type);
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply.source = source;
        reply
    }

    /// The same answer with one more header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Puts the reply and its record together: the record is written when the body has gone.
    pub(super) fn into_response(self, mut record: Box<Record>) -> http::Response<Body> {
        record.status = self.status.as_u16();
        let id = HeaderValue::from_str(&record.request_id);
        let mut response = http::Response::new(Body::new(self.source, record));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if let Ok(id) = id {
            headers.insert(REQUEST_ID, id.clone());
            headers.insert(AMZN_REQUEST_ID, id);
        }
        response
    }

    /// Says that KVS cut the clip short, and where, in an RFC 8941 dictionary.
    #[must_use]
    pub fn truncated(self, truncation: Option<&Truncation>, record: &Record) -> Self {
        let Some(Truncation { shown, listed, until }) = truncation else { return self };
        tracing::warn!(request_id = %record.request_id, shown, listed, until,
            "KVS cuts this clip short; ask for shorter ranges");
        match HeaderValue::from_str(&format!("fragments={shown}, of={listed}, until=\"{until}\"")) {
            Ok(value) => self.with(TRUNCATED, value),
            Err(_) => self,
        }
    }

    /// For HEAD: the same head, with the length that the body would have, and no body.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        let length = match &self.source {
            BodySource::Empty => None,
            BodySource::Whole(bytes) => Some(bytes.len() as u64),
            BodySource::Cached(reader) => http_body::Body::size_hint(reader).exact(),
            BodySource::Passing(stream) => http_body::Body::size_hint(stream).exact(),
        };
        if let Some(length) = length
            && !self.headers.contains_key(header::CONTENT_LENGTH)
        {
            self.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        self.source = BodySource::Empty;
        self
    }
}

/// How clients may keep a body that only its caller may see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientCache {
    /// Its address is the credential, for so many seconds more: who has the address may have the body.
    Immutable(u64),
    /// Its address is no credential, so a browser may be another person's by the time it is used again. Each
    /// use is judged anew; 304 follows a decision.
    Revalidated,
}

impl ClientCache {
    /// For what a capability opens. One that is bound to a client opens nothing by its address alone.
    #[must_use]
    pub fn of(capability: &OpenedCapability, now: Timestamp) -> Self {
        match capability.bind {
            None => Self::Immutable(capability.left(now)),
            Some(_) => Self::Revalidated,
        }
    }

    /// `Cache-Control` of a body that we keep for so many seconds more, or do not keep: it may still change
    /// then, or the same could not be requested again.
    pub(super) fn header(self, left: Option<u64>) -> HeaderValue {
        let (Self::Immutable(address), Some(left)) = (self, left) else {
            return HeaderValue::from_static("private, no-cache");
        };
        let text = ["private, max-age=", &address.min(left).to_string(), ", immutable"].concat();
        HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("no-store"))
    }
}

/// What a body is, and how clients may keep it.
#[derive(Clone, Copy, Debug)]
pub struct MediaTerms {
    /// From our own tables, whatever KVS says.
    pub content_type: &'static str,
    /// How clients may keep it.
    pub keep: ClientCache,
    /// It is small, or made here: worth waiting for, so that the first answer has an entity tag too.
    pub tagged: bool,
}

/// Answers a GET or HEAD for cached media: conditional requests, one range, and what the cache did.
///
/// # Errors
/// The body broke while its length had to be waited for.
pub async fn media(
    found: Found,
    method: &Method,
    asked: &HeaderMap,
    terms: MediaTerms,
    now: Timestamp,
) -> Result<Reply, Broken> {
    let Found { outcome, entry: mut reading } = found;
    if terms.tagged {
        reading.known_length().await?;
    }
    let hash = terms.tagged || matches!(outcome, Outcome::Hit(_) | Outcome::Stale) || is_conditional(asked);
    let mut length = reading.length();
    // KVS renders a body that is not kept anew each time: ranges of two renderings do not fit together.
    let is_stable = reading.expires().is_some();
    let mut selection =
        if is_stable { range::select(method, asked, tag(&reading, hash), length) } else { Selection::Whole };
    if let Selection::NeedsBytes(part) = &selection
        && reading.reaches(part.end).await?
    {
        (length, selection) = (reading.length(), Selection::Part(part.clone()));
    } else if matches!(selection, Selection::NeedsLength | Selection::NeedsBytes(_)) {
        // Only a range needs the length ahead of the body; all other requests read along while it grows.
        length = reading.known_length().await?;
        selection = range::select(method, asked, tag(&reading, hash), length);
    }
    let mut reply = Reply::empty(StatusCode::OK);
    describe(&mut reply.headers, &reading, outcome, terms, now);
    if is_stable && length.is_some() {
        reply.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    let etag = if hash { reading.etag_value() } else { reading.known_etag() };
    if let Some(etag) = etag {
        reply.headers.insert(header::ETAG, etag.clone());
    }
    match selection {
        Selection::NotModified => {
            reply.status = StatusCode::NOT_MODIFIED;
            reply.headers.remove(header::CONTENT_TYPE);
        }
        Selection::Failed => {
            reply.status = StatusCode::PRECONDITION_FAILED;
            reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            reply.headers.remove(header::CONTENT_TYPE);
        }
        Selection::Unsatisfiable => {
            reply.status = StatusCode::RANGE_NOT_SATISFIABLE;
            reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            content_range(&mut reply.headers, "*", length);
        }
        Selection::Part(part) => {
            reply.status = StatusCode::PARTIAL_CONTENT;
            content_range(
                &mut reply.headers,
                &format!("{}-{}", part.start, part.end.saturating_sub(1)),
                length,
            );
            reply.headers.insert(header::CONTENT_LENGTH, part.end.saturating_sub(part.start).into());
            reply.source = BodySource::Cached(reading.body(Some(part)));
        }
        Selection::Whole | Selection::NeedsLength | Selection::NeedsBytes(_) => {
            if let Some(length) = length {
                reply.headers.insert(header::CONTENT_LENGTH, length.into());
            }
            reply.source = BodySource::Cached(reading.body(None));
        }
    }
    Ok(if method == Method::HEAD { reply.without_body() } else { reply })
}

fn describe(headers: &mut HeaderMap, reading: &Reading, outcome: Outcome, terms: MediaTerms, now: Timestamp) {
    let left = reading.expires().map(|expires| now.age(expires).as_secs());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(terms.content_type));
    headers.insert(header::CACHE_CONTROL, terms.keep.header(left));
    headers.insert(CACHE_STATUS, cache_status(outcome, reading.is_stored()));
    headers.insert(header::AGE, reading.age(now).as_secs().into());
}

/// The entity tag: computed, if the answer may depend on it or the same body is requested again.
fn tag(reading: &Reading, hash: bool) -> Option<&str> {
    if hash { reading.etag() } else { reading.known_etag().and_then(|value| value.to_str().ok()) }
}

/// Whether a request compares entity tags (RFC 9110 section 13.1).
fn is_conditional(asked: &HeaderMap) -> bool {
    [header::IF_NONE_MATCH, header::IF_MATCH, header::IF_RANGE].iter().any(|name| asked.contains_key(name))
}

/// RFC 9211 section 2. `stored` is said once the body is whole and held: one that is still arriving may yet
/// break, or turn out to be too large.
#[must_use]
pub fn cache_status(outcome: Outcome, stored: bool) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        Outcome::Hit(_) => "kvs-edge; hit",
        Outcome::Miss if stored => "kvs-edge; fwd=uri-miss; stored",
        Outcome::Miss => "kvs-edge; fwd=uri-miss",
        Outcome::Collapsed => "kvs-edge; fwd=uri-miss; collapsed",
        Outcome::Stale => "kvs-edge; hit; detail=stale",
        Outcome::Bypass => "kvs-edge; fwd=bypass",
    })
}

/// 416 for a range that no body of this kind reaches, so that none was fetched. Without `Content-Range`,
/// since the length is not known.
#[must_use]
pub fn out_of_range() -> Reply {
    let reply = Reply::empty(StatusCode::RANGE_NOT_SATISFIABLE);
    reply.with(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}

/// Says which part of how many bytes is sent (RFC 9110 section 14.4).
fn content_range(headers: &mut HeaderMap, part: &str, length: Option<u64>) {
    let total = length.map_or_else(|| "*".to_owned(), |length| length.to_string());
    if let Ok(value) = HeaderValue::from_str(&format!("bytes {part}/{total}")) {
        headers.insert(header::CONTENT_RANGE, value);
    }
}

/// The same for a playlist, which belongs to a session of KVS.
#[must_use]
pub fn cache_status_of_playlist(outcome: Outcome) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        Outcome::Hit(_) => "kvs-edge; hit",
        Outcome::Miss | Outcome::Bypass => "kvs-edge; fwd=uri-miss; stored",
        Outcome::Collapsed => "kvs-edge; fwd=uri-miss; collapsed",
        Outcome::Stale => "kvs-edge; hit; detail=stale",
    })
}

/// The same for an answer made of parts that are kept one by one.
#[must_use]
pub fn cache_status_of_parts(outcome: Outcome) -> HeaderValue {
    HeaderValue::from_static(match outcome {
        Outcome::Hit(_) | Outcome::Stale => "kvs-edge; hit",
        Outcome::Collapsed => "kvs-edge; fwd=partial; collapsed",
        Outcome::Miss | Outcome::Bypass => "kvs-edge; fwd=partial",
    })
}

/// A text that is answered whole, such as a playlist: with its length, and a tag to ask again by.
#[must_use]
pub fn text(bytes: Bytes, content_type: &'static str) -> Reply {
    let mut reply = Reply::empty(StatusCode::OK);
    reply.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.source = BodySource::Whole(bytes);
    reply
}

/// A text from memory, unpacked while it is sent if it is kept compressed.
pub fn stored_text(stored: &StoredText, content_type: &'static str) -> Reply {
    if let Some(plain) = stored.plain() {
        return text(plain.clone(), content_type);
    }
    let mut reply = text(Bytes::new(), content_type);
    reply.source = BodySource::Passing(body::in_pieces(stored.pieces(), stored.length() as u64));
    reply
}

/// What a request selects of a body whose length and entity tag are known before it is made: sets status and
/// headers of `reply`. Returns the bytes to send; `None` if the answer has no body.
pub fn select_part(
    reply: &mut Reply,
    (method, asked): (&Method, &HeaderMap),
    etag: &str,
    length: u64,
) -> Option<Range<u64>> {
    reply.headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(etag) = HeaderValue::from_str(etag) {
        reply.headers.insert(header::ETAG, etag);
    }
    let part = match range::select(method, asked, Some(etag), Some(length)) {
        Selection::Part(part) => {
            reply.status = StatusCode::PARTIAL_CONTENT;
            let shown = format!("{}-{}", part.start, part.end.saturating_sub(1));
            content_range(&mut reply.headers, &shown, Some(length));
            part
        }
        Selection::Whole | Selection::NeedsLength | Selection::NeedsBytes(_) => 0..length,
        Selection::NotModified => return without_media(reply, StatusCode::NOT_MODIFIED),
        Selection::Failed => return without_media(reply, StatusCode::PRECONDITION_FAILED),
        Selection::Unsatisfiable => {
            content_range(&mut reply.headers, "*", Some(length));
            return without_media(reply, StatusCode::RANGE_NOT_SATISFIABLE);
        }
    };
    reply.headers.insert(header::CONTENT_LENGTH, (part.end - part.start).into());
    Some(part)
}

fn without_media(reply: &mut Reply, status: StatusCode) -> Option<Range<u64>> {
    reply.status = status;
    reply.headers.remove(header::CONTENT_TYPE);
    if status != StatusCode::NOT_MODIFIED {
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    None
}

//! One request to KVS and its result. Retries are decided in `retry` and made in `call`.
//!
//! A status of 200 proves little with KVS: the 90-byte body that says "unknown operation" has it too
//! (docs/KVS.md 3.6). So the head of a body is held back and checked before the answer counts as one. A small
//! answer that was cut can then also be requested again before a client has seen any of it.

use super::held::hold;
use super::mkv;
use crate::kvs::{Fault, MediaFormat};
use crate::net::body::{Broken, ByteStream};
use crate::net::client::{self, Client, Limits};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body::Body as _;
use std::time::{Duration, SystemTime};

/// Why an attempt gave nothing. Texts are free of hosts.
#[derive(Clone, Debug)]
pub(super) enum AttemptFailure {
    /// KVS answered with an error, and perhaps with its time.
    Fault { fault: Fault, kvs_time: Option<SystemTime> },
    /// The 90-byte success.
    WrongHost,
    /// No connection.
    Connect(String),
    /// The connection broke before anything could be passed on.
    Reset(String),
    /// Too late.
    Late(Duration),
    /// Not what this call answers with.
    Garbled(String),
    /// Nothing was sent, or the answer is a redirect, which is refused.
    Refused(&'static str),
    /// The first fragment of a list is not there, or not there yet.
    FragmentNotFound(String),
}

/// What a call answers with, which decides how much of its body is held back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Expects {
    /// A JSON object; held back whole up to so many bytes.
    Json(usize),
    /// A playlist or manifest, which its reader takes apart.
    Text,
    /// Media that begins as this kind must, passed on from the first byte.
    Media(MediaFormat),
    /// Matroska chunks, none of which may be an error.
    Mkv,
    /// Matroska chunks, of which the first must not be an error.
    Chunks,
}

/// A good answer's head, and its body from the first byte.
pub(super) struct Received {
    pub(super) length: Option<u64>,
    pub(super) request_id: Option<String>,
    pub(super) body: ByteStream,
}

/// What is held back of a body that does not look like media.
const SUSPECT: usize = 1025;
/// The most of an error's body that is read.
const ERROR_BODY: usize = 64 << 10;

/// Sends `request` and checks the answer. Gives the status, or what arrived instead of one, for the metric
/// too.
pub(super) async fn attempt(
    client: &Client,
    request: Request<Bytes>,
    limits: &Limits,
    expects: Expects,
) -> (&'static str, Result<Received, AttemptFailure>) {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let scrub = |text: String| if host.is_empty() { text } else { text.replace(&host, "the endpoint") };
    let secrets = secrets(&request);
    let response = match client.send(request, limits).await {
        Ok(response) => response,
        Err(error) => {
            return match error {
                client::Error::Connect(text) => ("connect", Err(AttemptFailure::Connect(scrub(text)))),
                client::Error::Late(limit) => ("timeout", Err(AttemptFailure::Late(limit))),
                client::Error::Refused(text) => ("broken", Err(AttemptFailure::Refused(text))),
                client::Error::Reset(text) => ("reset", Err(AttemptFailure::Reset(scrub(text)))),
                other => ("broken", Err(AttemptFailure::Garbled(scrub(other.to_string())))),
            };
        }
    };
    let (head, body) = response.into_parts();
    let request_id = text(&head.headers, &["x-amzn-requestid", "x-amz-requestid", "x-amz-request-id"])
        .filter(|id| is_request_id(id));
    if head.status != StatusCode::OK {
        let failed = refused(head.status, &head.headers, request_id, body, &secrets).await;
        return (code(head.status), Err(failed));
    }
    let received = received(head.headers, request_id, body, expects).await;
    (if matches!(received, Err(AttemptFailure::Reset(_))) { "reset" } else { "200" }, received)
}

/// What a request was sent with and to, and must not come back in an answer: host, session token, access key
/// and security token.
fn secrets(request: &Request<Bytes>) -> Vec<String> {
    let uri = request.uri();
    let query = uri.query().unwrap_or_default().split('&');
    let token = query.filter_map(|pair| pair.strip_prefix("SessionToken=")).map(str::to_owned);
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let key = header("authorization")
        .and_then(|line| line.split_once("Credential=")?.1.split('/').next())
        .map(str::to_owned);
    let security_token = header("x-amz-security-token").map(str::to_owned);
    let host = uri.host().map(str::to_owned);
    token.chain(key).chain(security_token).chain(host).collect()
}

/// KVS's request ids are UUIDs (docs/KVS.md 3.4).
fn is_request_id(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

async fn refused(
    status: StatusCode,
    headers: &HeaderMap,
    request_id: Option<String>,
    body: ByteStream,
    secrets: &[String],
) -> AttemptFailure {
    if status.is_redirection() {
        return AttemptFailure::Refused("KVS answered with a redirect, which is never followed");
    }
    if status.is_success() || status.is_informational() {
        return AttemptFailure::Garbled(format!("status {} is none that KVS gives", status.as_u16()));
    }
    let body = match hold(body, ERROR_BODY).await {
        Ok(held) => held.bytes(),
        Err(_) => Bytes::new(), // the status says enough
    };
    let kind = text(headers, &["x-amzn-errortype", "x-amz-errortype"]);
    let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
    let fault = Fault::read(status.as_u16(), kind.as_deref(), request_id.as_deref(), &body, &secrets);
    AttemptFailure::Fault { fault, kvs_time: date(headers) }
}

async fn received(
    headers: HeaderMap,
    request_id: Option<String>,
    body: ByteStream,
    expects: Expects,
) -> Result<Received, AttemptFailure> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let announced = body.size_hint().exact();
    let is_json = content_type.is_some_and(|t| t.as_bytes().starts_with(b"application/json"));
    let at_most = match expects {
        Expects::Json(bytes) => bytes,
        _ if is_json || content_type.is_none() || announced.is_some_and(|n| n < SUSPECT as u64) => SUSPECT,
        Expects::Media(_) => MediaFormat::HEAD - 1,
        Expects::Text | Expects::Mkv | Expects::Chunks => 0,
    };
    let held = match hold(body, at_most).await {
        Ok(held) => held,
        Err(Broken::Stalled(limit) | Broken::TooLong(limit)) => return Err(AttemptFailure::Late(limit)),
        Err(broken) => return Err(AttemptFailure::Reset(broken.to_string())),
    };
    let start = held.bytes();
    if held.rest.is_none() && Fault::is_unknown_operation(&start) {
        return Err(AttemptFailure::WrongHost);
    }
    let opens = start.iter().find(|b| !b.is_ascii_whitespace());
    match expects {
        Expects::Json(_) if opens != Some(&b'{') => {
            return Err(AttemptFailure::Garbled("no JSON object".into()));
        }
        Expects::Text | Expects::Media(_) | Expects::Mkv | Expects::Chunks if is_json => {
            return Err(AttemptFailure::Garbled("JSON where media was asked for".into()));
        }
        Expects::Media(format) if !format.begins(&start) => {
            return Err(AttemptFailure::Garbled(format!("it does not begin as {format:?} does")));
        }
        _ => {}
    }
    let length = if held.rest.is_none() { Some(start.len() as u64) } else { announced };
    let body = held.into_body();
    let looked = match expects {
        Expects::Mkv => mkv::checked(body).await,
        Expects::Chunks => mkv::begun(body).await,
        Expects::Json(_) | Expects::Text | Expects::Media(_) => Ok(body),
    };
    let body = looked.map_err(|refusal| match refusal {
        mkv::HeadError::NotFound(number) => AttemptFailure::FragmentNotFound(number),
        mkv::HeadError::Trouble(why) => AttemptFailure::Reset(why),
        mkv::HeadError::Broken(Broken::Stalled(limit) | Broken::TooLong(limit)) => {
            AttemptFailure::Late(limit)
        }
        mkv::HeadError::Broken(Broken::Refused(why)) => AttemptFailure::Garbled(why),
        mkv::HeadError::Broken(broken) => AttemptFailure::Reset(broken.to_string()),
    })?;
    Ok(Received { length, request_id, body })
}

fn text(headers: &HeaderMap, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| Some(headers.get(*name)?.to_str().ok()?.to_owned()))
}

/// The answer's `Date`.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(header::DATE)?.to_str().ok()?).ok()
}

/// The metric's label for a status; the usual ones are constants.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        429 => "429",
        500 => "500",
        502 => "502",
        503 => "503",
        504 => "504",
        300..=399 => "3xx",
        405..=499 | 402 => "4xx",
        501 | 505..=599 => "5xx",
        _ => "broken",
    }
}

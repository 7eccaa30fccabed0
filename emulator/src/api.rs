//! The path of one request: find the operation, check the signature or the session, apply the fault plan,
//! charge the quotas, answer, count.

use super::answer::{Answer, KvsError};
use super::authenticate::authenticate;
use super::body::{CountedFor, Cut, ResponseBody};
use super::calls::{self, Call};
use super::clock::now;
use super::faults::Fault;
use super::members::{Members, TimeRange};
use super::operation::{Operation, Plane};
use super::reset::Reset;
use super::session::Session;
use super::signature;
use super::state::EmulatorState;
use super::stream::Tenant;
use super::{admin, credentials, playback};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Largest request body in bytes: 1000 fragment numbers of 128 digits fit.
const BODY: usize = 256 * 1024;

/// A request whose signature or session is valid.
struct ParsedRequest {
    operation: Operation,
    stream: Option<String>,
    payload: Payload,
}

enum Payload {
    Call { tenant: Tenant, body: Value },
    Playback { session: Arc<Session>, query: Vec<(String, String)> },
}

/// Answers one request.
pub(super) async fn handle(
    state: &Arc<EmulatorState>,
    plane: Plane,
    peer: SocketAddr,
    reset: &Reset,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Reset> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(respond(KvsError::new(413, "RequestEntityTooLarge", "").answer(), None)),
    };
    let other =
        admin::answer(state, peer, &parts, &body).or_else(|| credentials::answer(state, peer, &parts, &body));
    if let Some(answer) = other {
        return Ok(respond(answer, None));
    }
    if parts.method == Method::OPTIONS {
        return Ok(preflight());
    }
    let Some(operation) = Operation::find(plane, &parts.method, parts.uri.path()) else {
        state.counters().count("UnknownOperation", None, |count| count.requests += 1);
        return Ok(respond(Answer::unknown_operation(), None));
    };
    let parsed = parse_request(state, operation, &parts, &body);
    let stream = match &parsed {
        Ok(parsed) => parsed.stream.clone(),
        Err(_) => None,
    };
    state.counters().count(operation.name(), stream.as_deref(), |count| count.requests += 1);
    let faults = match &parsed {
        Ok(_) => state.plan().due(operation.name(), stream.as_deref()),
        Err(_) => Vec::new(),
    };
    let counted_for = CountedFor { state: state.clone(), operation: operation.name(), stream };
    let answer = match parsed {
        Ok(parsed) => match faults_before_answer(state, &parsed, &faults, reset).await? {
            Some(answer) => Ok(answer),
            None => answer_without_blocking(state, parsed, &faults).await,
        },
        Err(error) => Err(error),
    };
    Ok(finish(state, answer, counted_for, &faults, reset))
}

/// Checks the signature of a call, or finds the session of a playback request.
fn parse_request(
    state: &EmulatorState,
    operation: Operation,
    parts: &Parts,
    body: &Bytes,
) -> Result<ParsedRequest, KvsError> {
    if operation.is_playback() {
        let query = query(parts);
        let session = playback::session(state, &query)?;
        state.counters().resource(resource_name(parts.uri.path(), &query));
        let stream = Some(session.stream.clone());
        return Ok(ParsedRequest { operation, stream, payload: Payload::Playback { session, query } });
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        state.counters().headers(parts.headers.keys().map(header::HeaderName::as_str));
    }
    let tenant = authenticate(state, "kinesisvideo", parts, body)?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    let body: Value = serde_json::from_slice(text)
        .map_err(|e| KvsError::new(400, "SerializationException", format!("not JSON: {e}")))?;
    state.counters().members(operation.name(), &body);
    let stream = calls::stream_name(Members::of(&body)?);
    Ok(ParsedRequest { operation, stream, payload: Payload::Call { tenant, body } })
}

/// Applies the faults that delay or replace an answer.
async fn faults_before_answer(
    state: &EmulatorState,
    parsed: &ParsedRequest,
    faults: &[Fault],
    reset: &Reset,
) -> Result<Option<Answer>, Reset> {
    for fault in faults {
        match fault {
            Fault::Delay { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Fault::Status { status, kind, message } => {
                return Ok(Some(KvsError::new(*status, kind, message).answer()));
            }
            Fault::Raw { status, headers, body } => return Ok(Some(Answer::raw(*status, headers, body))),
            Fault::Reset { after_bytes: 0 } => {
                reset.arm();
                return Err(reset.clone());
            }
            Fault::UnknownOperation => return Ok(Some(Answer::unknown_operation())),
            Fault::ExpireSessions => {
                state.expire_sessions(parsed.stream.as_deref());
                if matches!(parsed.payload, Payload::Playback { .. }) {
                    return Ok(Some(playback::expired().answer()));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Pictures take long to encode, so they are made on a thread for blocking work.
async fn answer_without_blocking(
    state: &Arc<EmulatorState>,
    parsed: ParsedRequest,
    faults: &[Fault],
) -> Result<Answer, KvsError> {
    if parsed.operation != Operation::GetImages {
        return answer(state, parsed, faults);
    }
    let (state, faults) = (state.clone(), faults.to_vec());
    let made = tokio::task::spawn_blocking(move || answer(&state, parsed, &faults)).await;
    made.unwrap_or_else(|e| Err(KvsError::new(500, "InternalFailure", e.to_string())))
}

fn answer(state: &EmulatorState, parsed: ParsedRequest, faults: &[Fault]) -> Result<Answer, KvsError> {
    let in_band_error = faults.iter().find_map(|fault| match fault {
        Fault::InBandError { code, id } => Some((code.clone(), id.clone())),
        _ => None,
    });
    let no_data = faults.contains(&Fault::NoData);
    let missing: Vec<TimeRange> = faults.iter().filter_map(Fault::missing).collect();
    match parsed.payload {
        Payload::Playback { session, query } => {
            playback::answer(state, parsed.operation, &session, &query, no_data, &missing, now())
        }
        Payload::Call { tenant, body } => {
            let members = Members::of(&body)?;
            let call = Call { state, tenant: &tenant, members, now: now(), no_data, in_band_error, missing };
            calls::answer(parsed.operation, &call)
        }
    }
}

/// Makes the response and applies the faults that concern its body.
fn finish(
    state: &Arc<EmulatorState>,
    answer: Result<Answer, KvsError>,
    counted_for: CountedFor,
    faults: &[Fault],
    reset: &Reset,
) -> Response<ResponseBody> {
    let throttled = answer.as_ref().is_err_and(KvsError::is_throttle);
    let mut answer = answer.unwrap_or_else(|error| error.answer());
    for fault in faults {
        if let Fault::Plant { text } = fault {
            answer.plant(text);
        }
    }
    let failed = answer.status.as_u16() >= 400;
    state.counters().count(counted_for.operation, counted_for.stream.as_deref(), |count| {
        count.throttled += u64::from(throttled);
        count.failed += u64::from(failed);
    });
    let mut response = respond(answer, Some(counted_for));
    let body = response.body_mut();
    for fault in faults {
        match fault {
            Fault::Reset { after_bytes } => body.cut = Some(Cut::new(*after_bytes, Some(reset.clone()))),
            Fault::Truncate { after_bytes } => body.cut = Some(Cut::new(*after_bytes, None)),
            Fault::Trickle { bytes_per_second } => body.bytes_per_second = Some(*bytes_per_second),
            _ => {}
        }
    }
    response
}

/// Headers of every response (docs/KVS.md 3.4, 3.7).
fn respond(answer: Answer, counted_for: Option<CountedFor>) -> Response<ResponseBody> {
    let mut body = ResponseBody::new(answer.content, counted_for);
    body.connection = answer.connection;
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    if let Some(Ok(kind)) = answer.error_type.as_deref().map(HeaderValue::from_str) {
        headers.insert("x-amzn-errortype", kind);
    }
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("x-amzn-RequestId,x-amzn-ErrorType,x-amzn-ErrorMessage,Date"),
    );
    headers.extend(answer.headers);
    response
}

/// The answer to a CORS preflight. As at KVS, the list of headers lacks two that SDKs send.
fn preflight() -> Response<ResponseBody> {
    let mut response = respond(Answer::bytes("text/plain", Bytes::new()), None);
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization,content-type,x-amz-content-sha256,x-amz-date,x-amz-security-token,\
             x-amz-user-agent",
        ),
    );
    response
}

/// A random UUID.
fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without randomness all identifiers are alike, which is harmless here.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = signature::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The query, decoded, in its original order.
fn query(parts: &Parts) -> Vec<(String, String)> {
    let decode = |text: &str| String::from_utf8_lossy(&signature::decode(text)).into_owned();
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The name under which a playback resource is counted: no directory, no token, the query in alphabetical
/// order.
fn resource_name(path: &str, query: &[(String, String)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .filter(|(name, _)| name != "SessionToken")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.sort();
    let file = path.rsplit('/').next().unwrap_or_default();
    let mark = if pairs.is_empty() { "" } else { "?" };
    format!("{file}{mark}{}", pairs.join("&"))
}

//! The path of one request: find the operation, check the signature or the session, let the fault plan have
//! its say, charge the quotas, answer, count.

use super::answer::{Answer, Refusal};
use super::authenticate::authenticate;
use super::calls::{self, Call};
use super::clock::now;
use super::faults::Fault;
use super::members::Members;
use super::operation::{Operation, Plane};
use super::outgoing::{Cut, Entry, Outgoing};
use super::reset::Reset;
use super::session::Session;
use super::signature;
use super::stream::Tenant;
use super::world::World;
use super::{credentials, operator, playback};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Largest request body: a thousand fragment numbers of 128 digits fit.
const BODY: usize = 256 * 1024;

/// A request that was understood: what is asked, by whom, about which stream.
struct Asked {
    operation: Operation,
    stream: Option<String>,
    from: From,
}

enum From {
    Caller { tenant: Tenant, body: Value },
    Player { session: Arc<Session>, query: Vec<(String, String)> },
}

/// Answers one request.
pub(super) async fn handle(
    world: &Arc<World>,
    plane: Plane,
    peer: SocketAddr,
    reset: &Reset,
    request: Request<Incoming>,
) -> Result<Response<Outgoing>, Reset> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(respond(Refusal::new(413, "RequestEntityTooLarge", "").answer(), None)),
    };
    let aside = operator::answer(world, peer, &parts, &body)
        .or_else(|| credentials::answer(world, peer, &parts, &body));
    if let Some(answer) = aside {
        return Ok(respond(answer, None));
    }
    if parts.method == Method::OPTIONS {
        return Ok(preflight());
    }
    let Some(operation) = Operation::find(plane, &parts.method, parts.uri.path()) else {
        world.ledger().count("UnknownOperation", None, |count| count.requests += 1);
        return Ok(respond(Answer::unknown_operation(), None));
    };
    let asked = understand(world, operation, &parts, &body);
    let stream = match &asked {
        Ok(asked) => asked.stream.clone(),
        Err(_) => None,
    };
    world.ledger().count(operation.name(), stream.as_deref(), |count| count.requests += 1);
    let faults = match &asked {
        Ok(_) => world.plan().due(operation.name(), stream.as_deref()),
        Err(_) => Vec::new(),
    };
    let entry = Entry { world: world.clone(), operation: operation.name(), stream };
    let answer = match asked {
        Ok(asked) => match planned(world, &asked, &faults, reset).await? {
            Some(answer) => Ok(answer),
            None => unhurried(world, asked, &faults).await,
        },
        Err(refusal) => Err(refusal),
    };
    Ok(finish(world, answer, entry, &faults, reset))
}

/// Who asks for what: a signed call, or a player with a session.
fn understand(world: &World, operation: Operation, parts: &Parts, body: &Bytes) -> Result<Asked, Refusal> {
    if operation.is_playback() {
        let query = query(parts);
        let session = playback::session(world, &query)?;
        world.ledger().resource(resource_name(parts.uri.path(), &query));
        let stream = Some(session.stream.clone());
        return Ok(Asked { operation, stream, from: From::Player { session, query } });
    }
    if parts.headers.contains_key(header::AUTHORIZATION) {
        world.ledger().headers(parts.headers.keys().map(header::HeaderName::as_str));
    }
    let tenant = authenticate(world, "kinesisvideo", parts, body)?;
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    let body: Value = serde_json::from_slice(text)
        .map_err(|e| Refusal::new(400, "SerializationException", format!("not JSON: {e}")))?;
    world.ledger().members(operation.name(), &body);
    let stream = calls::stream_name(Members::of(&body)?);
    Ok(Asked { operation, stream, from: From::Caller { tenant, body } })
}

/// Faults that come before, or in the place of, an answer.
async fn planned(
    world: &World,
    asked: &Asked,
    faults: &[Fault],
    reset: &Reset,
) -> Result<Option<Answer>, Reset> {
    for fault in faults {
        match fault {
            Fault::Delay { millis } => tokio::time::sleep(Duration::from_millis(*millis)).await,
            Fault::Status { status, kind, message } => {
                return Ok(Some(Refusal::new(*status, kind, message).answer()));
            }
            Fault::Raw { status, headers, body } => return Ok(Some(Answer::raw(*status, headers, body))),
            Fault::Reset { after_bytes: 0 } => {
                reset.arm();
                return Err(reset.clone());
            }
            Fault::UnknownOperation => return Ok(Some(Answer::unknown_operation())),
            Fault::ExpireSessions => {
                world.expire_sessions(asked.stream.as_deref());
                if matches!(asked.from, From::Player { .. }) {
                    return Ok(Some(playback::expired().answer()));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Pictures take time to make: they are made beside the connections of everybody else.
async fn unhurried(world: &Arc<World>, asked: Asked, faults: &[Fault]) -> Result<Answer, Refusal> {
    if asked.operation != Operation::GetImages {
        return answer(world, asked, faults);
    }
    let (world, faults) = (world.clone(), faults.to_vec());
    let made = tokio::task::spawn_blocking(move || answer(&world, asked, &faults)).await;
    made.unwrap_or_else(|e| Err(Refusal::new(500, "InternalFailure", e.to_string())))
}

fn answer(world: &World, asked: Asked, faults: &[Fault]) -> Result<Answer, Refusal> {
    let in_band_error = faults.iter().find_map(|fault| match fault {
        Fault::InBandError { code, id } => Some((code.clone(), id.clone())),
        _ => None,
    });
    let no_data = faults.contains(&Fault::NoData);
    match asked.from {
        From::Player { session, query } => {
            playback::answer(world, asked.operation, &session, &query, no_data, now())
        }
        From::Caller { tenant, body } => {
            let members = Members::of(&body)?;
            let call = Call { world, tenant: &tenant, members, now: now(), no_data, in_band_error };
            calls::answer(asked.operation, &call)
        }
    }
}

/// Turns an answer into a response whose body obeys the rest of the faults.
fn finish(
    world: &Arc<World>,
    answer: Result<Answer, Refusal>,
    entry: Entry,
    faults: &[Fault],
    reset: &Reset,
) -> Response<Outgoing> {
    let throttled = answer.as_ref().is_err_and(Refusal::is_throttle);
    let answer = answer.unwrap_or_else(|refusal| refusal.answer());
    let failed = answer.status.as_u16() >= 400;
    world.ledger().count(entry.operation, entry.stream.as_deref(), |count| {
        count.throttled += u64::from(throttled);
        count.failed += u64::from(failed);
    });
    let mut response = respond(answer, Some(entry));
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
fn respond(answer: Answer, entry: Option<Entry>) -> Response<Outgoing> {
    let mut body = Outgoing::new(answer.content, entry);
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

/// A browser asks before it sends. The list of headers is finite: the SDK's own two are not on it.
fn preflight() -> Response<Outgoing> {
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
    // Without randomness the identifier is merely dull.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = signature::hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The query, decoded, in its own order.
fn query(parts: &Parts) -> Vec<(String, String)> {
    let decode = |text: &str| String::from_utf8_lossy(&signature::decode(text)).into_owned();
    let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// A playback resource as the ledger names it: without directory and token, its query in alphabetical order.
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

//! How every failure looks from outside: status, exception name, message, and the word under which it is
//! counted.
//!
//! One exhaustive match, so a new kind of failure compiles only once its response has been decided. The shape
//! is KVS's own (docs/KVS.md 3.5), so that SDKs raise their typed exceptions. A message says what the caller
//! can do. What only operators should know goes to the log.

use super::error::Error;
use super::reply::Reply;
use super::route::NoRoute;
use crate::accounting::{BodySource, Record};
use crate::kvs::{Fault, leak};
use crate::net::request_body;
use crate::package::Refusal;
use crate::{identity, playback, policy, sessions, upstream};
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use std::time::Duration;

/// How a failure looks from outside.
struct ErrorResponse {
    status: StatusCode,
    kind: String,
    message: String,
    retry_after: Option<Duration>,
}

fn response(status: StatusCode, kind: &str, message: impl Into<String>) -> ErrorResponse {
    ErrorResponse { status, kind: kind.to_owned(), message: message.into(), retry_after: None }
}

/// How long facts that could not be learnt are not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(5);
/// When an identity provider that does not answer is asked again.
const PROVIDER_AGAIN: Duration = Duration::from_secs(5);
/// When a playback session may be free: its viewers have gone after this time (`sessions.viewer_timeout`).
const VIEWERS_GONE: Duration = Duration::from_secs(30);
/// Too many requests in a word that every SDK retries by itself (`docs/THREATS.md`, "AWS SDKs as clients").
const THROTTLED: &str = "ThrottlingException";
const INVALID: &str = "InvalidArgumentException";
const NOT_AUTHORIZED: &str = "NotAuthorizedException";
const NOT_FOUND: &str = "ResourceNotFoundException";
const UNAVAILABLE: &str = "ServiceUnavailableException";
/// KVS's own names for footage that cannot be packaged (docs/KVS.md 3.6).
const UNSUPPORTED: &str = "UnsupportedStreamMediaTypeException";
const UNREADABLE: &str = "InvalidMediaFrameException";
const FAILURE: &str = "InternalFailure";

impl Error {
    fn response(&self) -> ErrorResponse {
        match self {
            Self::NoRoute(no_route @ NoRoute::Method { .. }) => {
                response(StatusCode::METHOD_NOT_ALLOWED, INVALID, no_route.to_string())
            }
            Self::NoRoute(no_route @ NoRoute::StreamName(..)) => {
                response(StatusCode::BAD_REQUEST, INVALID, no_route.to_string())
            }
            Self::NoRoute(no_route) => {
                response(StatusCode::NOT_FOUND, "UnknownOperationException", no_route.to_string())
            }
            Self::Identity(error) => of_identity(error),
            Self::SignIn => response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, self.to_string()),
            Self::Renewal(problem) if problem.passes() => ErrorResponse {
                retry_after: Some(PROVIDER_AGAIN),
                ..response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, problem.to_string())
            },
            Self::Renewal(problem) => response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, problem.to_string()),
            Self::OtherPage => response(StatusCode::FORBIDDEN, NOT_AUTHORIZED, self.to_string()),
            Self::Capability(error) => of_capability(error),
            Self::DeadUrl(_) => response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, self.to_string()),
            Self::LongCapability => response(StatusCode::BAD_REQUEST, INVALID, self.to_string()),
            Self::Unbound => response(StatusCode::FORBIDDEN, NOT_AUTHORIZED, self.to_string()),
            Self::Invalid(invalid) => response(StatusCode::BAD_REQUEST, INVALID, invalid.to_string()),
            Self::Input(error) => response(of_input(error), INVALID, error.to_string()),
            Self::Query(_) | Self::Parameter(_) | Self::PageToken(_) => {
                response(StatusCode::BAD_REQUEST, INVALID, self.to_string())
            }
            Self::Denied(denied) if matches!(denied.reason(), policy::Reason::Unknown(_)) => {
                let message =
                    "what policy must know of the stream cannot be fetched at the moment; try again later";
                let response = response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, message);
                ErrorResponse { retry_after: Some(UNKNOWN_FOR), ..response }
            }
            // Whoever signs in may be permitted more.
            Self::Denied(denied) if denied.caller().is_anonymous() => {
                let message = format!("without a token you are {denied}");
                response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, message)
            }
            Self::Denied(denied) => response(StatusCode::FORBIDDEN, NOT_AUTHORIZED, denied.to_string()),
            Self::Upstream(error) => of_upstream(error),
            Self::Rewrite(_) => response(
                StatusCode::BAD_GATEWAY,
                FAILURE,
                "KVS answered with a playlist that is not safe to pass on",
            ),
            Self::Session(error) => of_session(error),
            Self::Broken(_) => {
                response(StatusCode::BAD_GATEWAY, FAILURE, "KVS's answer ended early; try again")
            }
            Self::Package(place, refusal) => {
                let format =
                    if matches!(refusal, Refusal::Unsupported(_)) { UNSUPPORTED } else { UNREADABLE };
                response(StatusCode::BAD_REQUEST, format, place.as_str())
            }
            Self::NoStream(_) => response(StatusCode::NOT_FOUND, NOT_FOUND, self.to_string()),
            Self::NoFootage(_) => response(StatusCode::NOT_FOUND, NOT_FOUND, self.to_string()),
            Self::NoPicture(_) => response(StatusCode::NOT_FOUND, NOT_FOUND, self.to_string()),
            Self::Rate(limited) => ErrorResponse {
                retry_after: Some(limited.retry_after),
                ..response(StatusCode::TOO_MANY_REQUESTS, THROTTLED, limited.to_string())
            },
            Self::Bug(_) => {
                response(StatusCode::INTERNAL_SERVER_ERROR, FAILURE, "kvs-edge failed; quote the request id")
            }
            Self::Withheld => ErrorResponse {
                retry_after: Some(UNKNOWN_FOR),
                ..response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, self.to_string())
            },
            Self::Audit => response(
                StatusCode::SERVICE_UNAVAILABLE,
                UNAVAILABLE,
                "requests are refused while the audit log cannot be written",
            ),
        }
    }

    /// The word under which a refused caller is counted, and whether kvs-edge failed.
    fn decision(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Identity(error @ identity::Error::KeysUnavailable { .. }) => {
                Some(("error", error.as_str()))
            }
            Self::Identity(error) => Some(("deny", error.as_str())),
            Self::SignIn => Some(("deny", "missing")),
            Self::Capability(_) | Self::Unbound => Some(("deny", "capability")),
            Self::Denied(denied) => Some(("deny", denied.reason().as_str())),
            Self::Upstream(error) if matches!(**error, upstream::Error::NotServed(_)) => {
                Some(("deny", "not_served"))
            }
            _ => None,
        }
    }
}

fn of_input(error: &request_body::Error) -> StatusCode {
    match error {
        request_body::Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        request_body::Error::TooSlow(_) => StatusCode::REQUEST_TIMEOUT,
        request_body::Error::Broken => StatusCode::BAD_REQUEST,
    }
}

fn of_identity(error: &identity::Error) -> ErrorResponse {
    use identity::Error as E;
    match error {
        E::Missing { .. } => response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, error.to_string()),
        // Which rule a token broke helps its owner; what it said is for the log.
        E::Refused { reason, .. } => response(StatusCode::UNAUTHORIZED, NOT_AUTHORIZED, reason.to_string()),
        E::Several { .. } => response(StatusCode::BAD_REQUEST, INVALID, error.to_string()),
        E::TooLarge { .. } => {
            response(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, INVALID, error.to_string())
        }
        E::KeysUnavailable { issuer, .. } => response(
            StatusCode::SERVICE_UNAVAILABLE,
            UNAVAILABLE,
            format!("the keys of issuer {issuer} are not available; try again later"),
        ),
    }
}

fn of_capability(error: &playback::Error) -> ErrorResponse {
    let message = match error {
        playback::Error::Expired(_) => "this playback URL has expired; ask for a new one".to_owned(),
        playback::Error::UnknownKey => {
            "this playback URL was made with a key that is gone; ask for a new one".to_owned()
        }
        playback::Error::Withdrawn => {
            "the issuer of the token that this playback URL was made with, or the key \
                                       that signed it, is trusted no more; ask for a new one"
                .to_owned()
        }
        playback::Error::Outdated => {
            "policies have changed since this playback URL was made; ask for a new one".to_owned()
        }
        _ => "this is not a playback URL of kvs-edge".to_owned(),
    };
    response(StatusCode::FORBIDDEN, NOT_AUTHORIZED, message)
}

fn of_upstream(error: &upstream::Error) -> ErrorResponse {
    use upstream::Error as E;
    let unavailable = |message: &str| response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, message);
    match error {
        E::Kvs(fault) => of_kvs(fault),
        E::NotServed(why) => response(StatusCode::FORBIDDEN, NOT_AUTHORIZED, why.to_string()),
        E::Busy { retry_after, .. } | E::Throttled { retry_after, .. } => {
            let message = "this stream is asked for more than Kinesis Video Streams allows; try again later";
            ErrorResponse {
                retry_after: Some(*retry_after),
                ..response(StatusCode::TOO_MANY_REQUESTS, THROTTLED, message)
            }
        }
        E::NoData(_) | E::SessionExpired => {
            response(StatusCode::NOT_FOUND, NOT_FOUND, "there is no media for this at the moment")
        }
        E::NoRoom(_) => ErrorResponse {
            retry_after: Some(Duration::from_secs(1)),
            ..unavailable("kvs-edge is short of memory for large answers; try again later")
        },
        E::CircuitOpen { retry_after } => ErrorResponse {
            retry_after: Some(*retry_after),
            ..unavailable("Kinesis Video Streams is not answering; try again later")
        },
        E::Credentials(_) => unavailable("kvs-edge has no AWS credentials at the moment; try again later"),
        E::Timeout(_) => {
            response(StatusCode::GATEWAY_TIMEOUT, UNAVAILABLE, "Kinesis Video Streams did not answer in time")
        }
        _ => response(
            StatusCode::BAD_GATEWAY,
            UNAVAILABLE,
            "Kinesis Video Streams cannot be reached or gave no usable answer",
        ),
    }
}

fn of_session(error: &sessions::Error) -> ErrorResponse {
    use sessions::Error as E;
    match error {
        E::Gone => response(StatusCode::NOT_FOUND, NOT_FOUND, error.to_string()),
        E::Slow(_) => response(StatusCode::GATEWAY_TIMEOUT, UNAVAILABLE, error.to_string()),
        E::TooLong(_) => response(StatusCode::BAD_REQUEST, INVALID, error.to_string()),
        E::EndsAtOnce => ErrorResponse {
            retry_after: Some(Duration::from_secs(2)),
            ..response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, error.to_string())
        },
        E::Crowded(retry_after) => ErrorResponse {
            retry_after: Some(*retry_after),
            ..response(StatusCode::TOO_MANY_REQUESTS, THROTTLED, error.to_string())
        },
        E::Full => ErrorResponse {
            retry_after: Some(VIEWERS_GONE),
            ..response(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, error.to_string())
        },
        E::MostPerCaller(_) => ErrorResponse {
            retry_after: Some(VIEWERS_GONE),
            ..response(StatusCode::TOO_MANY_REQUESTS, THROTTLED, error.to_string())
        },
        E::UnusablePlaylist(_) | E::Rewrite(_) | E::Upstream(_) | E::Broken(_) => response(
            StatusCode::BAD_GATEWAY,
            FAILURE,
            "KVS answered with a playlist that is not safe to pass on",
        ),
    }
}

/// KVS's own answer, unless it refused kvs-edge itself: that is not the caller's fault. Its words were
/// scanned, or replaced by ours, where they came in ([`Fault`]).
fn of_kvs(fault: &Fault) -> ErrorResponse {
    if fault.is_throttle() {
        return ErrorResponse {
            retry_after: Some(Duration::from_secs(1)),
            ..response(StatusCode::TOO_MANY_REQUESTS, THROTTLED, &*fault.message)
        };
    }
    let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_GATEWAY);
    if fault.is_refusal() || fault.is_trouble() || status.is_success() {
        return response(StatusCode::BAD_GATEWAY, FAILURE, &*fault.message);
    }
    let message = match fault.message.as_str() {
        "" => "Kinesis Video Streams refused the request without words that can be passed on",
        words => words,
    };
    response(status, &fault.kind, message)
}

/// Turns a failure into an answer, notes it on the record and, where an operator must know, in the log.
pub fn reply(error: &Error, record: &mut Record) -> Reply {
    let response = error.response();
    if let Some((result, reason)) = error.decision() {
        record.decided(result, reason);
    }
    if matches!(error, Error::Rate(_)) {
        record.limited();
    }
    record.error_type = Some(response.kind.clone());
    record.reason = Some(reason(error));
    if let Error::Bug(invariant) = error {
        tracing::error!(request_id = %record.request_id, op = record.api, invariant, "a bug of kvs-edge");
    } else if response.status.is_server_error() {
        tracing::warn!(
            request_id = %record.request_id,
            op = record.api,
            status = response.status.as_u16(),
            error = %reason(error),
            "request failed"
        );
    }
    let body = serde_json::json!({ "Message": response.message }).to_string();
    let mut reply = Reply::empty(response.status);
    let headers = &mut reply.headers;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(kind) = HeaderValue::from_str(&response.kind) {
        headers.insert(HeaderName::from_static("x-amzn-errortype"), kind);
    }
    if let Some(wait) = response.retry_after {
        let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        headers.insert(header::RETRY_AFTER, millis.div_ceil(1000).max(1).into());
        headers.insert(HeaderName::from_static("x-amz-retry-after"), millis.into());
    }
    match error {
        Error::NoRoute(NoRoute::Method { allow }) => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        Error::Denied(_) if reply.status == StatusCode::UNAUTHORIZED => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kvs-edge\""));
        }
        Error::Identity(identity::Error::Missing { .. }) | Error::SignIn => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"kvs-edge\""));
        }
        Error::Identity(identity::Error::Refused { .. }) | Error::DeadUrl(_) => {
            const INVALID_TOKEN: &str = "Bearer realm=\"kvs-edge\", error=\"invalid_token\"";
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(INVALID_TOKEN));
        }
        _ => {}
    }
    reply.source = BodySource::Whole(body.into());
    reply
}

/// For the log: more than the response says, and no secret of KVS either.
fn reason(error: &Error) -> String {
    let reason = match error {
        Error::Denied(denied) => format!("{denied}: {}", denied.reason()),
        other => other.to_string(),
    };
    match leak::scan(&reason, &[]) {
        Ok(()) => reason,
        Err(leak) => format!("a text is left out, because it holds {leak}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_invariant_is_a_failure_of_ours_and_not_a_missing_page() {
        let response = Error::Bug("a step met what the step before it rules out").response();
        assert_eq!((response.status, response.kind.as_str()), (StatusCode::INTERNAL_SERVER_ERROR, FAILURE));
        assert!(!response.message.contains("step"), "{}", response.message);
        let missing = Error::NoRoute(NoRoute::Unknown).response();
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
    }
}

//! Responses to requests that do not reach the handler, in the form that KVS clients read.

use super::metrics::Rejection;
use crate::net::request_checks::Violation;
use crate::telemetry::trace::request_id;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

/// Why the handler is not called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum EarlyResponse {
    /// The request breaks a rule of `net::request_checks`.
    Check(Violation),
    /// Memory is short.
    Overload,
}

/// Seconds after which to try again when memory is short.
const LATER: &str = "2";
/// The same in milliseconds, for AWS SDKs.
const LATER_MILLIS: &str = "2000";

impl EarlyResponse {
    pub(super) fn reason(self) -> Rejection {
        match self {
            Self::Check(Violation::UrlTooLong) => Rejection::UrlTooLong,
            Self::Check(Violation::HeadersTooLarge) => Rejection::HeadersTooLarge,
            Self::Check(_) => Rejection::Strict,
            Self::Overload => Rejection::Overload,
        }
    }

    pub(super) fn response(self) -> Response<Bytes> {
        let (status, kind, message) = match self {
            Self::Check(violation) => (violation.status(), "InvalidArgumentException", violation.to_string()),
            Self::Overload => {
                let message = "kvs-edge is short of memory; try again in a moment".to_owned();
                (StatusCode::SERVICE_UNAVAILABLE, "ThrottlingException", message)
            }
        };
        let mut response = Response::new(Bytes::from(serde_json::json!({ "Message": message }).to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
        if let Ok(id) = HeaderValue::from_str(&request_id()) {
            headers.insert("x-amzn-requestid", id);
        }
        if self == Self::Overload {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(LATER));
            headers.insert("x-amz-retry-after", HeaderValue::from_static(LATER_MILLIS));
        }
        response
    }
}

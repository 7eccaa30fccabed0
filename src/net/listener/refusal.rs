//! Answers to requests that never reach the gateway, in the shape that KVS clients read.

use super::metrics::Rejection;
use crate::net::strict::Violation;
use crate::telemetry::trace::request_id;
use bytes::Bytes;
use http::{HeaderValue, Response, header};

pub(super) fn response(violation: Violation) -> Response<Bytes> {
    let body = serde_json::json!({ "Message": violation.to_string() }).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = violation.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("x-amzn-errortype", HeaderValue::from_static("InvalidArgumentException"));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

pub(super) fn reason(violation: Violation) -> Rejection {
    match violation {
        Violation::UrlTooLong => Rejection::UrlTooLong,
        Violation::HeadersTooLarge => Rejection::HeadersTooLarge,
        _ => Rejection::Strict,
    }
}

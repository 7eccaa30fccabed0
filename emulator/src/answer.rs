//! The responses of the emulator: an answer, or an error in KVS's form (docs/KVS.md 3.4, 3.5, 3.6).

use super::json::Json;
use super::quota::Connection;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;

/// The body that KVS sends with status 200 for an unknown path or letter case: exactly 90 bytes.
pub(super) const UNKNOWN_OPERATION: &str =
    r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;

/// A response before its common headers and faults.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    /// The value of `x-amzn-ErrorType`.
    pub(super) error_type: Option<String>,
    /// Further headers; they replace those that every response has.
    pub(super) headers: HeaderMap,
    pub(super) content: Content,
    /// Counts against the connection limit until the body is sent.
    pub(super) connection: Option<Connection>,
}

/// The body.
pub(super) enum Content {
    /// Sent with its length.
    Whole(Bytes),
    /// Sent chunked.
    Parts(Box<dyn Iterator<Item = Bytes> + Send>),
}

impl Answer {
    /// 200 with bytes.
    pub(super) fn bytes(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type,
            error_type: None,
            headers: HeaderMap::new(),
            content: Content::Whole(bytes.into()),
            connection: None,
        }
    }

    /// 200 with JSON.
    pub(super) fn json(json: &Json) -> Self {
        Self::bytes("application/json", json.to_string())
    }

    /// 200 with a chunked body.
    pub(super) fn parts(
        content_type: &'static str,
        parts: impl Iterator<Item = Bytes> + Send + 'static,
    ) -> Self {
        Self { content: Content::Parts(Box::new(parts)), ..Self::bytes(content_type, Bytes::new()) }
    }

    /// Puts a text wherever KVS could put one without changing what the answer means.
    pub(super) fn plant(&mut self, text: &str) {
        for name in ["x-amzn-planted", "x-amzn-requestid", "x-amz-id-2", "server", "link"] {
            if let Ok(value) = HeaderValue::from_str(text) {
                self.headers.insert(name, value);
            }
        }
        let is_json = self.content_type == "application/json";
        let kind = if is_json { self.content_type } else { "text/html" };
        if let Ok(value) = HeaderValue::from_str(&format!("{kind}; planted=\"{text}\"")) {
            self.headers.insert(http::header::CONTENT_TYPE, value);
        }
        let Content::Whole(body) = &self.content else { return };
        let Ok(body) = std::str::from_utf8(body) else { return };
        let planted = match body.trim_start().get(..1) {
            // No text of an answer has a brace in it.
            Some("{") if is_json => {
                let member = Json::object([("Planted", Json::text(text.to_owned()))]).to_string();
                body.replace('{', &format!("{},", &member[..member.len() - 1]))
            }
            Some("#") => format!("{body}#EXT-X-PLANTED:{text}\n# {text}\n"),
            Some("<") => format!("{body}<!-- {text} -->\n"),
            _ => return,
        };
        self.content = Content::Whole(planted.into());
    }

    /// Any status, headers and body.
    pub(super) fn raw(status: u16, headers: &BTreeMap<String, String>, body: &str) -> Self {
        let mut answer = Self::bytes("application/json", body.to_owned());
        answer.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in headers {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            {
                answer.headers.insert(name, value);
            }
        }
        answer
    }

    /// The 90 bytes for an unknown operation.
    pub(super) fn unknown_operation() -> Self {
        Self::bytes("application/json", UNKNOWN_OPERATION)
    }
}

/// An error of KVS: status, type and message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct KvsError {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
}

/// The tail of `x-amzn-ErrorType` for modelled errors.
const SERVICE_URI: &str = "http://kinesisvideo.amazonaws.com/doc/2017-09-30/";
/// The tail of errors that the front end returns.
const FRONT_URI: &str = "http://internal.amazon.com/coral/com.amazon.coral.service/";

impl KvsError {
    pub(super) fn new(status: u16, kind: &str, message: impl Into<String>) -> Self {
        Self { status, kind: kind.into(), message: message.into() }
    }

    /// 400 InvalidArgumentException.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgumentException", message)
    }

    /// 404 ResourceNotFoundException.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFoundException", message)
    }

    /// 404 for a stream that does not exist.
    pub(super) fn no_stream() -> Self {
        Self::not_found("The requested stream is not found or not active.")
    }

    /// 403 with a type of the front end.
    pub(super) fn denied(kind: &str, message: impl Into<String>) -> Self {
        Self::new(403, kind, message)
    }

    /// 400 ClientLimitExceededException.
    pub(super) fn limit(message: impl Into<String>) -> Self {
        Self::new(400, "ClientLimitExceededException", message)
    }

    /// Whether this is a throttling error.
    pub(super) fn is_throttle(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "ClientLimitExceededException" | "ConnectionLimitExceededException" | "ThrottlingException"
        )
    }

    /// The response.
    pub(super) fn answer(&self) -> Answer {
        let uri = if self.status == 403 { FRONT_URI } else { SERVICE_URI };
        Answer {
            status: StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error_type: Some(format!("{}:{uri}", self.kind)),
            ..Answer::json(&Json::object([("Message", Json::text(self.message.clone()))]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unknown_operation_is_ninety_bytes() {
        assert_eq!(UNKNOWN_OPERATION.len(), 90);
    }

    #[test]
    fn an_error_carries_its_type_with_a_tail_and_its_message_with_a_capital() {
        let answer = KvsError::not_found("none").answer();
        assert_eq!(
            answer.error_type.as_deref(),
            Some("ResourceNotFoundException:http://kinesisvideo.amazonaws.com/doc/2017-09-30/")
        );
        let Content::Whole(body) = answer.content else { panic!("errors are whole") };
        assert_eq!(body, r#"{"Message":"none"}"#);
    }
}

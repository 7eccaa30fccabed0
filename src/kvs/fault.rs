//! KVS's errors: reading its error answers, whatever their shape.
//!
//! The documented header is `x-amz-ErrorType`, the wire has `x-amzn-ErrorType`; the value may carry
//! `:<uri>`; the body has `Message` or `message`, or XML from an older front end; 401 and 403 are used for
//! the same thing (docs/KVS.md 3.5, 3.6). Names come first, status second.

use serde_json::Value;

/// An error answer of KVS.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} ({status}): {message}")]
pub struct Fault {
    /// The HTTP status that KVS answered with.
    pub status: u16,
    /// The exception's name, such as `ResourceNotFoundException`; `UnknownError` if it gave none.
    pub kind: String,
    /// Its message; may be empty.
    pub message: String,
    /// `x-amzn-RequestId`, for a support case.
    pub request_id: Option<String>,
}

/// The body with which KVS answers a wrong path or host, status 200 (docs/KVS.md 3.6).
const UNKNOWN_OPERATION: &str = "com.amazon.coral.service#UnknownOperationException";

impl Fault {
    /// Reads an error answer from its status, its `x-amzn-ErrorType` or `x-amz-ErrorType` header and its
    /// body.
    #[must_use]
    pub fn read(status: u16, error_type: Option<&str>, request_id: Option<&str>, body: &[u8]) -> Self {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let member = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let kind = error_type
            .map(str::to_owned)
            .or_else(|| member("__type"))
            .or_else(|| member("code"))
            .map(|kind| short_name(&kind).to_owned())
            .or_else(|| Self::is_unknown_operation(body).then(|| "UnknownOperationException".to_owned()))
            .or_else(|| xml_kind(body))
            .unwrap_or_else(|| "UnknownError".to_owned());
        let message =
            member("Message").or_else(|| member("message")).or_else(|| xml_message(body)).unwrap_or_default();
        Self { status, kind, message, request_id: request_id.map(str::to_owned) }
    }

    /// True for the 90-byte answer with status 200 that means "no such operation here".
    #[must_use]
    pub fn is_unknown_operation(body: &[u8]) -> bool {
        body.len() <= 1024
            && serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|json| Some(json.get("Output")?.get("__type")?.as_str()? == UNKNOWN_OPERATION))
                .unwrap_or(false)
    }

    /// Too many requests, points or connections: worth another try later (docs/KVS.md 6). Status 400.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "ClientLimitExceededException"
                | "ConnectionLimitExceededException"
                | "ThrottlingException"
                | "Throttling"
                | "TooManyRequestsException"
                | "RequestLimitExceeded"
                | "LimitExceededException"
        ) || self.status == 429
    }

    /// KVS's own trouble: worth another try.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(self.status, 500 | 502 | 503 | 504)
    }

    /// The credentials we signed with have run out, or the clock is off: worth one try with fresh ones.
    #[must_use]
    pub fn is_expired_credentials(&self) -> bool {
        matches!(
            self.kind.as_str(),
            "ExpiredTokenException"
                | "ExpiredToken"
                | "RequestExpired"
                | "InvalidClientTokenId"
                | "UnrecognizedClientException"
        )
    }

    /// KVS refuses *us*: IAM or signature. The caller did nothing wrong.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self.status, 401 | 403)
            || matches!(
                self.kind.as_str(),
                "AccessDeniedException"
                    | "NotAuthorizedException"
                    | "IncompleteSignature"
                    | "IncompleteSignatureException"
                    | "InvalidSignatureException"
                    | "SignatureDoesNotMatch"
                    | "MissingAuthenticationToken"
                    | "MissingAuthenticationTokenException"
                    | "OptInRequired"
            )
            || self.is_expired_credentials()
    }

    /// No such stream, or nothing in the range.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == "ResourceNotFoundException" || (self.kind == "UnknownError" && self.status == 404)
    }
}

/// `com.amazon#NameException:http://…` → `NameException`.
fn short_name(kind: &str) -> &str {
    let kind = kind.split(':').next().unwrap_or(kind);
    kind.rsplit('#').next().unwrap_or(kind).trim()
}

fn xml_kind(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    let name = text.strip_prefix('<')?.split('>').next()?;
    (name.ends_with("Exception") && name.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| name.to_owned())
}

fn xml_message(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, rest) = text.split_once("<Message>")?;
    rest.split_once("</Message>").map(|(message, _)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_error_gives_its_name_and_message() {
        let cases: [(u16, Option<&str>, &[u8], &str, &str); 6] = [
            (
                404,
                Some("ResourceNotFoundException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/"),
                br#"{"Message":"No fragments found"}"#,
                "ResourceNotFoundException",
                "No fragments found",
            ),
            (
                403,
                Some("AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/"),
                br#"{"message":"no"}"#,
                "AccessDeniedException",
                "no",
            ),
            (
                400,
                None,
                br#"{"__type":"com.amazon#ClientLimitExceededException"}"#,
                "ClientLimitExceededException",
                "",
            ),
            (
                403,
                None,
                b"<AccessDeniedException>\n  <Message>Unable to determine</Message>\n\
                    </AccessDeniedException>",
                "AccessDeniedException",
                "Unable to determine",
            ),
            (502, None, b"<html>Bad Gateway</html>", "UnknownError", ""),
            (
                200,
                None,
                b"{\"Output\":{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"},\
                    \"Version\":\"1.0\"}",
                "UnknownOperationException",
                "",
            ),
        ];
        for (status, header, body, kind, message) in cases {
            let fault = Fault::read(status, header, None, body);
            assert_eq!((fault.kind.as_str(), fault.message.as_str()), (kind, message));
        }
    }

    #[test]
    fn the_90_byte_success_is_no_success() {
        let body =
            br#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
        assert_eq!(body.len(), 90);
        assert!(Fault::is_unknown_operation(body));
        assert!(!Fault::is_unknown_operation(br#"{"Fragments":[]}"#));
    }

    #[test]
    fn throttling_is_400_and_still_worth_another_try() {
        let fault = Fault::read(400, Some("ClientLimitExceededException"), None, b"{}");
        assert!(fault.is_throttle() && !fault.is_refusal());
        assert!(Fault::read(401, Some("NotAuthorizedException"), None, b"{}").is_refusal());
    }
}

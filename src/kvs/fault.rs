//! KVS's errors: reading its error answers, whatever their shape.
//!
//! The documented header is `x-amz-ErrorType`, the wire has `x-amzn-ErrorType`; the value may carry
//! `:<uri>`; the body has `Message` or `message`, or XML from an older front end; 401 and 403 are used for
//! the same thing (docs/KVS.md 3.5, 3.6). Names come first, status second.

use super::leak;
use serde_json::Value;
use std::fmt;

/// An error answer of KVS, without anything that must not leave (law 3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The HTTP status that KVS answered with.
    pub status: u16,
    /// The exception's name, such as `ResourceNotFoundException`; `UnknownError` if it gave none.
    pub kind: String,
    /// What callers read: our own words for the exceptions that KVS documents; KVS's for others, if they pass
    /// the scan. May be empty.
    pub message: String,
    /// KVS's words for the log, if they pass the scan; else empty.
    pub said: String,
    /// `x-amzn-RequestId`, for a support case.
    pub request_id: Option<String>,
}

/// The body with which KVS answers a wrong path or host, status 200 (docs/KVS.md 3.6).
const UNKNOWN_OPERATION: &str = "com.amazon.coral.service#UnknownOperationException";

impl Fault {
    /// Reads an error answer from its status, its `x-amzn-ErrorType` or `x-amz-ErrorType` header and its
    /// body. `secrets` are what the request was sent with and to; no text that holds one of them, or anything
    /// that could be one, is kept.
    #[must_use]
    pub fn read(
        status: u16,
        error_type: Option<&str>,
        request_id: Option<&str>,
        body: &[u8],
        secrets: &[&str],
    ) -> Self {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let member = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let kind = error_type
            .map(str::to_owned)
            .or_else(|| member("__type"))
            .or_else(|| member("code"))
            .map(|kind| short_name(&kind).to_owned())
            .or_else(|| Self::is_unknown_operation(body).then(|| "UnknownOperationException".to_owned()))
            .or_else(|| xml_kind(body))
            .filter(|kind| is_kind(kind) && leak::scan(kind, secrets).is_ok())
            .unwrap_or_else(|| "UnknownError".to_owned());
        let said = member("Message").or_else(|| member("message")).or_else(|| xml_message(body));
        let said = said.and_then(|said| leak::sentence(&said, secrets)).unwrap_or_default();
        let request_id = request_id.map(str::to_owned);
        let fault = Self { status, kind, message: String::new(), said, request_id };
        Self { message: fault.words().to_owned(), ..fault }
    }

    /// The error for a fragment that is not in the stream, or not any more.
    #[must_use]
    pub fn no_fragment(number: &str) -> Self {
        Self {
            status: 404,
            kind: "ResourceNotFoundException".to_owned(),
            message: format!("Fragment {number} was not found."),
            said: String::new(),
            request_id: None,
        }
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

    /// What callers read: ours for what KVS documents or did to us, else KVS's own, which have passed the
    /// scan.
    fn words(&self) -> &str {
        if self.is_throttle() {
            "Kinesis Video Streams is limiting requests for this stream; try again later"
        } else if self.is_refusal() {
            "Kinesis Video Streams refused kvs-edge's own credentials or permissions"
        } else if self.is_trouble() || self.status < 300 {
            "Kinesis Video Streams had an internal failure; try again"
        } else {
            own_words(&self.kind, &self.said).unwrap_or(&self.said)
        }
    }

    /// No such stream, or nothing in the range.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == "ResourceNotFoundException" || (self.kind == "UnknownError" && self.status == 404)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = if self.said.is_empty() { &self.message } else { &self.said };
        write!(f, "{} ({}): {words}", self.kind, self.status)
    }
}

impl std::error::Error for Fault {}

/// KVS's sentences that say more than their exception (docs/KVS.md 4.6): passed on as they stand here.
const SENTENCES: [&str; 3] = [
    "No fragments found in the stream for the streaming request.",
    "No fragments found in the stream for the clip request.",
    "The requested stream is not found or not active.",
];

/// What callers read for an exception that KVS documents (docs/KVS.md 3.6).
fn own_words(kind: &str, said: &str) -> Option<&'static str> {
    if let Some(sentence) = SENTENCES.into_iter().find(|sentence| *sentence == said) {
        return Some(sentence);
    }
    Some(match kind {
        "ResourceNotFoundException" => "Kinesis Video Streams has no such stream, or no such footage of it",
        "InvalidArgumentException" => {
            "Kinesis Video Streams does not take these arguments; the log of kvs-edge has its reason"
        }
        "NoDataRetentionException" => "the stream retains no data, so that there is no footage of it",
        "UnsupportedStreamMediaTypeException" => unsupported(said),
        "MissingCodecPrivateDataException" => {
            "a track of this footage has no codec private data, so that it cannot be played"
        }
        "InvalidCodecPrivateDataException" => {
            "the codec private data of a track of this footage is not valid, so that it cannot be played"
        }
        "InvalidMediaFrameException" => "a frame of this footage cannot be read",
        "UnknownOperationException" | "InvalidEndpointException" => {
            "Kinesis Video Streams does not know this call at this endpoint"
        }
        "InternalFailure" | "InternalServerError" | "ServiceUnavailableException" => {
            "Kinesis Video Streams had an internal failure; try again"
        }
        _ => return None,
    })
}

/// Which codec cannot be given, if KVS's sentence names one: the cure is a setting of the camera.
fn unsupported(said: &str) -> &'static str {
    let said = said.to_ascii_lowercase();
    if ["g.711", "g711", "a_ms/acm", "alaw", "u-law", "pcm"].iter().any(|name| said.contains(name)) {
        "the sound of this footage is G.711, which Kinesis Video Streams cannot give in this format"
    } else if ["h.265", "h265", "hevc"].iter().any(|name| said.contains(name)) {
        "the video of this footage is H.265, which Kinesis Video Streams cannot give in this format"
    } else {
        "the codecs of this footage are none that Kinesis Video Streams can give in this format"
    }
}

/// The name of an exception: letters only, as all of AWS's are.
fn is_kind(kind: &str) -> bool {
    (3..=64).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic())
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
    fn a_codec_that_kvs_names_is_named_in_our_words() {
        let read = |said: &str| {
            let body = serde_json::json!({"Message": said}).to_string();
            Fault::read(400, Some("UnsupportedStreamMediaTypeException"), None, body.as_bytes(), &[]).message
        };
        assert!(read("HLS sessions cannot have G.711.").contains("G.711"));
        assert!(read("HLS sessions of MPEG_TS cannot have H.265.").contains("H.265"));
        assert!(read("The codec ID is not usable").starts_with("the codecs of this footage"));
    }

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
            let fault = Fault::read(status, header, None, body, &[]);
            assert_eq!((fault.kind.as_str(), fault.said.as_str()), (kind, message));
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
        let fault = Fault::read(400, Some("ClientLimitExceededException"), None, b"{}", &[]);
        assert!(fault.is_throttle() && !fault.is_refusal());
        assert!(Fault::read(401, Some("NotAuthorizedException"), None, b"{}", &[]).is_refusal());
    }

    #[test]
    fn what_kvs_says_is_scanned_and_what_it_documents_is_said_in_our_own_words() {
        let secret = "trouble at b-1.kinesisvideo.eu-west-1.amazonaws.com?SessionToken=CiA1";
        let body = serde_json::json!({ "Message": secret }).to_string();
        for (kind, known) in [("ResourceNotFoundException", true), ("NovelException", false)] {
            let fault = Fault::read(404, Some(kind), None, body.as_bytes(), &[]);
            assert_eq!((fault.kind.as_str(), fault.said.as_str()), (kind, ""));
            assert_eq!(fault.message.is_empty(), !known, "{fault}");
            let fine = Fault::read(410, Some(kind), None, br#"{"Message":"it is over"}"#, &[]);
            assert_eq!((fine.message == "it is over", fine.said.as_str()), (!known, "it is over"));
            let sent = Fault::read(410, Some(kind), None, br#"{"Message":"it is over"}"#, &["it is over"]);
            assert_eq!(sent.said, "", "what the request held does not come back");
        }
        for kind in ["CiA1fHk3bW9k", "b-1.kinesisvideo.eu-west-1.amazonaws.com", "<script>"] {
            assert_eq!(Fault::read(400, Some(kind), None, b"{}", &[]).kind, "UnknownError");
        }
        let none = "No fragments found in the stream for the streaming request.";
        let body = serde_json::json!({ "Message": none }).to_string();
        assert_eq!(
            Fault::read(404, Some("ResourceNotFoundException"), None, body.as_bytes(), &[]).message,
            none
        );
    }
}

//! AWS's published vectors (the signing test suite, normalised paths, header signatures), and wrong
//! signatures of every kind.

use super::*;
use http::{HeaderValue, Request};
use proptest::prelude::*;

/// 2015-08-30T12:36:00Z, when all vectors were signed.
const SIGNED_AT: u64 = 1_440_938_160_000;
const SCOPE: Scope<'static> = Scope { region: "us-east-1", service: "service" };

struct Vector {
    name: &'static str,
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: String,
}

fn vectors() -> Vec<Vector> {
    include_str!("vectors.txt").split("==== ").skip(1).map(Vector::read).collect()
}

impl Vector {
    fn read(text: &'static str) -> Self {
        let (name, request) = text.split_once('\n').unwrap();
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        // Folded header lines are one line on the wire of today.
        let head = head.replace("\n ", " ");
        let mut lines = head.trim_end().lines();
        let first = lines.next().unwrap();
        let (method, target) = first.split_once(' ').unwrap();
        let target = target.strip_suffix(" HTTP/1.1").unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap();
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        let body = body.trim_end_matches('\n').to_owned();
        Self { name, method: method.into(), path: path.into(), query: query.into(), headers, body }
    }

    fn message(&self) -> Message<'_> {
        Message { method: &self.method, path: &self.path, query: &self.query, headers: &self.headers }
    }

    fn key(&self) -> SigningKey {
        let token = self.headers.get("x-amz-security-token").map(|t| t.to_str().unwrap().to_owned());
        SigningKey {
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token,
            expires: None,
            account: "123456789012".into(),
        }
    }

    fn verify(&self, scope: Scope<'_>, now: u64) -> Result<String, KvsError> {
        let find = |id: &str| (id == "AKIDEXAMPLE").then(|| self.key());
        verify_message(&self.message(), self.body.as_bytes(), scope, now, find)
    }
}

#[test]
fn every_published_vector_is_accepted() {
    let vectors = vectors();
    assert!(vectors.len() > 25, "{}", vectors.len());
    for vector in vectors {
        let answer = vector.verify(SCOPE, SIGNED_AT);
        assert_eq!(answer.as_deref(), Ok("123456789012"), "{}", vector.name);
    }
}

#[test]
fn whatever_is_changed_after_signing_is_noticed() {
    for vector in vectors() {
        let kind = |change: &dyn Fn(&mut Vector)| {
            let mut changed = Vector { ..vector_of(vector.name) };
            change(&mut changed);
            changed.verify(SCOPE, SIGNED_AT).expect_err(vector.name).kind
        };
        assert_eq!(kind(&|v| v.body.push('x')), "InvalidSignatureException");
        assert_eq!(kind(&|v| v.path.push_str("x/y")), "InvalidSignatureException");
        assert_eq!(kind(&|v| v.query.push_str("&extra=1")), "InvalidSignatureException");
        assert_eq!(kind(&|v| v.method = "PUT".into()), "InvalidSignatureException");
        let host = HeaderValue::from_static("other.amazonaws.com");
        let moved = |v: &mut Vector| drop(v.headers.insert("host", host.clone()));
        assert_eq!(kind(&moved), "InvalidSignatureException");
    }
}

fn vector_of(name: &str) -> Vector {
    vectors().into_iter().find(|v| v.name == name).unwrap()
}

#[test]
fn clocks_may_differ_by_fifteen_minutes() {
    let vector = vector_of("get-vanilla");
    for (seconds, fine) in [(-900, true), (900, true), (-901, false), (901, false)] {
        let now = SIGNED_AT.checked_add_signed(seconds * 1000).unwrap();
        assert_eq!(vector.verify(SCOPE, now).is_ok(), fine, "{seconds}");
    }
}

#[test]
fn another_region_or_service_is_refused() {
    let vector = vector_of("get-vanilla");
    for scope in [Scope { region: "eu-west-1", ..SCOPE }, Scope { service: "kinesisvideo", ..SCOPE }] {
        let error = vector.verify(scope, SIGNED_AT).unwrap_err();
        assert_eq!((error.status, error.kind.as_str()), (403, "InvalidSignatureException"));
    }
}

#[test]
fn missing_unknown_and_expired_keys_have_their_own_types() {
    let vector = vector_of("get-vanilla");
    let mut bare = Request::get("/").body(()).unwrap().into_parts().0;
    let kind = |parts: &Parts, key: Option<SigningKey>| {
        verify(parts, b"", SCOPE, SIGNED_AT, |_| key).unwrap_err().kind
    };
    assert_eq!(kind(&bare, None), "MissingAuthenticationTokenException");
    bare.headers = vector.headers.clone();
    assert_eq!(kind(&bare, None), "UnrecognizedClientException");
    let expired = SigningKey { expires: Some(SIGNED_AT), ..vector.key() };
    assert_eq!(kind(&bare, Some(expired)), "ExpiredTokenException");
    let other = SigningKey { token: Some("token".into()), ..vector.key() };
    assert_eq!(kind(&bare, Some(other)), "UnrecognizedClientException");
    bare.headers.insert("authorization", HeaderValue::from_static("Bearer x"));
    assert_eq!(kind(&bare, None), "IncompleteSignatureException");
}

#[test]
fn dates_are_counted_right() {
    for (text, seconds) in [
        ("19700101T000000Z", 0),
        ("20150830T123600Z", 1_440_938_160),
        ("20240229T235959Z", 1_709_251_199),
        ("20260101T001500Z", 1_767_226_500),
    ] {
        assert_eq!(epoch_seconds(text), Some(seconds), "{text}");
    }
}

proptest! {
    #[test]
    fn any_authorization_is_judged_without_panic(
        text in "(AWS4-HMAC-SHA256 )?[ -~]{0,120}", query in "[ -~]{0,40}",
    ) {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", HeaderValue::from_str(&text).unwrap());
        let message = Message { method: "GET", path: "/", query: &query, headers: &headers };
        let key = vector_of("get-vanilla").key();
        prop_assert!(verify_message(&message, b"", SCOPE, SIGNED_AT, |_| Some(key)).is_err());
    }
}

//! Verifies AWS Signature Version 4, strictly from the list of signed headers (docs/KVS.md 3.3).
//!
//! The code is written from AWS's description of the algorithm and tested with AWS's published vectors.
//! kvs-edge signs with another implementation, so that each checks the other.

use super::answer::KvsError;
use aws_lc_rs::{constant_time, digest, hmac};
use http::HeaderMap;
use http::request::Parts;

/// The largest accepted difference of clocks.
const SKEW_SECONDS: u64 = 15 * 60;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The required scope of a signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

/// Keys whose signatures are accepted.
#[derive(Clone)]
pub(super) struct SigningKey {
    pub(super) secret: String,
    /// The session token of temporary keys, which a request must carry.
    pub(super) token: Option<String>,
    /// Milliseconds since the epoch.
    pub(super) expires: Option<u64>,
    /// The account of the keys.
    pub(super) account: String,
}

/// Checks a request and gives the account whose keys signed it.
///
/// `find` looks a key up by its access key ID; `now` is in milliseconds since the epoch.
pub(super) fn verify(
    parts: &Parts,
    body: &[u8],
    scope: Scope<'_>,
    now: u64,
    find: impl FnOnce(&str) -> Option<SigningKey>,
) -> Result<String, KvsError> {
    let message = Message {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        headers: &parts.headers,
    };
    verify_message(&message, body, scope, now, find)
}

/// The parts of a request that a signature covers, besides its body.
struct Message<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: &'a HeaderMap,
}

fn verify_message(
    parts: &Message<'_>,
    body: &[u8],
    scope: Scope<'_>,
    now: u64,
    find: impl FnOnce(&str) -> Option<SigningKey>,
) -> Result<String, KvsError> {
    let mut all = parts.headers.get_all(http::header::AUTHORIZATION).iter();
    let (Some(authorization), None) = (all.next(), all.next()) else {
        return Err(KvsError::denied("MissingAuthenticationTokenException", "Missing Authentication Token"));
    };
    let authorization = authorization.to_str().ok().and_then(Authorization::read).ok_or_else(|| {
        KvsError::denied(
            "IncompleteSignatureException",
            "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature' parameters.",
        )
    })?;
    let key = find(authorization.access_key).ok_or_else(|| {
        KvsError::denied(
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        )
    })?;
    check_token(parts.headers, &key, now)?;
    check_scope(&authorization, scope)?;
    let date = check_date(parts.headers, &authorization, now)?;
    check_signed_headers(&authorization)?;
    let body_digest = check_body(parts.headers, body)?;
    let request = canonical_request(parts, &authorization, &body_digest)
        .ok_or_else(|| invalid("a signed header is missing from the request"))?;
    let to_sign = string_to_sign(&request, date, &authorization);
    let expected = sign(&key.secret, &authorization, &to_sign);
    let given = authorization.signature.as_bytes();
    constant_time::verify_slices_are_equal(expected.as_bytes(), given).map_err(|_| {
        invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS \
             Secret Access Key and signing method. Consult the service documentation for details.",
        )
    })?;
    Ok(key.account)
}

/// The region in the `Authorization` header. It is not verified.
pub(super) fn claimed_region(headers: &HeaderMap) -> Option<String> {
    let authorization = Authorization::read(headers.get(http::header::AUTHORIZATION)?.to_str().ok()?)?;
    Some(authorization.region.to_owned())
}

fn invalid(message: impl Into<String>) -> KvsError {
    KvsError::denied("InvalidSignatureException", message)
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let rest = text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for part in rest.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        let mut scope = credential?.split('/');
        let authorization = Self {
            access_key: scope.next()?,
            day: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed_headers: signed_headers?,
            signature: signature?,
        };
        (scope.next() == Some("aws4_request") && scope.next().is_none()).then_some(authorization)
    }
}

fn check_token(headers: &HeaderMap, key: &SigningKey, now: u64) -> Result<(), KvsError> {
    let mut sent = headers.get_all("x-amz-security-token").iter();
    let matches = match (&key.token, sent.next(), sent.next()) {
        (None, None, None) => true,
        (Some(token), Some(sent), None) => token.as_bytes() == sent.as_bytes(),
        _ => false,
    };
    if !matches {
        let message = "The security token included in the request is invalid.";
        return Err(KvsError::denied("UnrecognizedClientException", message));
    }
    if key.expires.is_some_and(|expires| expires <= now) {
        let message = "The security token included in the request is expired";
        return Err(KvsError::denied("ExpiredTokenException", message));
    }
    Ok(())
}

fn check_scope(authorization: &Authorization<'_>, scope: Scope<'_>) -> Result<(), KvsError> {
    if authorization.region != scope.region {
        return Err(invalid(format!(
            "Credential should be scoped to a valid region, not '{}'.",
            authorization.region
        )));
    }
    if authorization.service != scope.service {
        return Err(invalid(format!("Credential should be scoped to correct service: '{}'.", scope.service)));
    }
    Ok(())
}

/// The date of the request in the basic form, if it is of the day in the scope and close to `now`.
fn check_date<'a>(
    headers: &'a HeaderMap,
    authorization: &Authorization<'_>,
    now: u64,
) -> Result<&'a str, KvsError> {
    let date = headers.get("x-amz-date").and_then(|date| date.to_str().ok()).unwrap_or_default();
    let seconds = epoch_seconds(date).ok_or_else(|| {
        KvsError::denied(
            "IncompleteSignatureException",
            "Date must be in ISO-8601 'basic format', such as 20260101T001500Z, in X-Amz-Date.",
        )
    })?;
    if !date.starts_with(authorization.day) || authorization.day.len() != 8 {
        return Err(invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date.",
        ));
    }
    let now = now / 1000;
    if now.abs_diff(seconds) > SKEW_SECONDS {
        let word = if seconds < now { "expired" } else { "not yet current" };
        return Err(invalid(format!("Signature {word}: {date} is more than 15 min from {now}.")));
    }
    Ok(date)
}

fn check_signed_headers(authorization: &Authorization<'_>) -> Result<(), KvsError> {
    let names: Vec<&str> = authorization.signed_headers.split(';').collect();
    let sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
    let lower = names.iter().all(|name| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase()));
    if !sorted || !lower {
        return Err(invalid("SignedHeaders must be lower-case, in order, each once."));
    }
    for needed in ["host", "x-amz-date"] {
        if !names.contains(&needed) {
            return Err(invalid(format!("'{needed}' must be a 'SignedHeader' in the AWS Authorization.")));
        }
    }
    Ok(())
}

/// The digest of the body. If the request has a header with the digest, both must be equal.
fn check_body(headers: &HeaderMap, body: &[u8]) -> Result<String, KvsError> {
    let actual = hex(digest::digest(&digest::SHA256, body).as_ref());
    match headers.get("x-amz-content-sha256") {
        Some(announced) if announced.as_bytes() != actual.as_bytes() => {
            Err(invalid("The provided 'x-amz-content-sha256' header does not match what was computed."))
        }
        _ => Ok(actual),
    }
}

/// `None` if a signed header is missing.
fn canonical_request(
    parts: &Message<'_>,
    authorization: &Authorization<'_>,
    body_digest: &str,
) -> Option<String> {
    let mut out =
        format!("{}\n{}\n{}\n", parts.method, canonical_path(parts.path), canonical_query(parts.query));
    for name in authorization.signed_headers.split(';') {
        let mut values = parts.headers.get_all(name).iter().peekable();
        values.peek()?;
        let values: Vec<String> =
            values.map(|value| squeeze(&String::from_utf8_lossy(value.as_bytes()))).collect();
        out.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    out.push_str(&format!("\n{}\n{body_digest}", authorization.signed_headers));
    Some(out)
}

/// Every service but S3 encodes the path of the request line once more, after removing its dots and double
/// slashes.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut out = String::new();
    for segment in &segments {
        out.push('/');
        encode(&mut out, segment.as_bytes());
    }
    let folder = path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..");
    if folder || out.is_empty() {
        out.push('/');
    }
    out
}

/// Decoded, encoded again in the canonical way, sorted.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let strict = |text: &str| {
                let mut out = String::new();
                encode(&mut out, &decode(text));
                out
            };
            (strict(name), strict(value))
        })
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn encode(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Percent-decoding; text that is no valid escape stays unchanged.
pub(super) fn decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Trims white space and replaces runs of it by one space.
fn squeeze(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

fn string_to_sign(request: &str, date: &str, authorization: &Authorization<'_>) -> String {
    let digest = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let Authorization { day, region, service, .. } = authorization;
    format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{digest}")
}

fn sign(secret: &str, authorization: &Authorization<'_>, to_sign: &str) -> String {
    let step = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let key = step(format!("AWS4{secret}").as_bytes(), authorization.day);
    let key = [authorization.region, authorization.service, "aws4_request"]
        .iter()
        .fold(key, |key, text| step(&key, text));
    hex(&step(&key, to_sign))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Seconds since the epoch of `20260101T001500Z`.
fn epoch_seconds(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    if bytes.len() != 16 || bytes[8] != b'T' || bytes[15] != b'Z' {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let digits = &bytes[from..to];
        let value = |value: u64, digit: &u8| value * 10 + u64::from(digit - b'0');
        digits.iter().all(u8::is_ascii_digit).then(|| digits.iter().fold(0, value))
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][usize::try_from(month - 1).ok()?];
    let years: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    let days = years + before + u64::from(leap(year) && month > 2) + day - 1;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests;

//! Checks on parsed requests that are stricter than HTTP.
//!
//! Every rule refuses something that two readers of one request could read differently: a front proxy and
//! this server, the policy and the router, the router and KVS. What the parsed request no longer shows is
//! refused earlier (`net::listener::http1_framing` lists what is refused where). Routes, methods per route
//! and authentication belong to the gateway.

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, UPGRADE};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, Version};

/// Sizes that the HTTP library does not check by itself.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// The request target, in bytes.
    pub url: usize,
    /// One header's name and value, in bytes.
    pub one_header: usize,
    /// How many header lines.
    pub header_count: usize,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    /// CONNECT or TRACE.
    #[error("the method is not supported")]
    Method,
    /// An `Upgrade` header.
    #[error("Upgrade is not supported")]
    Upgrade,
    /// An expectation other than `100-continue`.
    #[error("the only expectation supported is 100-continue")]
    Expectation,
    /// The request target is too long.
    #[error("the URL is too long")]
    UrlTooLong,
    /// A header is too long, or there are too many.
    #[error("the headers are too large")]
    HeadersTooLarge,
    /// `Host` is missing, repeated, malformed, or differs from the request target.
    #[error("the Host header is missing, repeated, malformed or differs from the URL")]
    Host,
    /// The request target is neither a path nor a URL.
    #[error("the request target must be a path")]
    Target,
    /// The path has a form that two readers may take for different resources.
    #[error(
        "the path has an empty, `.` or `..` segment, a backslash, `;`, `%`, control character or \
         encoded slash"
    )]
    Path,
    /// A header's name has an underscore, which some readers take for a hyphen.
    #[error("a header name has an underscore")]
    Underscore,
    /// `Content-Length` is repeated or no number.
    #[error("Content-Length is repeated or not a number")]
    Length,
}

impl Violation {
    /// What to answer with.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method | Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// Takes out headers whose names have an underscore. A trusted proxy passes some on, or adds its own. Once
/// dropped, none can be taken for the header with a hyphen.
pub fn drop_underscores(headers: &mut HeaderMap) {
    let has_underscore = |name: &&HeaderName| memchr::memchr(b'_', name.as_str().as_bytes()).is_some();
    let names: Vec<HeaderName> = headers.keys().filter(has_underscore).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Looks at everything but the body.
///
/// # Errors
/// The first violation found.
pub fn check<B>(request: &Request<B>, sizes: &Sizes) -> Result<(), Violation> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Violation::Method);
    }
    let host = check_headers(request.headers(), sizes)?;
    check_target(request.uri(), sizes)?;
    check_host(host, request.uri().authority(), request.version())
}

/// Looks at all headers in one pass, and gives `Host`.
fn check_headers<'h>(headers: &'h HeaderMap, sizes: &Sizes) -> Result<Option<&'h HeaderValue>, Violation> {
    if headers.len() > sizes.header_count {
        return Err(Violation::HeadersTooLarge);
    }
    let (mut host, mut length) = (None, None);
    for (name, value) in headers {
        if name.as_str().len() + value.len() > sizes.one_header {
            return Err(Violation::HeadersTooLarge);
        }
        if *name == HOST {
            if host.replace(value).is_some() {
                return Err(Violation::Host);
            }
        } else if *name == CONTENT_LENGTH {
            let number = !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
            if !number || length.replace(value).is_some() {
                return Err(Violation::Length);
            }
        } else if *name == UPGRADE {
            return Err(Violation::Upgrade);
        } else if *name == EXPECT {
            if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                return Err(Violation::Expectation);
            }
        } else if memchr::memchr(b'_', name.as_str().as_bytes()).is_some() {
            return Err(Violation::Underscore);
        }
    }
    Ok(host)
}

fn check_target(uri: &Uri, sizes: &Sizes) -> Result<(), Violation> {
    let Some(target) = uri.path_and_query() else { return Err(Violation::Target) };
    let length = target.as_str().len() + uri.authority().map_or(0, |a| a.as_str().len());
    if length > sizes.url {
        return Err(Violation::UrlTooLong);
    }
    if !matches!(uri.scheme_str(), None | Some("http" | "https")) {
        return Err(Violation::Target);
    }
    if !target.path().starts_with('/') {
        return Err(Violation::Target); // `*`, or an authority
    }
    if is_canonical(target.path()) { Ok(()) } else { Err(Violation::Path) }
}

/// Whether a path has exactly one reading.
#[must_use]
pub fn is_canonical(path: &str) -> bool {
    is_plain(path.as_bytes()) || has_one_reading(path.as_bytes())
}

/// Whether a path has nothing that needs a closer look: no byte that is encoded or has a meaning of its own
/// but the slash, and no segment that is empty or begins with a dot. Without a branch per byte, sixteen are
/// looked at together.
fn is_plain(path: &[u8]) -> bool {
    let [b'/', rest @ ..] = path else { return false };
    let has_meaning = |b: u8| (b < 0x20) | (b == 0x7f) | (b == b'%') | (b == b'\\') | (b == b';');
    let odd_byte = rest.iter().fold(false, |odd, b| odd | has_meaning(*b));
    let odd_segment = path
        .iter()
        .zip(rest)
        .fold(false, |odd, (before, b)| odd | ((*before == b'/') & ((*b == b'/') | (*b == b'.'))));
    !odd_byte && !odd_segment
}

/// Whether a path has exactly one reading, byte by byte.
fn has_one_reading(bytes: &[u8]) -> bool {
    let mut at = 0;
    let mut segment = PathSegment::Empty;
    while at < bytes.len() {
        // Most of a path: letters, digits and dashes, which mean themselves.
        if matches!(bytes[at], b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_') {
            segment = PathSegment::Other;
            at += 1;
            continue;
        }
        let (byte, taken) = match bytes[at] {
            b'%' => {
                let Some(byte) = encoded(&bytes[at..]) else { return false };
                if matches!(byte, b'/' | b'\\' | b'%' | b';') {
                    return false;
                }
                (byte, 3)
            }
            byte => (byte, 1),
        };
        match byte {
            b'/' if at == 0 => segment = PathSegment::Empty,
            b'/' if segment == PathSegment::Other => segment = PathSegment::Empty,
            b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return false,
            b'.' => segment = segment.with_dot(),
            _ => segment = PathSegment::Other,
        }
        at += taken;
    }
    !matches!(segment, PathSegment::Dot | PathSegment::Dots)
}

/// What a path segment is so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PathSegment {
    Empty,
    Dot,
    Dots,
    Other,
}

impl PathSegment {
    fn with_dot(self) -> Self {
        match self {
            Self::Empty => Self::Dot,
            Self::Dot => Self::Dots,
            Self::Dots | Self::Other => Self::Other,
        }
    }
}

fn encoded(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|b| (*b as char).to_digit(16));
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

fn check_host(
    host: Option<&HeaderValue>,
    target: Option<&Authority>,
    version: Version,
) -> Result<(), Violation> {
    let host = match host {
        Some(host) => Some(host.to_str().ok().filter(|h| is_host(h)).ok_or(Violation::Host)?),
        None => None,
    };
    if target.is_some_and(|target| !is_host(target.as_str())) {
        return Err(Violation::Host);
    }
    match (host, target.map(Authority::as_str)) {
        (Some(host), Some(target)) if !host.eq_ignore_ascii_case(target) => Err(Violation::Host),
        (None, None) if version != Version::HTTP_10 => Err(Violation::Host),
        (None, Some(_)) if version == Version::HTTP_11 => Err(Violation::Host),
        _ => Ok(()),
    }
}

/// Host and port, nothing else.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'[' | b']'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZES: Sizes = Sizes { url: 8192, one_header: 16384, header_count: 64 };

    fn judge(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), Violation> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap(), &SIZES)
    }

    #[test]
    fn ordinary_requests_pass() {
        let host = ("host", "edge.example:8443");
        assert_eq!(judge("GET", "/hls/v1/abc_-123/getMP4MediaFragment.mp4?a=%2F;b", &[host]), Ok(()));
        assert_eq!(judge("POST", "/getClip", &[host, ("content-length", "10")]), Ok(()));
        assert_eq!(judge("GET", "http://edge.example:8443/", &[host]), Ok(()));
        assert_eq!(judge("PUT", "/x", &[host, ("expect", "100-Continue")]), Ok(()));
        assert_eq!(judge("GET", "/", &[("host", "[::1]:80")]), Ok(()));
    }

    #[test]
    fn odd_requests_do_not() {
        let host = ("host", "a");
        let long = "x".repeat(9000);
        let longer = "x".repeat(17000);
        for (method, target, headers, violation) in [
            ("TRACE", "/", vec![host], Violation::Method),
            ("CONNECT", "a:80", vec![host], Violation::Method),
            ("GET", "/", vec![host, ("upgrade", "h2c")], Violation::Upgrade),
            ("GET", "/", vec![host, ("expect", "200-maybe")], Violation::Expectation),
            ("GET", &format!("/{long}"), vec![host], Violation::UrlTooLong),
            ("GET", "/", vec![host, ("x-a", &longer)], Violation::HeadersTooLarge),
            ("GET", "/", vec![], Violation::Host),
            ("GET", "/", vec![host, host], Violation::Host),
            ("GET", "/", vec![("host", "")], Violation::Host),
            ("GET", "/", vec![("host", "a/b")], Violation::Host),
            ("GET", "/", vec![("host", "u@a")], Violation::Host),
            ("GET", "http://b/", vec![host], Violation::Host),
            ("GET", "http://b/", vec![], Violation::Host),
            ("GET", "http://u@a/", vec![host], Violation::Host),
            ("GET", "ftp://a/", vec![host], Violation::Target),
            ("OPTIONS", "*", vec![host], Violation::Target),
            ("GET", "/", vec![host, ("x_forwarded_for", "1.1.1.1")], Violation::Underscore),
            ("POST", "/", vec![host, ("content-length", "+5")], Violation::Length),
            ("POST", "/", vec![host, ("content-length", "5"), ("content-length", "5")], Violation::Length),
        ] {
            assert_eq!(
                judge(method, target, &headers),
                Err(violation),
                "{method} {target:.40} {headers:.40?}"
            );
        }
    }

    #[test]
    fn headers_with_underscores_are_dropped_every_value_of_them() {
        let mut headers = HeaderMap::new();
        for name in ["x_forwarded_for", "x_forwarded_for", "x-forwarded-for", "_", "content_length", "host"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        drop_underscores(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "x-forwarded-for"]);
    }

    #[test]
    fn a_path_has_one_reading() {
        for good in ["/", "/a", "/a/", "/a/b.c", "/...", "/.a", "/a..", "/a%20b", "/%C3%A4", "/.well-known/x"]
        {
            assert!(is_canonical(good), "{good}");
        }
        for bad in [
            "//", "/a//b", "/.", "/..", "/a/../b", "/a/./b", "/a/..", "/%2e/", "/.%2E", "/a%2Fb", "/a%5cb",
            "/a\\b", "/a;b", "/a%3bb", "/a%00", "/a%0d", "/%", "/%4", "/%zz", "/%252e", "/%7f", "/a%+1",
        ] {
            assert!(!is_canonical(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_plain_path_has_one_reading(path in "(/[a./%;\\\\ \u{1}\u{7f}\u{e9}2eF5]{0,5}){0,4}") {
            if is_plain(path.as_bytes()) {
                prop_assert!(has_one_reading(path.as_bytes()));
            }
            prop_assert_eq!(is_canonical(&path), has_one_reading(path.as_bytes()));
        }

        #[test]
        fn canonical_paths_stay_what_they_are_when_normalised(path in "(/[a-c.%2eF5;\\\\]{0,6}){1,4}") {
            if is_canonical(&path) {
                let decoded = path.replace("%2e", ".").replace("%2E", ".");
                for segment in decoded[1..].split('/') {
                    prop_assert!(segment != "." && segment != "..");
                }
                prop_assert!(!decoded.contains("//") && !decoded.contains('\\') && !decoded.contains(';'));
            }
        }
    }
}

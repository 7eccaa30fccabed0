//! Cross-origin requests: exact configured origins, the headers that SDKs in browsers really ask for, nothing
//! else.
//!
//! The header list was measured with AWS's JavaScript SDK v3 in Chromium (docs/SDKS.md). An origin that is
//! not configured gets no CORS header at all; the browser then refuses by itself.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

/// Headers that a page may send.
const ALLOWED: &str = "authorization, content-type, range, if-none-match, if-range, amz-sdk-invocation-id, \
    amz-sdk-request, x-amz-content-sha256, x-amz-date, x-amz-security-token, x-amz-user-agent, x-request-id, \
    traceparent";
/// Headers of an answer that a page may read.
const EXPOSED: &str = "x-amzn-requestid, x-amzn-errortype, x-request-id, cache-status, age, etag, \
    content-range, content-length, content-disposition, accept-ranges, date, retry-after, x-amz-retry-after, \
    kvs-edge-truncated, kvs-edge-image-time";
/// For how long a browser may remember a preflight, in seconds.
const MAX_AGE: &str = "7200";

/// Which origins may call from a page.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
}

impl Cors {
    /// Exact origins such as `https://app.example.com`.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        Self { origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect() }
    }

    /// True if this is a preflight, which is answered without looking at credentials: browsers send none.
    #[must_use]
    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// The one origin that a request comes from, if pages matter at all.
    #[must_use]
    pub fn origin(&self, asked: &HeaderMap) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return None;
        }
        let mut asking = asked.get_all(header::ORIGIN).iter();
        asking.next().filter(|_| asking.next().is_none()).cloned()
    }

    /// `Cross-Origin-Resource-Policy`: which pages may embed an answer without reading it, such as a picture.
    /// Browsers name no origin when they ask for that. So while no other origin is configured, only our own
    /// pages may; then pages of the same site too, and a playback URL, which is its own credential, may be
    /// embedded by any.
    #[must_use]
    pub fn resource_policy(&self, by_capability: bool) -> HeaderValue {
        HeaderValue::from_static(match (self.origins.is_empty(), by_capability) {
            (true, _) => "same-origin",
            (false, false) => "same-site",
            (false, true) => "cross-origin",
        })
    }

    /// Adds to an answer what the request's origin needs to read it.
    pub fn apply(&self, origin: Option<&HeaderValue>, answer: &mut HeaderMap, preflight: bool) {
        if self.origins.is_empty() {
            return;
        }
        // Another origin must not get this answer from a shared cache.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin.filter(|origin| self.origins.contains(origin)) else { return };
        let mut set =
            |name: HeaderName, value: &'static str| answer.insert(name, HeaderValue::from_static(value));
        set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        if preflight {
            set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST");
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(origins: &[&str], asking: &[&str], preflight: bool) -> HeaderMap {
        let cors = Cors::new(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>());
        let mut asked = HeaderMap::new();
        for origin in asking {
            asked.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let mut answer = HeaderMap::new();
        cors.apply(cors.origin(&asked).as_ref(), &mut answer, preflight);
        answer
    }

    #[test]
    fn pages_of_others_embed_nothing_unless_origins_are_configured() {
        let (none, some) = (Cors::new(&[]), Cors::new(&["https://app.example.com".to_owned()]));
        assert_eq!(
            (none.resource_policy(false), none.resource_policy(true)),
            ("same-origin".parse().unwrap(), "same-origin".parse().unwrap())
        );
        assert_eq!(some.resource_policy(false), "same-site");
        assert_eq!(some.resource_policy(true), "cross-origin");
    }

    #[test]
    fn only_exact_origins_are_let_in() {
        let app = "https://app.example.com";
        let preflight = answer(&[app], &[app], true);
        assert_eq!(preflight[header::ACCESS_CONTROL_ALLOW_ORIGIN], app);
        let allowed = preflight[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        for name in ["amz-sdk-invocation-id", "amz-sdk-request", "x-amz-content-sha256", "x-amz-user-agent"] {
            assert!(allowed.contains(name), "{name}");
        }
        for asking in [vec!["https://evil.example"], vec!["null"], vec![], vec![app, "https://evil.example"]]
        {
            let answer = answer(&[app], &asking, true);
            assert!(!answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), "{asking:?}");
            assert_eq!(answer[header::VARY], "Origin");
        }
        assert!(answer(&[], &[app], true).is_empty());
    }
}

//! Cross-origin requests: exact configured origins, the headers that SDKs in browsers really ask for, nothing
//! else.
//!
//! `*` is for what a capability in the path opens: any page may read it, without cookies, since its address
//! is the credential. It opens nothing that a token or a cookie is needed for.
//!
//! The header list was measured with AWS's JavaScript SDK v3 in Chromium (docs/SDKS.md). An origin that is
//! not configured gets no CORS header at all; the browser then refuses by itself.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

/// Headers that a page may send.
const ALLOWED: &str = "accept-encoding, authorization, content-type, range, if-none-match, if-range, amz-sdk-invocation-id, \
    amz-sdk-request, x-amz-content-sha256, x-amz-date, x-amz-security-token, x-amz-user-agent, x-request-id, \
    traceparent";
/// Headers of an answer that a page may read.
const EXPOSED: &str = "x-amzn-requestid, x-amzn-errortype, x-request-id, cache-status, age, etag, \
    content-range, content-length, content-disposition, accept-ranges, date, retry-after, x-amz-retry-after, \
    kvs-edge-truncated, kvs-edge-image-time";
/// In `server.cors_origins`: every origin.
const ANY: &str = "*";
/// For how long a browser may remember a preflight, in seconds.
const MAX_AGE: &str = "7200";

/// Which origins may call from a page.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    /// `*` is among them: any page may read what a capability opens.
    any: bool,
}

/// What a path needs, as far as pages of other origins matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A token, perhaps in a cookie that browsers add by themselves.
    Token,
    /// The playback URL that the path is.
    PlaybackUrl,
    /// The link that the path is, which was made to be embedded.
    Link,
}

impl Cors {
    /// Exact origins such as `https://app.example.com`, and `*` for what a capability opens.
    #[must_use]
    pub fn new(origins: &[String]) -> Self {
        let exact = origins.iter().filter(|origin| *origin != ANY);
        Self {
            origins: exact.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            any: origins.iter().any(|origin| origin == ANY),
        }
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
        if self.origins.is_empty() && !self.any {
            return None;
        }
        let mut asking = asked.get_all(header::ORIGIN).iter();
        asking.next().filter(|_| asking.next().is_none()).cloned()
    }

    /// `Cross-Origin-Resource-Policy`: which pages may embed an answer without reading it, such as a picture.
    /// Browsers name no origin when they ask for that. So while no other origin is configured, only our own
    /// pages may; then pages of the same site too, and a playback URL, which is its own credential, may be
    /// embedded by any. A link may always be: it is made for that.
    #[must_use]
    pub fn resource_policy(&self, access: Access) -> HeaderValue {
        HeaderValue::from_static(match access {
            Access::Link => "cross-origin",
            Access::PlaybackUrl if self.any || !self.origins.is_empty() => "cross-origin",
            Access::Token if !self.origins.is_empty() => "same-site",
            Access::PlaybackUrl | Access::Token => "same-origin",
        })
    }

    /// Adds to an answer what the request's origin needs to read it.
    pub fn apply(
        &self,
        origin: Option<&HeaderValue>,
        answer: &mut HeaderMap,
        access: Access,
        preflight: bool,
    ) {
        let by_any = self.any && access != Access::Token;
        if self.origins.is_empty() && !by_any {
            return;
        }
        // Another origin must not get this answer from a shared cache.
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin else { return };
        let exact = self.origins.contains(origin);
        if !exact && !by_any {
            return;
        }
        let mut set =
            |name: HeaderName, value: &'static str| answer.insert(name, HeaderValue::from_static(value));
        if exact {
            set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if preflight {
            set(header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST");
            set(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED);
            set(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else {
            set(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        let allowed = if exact { origin.clone() } else { HeaderValue::from_static(ANY) };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(origins: &[&str], asking: &[&str], preflight: bool) -> HeaderMap {
        answer_at(Access::Token, origins, asking, preflight)
    }

    fn answer_at(access: Access, origins: &[&str], asking: &[&str], preflight: bool) -> HeaderMap {
        let cors = Cors::new(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>());
        let mut asked = HeaderMap::new();
        for origin in asking {
            asked.append(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        let mut answer = HeaderMap::new();
        cors.apply(cors.origin(&asked).as_ref(), &mut answer, access, preflight);
        answer
    }

    #[test]
    fn pages_of_others_embed_nothing_unless_origins_are_configured() {
        let (none, some) = (Cors::new(&[]), Cors::new(&["https://app.example.com".to_owned()]));
        let any = Cors::new(&["*".to_owned()]);
        for (cors, token, url) in [
            (none, "same-origin", "same-origin"),
            (some, "same-site", "cross-origin"),
            (any, "same-origin", "cross-origin"),
        ] {
            assert_eq!(cors.resource_policy(Access::Token), token);
            assert_eq!(cors.resource_policy(Access::PlaybackUrl), url);
            assert_eq!(cors.resource_policy(Access::Link), "cross-origin");
        }
    }

    #[test]
    fn any_origin_is_for_capabilities_only_and_without_credentials() {
        let (origin, credentials) =
            (header::ACCESS_CONTROL_ALLOW_ORIGIN, header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
        let (app, other) = ("capacitor://localhost", "https://any.example");
        for access in [Access::PlaybackUrl, Access::Link] {
            for preflight in [false, true] {
                let given = answer_at(access, &["*", app], &[other], preflight);
                assert_eq!(given[&origin], "*");
                assert!(!given.contains_key(&credentials));
                let given = answer_at(access, &["*", app], &[app], preflight);
                assert_eq!(
                    (&given[&origin], &given[&credentials]),
                    (&app.parse().unwrap(), &"true".parse().unwrap())
                );
            }
        }
        for asking in [other, "null", "*"] {
            assert!(!answer(&["*", app], &[asking], true).contains_key(&origin), "{asking}");
            assert!(!answer(&["*"], &[asking], false).contains_key(&origin), "{asking}");
        }
        assert_eq!(answer(&["*", app], &[app], true)[&origin], app);
        let allowed = answer_at(Access::Link, &["*"], &[other], true);
        let allowed = allowed[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert!(allowed.contains("accept-encoding") && allowed.contains("authorization"), "{allowed}");
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

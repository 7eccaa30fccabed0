//! Where a request carries its token: in exactly one place, or the request is refused.
//!
//! Every value of a repeated header counts for itself. Two credentials are refused even if they are equal,
//! because the next reader on the way may pick another one than we do (RFC 6750 2, RFC 8725).
//!
//! A playback capability in the path is a credential too. Beside it, what a browser or an access proxy adds
//! to every request by itself (the configured headers and the cookie) is not looked at: a console behind such
//! a proxy could play nothing otherwise. What a client must add on purpose (`Authorization`,
//! `X-Amz-Security-Token`) makes two.
//!
//! A browser also adds a cookie to requests that pages of other sites make it send. So the cookie counts for
//! GET and HEAD, whose answers such a page cannot read, and otherwise only where the browser says that the
//! request comes from our own pages (`Sec-Fetch-Site: same-origin`, which no script can set).

use super::config::Config;
use super::error::{Error, Reason};
use super::place::AcceptedPlace;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use std::fmt;

/// What authenticates a request.
pub enum Credential<'a> {
    /// By the playback capability in its path.
    Capability,
    /// By a token.
    Token(Token<'a>),
    /// By nothing: there is no credential, and none is needed (`identity.anonymous`).
    Anonymous,
}

/// A token as it arrived, not verified. Shows only where it came from.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    bytes: &'a [u8],
    place: TokenPlace<'a>,
}

impl<'a> Token<'a> {
    /// What arrived, whether it can be a token or not.
    pub(super) fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// Whether its segments may be padded with `=`: that belongs only to what the load balancer sets.
    fn may_be_padded(self) -> bool {
        matches!(self.place, TokenPlace::Header(_))
    }

    /// The token, for `Identity::verify`.
    ///
    /// # Errors
    /// `Refused` as malformed: there is what cannot be a token.
    pub fn text(self) -> Result<&'a str, Error> {
        let (place, padded) = (self.place, self.may_be_padded());
        // Without a branch per byte, sixteen are looked at together.
        let fits = |b: u8| {
            b.is_ascii_alphanumeric() | (b == b'-') | (b == b'_') | (b == b'.') | ((b == b'=') & padded)
        };
        let all_fit = self.bytes.iter().fold(true, |all, b| all & fits(*b));
        match std::str::from_utf8(self.bytes) {
            Ok(text) if !text.is_empty() && all_fit => Ok(text),
            _ => Err(Error::refused(Reason::Malformed, format!("{place} holds what no JWT contains"))),
        }
    }

    /// Where it was found.
    #[must_use]
    pub fn place(self) -> TokenPlace<'a> {
        self.place
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(*** from {})", self.place)
    }
}

/// Where a token was found. `Display` gives its usual name; the order is that of error messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TokenPlace<'a> {
    /// `Authorization: Bearer`.
    Bearer,
    /// `X-Amz-Security-Token`: the session token of an AWS SDK.
    SecurityToken,
    /// A configured header, which an access proxy sets.
    Header(&'a str),
    /// The configured cookie.
    Cookie(&'a str),
}

impl fmt::Display for TokenPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Authorization: Bearer"),
            Self::SecurityToken => f.write_str("X-Amz-Security-Token"),
            Self::Header(name) => f.write_str(name),
            Self::Cookie(name) => write!(f, "cookie {name}"),
        }
    }
}

impl From<TokenPlace<'_>> for AcceptedPlace {
    fn from(found: TokenPlace<'_>) -> Self {
        match found {
            TokenPlace::Bearer => Self::Bearer,
            TokenPlace::SecurityToken => Self::SecurityToken,
            TokenPlace::Header(name) => Self::Header(name.to_owned()),
            TokenPlace::Cookie(_) => Self::Cookie,
        }
    }
}

/// The places where a token may be, from the settings.
#[derive(Clone, Debug)]
pub struct TokenPlaces {
    headers: Vec<(HeaderName, String)>,
    cookie: Option<String>,
    vary: HeaderValue,
    limit: usize,
    anonymous: bool,
}

static SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const CAPABILITY: &str = "a playback capability in the path";

impl TokenPlaces {
    /// From settings that were checked; a header name that is none is left out.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let header = |name: &String| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, name.clone()));
        Self {
            headers: config.headers.iter().filter_map(header).collect(),
            cookie: config.cookie.clone(),
            vary: vary(&config.headers),
            limit: config.max_token.as_usize(),
            anonymous: config.anonymous,
        }
    }

    /// `Vary` of an answer that a token was needed for: a browser that reuses what it holds without asking,
    /// as it does on the way back through its history, does so for the same token only.
    #[must_use]
    pub fn vary(&self) -> &HeaderValue {
        &self.vary
    }

    /// The one credential of a request.
    ///
    /// # Errors
    /// `Missing`, `Several` or `TooLarge`. Whether what was found can be a token is [`Token::text`]'s to say.
    pub fn credential<'a>(
        &'a self,
        method: &Method,
        headers: &'a HeaderMap,
        capability_in_path: bool,
    ) -> Result<Credential<'a>, Error> {
        let (mut found, mut signed) = (Found::default(), false);
        // One pass over the headers costs less than a look-up of each name.
        for (name, value) in headers {
            let value = value.as_bytes();
            if *name == AUTHORIZATION {
                signed |= found.authorization(value);
            } else if *name == SECURITY_TOKEN {
                found.add(TokenPlace::SecurityToken, value);
            } else if !capability_in_path {
                self.automatic(name, value, &mut found);
            }
        }
        if !capability_in_path && self.anonymous && found.first.is_none() {
            return Ok(Credential::Anonymous);
        }
        if !capability_in_path {
            return self.only(&found, signed, method, headers).map(Credential::Token);
        }
        if found.first.is_none() {
            return Ok(Credential::Capability);
        }
        let mut places = found.places();
        places.push(CAPABILITY.to_owned());
        Err(Error::Several { found: places, advice: PLAYBACK_ADVICE })
    }

    /// Looks at what a browser or an access proxy adds by itself.
    fn automatic<'a>(&'a self, name: &HeaderName, value: &'a [u8], found: &mut Found<'a>) {
        for (_, shown) in self.headers.iter().filter(|(header, _)| header == name) {
            found.add(TokenPlace::Header(shown), value);
        }
        if let Some(cookie) = self.cookie.as_ref().filter(|_| *name == COOKIE) {
            found.cookies(value, cookie);
        }
    }

    /// Whether requests without a credential are answered, and capabilities that were made for them.
    #[must_use]
    pub fn allow_anonymous(&self) -> bool {
        self.anonymous
    }

    /// Where a token may be, in words, for the message that one is missing.
    #[must_use]
    pub fn explain(&self) -> String {
        let mut places = vec![
            TokenPlace::Bearer.to_string(),
            format!("{} (the session token of an AWS SDK)", TokenPlace::SecurityToken),
        ];
        places.extend(self.headers.iter().map(|(_, name)| name.clone()));
        places.extend(self.cookie.iter().map(|name| TokenPlace::Cookie(name).to_string()));
        places.join(", ")
    }

    fn only<'a>(
        &self,
        found: &Found<'a>,
        signed: bool,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<Token<'a>, Error> {
        let Some((place, bytes)) = found.first else {
            return Err(Error::Missing { hint: if signed { SIGNED_HINT } else { HINT } });
        };
        if !found.more.is_empty() {
            return Err(Error::Several { found: found.places(), advice: ADVICE });
        }
        if matches!(place, TokenPlace::Cookie(_)) && !is_same_site(method, headers) {
            return Err(Error::Missing { hint: COOKIE_HINT });
        }
        if place == TokenPlace::SecurityToken && !signed {
            return Err(Error::Missing { hint: UNSIGNED_HINT });
        }
        if bytes.len() > self.limit {
            return Err(Error::TooLarge { bytes: bytes.len(), limit: self.limit });
        }
        Ok(Token { bytes, place })
    }
}

/// False if a page of another site may have made the browser send this.
fn vary(headers: &[String]) -> HeaderValue {
    let own = ["authorization", "cookie", "x-amz-security-token"].map(str::to_owned);
    let names: Vec<String> = own.into_iter().chain(headers.iter().map(|name| name.to_lowercase())).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("*"))
}

fn is_same_site(method: &Method, headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    method == Method::GET
        || method == Method::HEAD
        || (sites.next().is_some_and(|site| site == "same-origin") && sites.next().is_none())
}

const ADVICE: &str = "send exactly one";
// Python's urllib and `curl --location-trusted` carry `Authorization` over from /streams/x/live.m3u8.
const PLAYBACK_ADVICE: &str = "this URL is a credential by itself: ask for it without \
    the other, and after a redirect to it send no Authorization";
const COOKIE_HINT: &str =
    "a cookie counts only for GET and HEAD, and for kvs-edge's own pages; send `Authorization: Bearer …`";
const HINT: &str = "send a JWT as `Authorization: Bearer …`, or as the session token of an AWS SDK";
const SIGNED_HINT: &str =
    "the request has an AWS signature but no session token; set AWS_SESSION_TOKEN to the JWT";
const UNSIGNED_HINT: &str = "X-Amz-Security-Token counts only beside \
    `Authorization: AWS4-HMAC-SHA256 …`; send `Authorization: Bearer …`";

/// What was found, and where. Nearly always one, for which nothing is allocated.
#[derive(Default)]
struct Found<'a> {
    first: Option<(TokenPlace<'a>, &'a [u8])>,
    more: Vec<(TokenPlace<'a>, &'a [u8])>,
}

impl<'a> Found<'a> {
    fn add(&mut self, place: TokenPlace<'a>, value: &'a [u8]) {
        let value = value.trim_ascii();
        // Access proxies set an empty header for a caller they do not know.
        if !value.is_empty() {
            self.push(place, value);
        }
    }

    fn push(&mut self, place: TokenPlace<'a>, value: &'a [u8]) {
        match self.first {
            None => self.first = Some((place, value)),
            Some(_) => self.more.push((place, value)),
        }
    }

    /// Adds a bearer token. True if the header is an AWS signature instead. Other schemes are ignored.
    fn authorization(&mut self, value: &'a [u8]) -> bool {
        let value = value.trim_ascii();
        let end = value.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            // Also when nothing follows: that is a broken credential, not an absent one.
            self.push(TokenPlace::Bearer, rest.trim_ascii());
        }
        scheme == b"AWS4-HMAC-SHA256"
    }

    /// Cookies of exactly this name (RFC 6265 4.2.1); nothing is unquoted or decoded.
    fn cookies(&mut self, header: &'a [u8], name: &'a str) {
        for pair in header.split(|b| *b == b';') {
            let pair = pair.trim_ascii();
            if let Some(value) = pair.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
                self.add(TokenPlace::Cookie(name), value);
            }
        }
    }

    fn places(&self) -> Vec<String> {
        let mut places: Vec<TokenPlace<'_>> =
            self.first.iter().chain(&self.more).map(|(place, _)| *place).collect();
        places.sort();
        places.iter().map(TokenPlace::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::ByteSize;
    use proptest::prelude::*;

    fn sources() -> TokenPlaces {
        TokenPlaces::new(&Config {
            headers: vec!["X-Amzn-Oidc-Data".into(), "Cf-Access-Jwt-Assertion".into()],
            cookie: Some("CF_Authorization".into()),
            max_token: ByteSize(1024),
            anonymous: false,
        })
    }

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (HeaderName::from_bytes(n.as_bytes()).unwrap(), HeaderValue::from_str(v).unwrap()))
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            })
    }

    fn told(list: &[(&str, &str)], capability: bool) -> String {
        told_by(&Method::GET, list, capability)
    }

    fn told_by(method: &Method, list: &[(&str, &str)], capability: bool) -> String {
        match sources().credential(method, &headers(list), capability) {
            Ok(Credential::Capability) => "capability".into(),
            Ok(Credential::Anonymous) => "anonymous".into(),
            Ok(Credential::Token(token)) => match token.text() {
                Ok(text) => format!("{text} from {}", token.place()),
                Err(e) => e.as_str().into(),
            },
            Err(Error::Several { found, .. }) => format!("several: {}", found.join(", ")),
            Err(Error::Missing { hint }) => format!("missing: {hint}"),
            Err(e) => e.as_str().into(),
        }
    }

    #[test]
    fn only_a_request_without_any_credential_is_anonymous() {
        let places =
            TokenPlaces::new(&Config { anonymous: true, cookie: Some("c".into()), ..Config::default() });
        let found = |method: Method, list: &[(&str, &str)], capability| match places.credential(
            &method,
            &headers(list),
            capability,
        ) {
            Ok(Credential::Anonymous) => "anonymous",
            Ok(Credential::Capability) => "capability",
            Ok(Credential::Token(_)) => "token",
            Err(_) => "refused",
        };
        assert_eq!(found(Method::GET, &[("cookie", "d=1")], false), "anonymous");
        assert_eq!(found(Method::POST, &[], false), "anonymous");
        assert_eq!(found(Method::GET, &[], true), "capability");
        assert_eq!(found(Method::GET, &[("authorization", "Bearer x")], false), "token");
        assert_eq!(found(Method::GET, &[("authorization", "Bearer ")], false), "token");
        assert_eq!(found(Method::POST, &[("cookie", "c=1")], false), "refused");
        assert_eq!(found(Method::GET, &[("x-amz-security-token", "x")], false), "refused");
        let two = [("authorization", "Bearer x"), ("cookie", "c=1")];
        assert_eq!(found(Method::GET, &two, false), "refused");
    }

    const AWS: (&str, &str) =
        ("authorization", "AWS4-HMAC-SHA256 Credential=kvsedge/20260101/eu-west-1/x/aws4_request");

    #[test]
    fn each_place_gives_its_token() {
        for (list, expected) in [
            (vec![("authorization", "Bearer a.b.c")], "a.b.c from Authorization: Bearer"),
            (vec![("authorization", "bEARER   a.b.c ")], "a.b.c from Authorization: Bearer"),
            (vec![AWS, ("x-amz-security-token", "a.b.c")], "a.b.c from X-Amz-Security-Token"),
            (vec![("x-amzn-oidc-data", "a==.b=.c")], "a==.b=.c from X-Amzn-Oidc-Data"),
            (
                vec![("cf-access-jwt-assertion", ""), AWS, ("x-amz-security-token", "a.b.c")],
                "a.b.c from X-Amz-Security-Token",
            ),
            (vec![AWS, ("cf-access-jwt-assertion", "a.b.c")], "a.b.c from Cf-Access-Jwt-Assertion"),
            (
                vec![("authorization", "Basic eDp5"), ("cf-access-jwt-assertion", "a.b.c")],
                "a.b.c from Cf-Access-Jwt-Assertion",
            ),
            (vec![("cookie", "x=1; CF_Authorization=a.b.c;y=2")], "a.b.c from cookie CF_Authorization"),
        ] {
            assert_eq!(told(&list, false), expected);
        }
    }

    #[test]
    fn two_credentials_are_refused_and_named_even_if_equal() {
        let bearer = ("authorization", "Bearer a.b.c");
        for (list, expected) in [
            (vec![bearer, bearer], "several: Authorization: Bearer, Authorization: Bearer"),
            (
                vec![bearer, ("x-amz-security-token", "a.b.c")],
                "several: Authorization: Bearer, X-Amz-Security-Token",
            ),
            (
                vec![bearer, AWS, ("x-amz-security-token", "d.e.f")],
                "several: Authorization: Bearer, X-Amz-Security-Token",
            ),
            (
                vec![AWS, ("x-amz-security-token", "a.b.c"), ("x-amz-security-token", "a.b.c")],
                "several: X-Amz-Security-Token, X-Amz-Security-Token",
            ),
            (vec![bearer, ("x-amzn-oidc-data", "a.b.c")], "several: Authorization: Bearer, X-Amzn-Oidc-Data"),
            (
                vec![("cookie", "CF_Authorization=a.b.c; CF_Authorization=a.b.c")],
                "several: cookie CF_Authorization, cookie CF_Authorization",
            ),
            (
                vec![("cookie", "CF_Authorization=a.b.c"), ("cf-access-jwt-assertion", "a.b.c")],
                "several: Cf-Access-Jwt-Assertion, cookie CF_Authorization",
            ),
        ] {
            assert_eq!(told(&list, false), expected);
        }
    }

    #[test]
    fn beside_a_capability_only_what_comes_by_itself_is_ignored() {
        assert_eq!(told(&[], true), "capability");
        assert_eq!(
            told(&[("cookie", "CF_Authorization=a.b.c"), ("cf-access-jwt-assertion", "a.b.c")], true),
            "capability"
        );
        assert_eq!(told(&[("authorization", "Basic eDp5")], true), "capability");
        assert_eq!(
            told(&[("authorization", "Bearer a.b.c")], true),
            "several: Authorization: Bearer, a playback capability in the path"
        );
        assert!(told(&[AWS, ("x-amz-security-token", "a.b.c")], true).starts_with("several"));
        let both = headers(&[("authorization", "Bearer a.b.c")]);
        let words = sources().credential(&Method::GET, &both, true).map(drop).unwrap_err().to_string();
        assert!(words.contains("without the other") && words.contains("after a redirect"), "{words}");
    }

    #[test]
    fn a_cookie_is_believed_where_a_stranger_s_page_gains_nothing() {
        let (cookie, site) = (("cookie", "CF_Authorization=a.b.c"), "sec-fetch-site");
        let believed = "a.b.c from cookie CF_Authorization";
        for method in [Method::GET, Method::HEAD] {
            assert_eq!(told_by(&method, &[cookie], false), believed);
            assert_eq!(told_by(&method, &[cookie, (site, "cross-site")], false), believed);
        }
        let post = |list: &[(&str, &str)]| told_by(&Method::POST, list, false);
        assert_eq!(post(&[cookie, (site, "same-origin")]), believed);
        for list in [
            vec![cookie],
            vec![cookie, (site, "same-site")],
            vec![cookie, (site, "cross-site")],
            vec![cookie, (site, "none")],
            vec![cookie, (site, "same-origin"), (site, "cross-site")],
        ] {
            assert!(post(&list).starts_with("missing: a cookie counts only"), "{list:?}");
        }
        assert_eq!(
            post(&[cookie, ("authorization", "Bearer a.b.c")]),
            "several: Authorization: Bearer, cookie CF_Authorization"
        );
        assert_eq!(post(&[("x-amzn-oidc-data", "a.b.c")]), "a.b.c from X-Amzn-Oidc-Data");
    }

    #[test]
    fn what_is_missing_is_explained() {
        assert!(told(&[], false).contains("Authorization: Bearer"));
        assert!(told(&[AWS], false).contains("AWS_SESSION_TOKEN"));
        assert!(told(&[("x-amz-security-token", "a.b.c")], false).contains("AWS4-HMAC-SHA256"));
        assert!(told(&[("authorization", "Basic eDp5")], false).starts_with("missing"));
        assert!(
            told(&[("cookie", "cf_authorization=a.b.c; xCF_Authorization=a.b.c")], false)
                .starts_with("missing")
        );
        assert!(sources().explain().contains("cookie CF_Authorization"));
    }

    #[test]
    fn what_cannot_be_a_token_is_malformed_and_what_is_long_is_too_large() {
        let long = format!("Bearer {}", "a".repeat(1025));
        assert_eq!(told(&[("authorization", &long)], false), "too_large");
        for list in [
            [("authorization", "Bearer")],
            [("authorization", "Bearer a.b.c, Bearer d.e.f")],
            [("authorization", "Bearer a.b.c=")],
            [("authorization", "Bearer \"a.b.c\"")],
            [("cookie", "CF_Authorization=\"a.b.c\"")],
        ] {
            assert_eq!(told(&list, false), "malformed", "{list:?}");
        }
    }

    #[test]
    fn a_token_does_not_show() {
        let (sources, headers) = (sources(), headers(&[("authorization", "Bearer a.b.c")]));
        let Ok(Credential::Token(token)) = sources.credential(&Method::GET, &headers, false) else {
            panic!("one token");
        };
        assert_eq!(format!("{token:?}"), "Token(*** from Authorization: Bearer)");
    }

    proptest! {
        #[test]
        fn any_headers_are_judged_without_panic(values in prop::collection::vec((0..5usize, "[ -~\u{e9}]{0,40}"), 0..5), capability: bool) {
            let names = ["authorization", "x-amz-security-token", "cookie", "x-amzn-oidc-data", "cf-access-jwt-assertion"];
            let mut all = HeaderMap::new();
            for (which, value) in values {
                if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                    all.append(names[which], value);
                }
            }
            let _ = sources().credential(&Method::POST, &all, capability);
        }
    }
}

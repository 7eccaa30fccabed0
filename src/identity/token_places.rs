//! Where a request carries its token: in exactly one place, or the request is refused.
//!
//! Every value of a repeated header counts for itself. Two credentials are refused even if they are equal,
//! because the next reader on the way may pick another one than we do (RFC 6750 2, RFC 8725). Behind proxies
//! that add one of their own, `identity.order` says which place decides; a bad token there is refused, and no
//! other is tried.
//!
//! A capability in the path is a credential that decides alone: on its paths nothing here is looked at.
//!
//! A browser also adds a cookie to requests that pages of other sites make it send. So the cookie counts for
//! GET and HEAD, whose answers such a page cannot read, and otherwise only where the browser says that the
//! request comes from our own pages (`Sec-Fetch-Site: same-origin`, which no script can set).

use super::config::Config;
use super::error::{Error, Reason};
use super::place::AcceptedPlace;
use super::place_kind::PlaceKind;
use http::header::{AUTHORIZATION, COOKIE, HeaderName};
use http::{HeaderMap, HeaderValue, Method};
use std::fmt;

/// What authenticates a request whose path has no capability.
pub enum Credential<'a> {
    /// A token.
    Token(Token<'a>),
    /// Nothing: there is no credential, and none is needed (`identity.anonymous`).
    Anonymous,
}

/// A token as it arrived, not verified. Shows only where it came from.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    bytes: &'a [u8],
    place: TokenPlace<'a>,
}

impl<'a> Token<'a> {
    /// The token of a sign-in at this gateway.
    #[must_use]
    pub fn of_sign_in(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), place: TokenPlace::SignIn }
    }

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
    /// The cookie of a sign-in at this gateway, which was opened.
    SignIn,
}

impl fmt::Display for TokenPlace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bearer => f.write_str("Authorization: Bearer"),
            Self::SecurityToken => f.write_str("X-Amz-Security-Token"),
            Self::Header(name) => f.write_str(name),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::SignIn => f.write_str("the cookie of a sign-in"),
        }
    }
}

impl From<TokenPlace<'_>> for AcceptedPlace {
    fn from(found: TokenPlace<'_>) -> Self {
        match found {
            TokenPlace::Bearer => Self::Bearer,
            TokenPlace::SecurityToken => Self::SecurityToken,
            TokenPlace::Header(name) => Self::Header(name.to_owned()),
            TokenPlace::Cookie(_) | TokenPlace::SignIn => Self::Cookie,
        }
    }
}

/// The places where a token may be, from the settings.
#[derive(Clone, Debug)]
pub struct TokenPlaces {
    headers: Vec<(HeaderName, String)>,
    cookie: Option<String>,
    /// Empty, or every kind once: the first that is present decides.
    order: Vec<PlaceKind>,
    vary: HeaderValue,
    limit: usize,
    anonymous: bool,
}

static SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

impl TokenPlaces {
    /// From settings that were checked; a header name that is none is left out.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let header = |name: &String| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, name.clone()));
        Self {
            headers: config.headers.iter().filter_map(header).collect(),
            cookie: config.cookie.clone(),
            order: config.order.clone(),
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

    /// What authenticates a request, of which `signed_in` is the token of a sign-in at this gateway.
    ///
    /// # Errors
    /// `Missing`, `Several` or `TooLarge`. Whether what was found can be a token is [`Token::text`]'s to say.
    /// Only a request without any credential is anonymous.
    pub fn credential<'a>(
        &'a self,
        method: &Method,
        headers: &'a HeaderMap,
        signed_in: Option<&'a str>,
    ) -> Result<Credential<'a>, Error> {
        match self.find(method, headers, signed_in) {
            Err(Error::Missing { hint: HINT | SIGNED_HINT }) if self.anonymous => Ok(Credential::Anonymous),
            other => other.map(Credential::Token),
        }
    }

    /// The token in the headers of a request.
    ///
    /// # Errors
    /// As [`TokenPlaces::credential`].
    pub fn token<'a>(&'a self, method: &Method, headers: &'a HeaderMap) -> Result<Token<'a>, Error> {
        self.find(method, headers, None)
    }

    fn find<'a>(
        &'a self,
        method: &Method,
        headers: &'a HeaderMap,
        signed_in: Option<&'a str>,
    ) -> Result<Token<'a>, Error> {
        let mut found = Found::default();
        if let Some(token) = signed_in {
            found.add(TokenPlace::SignIn, token.as_bytes());
        }
        // One pass over the headers costs less than a look-up of each name.
        for (name, value) in headers {
            let value = value.as_bytes();
            if *name == AUTHORIZATION {
                found.authorization(value);
            } else if *name == SECURITY_TOKEN {
                found.add(TokenPlace::SecurityToken, value);
            } else {
                self.automatic(name, value, &mut found);
            }
        }
        let cookies_count = cookies_count(method, headers);
        let (place, bytes) = self.deciding(&found, cookies_count)?;
        if matches!(place, TokenPlace::Cookie(_) | TokenPlace::SignIn) && !cookies_count {
            return Err(Error::Missing { hint: COOKIE_HINT });
        }
        if place == TokenPlace::SecurityToken && !found.signed {
            return Err(Error::Missing { hint: UNSIGNED_HINT });
        }
        if bytes.len() > self.limit {
            return Err(Error::TooLarge { bytes: bytes.len(), limit: self.limit });
        }
        Ok(Token { bytes, place })
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

    /// The only token that was found; of several, the one that `identity.order` puts first.
    fn deciding<'a>(
        &self,
        found: &Found<'a>,
        cookies_count: bool,
    ) -> Result<(TokenPlace<'a>, &'a [u8]), Error> {
        let Some(first) = found.first else {
            return Err(Error::Missing { hint: if found.signed { SIGNED_HINT } else { HINT } });
        };
        if found.more.is_empty() {
            return Ok(first);
        }
        let several = |advice| Err(Error::Several { found: found.places(), advice });
        if self.order.is_empty() {
            return several(ADVICE);
        }
        // Which line of a header decides has no order: every reader may take another.
        if found.signed && found.has(TokenPlace::Bearer) {
            return several(REPEATED_ADVICE);
        }
        let counts = |place: &TokenPlace<'_>| match place {
            TokenPlace::SecurityToken => found.signed,
            TokenPlace::Cookie(_) | TokenPlace::SignIn => cookies_count,
            TokenPlace::Bearer | TokenPlace::Header(_) => true,
        };
        let candidates = || found.all().filter(|(place, _)| counts(place));
        let Some(decides) = candidates().min_by_key(|(place, _)| self.rank(*place)) else {
            return Ok(first);
        };
        match candidates().filter(|(place, _)| *place == decides.0).count() {
            1 => Ok(decides),
            _ => several(REPEATED_ADVICE),
        }
    }

    /// Where a place stands in `identity.order`; headers by their order in `identity.headers`.
    fn rank(&self, place: TokenPlace<'_>) -> (usize, usize) {
        let (kind, within) = match place {
            TokenPlace::SecurityToken => (PlaceKind::SecurityToken, 0),
            TokenPlace::Bearer => (PlaceKind::Bearer, 0),
            TokenPlace::Header(name) => {
                (PlaceKind::Headers, self.headers.iter().position(|(_, shown)| shown == name).unwrap_or(0))
            }
            // One of the company's own comes before the one of this gateway.
            TokenPlace::Cookie(_) => (PlaceKind::Cookie, 0),
            TokenPlace::SignIn => (PlaceKind::Cookie, 1),
        };
        (self.order.iter().position(|known| *known == kind).unwrap_or(usize::MAX), within)
    }
}

fn vary(headers: &[String]) -> HeaderValue {
    let own = ["authorization", "cookie", "x-amz-security-token"].map(str::to_owned);
    let names: Vec<String> = own.into_iter().chain(headers.iter().map(|name| name.to_lowercase())).collect();
    HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("*"))
}

/// False if a page of another site may have made the browser send this, and something may come of it.
fn cookies_count(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET || method == Method::HEAD || is_from_own_page(headers)
}

/// Whether the browser says that the request comes from a page of this very origin, which no script can
/// make it say (Fetch Metadata, `Sec-Fetch-Site`).
#[must_use]
pub fn is_from_own_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    sites.next().is_some_and(|site| site == "same-origin") && sites.next().is_none()
}

const ADVICE: &str = "send exactly one, or let identity.order say which of them decides";
const REPEATED_ADVICE: &str =
    "identity.order says which place decides, but one of them holds two: send that once";
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
    /// There is an AWS signature.
    signed: bool,
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

    /// Adds a bearer token, or notes that the header is an AWS signature. Other schemes are ignored.
    fn authorization(&mut self, value: &'a [u8]) {
        let value = value.trim_ascii();
        let end = value.iter().position(|b| b.is_ascii_whitespace()).unwrap_or(value.len());
        let (scheme, rest) = value.split_at(end);
        if scheme.eq_ignore_ascii_case(b"Bearer") {
            // Also when nothing follows: that is a broken credential, not an absent one.
            self.push(TokenPlace::Bearer, rest.trim_ascii());
        }
        self.signed |= scheme == b"AWS4-HMAC-SHA256";
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

    fn all(&self) -> impl Iterator<Item = (TokenPlace<'a>, &'a [u8])> {
        self.first.iter().chain(&self.more).copied()
    }

    fn has(&self, place: TokenPlace<'_>) -> bool {
        self.all().any(|(found, _)| found == place)
    }

    fn places(&self) -> Vec<String> {
        let mut places: Vec<TokenPlace<'_>> = self.all().map(|(place, _)| place).collect();
        places.sort();
        places.iter().map(TokenPlace::to_string).collect()
    }
}

#[cfg(test)]
#[path = "tests/token_places.rs"]
mod tests;

//! The cookies of signing in: sealed with the keys of playback URLs, so that any replica opens them and a
//! restart ends no session.
//!
//! Browsers keep 4 KiB in a cookie, and the tokens of a company's provider are often larger, so a session is
//! split over several. Together they fit into one header of a request (`limits.one_header`). With TLS their
//! names begin with `__Host-`: browsers take such cookies only from this very host and send them nowhere else
//! (RFC 6265bis 4.1.3.2). Without TLS, which is for loopback only, `Secure` would keep the cookie away, and
//! cookies are shared by all ports of a host; so the port is in the name.

use super::attempt::{Attempts, LASTS};
use super::problem::Problem;
use super::session::Session;
use crate::kvs::Timestamp;
use crate::playback::Keys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, HeaderValue};
use http::{HeaderMap, Uri};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The most of a sealed session in one cookie: with its name and attributes it is below 4 KiB.
const PART: usize = 3_800;
/// Over how many cookies a session is split: together below 16 KiB.
const MOST_PARTS: usize = 4;
/// What is sealed for one purpose opens for no other.
const SESSION: &[u8] = b"kvs-edge session v1";
const ATTEMPTS: &[u8] = b"kvs-edge sign-in v1";

/// Reads and writes the cookies of one public address.
pub(super) struct Cookies {
    keys: Arc<Keys>,
    session: String,
    attempts: String,
    attributes: &'static str,
}

/// What a request carries of a session.
pub enum Carried {
    /// Nothing.
    Nothing,
    /// Something that cannot be opened: changed, cut short, or sealed with a key that is gone.
    Broken,
    /// A session.
    Session(Box<Session>),
}

impl Carried {
    /// The token that is judged.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        match self {
            Self::Session(session) => Some(session.bearer()),
            Self::Nothing | Self::Broken => None,
        }
    }

    /// The session, if there is one.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match self {
            Self::Session(session) => Some(session),
            Self::Nothing | Self::Broken => None,
        }
    }
}

impl Cookies {
    pub fn new(keys: Arc<Keys>, public_url: &Uri) -> Self {
        if public_url.scheme_str() == Some("https") {
            let attributes = "; Path=/; HttpOnly; SameSite=Lax; Secure";
            let (session, attempts) = ("__Host-kvs-edge-session-".into(), "__Host-kvs-edge-sign-in".into());
            return Self { keys, session, attempts, attributes };
        }
        let port = public_url.port_u16().unwrap_or(80);
        let attributes = "; Path=/; HttpOnly; SameSite=Lax";
        let (session, attempts) = (format!("kvs-edge-session-{port}-"), format!("kvs-edge-sign-in-{port}"));
        Self { keys, session, attempts, attributes }
    }

    /// The sign-ins that this browser has begun; none if its cookie cannot be opened.
    pub fn attempts(&self, headers: &HeaderMap, now: Timestamp) -> Attempts {
        let mut found = cookies(headers).filter(|(name, _)| *name == self.attempts);
        let (Some((_, value)), None) = (found.next(), found.next()) else { return Attempts::default() };
        let opened = URL_SAFE_NO_PAD.decode(value).ok().and_then(|s| self.keys.open_for(ATTEMPTS, &s));
        opened.and_then(|bytes| Attempts::from_bytes(&bytes, now)).unwrap_or_default()
    }

    /// The cookie that keeps these, or takes it away if there are none.
    pub fn keep_attempts(&self, attempts: &Attempts) -> Option<HeaderValue> {
        let bytes = attempts.to_bytes().filter(|_| !attempts.is_empty());
        let Some(bytes) = bytes else { return self.set(&self.attempts, "", Some(0)) };
        let sealed = URL_SAFE_NO_PAD.encode(self.keys.seal_for(ATTEMPTS, &bytes));
        self.set(&self.attempts, &sealed, Some(LASTS.as_secs()))
    }

    /// What a request carries of a session.
    pub fn carried(&self, headers: &HeaderMap) -> Carried {
        let mut parts = [None; MOST_PARTS];
        let mut is_there = false;
        for (name, value) in cookies(headers) {
            let Some(number) = name.strip_prefix(self.session.as_str()) else { continue };
            is_there = true;
            let slot = number.parse().ok().and_then(|number: usize| parts.get_mut(number));
            match slot {
                Some(slot @ None) => *slot = Some(value),
                _ => return Carried::Broken,
            }
        }
        match (is_there, self.open(&parts)) {
            (false, _) => Carried::Nothing,
            (true, None) => Carried::Broken,
            (true, Some(session)) => Carried::Session(Box::new(session)),
        }
    }

    /// The first part says how many there are; others are left over from a larger session.
    fn open(&self, parts: &[Option<&str>; MOST_PARTS]) -> Option<Session> {
        let (count, first) = parts[0]?.split_once('.')?;
        let rest = parts.get(1..count.parse().ok()?)?;
        let rest: Vec<&str> = rest.iter().copied().collect::<Option<_>>()?;
        let sealed = URL_SAFE_NO_PAD.decode([&[first], rest.as_slice()].concat().concat()).ok()?;
        let bytes = Zeroizing::new(self.keys.open_for(SESSION, &sealed)?);
        Session::from_bytes(&bytes)
    }

    /// The cookies that keep a session. What is too large for them goes without its ID token, which only
    /// makes signing out smoother, then without its refresh token.
    pub fn keep_session(&self, session: &Session, headers: &HeaderMap) -> Result<Vec<HeaderValue>, Problem> {
        let mut kept = session.clone();
        let mut sealed = self.sealed(&kept);
        for drop_more in [
            |kept: &mut Session| kept.id_token = Zeroizing::default(),
            |kept: &mut Session| {
                kept.refresh = Zeroizing::default();
            },
        ] {
            if sealed.as_ref().is_none_or(|sealed| sealed.len() > PART * MOST_PARTS) {
                drop_more(&mut kept);
                sealed = self.sealed(&kept);
                let issuer = session.issuer();
                tracing::warn!(issuer, renewable = kept.is_renewable(), "a session is too large for cookies");
            }
        }
        let sealed = sealed.filter(|sealed| sealed.len() <= PART * MOST_PARTS).ok_or(Problem::TooLarge)?;
        let count = sealed.len().div_ceil(PART);
        let mut cookies: Vec<HeaderValue> = Vec::with_capacity(MOST_PARTS);
        for number in 0..count {
            let part = &sealed[number * PART..sealed.len().min((number + 1) * PART)];
            let counted = if number == 0 { format!("{count}.{part}") } else { part.to_owned() };
            cookies.extend(self.set(&format!("{}{number}", self.session), &counted, None));
        }
        cookies.extend(self.clear_from(count, headers));
        Ok(cookies)
    }

    fn sealed(&self, session: &Session) -> Option<String> {
        Some(URL_SAFE_NO_PAD.encode(self.keys.seal_for(SESSION, &session.to_bytes()?)))
    }

    /// The cookies that take a session away.
    pub fn clear_session(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        self.clear_from(0, headers)
    }

    /// Takes away the parts from this number on that a request carries.
    fn clear_from(&self, first: usize, headers: &HeaderMap) -> Vec<HeaderValue> {
        let carries =
            |number: &usize| cookies(headers).any(|(name, _)| name == format!("{}{number}", self.session));
        let numbers = (first..MOST_PARTS).filter(carries);
        numbers.filter_map(|number| self.set(&format!("{}{number}", self.session), "", Some(0))).collect()
    }

    fn set(&self, name: &str, value: &str, max_age: Option<u64>) -> Option<HeaderValue> {
        let max_age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
        let mut header =
            HeaderValue::from_str(&format!("{name}={value}{max_age}{}", self.attributes)).ok()?;
        header.set_sensitive(true);
        Some(header)
    }
}

/// The cookies of a request (RFC 6265 4.2.1); nothing is unquoted or decoded.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='))
}

#[cfg(test)]
#[path = "tests/cookies.rs"]
mod tests;

//! Playback sessions of KVS: opening one, and fetching its resources.
//!
//! The URL that KVS gives is a credential in a query parameter. It is taken apart at once: the host passes
//! the same guard as a data endpoint, the token becomes a type that cannot be displayed, and a digest
//! becomes the id that can.

use super::answer::Answer;
use super::attempt::Expects;
use super::behalf::OnBehalfOf;
use super::call::json;
use super::client::{Located, Upstream};
use super::error::Error;
use super::origin::Origin;
use super::quota::cost::Cost;
use super::request::{Destination, KvsRequest};
use crate::base::clock;
use crate::base::hex;
use crate::kvs::bounds::{SESSION_SECONDS_MAX, SESSION_SECONDS_MIN};
use crate::kvs::operations::{GetDashStreamingSessionUrl, GetHlsStreamingSessionUrl};
use crate::kvs::{Call, Protocol, Resource, SessionParameters, Timestamp};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A session's token, byte for byte as KVS wrote it. It has no `Debug` and no `Display`, so that it cannot
/// be logged.
#[derive(Clone)]
pub struct SessionToken(Arc<Zeroizing<String>>);

impl SessionToken {
    /// The token, for a request to KVS.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// An open session of KVS. Clones share it.
#[derive(Clone)]
pub struct SessionUrl {
    origin: Origin,
    token: SessionToken,
    /// When KVS ends it.
    pub expires: Timestamp,
    /// What distinguishes it from other sessions in cache keys: a digest of the token, which does not
    /// reveal it.
    pub id: Arc<str>,
}

/// Shows the id only.
impl fmt::Debug for SessionUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionUrl").field("id", &self.id).field("expires", &self.expires).finish()
    }
}

impl SessionUrl {
    fn new(origin: Origin, token: &str, expires: Timestamp) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let id = hex::encode(&digest.as_ref()[..16]);
        Self {
            origin,
            token: SessionToken(Arc::new(Zeroizing::new(token.to_owned()))),
            expires,
            id: id.into(),
        }
    }

    /// A session that a test names. Its token and host stand in no playlist.
    #[cfg(test)]
    pub(crate) fn of_test(id: &str, expires: Timestamp) -> Self {
        let origin = Origin::parse("https://kvs.test").unwrap();
        Self { id: id.into(), ..Self::new(origin, "token-of-a-test", expires) }
    }

    /// The base address and the token: what must not stand in anything that leaves. Both are secrets of KVS.
    #[must_use]
    pub fn secret_parts(&self) -> (String, SessionToken) {
        let base = self.origin.uri("/").map(|uri| uri.to_string()).unwrap_or_default();
        (base, self.token.clone())
    }
}

impl Upstream {
    /// Opens a session that lives for `expires` (300 s to 43,200 s; bounds are enforced here). `principal`
    /// takes the turn under the quotas of KVS.
    ///
    /// # Errors
    /// As [`Upstream::call`]; [`Error::BrokenAnswer`] if KVS names a host that it may not.
    pub async fn open_session(
        &self,
        located: &Located,
        parameters: &SessionParameters,
        expires: Duration,
        principal: &Arc<str>,
    ) -> Result<SessionUrl, Error> {
        let seconds = u32::try_from(expires.as_secs()).unwrap_or(u32::MAX);
        let expires = seconds.clamp(SESSION_SECONDS_MIN, SESSION_SECONDS_MAX);
        let (stream, session) = (located.stream.clone(), parameters.clone());
        let (call, member, path) = match parameters.protocol {
            Protocol::Hls => (
                Call::GetHlsStreamingSessionUrl(GetHlsStreamingSessionUrl { stream, session, expires }),
                "HLSStreamingSessionURL",
                "/hls/v1/getHLSMasterPlaylist.m3u8",
            ),
            Protocol::Dash => (
                Call::GetDashStreamingSessionUrl(GetDashStreamingSessionUrl { stream, session, expires }),
                "DASHStreamingSessionURL",
                "/dash/v1/getDASHManifest.mpd",
            ),
        };
        // Before asking: KVS counts from when it makes the session.
        let end = Timestamp::from(clock::now()).plus(Duration::from_secs(expires.into()));
        let json =
            json(self.call(located, &call, &OnBehalfOf::all_callers(principal.clone())).await?).await?;
        let url = json.get(member).and_then(|url| url.as_str());
        let (origin, token) = url
            .and_then(|url| read(url, path))
            .ok_or_else(|| Error::BrokenAnswer(format!("no usable {member}")))?;
        self.entry(located)?.guard.allow(&origin).map_err(|why| Error::BrokenAnswer(why.into()))?;
        Ok(SessionUrl::new(origin, &token, end))
    }

    /// A session that another replica has opened: the base address and token of
    /// [`SessionUrl::secret_parts`].
    ///
    /// # Errors
    /// The address is no host that KVS may name.
    pub fn adopt_session(
        &self,
        located: &Located,
        base: &str,
        token: &str,
        expires: Timestamp,
    ) -> Result<SessionUrl, Error> {
        let broken = |why: &str| Error::BrokenAnswer(why.to_owned());
        let origin = Origin::parse(base.trim_end_matches('/')).ok_or_else(|| broken("no usable address"))?;
        self.entry(located)?.guard.allow(&origin).map_err(broken)?;
        Ok(SessionUrl::new(origin, token, expires))
    }

    /// Fetches a resource of a session. `max_fragments` is the session's own, which a playlist is charged by;
    /// `principal` takes the turn.
    ///
    /// # Errors
    /// [`Error::SessionExpired`] on 401 and 403, [`Error::NoData`] on 404, else as [`Upstream::call`].
    pub async fn fetch(
        &self,
        located: &Located,
        session: &SessionUrl,
        resource: &Resource,
        max_fragments: u16,
        principal: &Arc<str>,
    ) -> Result<Answer, Error> {
        let entry = self.entry(located)?;
        let config = &self.0.config;
        let whole = if resource.is_playlist() { config.playlist_deadline } else { config.playback_deadline };
        let path_and_query = resource
            .upstream_path(session.token.expose())
            .ok_or_else(|| Error::NoData(format!("{resource} is no resource of KVS")))?;
        let request = KvsRequest {
            api: resource.name(),
            stream: Some(located.stream.name().clone()),
            destination: Destination::Playback { origin: session.origin.clone(), path_and_query },
            body: Bytes::new(),
            limits: config.limits(config.first_byte, whole),
            expects: resource.media().map_or(Expects::Text, Expects::Media),
            cost: Cost::of_resource(resource, max_fragments, &session.id),
            principal: principal.clone(),
        };
        self.0.ask(entry, &request).await.map_err(|error| match error {
            Error::Kvs(fault) if matches!(fault.status, 401 | 403) => Error::SessionExpired,
            Error::Kvs(fault) if fault.status == 404 => Error::NoData(fault.message),
            other => other,
        })
    }
}

/// Takes a session URL apart: its origin, and its token as it stands in the query.
fn read(url: &str, path: &str) -> Option<(Origin, String)> {
    let (origin, rest) = Origin::split(url)?;
    if rest.path() != path {
        return None;
    }
    let mut tokens = rest.query()?.split('&').filter_map(|pair| pair.strip_prefix("SessionToken="));
    let token = tokens.next()?;
    (tokens.next().is_none() && is_token(token)).then(|| (origin, token.to_owned()))
}

/// Bytes that can stand in a query as they are (docs/KVS.md 5.1: base64url with `~`; mocks use standard
/// base64).
fn is_token(token: &str) -> bool {
    let fine = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~' | b'.' | b'+' | b'/' | b'=' | b'%')
    };
    (1..=2048).contains(&token.len()) && token.bytes().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "/hls/v1/getHLSMasterPlaylist.m3u8";

    #[test]
    fn a_session_url_is_taken_apart_and_its_token_kept_to_the_byte() {
        let (origin, token) = read(&format!("https://h{PATH}?SessionToken=CiA_-x~"), PATH).unwrap();
        assert_eq!((origin.host(), token.as_str()), ("h", "CiA_-x~"));
        for bad in [
            format!("https://h{PATH}"),
            format!("https://h{PATH}?SessionToken="),
            format!("https://h{PATH}?SessionToken=a&SessionToken=b"),
            format!("https://u:p@h{PATH}?SessionToken=a"),
            "https://h/other?SessionToken=a".to_owned(),
            format!("{PATH}?SessionToken=a"),
        ] {
            assert!(read(&bad, PATH).is_none(), "{bad}");
        }
    }

    #[test]
    fn nothing_shows_a_token() {
        let origin = Origin::parse("https://secret-host").unwrap();
        let session = SessionUrl::new(origin, "SECRET~", Timestamp::from_millis(0));
        let shown = format!("{session:?}");
        assert!(!shown.contains("SECRET") && !shown.contains("secret-host"), "{shown}");
        assert_eq!(session.id.len(), 32);
    }

    proptest! {
        #[test]
        fn any_url_is_read_or_refused_without_panic(url in "\\PC{0,80}") { let _ = read(&url, PATH); }
    }
}

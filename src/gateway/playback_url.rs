//! Playback URLs: the shared session is opened, and the way to it is sealed into a capability.

use super::authenticate::{BINDING_COOKIE, cookie};
use super::error::Error;
use super::packaged_playback::PackagedPlayback;
use super::permitted::Permitted;
use super::record::Record;
use super::reply::Reply;
use crate::archive::Archive;
use crate::kvs::{Protocol, Request, Resource, SessionParameters, StreamRef};
use crate::playback::{self, Bind, Binding, Keys, Statement};
use crate::policy::Policy;
use crate::sessions::{LiveWindow, SessionKey, Sessions, Visit};
use http::header::{self, HeaderValue};
use std::sync::Arc;
use std::time::Duration;

/// A URL that ends earlier would be over before a player has asked for anything.
const SHORTEST: Duration = Duration::from_secs(1);
/// Some players and proxies take no longer path segments.
const LONGEST_CAPABILITY: usize = 1023;
/// The paths on which browsers send the binding cookie.
const COOKIE_PATHS: [&str; 5] =
    ["/hls/", "/dash/", "/streams/", "/getHLSStreamingSessionURL", "/getDASHStreamingSessionURL"];

/// Makes playback URLs.
pub(super) struct PlaybackUrls {
    pub(super) archive: Archive,
    pub(super) sessions: Sessions,
    /// Archived footage that needs no session.
    pub(super) packaged: Arc<PackagedPlayback>,
    pub(super) policy: Arc<Policy>,
    pub(super) keys: Arc<Keys>,
    pub(super) config: playback::Config,
    /// What URLs begin with; no slash at its end.
    pub(super) public_url: Arc<str>,
}

/// The way to a playback session.
pub(super) struct PlaybackUrl {
    /// Begins with a slash.
    pub(super) path: String,
    /// The value of the binding cookie, if capabilities are bound to one.
    cookie: Option<String>,
}

impl PlaybackUrls {
    /// Opens the shared session, or finds the footage that is packaged here, so that the caller learns here
    /// whether there is anything to play. Seals the way to it for `expires` seconds at most.
    ///
    /// # Errors
    /// There is nothing to play, or the caller's claims do not fit into a URL.
    pub(super) async fn open(
        &self,
        permitted: &Permitted,
        session: &SessionParameters,
        expires: u32,
        record: &Record,
    ) -> Result<PlaybackUrl, Error> {
        let caller = permitted.caller();
        let asked = Duration::from_secs(u64::from(expires));
        let ends = playback::lifetime(permitted.now, asked, caller.expires, &self.config);
        if ends < permitted.now.plus(SHORTEST) {
            return Err(Error::DeadUrl(ends));
        }
        let stream = permitted.stream_reference(&self.archive).await?;
        let key = SessionKey::new(
            permitted.located()?.entry.clone(),
            stream.clone(),
            session.clone(),
            permitted.now,
            self.config.live_window,
        );
        if self.packaged.present(permitted, session, record).await?.is_none() {
            let visit = Visit { caller: permitted.caller(), now: permitted.now };
            permitted.steps.time("session", self.sessions.open(&key, visit)).await?;
        }
        let (bind, cookie) = self.binding(permitted, record);
        let statement = Statement {
            caller: caller.as_ref().clone(),
            stream,
            session: session.clone(),
            issued: permitted.now,
            expires: ends,
            bind,
            policies: None,
            key: permitted.key,
        };
        let capability = self.seal(statement)?;
        self.check(&capability, permitted)?;
        let file = match session.protocol {
            Protocol::Hls => "getHLSMasterPlaylist.m3u8",
            Protocol::Dash => "getDASHManifest.mpd",
        };
        Ok(PlaybackUrl { path: format!("/{}/v1/{capability}/{file}", session.protocol.as_str()), cookie })
    }

    /// A capability is given out only if it opens, and if policy permits by it what its first request asks.
    fn check(&self, capability: &str, permitted: &Permitted) -> Result<(), Error> {
        let Statement { caller, stream, session, .. } =
            self.keys.open(capability, permitted.now).map_err(Error::Capability)?;
        let resource = match session.protocol {
            Protocol::Hls => Resource::MasterPlaylist,
            Protocol::Dash => Resource::Manifest,
        };
        let first = Request::Playback { stream, session: session.into(), resource };
        self.policy.permit(Arc::new(caller), first, &permitted.context)?;
        Ok(())
    }

    /// What live HLS of a stream lists, if it has viewers here.
    pub(super) fn live_window(
        &self,
        permitted: &Permitted,
        stream: &StreamRef,
    ) -> Result<Option<LiveWindow>, Error> {
        let entry = &permitted.located()?.entry;
        Ok(self.sessions.live_window(entry, stream, permitted.now))
    }

    /// What a request must show besides the capability, and the cookie that a browser shows it by.
    fn binding(&self, permitted: &Permitted, record: &Record) -> (Option<Binding>, Option<String>) {
        match self.config.bind {
            Bind::None => (None, None),
            Bind::Address => (Some(Binding::Address(record.client)), None),
            Bind::Cookie => {
                let carried = cookie(&permitted.parts, BINDING_COOKIE);
                let value = self.keys.binding_cookie(&permitted.caller().principal(), carried);
                (Some(Binding::cookie(&value)), Some(value))
            }
        }
    }

    /// Seals a statement. If the caller's groups make it too long for a path, those are left out that no
    /// policy in force names: that decides nothing, and the playback URL ends with these policies.
    fn seal(&self, mut statement: Statement) -> Result<String, Error> {
        let whole = self.keys.seal(&statement);
        if whole.len() <= LONGEST_CAPABILITY {
            return Ok(whole);
        }
        statement.caller.groups.retain(|group| self.policy.names_group(group));
        statement.policies = Some(self.policy.version().clone());
        let abridged = self.keys.seal(&statement);
        if abridged.len() <= LONGEST_CAPABILITY { Ok(abridged) } else { Err(Error::LongCapability) }
    }

    /// Adds the binding cookie to a reply. Scripts cannot read it, and it is sent on the paths of playback
    /// and of the calls that give out playback URLs only. Over plain HTTP, which is for development, browsers
    /// take no `Secure` cookie, and `SameSite=None` needs one.
    pub(super) fn with_cookie(&self, mut reply: Reply, url: &PlaybackUrl) -> Reply {
        let Some(value) = &url.cookie else { return reply };
        let (name, base) = (BINDING_COOKIE, self.base_path());
        let secure = self.public_url.starts_with("https://");
        let scope = if secure { "Secure; SameSite=None" } else { "SameSite=Lax" };
        let seconds = self.config.max_ttl.0.as_secs();
        for path in COOKIE_PATHS {
            let line = format!("{name}={value}; Path={base}{path}; HttpOnly; {scope}; Max-Age={seconds}");
            if let Ok(line) = HeaderValue::from_str(&line) {
                reply.headers.append(header::SET_COOKIE, line);
            }
        }
        reply
    }

    /// What stands between the host and our own paths, if kvs-edge is published under a folder.
    pub(super) fn base_path(&self) -> &str {
        base_path(&self.public_url)
    }
}

fn base_path(public_url: &str) -> &str {
    let after_scheme = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    after_scheme.find('/').map_or("", |at| after_scheme[at..].trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_the_public_url_is_kept() {
        assert_eq!(base_path("http://127.0.0.1:8080"), "");
        assert_eq!(base_path("https://video.example.com/kvs"), "/kvs");
    }
}

//! URLs that are credentials by themselves. For playback the shared session is opened, and the way to it is
//! sealed into a capability; a link seals a clip or a picture.

use super::authenticate::{BINDING_COOKIE, cookie};
use super::error::Error;
use super::packaged_playback::PackagedPlayback;
use super::permitted::Permitted;
use super::read::read_link;
use super::reply::Reply;
use crate::accounting::Record;
use crate::archive::Archive;
use crate::kvs::{Protocol, Request, Resource, SessionParameters, StreamRef, Timestamp};
use crate::playback::{self, Bind, Binding, Keys, Link, Opens, Statement};
use crate::policy::Policy;
use crate::sessions::{LiveWindow, SessionKey, Sessions, Visit};
use http::header::{self, HeaderValue};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// A URL that ends earlier would be over before a player has asked for anything.
const SHORTEST: Duration = Duration::from_secs(1);
/// Some players and proxies take no longer path segments.
const LONGEST_CAPABILITY: usize = 1023;
/// The paths on which browsers send the binding cookie.
const COOKIE_PATHS: [&str; 7] = [
    "/hls/",
    "/dash/",
    "/clip/",
    "/image/",
    "/streams/",
    "/getHLSStreamingSessionURL",
    "/getDASHStreamingSessionURL",
];

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

/// The way to what a capability opens.
pub(super) struct PlaybackUrl {
    /// Begins with a slash.
    pub(super) path: String,
    /// When it opens nothing any more.
    expires: Timestamp,
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
        let ends = self.end(permitted, expires)?;
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
        let file = match session.protocol {
            Protocol::Hls => "/getHLSMasterPlaylist.m3u8",
            Protocol::Dash => "/getDASHManifest.mpd",
        };
        let opens = Opens::Session(Arc::new(session.clone()));
        let (capability, cookie) = self.capability(permitted, stream, opens, ends, record)?;
        let path = format!("/{}/v1/{capability}{file}", session.protocol.as_str());
        Ok(PlaybackUrl { path, expires: ends, cookie })
    }

    /// Seals the way to a clip or a picture for `expires` seconds at most. Whether there is footage is not
    /// looked at: it may still come, or go.
    ///
    /// # Errors
    /// There is no such stream, or the caller's claims do not fit into a URL.
    pub(super) async fn link(
        &self,
        permitted: &Permitted,
        link: Link,
        expires: u32,
        record: &Record,
    ) -> Result<PlaybackUrl, Error> {
        let ends = self.end(permitted, expires)?;
        let stream = StreamRef::Arn(permitted.stream(&self.archive).await?.arn().clone());
        let file = link.file;
        let (capability, cookie) = self.capability(permitted, stream, Opens::Link(link), ends, record)?;
        let path = format!("{}{capability}/{}", file.folder(), file.name());
        Ok(PlaybackUrl { path, expires: ends, cookie })
    }

    /// When a URL ends that is to last so many seconds: with the token, or `playback.max_ttl`, at the latest.
    fn end(&self, permitted: &Permitted, seconds: u32) -> Result<Timestamp, Error> {
        let asked = Duration::from_secs(u64::from(seconds));
        let ends = playback::lifetime(permitted.now, asked, permitted.caller().expires, &self.config);
        if ends < permitted.now.plus(SHORTEST) { Err(Error::DeadUrl(ends)) } else { Ok(ends) }
    }

    /// A capability of this caller, and the binding cookie that it needs.
    fn capability(
        &self,
        permitted: &Permitted,
        stream: StreamRef,
        opens: Opens,
        expires: Timestamp,
        record: &Record,
    ) -> Result<(String, Option<String>), Error> {
        let (bind, cookie) = self.binding(permitted, record);
        let capability = self.seal(Statement {
            caller: permitted.caller().as_ref().clone(),
            stream,
            opens,
            issued: permitted.now,
            expires,
            bind,
            policies: None,
            key: permitted.key,
        })?;
        self.check(&capability, permitted)?;
        Ok((capability, cookie))
    }

    /// A capability is given out only if it opens, and if policy permits by it what its first request asks.
    fn check(&self, capability: &str, permitted: &Permitted) -> Result<(), Error> {
        let Statement { caller, stream, opens, .. } =
            self.keys.open(capability, permitted.now).map_err(Error::Capability)?;
        let first = match opens {
            Opens::Session(session) => {
                let resource = match session.protocol {
                    Protocol::Hls => Resource::MasterPlaylist,
                    Protocol::Dash => Resource::Manifest,
                };
                Request::Playback { stream, session, resource }
            }
            Opens::Link(link) => Request::Call(read_link(&stream, &link, permitted.now)?),
        };
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

    /// Our own path as a URL that needs no other to be read.
    pub(super) fn absolute(&self, path: &str) -> String {
        format!("{}{path}", self.public_url)
    }

    /// `{url, expires}`, with the binding cookie.
    pub(super) fn json(&self, url: &PlaybackUrl) -> Reply {
        let text = json!({ "url": self.absolute(&url.path), "expires": url.expires.to_string() });
        self.with_cookie(Reply::json(&text), url)
    }

    /// What stands between the host and our own paths, if kvs-edge is published under a folder.
    fn base_path(&self) -> &str {
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

//! Answers players: playlists and manifests without secrets, media from the cache.
//!
//! A playlist is the same bytes for every viewer of a session, since the capability is in the path and every
//! URI in it is relative. Browsers do not keep it: a live one changes every second, and any of them must stop
//! when the viewer's right to it does.

use super::audit::Audit;
use super::error::Error;
use super::packaged_playback::PackagedPlayback;
use super::permitted::Permitted;
use super::reply::{self, CACHE_STATUS, ClientCache, MediaTerms, Reply, cache_status_of_playlist};
use crate::accounting::{BodySource, Record};
use crate::kvs::{Request, Resource, SessionParameters};
use crate::net::{gzip, range};
use crate::policy::Policy;
use crate::sessions::{self, Playlist, SessionKey, Sessions, ViewerId, Visit};
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};
use std::sync::Arc;
use std::time::Instant;

/// KVS takes fragments of 50 MB at most (docs/KVS.md 6), and packaging adds little.
const LONGEST_SEGMENT: u64 = 64 << 20;

/// Answers requests for resources of a playback session.
pub(super) struct Player {
    pub(super) sessions: Sessions,
    pub(super) policy: Arc<Policy>,
    pub(super) audit: Audit,
    /// Archived footage that needs no session.
    pub(super) packaged: Arc<PackagedPlayback>,
    /// `playback.live_window`.
    pub(super) live_window: u16,
}

impl Player {
    /// The answer to a playlist, a manifest, an init segment or a fragment.
    ///
    /// # Errors
    /// KVS's, or ours.
    pub(super) async fn answer(&self, permitted: &Permitted, record: &mut Record) -> Result<Reply, Error> {
        let (Request::Playback { stream, session, resource }, Some(capability)) =
            (permitted.request(), &permitted.capability)
        else {
            return Err(Error::Bug("a playback resource without a capability"));
        };
        permitted.allowance.play(stream.name(), Instant::now())?;
        let receipt = self.audit.watched(capability, session, self.policy.version(), record)?;
        self.audit.written(receipt).await?;
        let key = SessionKey::new(
            permitted.located()?.entry.clone(),
            stream.clone(),
            SessionParameters::clone(session),
            capability.issued,
            self.live_window,
        );
        let viewer = ViewerId::from(capability.viewer);
        let is_packaged = matches!(resource, Resource::Packaged(_));
        if is_packaged || resource.is_playlist() {
            match (self.packaged.present(permitted, session, record).await?, resource) {
                (Some((found, _)), Resource::Packaged(packaged)) => {
                    self.sessions.note_packaged(&key, viewer);
                    let of = (&*found, &**session);
                    let reply = self.packaged.segment(permitted, of, *packaged, record).await?;
                    let viewing = self.audit.viewing(capability, &self.sessions, key, resource, record);
                    record.viewing = Some(viewing);
                    return Ok(reply);
                }
                (Some(found), _) => {
                    self.sessions.note_packaged(&key, viewer);
                    let playlist = self.packaged.playlist(permitted, found, session, resource).await?;
                    record.cache = playlist.outcome.as_str();
                    return Ok(playlist_reply(playlist, resource, &permitted.parts.headers).await);
                }
                (None, Resource::Packaged(_)) => return Err(sessions::Error::Gone.into()),
                (None, _) => {}
            }
        }
        let visit = Visit { caller: permitted.caller(), now: permitted.now };
        if resource.is_playlist() {
            let loading = self.sessions.playlist(&key, resource, viewer, visit);
            let playlist = permitted.steps.time("playlist", loading).await?;
            record.cache = playlist.outcome.as_str();
            return Ok(playlist_reply(playlist, resource, &permitted.parts.headers).await);
        }
        if range::is_beyond(&permitted.parts.method, &permitted.parts.headers, LONGEST_SEGMENT) {
            return Ok(reply::out_of_range());
        }
        let found = self.sessions.segment(&key, resource, visit, &permitted.steps).await?;
        record.cache = found.outcome.as_str();
        let (method, headers) = (&permitted.parts.method, &permitted.parts.headers);
        let keep = ClientCache::of(capability, permitted.now);
        let terms = MediaTerms { content_type: resource.content_type(), keep, tagged: false };
        let reply = reply::media(found, method, headers, terms, permitted.now).await?;
        // Not before there is something to see: a refusal's bytes show nothing.
        record.viewing = Some(self.audit.viewing(capability, &self.sessions, key, resource, record));
        Ok(reply)
    }
}

async fn playlist_reply(playlist: Playlist, resource: &Resource, asked: &HeaderMap) -> Reply {
    let kind = resource.content_type();
    let text = &playlist.text;
    let mut etag = text.etag().to_string();
    let mut reply = if text.length() >= gzip::LEAST && gzip::takes_gzip(asked) {
        etag = gzip::tag(&etag);
        let packed = text.gzip().await;
        reply::text(packed, kind).with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
    } else {
        reply::stored_text(text, kind)
    };
    reply.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    reply.headers.insert(header::AGE, playlist.age.as_secs().into());
    reply.headers.insert(CACHE_STATUS, cache_status_of_playlist(playlist.outcome));
    if range::is_known(asked, &etag) {
        reply.status = StatusCode::NOT_MODIFIED;
        reply.source = BodySource::Empty;
        reply.headers.remove(header::CONTENT_ENCODING);
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        reply.headers.insert(header::ETAG, etag);
    }
    reply
}

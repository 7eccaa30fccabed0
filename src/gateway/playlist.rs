//! Answers players: playlists and manifests rewritten, media from the cache.
//!
//! A playlist is the same bytes for every viewer of a session, since the capability is in the path and every URI in
//! it is relative. It is not kept by browsers: a live one changes every second, and any of them must stop when the
//! viewer's right to it does.

use super::authenticate::Authenticated;
use super::error::Error;
use super::record::Record;
use super::reply::{self, CACHE_STATUS, Private, Reply};
use super::{Ask, Gateway, encoding};
use crate::cache::Outcome;
use crate::kvs::{Request, Resource, SessionParameters, StreamRef, Timestamp};
use crate::net::range;
use crate::sessions::{SessionKey, ViewerId};
use crate::upstream::Located;
use http::StatusCode;
use http::header::{self, HeaderValue};

impl Gateway {
    pub(super) async fn play(
        &self,
        ask: Ask<'_>,
        who: Authenticated,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let (Request::Playback { stream, session, resource }, Authenticated::Player(player)) =
            (ask.request(), &who)
        else {
            return Err(super::route::Lost::Unknown.into());
        };
        ask.allowance.play(stream.name(), std::time::Instant::now())?;
        let receipt = self.watched(player, ask.caller(), record)?;
        self.told(receipt).await?;
        let key = self.session_key(ask.located()?, stream, session, player.issued);
        let viewer = player.viewer;
        if resource.is_playlist() {
            return Box::pin(self.playlist(&ask, &key, resource, viewer, record)).await;
        }
        let found = self.sessions.segment(&key, resource, ask.now, &ask.steps).await?;
        record.cache = found.outcome.as_str();
        let (method, headers) = (&ask.parts.method, &ask.parts.headers);
        let reply = reply::media(found, method, headers, Private::Immutable, ask.now).await?;
        // Not before there is something to see: a refusal's bytes show nothing.
        record.viewing = Some(self.viewing(player, &key, viewer, resource, record));
        Ok(reply)
    }

    async fn playlist(
        &self,
        ask: &Ask<'_>,
        key: &SessionKey,
        resource: &Resource,
        viewer: ViewerId,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let playlist =
            ask.steps.time("playlist", self.sessions.playlist(key, resource, viewer, ask.now)).await?;
        record.cache = playlist.outcome.as_str();
        let kind = if matches!(resource, Resource::Manifest) {
            "application/dash+xml"
        } else {
            "application/vnd.apple.mpegurl"
        };
        // Packed once for all who take it.
        let packed = match playlist.packed.get() {
            _ if playlist.text.len() < encoding::LEAST || !encoding::takes_gzip(&ask.parts.headers) => None,
            Some(packed) => Some(packed.clone()),
            None => {
                let packed = encoding::gzip(playlist.text.clone()).await;
                packed.map(|packed| playlist.packed.get_or_init(|| packed).clone())
            }
        };
        let mut etag = playlist.etag.to_string();
        let mut reply = match packed {
            Some(packed) => {
                etag = encoding::tag(&etag);
                reply::text(packed, kind).with(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))
            }
            None => reply::text(playlist.text, kind),
        };
        reply.headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        reply.headers.insert(header::AGE, playlist.age.as_secs().into());
        reply.headers.insert(CACHE_STATUS, HeaderValue::from_static(cache_status(playlist.outcome)));
        if range::is_known(&ask.parts.headers, &etag) {
            reply.status = StatusCode::NOT_MODIFIED;
            reply.source = super::body::Source::Empty;
            reply.headers.remove(header::CONTENT_ENCODING);
        }
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            reply.headers.insert(header::ETAG, etag);
        }
        Ok(reply)
    }

    /// What tells one shared session from another. LIVE windows are clamped here, so that a viewer who asks for
    /// 5,000 fragments shares the session of those who ask for five.
    pub(super) fn session_key(
        &self,
        located: &Located,
        stream: &StreamRef,
        session: &SessionParameters,
        issued: Timestamp,
    ) -> SessionKey {
        SessionKey::new(
            located.entry.clone(),
            stream.clone(),
            session.clone(),
            issued,
            self.playback.live_window,
        )
    }
}

/// `Cache-Status` (RFC 9211) of a playlist.
fn cache_status(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit(_) => "kvs-edge; hit",
        Outcome::Miss | Outcome::Bypass => "kvs-edge; fwd=miss; stored",
        Outcome::Collapsed => "kvs-edge; fwd=miss; collapsed",
        Outcome::Stale => "kvs-edge; hit; detail=stale",
    }
}

//! By how much the media of a live session must be delayed so that one session continues where another ended.
//!
//! KVS counts the times of each session from an origin of its own (docs/KVS.md 8). Players get one timeline,
//! on which a fragment begins at its PROGRAM-DATE-TIME, in HLS, or at the time in the manifest, in DASH. That
//! is the same in every session and process, so players notice neither a renewal nor a restart. HLS playlists
//! do not contain the times of the media, so one fragment is read, which viewers will request next anyway.

use super::media::{self, Anchor};
use super::shared::{SharedSession, lock};
use super::upstream_session::{Location, UpstreamSession};
use crate::base::task::spawn_self_ending;
use crate::kvs::{Container, Protocol, Resource};
use crate::playback::hls::{MediaPlaylist, Playlist, Segment};
use crate::playback::{Rewritten, mp4};
use crate::sessions::error::Error;
use crate::telemetry::spans::Steps;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one fragment may take. A player waits for its first playlist meanwhile.
const READING: Duration = Duration::from_secs(3);
/// How many of the newest fragments are read, should one fail.
const TRIES: usize = 2;
/// The longest init segment that is read; they have some hundred bytes.
const LONGEST_INIT: u64 = 1 << 20;

impl SharedSession {
    /// True if fragments are published at other times than KVS gives them.
    fn shifts_media(&self) -> bool {
        let parameters = &self.key.parameters;
        self.key.is_live()
            && (parameters.protocol == Protocol::Dash || parameters.container == Container::FragmentedMp4)
    }

    /// Reads the init segments that a live playlist or manifest lists, and finds out the delay of the
    /// session.
    pub(super) async fn learn(
        &self,
        session: &Arc<UpstreamSession>,
        resource: &Resource,
        answer: &Rewritten,
    ) -> Result<(), Error> {
        if !self.shifts_media() {
            return Ok(());
        }
        match (resource, answer) {
            (_, Rewritten::Manifest(text)) => {
                // A manifest that cannot be read is refused when it is merged.
                let unknown = lock(&self.state).dash.unknown_inits(session.generation, text);
                for init in unknown.unwrap_or_default() {
                    if let Some(read) = self.read_init(session, &init).await? {
                        lock(&self.state).dash.learn(session.generation, &init, read);
                    }
                }
            }
            // The same holds for a playlist.
            (Resource::MediaPlaylist { .. }, Rewritten::Playlist(Playlist { media: Ok(playlist), .. })) => {
                let unknown = lock(&self.state).hls.unknown_inits(session.generation, playlist);
                for init in unknown {
                    if let Some(read) = self.read_init(session, &init).await? {
                        lock(&self.state).hls.learn(session.generation, &init, read);
                    }
                }
                session.delay.get_or_init(|| self.find_delay(session, playlist)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads an init segment through the cache, since players will request it next. `None` if its media
    /// cannot be shifted.
    async fn read_init(
        &self,
        session: &Arc<UpstreamSession>,
        init: &Resource,
    ) -> Result<Option<mp4::Init>, Error> {
        let at = Location::unshifted(session.clone(), init.clone());
        let found = media::get(&self.context, &self.key.stream, &at, &Steps::default()).await?;
        let bytes = found.entry.collect(LONGEST_INIT).await.map_err(Error::Broken)?;
        Ok(mp4::init(&bytes))
    }

    /// The delay of a session, by one of its newest fragments. If it cannot be found out, the media is passed
    /// on as it is, with a discontinuity ahead.
    async fn find_delay(&self, session: &Arc<UpstreamSession>, playlist: &MediaPlaylist) -> Option<Duration> {
        for segment in playlist.segments.iter().rev().take(TRIES) {
            if let Ok(Ok(delay)) = timeout(READING, self.delay_of(session, segment)?).await {
                if delay.is_some() {
                    lock(&self.state).hls.shift_times_of(session.generation);
                }
                return delay;
            }
        }
        tracing::warn!(
            stream = self.key.stream_text(),
            "the times of a session's media are not known: a discontinuity stands ahead of it"
        );
        None
    }

    /// Fetches a fragment into the cache, shifted so that it begins at its PROGRAM-DATE-TIME, and gives its
    /// delay. `None` without that date or a readable init segment.
    fn delay_of(
        &self,
        session: &Arc<UpstreamSession>,
        segment: &Segment,
    ) -> Option<impl Future<Output = Result<Option<Duration>, Error>>> {
        let init = segment.map.as_ref().map(|map| &map.resource)?;
        let init = lock(&self.state).hls.learned(session.generation, init)?;
        let anchor = Anchor::new(segment.date?, init);
        let at = Location::unshifted(session.clone(), segment.resource.clone());
        let (context, stream) = (self.context.clone(), self.key.stream.clone());
        Some(async move {
            let found = media::get_anchored(&context, &stream, &at, anchor.clone()).await?;
            // Players will request it next. A fetch without readers ends, so the rest is read here meanwhile.
            spawn_self_ending(async move {
                let mut reader = found.entry.body(None);
                while let Some(Ok(_)) = reader.next().await {}
            });
            Ok(anchor.delay())
        })
    }

    /// By how many ticks a fragment of a session is shifted; `None` until its track's playlist has been
    /// loaded.
    pub(super) fn shift(&self, session: &UpstreamSession, track: u8) -> Option<u64> {
        if !self.shifts_media() {
            return Some(0);
        }
        let Some(delay) = *session.delay.get()? else { return Some(0) };
        let init = lock(&self.state).hls.newest_init(session.generation, track)?;
        Some(init.ticks(delay))
    }
}

//! By how much the media of a live session must be delayed so that one session continues where another ended.
//!
//! KVS counts the times of each session from an origin of its own (docs/KVS.md 8). Players get one timeline,
//! since 1970: in HLS a fragment begins where the one ahead of it ends (`hls::media_times`), and the first
//! one at its PROGRAM-DATE-TIME; in DASH at the time in the manifest. So players notice neither a renewal nor
//! a restart. HLS playlists do not contain the times of the media, so the newest fragment of a session is
//! read, and those between before one is passed on: viewers request them next anyway.

use super::media::{self, Anchor, PlacedFragment};
use super::shared::{SharedSession, lock};
use super::upstream_session::{Location, UpstreamSession};
use crate::base::task::spawn_self_ending;
use crate::kvs::{Container, FragmentNumber, Protocol, Resource};
use crate::playback::hls::{MediaPlaylist, Playlist, Segment};
use crate::playback::{Rewritten, mp4};
use crate::sessions::error::Error;
use crate::sessions::hls::{FragmentTime, MediaPlace};
use crate::telemetry::spans::Steps;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long one fragment may take. A player waits for its first playlist meanwhile.
const READING: Duration = Duration::from_secs(3);
/// How many of the newest fragments are read, should one fail.
const TRIES: usize = 2;
/// Fragments read for the time of one: more than any live list holds.
const MOST_READ: usize = 64;
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
                let delay = session.delay.load_full();
                delay.get_or_init(|| self.find_delay(session, playlist)).await;
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
        for (index, segment) in playlist.segments.iter().enumerate().rev().take(TRIES) {
            let begins = lock(&self.state).hls.begin_of(playlist, index)?;
            if let Ok(Ok(delay)) = timeout(READING, self.delay_of(session, segment, begins)?).await {
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

    /// Fetches a fragment into the cache, shifted so that it begins at `begins`, in milliseconds since 1970,
    /// and gives its delay. `None` without a readable init segment.
    fn delay_of(
        &self,
        session: &Arc<UpstreamSession>,
        segment: &Segment,
        begins: u64,
    ) -> Option<impl Future<Output = Result<Option<Duration>, Error>>> {
        let init = segment.map.as_ref().map(|map| &map.resource)?;
        let init = lock(&self.state).hls.learned(session.generation, init)?;
        let number = segment.resource.fragment_number()?.clone();
        let anchor = Anchor::new(MediaPlace::BeginsAt(begins), init, segment.millis);
        let at = Location::unshifted(session.clone(), segment.resource.clone());
        Some(async move {
            let read = self.read_anchored(&at, &anchor).await?;
            if let Some(PlacedFragment { delay, start, end }) = read {
                let time = FragmentTime { start, end, generation: session.generation, delay: Some(delay) };
                lock(&self.state).hls.media_times.note(number, time);
            }
            Ok(read.map(|read| read.delay))
        })
    }

    async fn read_anchored(
        &self,
        at: &Location,
        anchor: &Arc<Anchor>,
    ) -> Result<Option<PlacedFragment>, Error> {
        let found = media::get_anchored(&self.context, &self.key.stream, at, anchor.clone()).await?;
        // Players will request it next. A fetch without readers ends, so the rest is read here meanwhile.
        spawn_self_ending(async move {
            let mut reader = found.entry.body(None);
            while let Some(Ok(_)) = reader.next().await {}
        });
        Ok(anchor.read())
    }

    /// Finds out when a fragment of live HLS is presented: reads those between it and the nearest one of
    /// which that is known. One request at a time does so; the others find its result.
    pub(super) async fn find_time(&self, resource: &Resource) {
        let Resource::Mp4Fragment { protocol: Protocol::Hls, number, .. } = resource else { return };
        if !self.shifts_media() || lock(&self.state).hls.media_times.of(number).is_some() {
            return;
        }
        let _turn = self.reading.lock().await;
        for _ in 0..MOST_READ {
            let unread = lock(&self.state).hls.next_unread(number);
            let Some(unread) = unread else { return };
            let session = lock(&self.state).session(unread.generation);
            let read = match session.zip(unread.init) {
                // Its session is gone. The next is placed by the length in the playlist.
                None => None,
                Some((session, init)) => {
                    if !matches!(session.delay(), Some(Some(_))) {
                        return;
                    }
                    let anchor = Anchor::new(unread.place, init, unread.millis);
                    let at = Location::unshifted(session, unread.resource);
                    let reading = timeout(READING, self.read_anchored(&at, &anchor));
                    reading.await.ok().and_then(Result::ok).flatten()
                }
            };
            let (start, end) = match (read, unread.place) {
                (Some(read), _) => (read.start, read.end),
                (None, MediaPlace::BeginsAt(start)) => (start, start + unread.millis),
                (None, MediaPlace::EndsAt(end)) => (end.saturating_sub(unread.millis), end),
            };
            let delay = read.map(|read| read.delay);
            let time = FragmentTime { start, end, generation: unread.generation, delay };
            lock(&self.state).hls.media_times.note(unread.number, time);
        }
    }

    /// By how many ticks a fragment of a session is shifted; `None` until its track's playlist has been
    /// loaded.
    pub(super) fn shift(&self, session: &UpstreamSession, track: u8, number: &FragmentNumber) -> Option<u64> {
        if !self.shifts_media() {
            return Some(0);
        }
        let Some(usual) = session.delay()? else { return Some(0) };
        let state = lock(&self.state);
        let own = state.hls.media_times.of(number).filter(|time| time.generation == session.generation);
        let init = state.hls.newest_init(session.generation, track)?;
        Some(init.ticks(own.and_then(|own| own.delay).unwrap_or(usual)))
    }
}

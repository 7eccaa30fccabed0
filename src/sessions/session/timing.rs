//! By how much the media of a live session must be moved for one session to go on where another ended.
//!
//! KVS counts the times of each session from wherever it likes (`KVS.md` 8). Players are shown one timeline, on which a
//! fragment begins when its PROGRAM-DATE-TIME says, in HLS, or its manifest, in DASH: the same in every session and
//! process, so that neither a renewal nor a restart of ours is anything that a player could notice. HLS has no
//! manifest that tells the times of the media, so one fragment is looked into, which viewers will ask for next anyway.

use super::shared::{Session, Shared, lock, stream_text};
use crate::kvs::{Container, Protocol, Resource, Timestamp};
use crate::sessions::Error;
use crate::sessions::hls::playlist::MediaPlaylist;
use crate::sessions::origin::{Origin, Track};
use crate::sessions::pool::Located;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A player waits for its first playlist meanwhile.
const LOOKING: Duration = Duration::from_secs(3);
/// How many of the newest fragments are looked into, should one fail.
const TRIES: usize = 2;

impl<O: Origin> Shared<O> {
    /// True if fragments are published at other times than KVS gives them.
    pub(in crate::sessions) fn moves_media(&self) -> bool {
        self.key.moves()
            && (self.key.parameters.protocol == Protocol::Dash
                || self.key.parameters.container == Container::FragmentedMp4)
    }

    /// Looks into what a live playlist or manifest lists: its init segments, and what its media can be moved by.
    pub(in crate::sessions) async fn learn(
        &self,
        session: &Arc<Session<O::Handle>>,
        resource: &Resource,
        text: &str,
    ) -> Result<(), Error<O::Error>> {
        match resource {
            // What cannot be read is told of when it is merged.
            Resource::Manifest if self.moves_media() => {
                let unknown = lock(&self.state).periods.unknown(session.generation, text);
                for init in unknown.unwrap_or_default() {
                    if let Some(track) = self.look(session, &init).await? {
                        lock(&self.state).periods.learn(session.generation, &init, track);
                    }
                }
            }
            Resource::MediaPlaylist { .. } if self.moves_media() => {
                let Ok(playlist) = MediaPlaylist::parse(text) else { return Ok(()) };
                let unknown = lock(&self.state).timeline.unknown(session.generation, &playlist);
                for init in unknown {
                    if let Some(track) = self.look(session, &init).await? {
                        lock(&self.state).timeline.learn(session.generation, &init, track);
                    }
                }
                session.moved.get_or_init(|| self.anchor(session, &playlist)).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn look(
        &self,
        session: &Arc<Session<O::Handle>>,
        init: &Resource,
    ) -> Result<Option<Track>, Error<O::Error>> {
        let located = Located { opened: session.clone(), resource: init.clone(), moved: 0 };
        self.origin.track(&self.key, located).await.map_err(Error::Origin)
    }

    /// By how much the media of a session is moved, by its newest fragment, whose time has been told. A session of
    /// which that cannot be found out is shown as it is, with a discontinuity ahead.
    async fn anchor(&self, session: &Arc<Session<O::Handle>>, playlist: &MediaPlaylist) -> Option<Duration> {
        for segment in playlist.segments.iter().rev().take(TRIES) {
            let init = segment.map.as_ref().map(|map| &map.resource)?;
            let track = lock(&self.state).timeline.learned(session.generation, init)?;
            let begins: Timestamp = segment.date?;
            let located = Located { opened: session.clone(), resource: segment.resource.clone(), moved: 0 };
            let looking = self.origin.anchor(&self.key, located, begins, track);
            if let Ok(Ok(moved)) = timeout(LOOKING, looking).await {
                if moved.is_some() {
                    lock(&self.state).timeline.moves(session.generation);
                }
                return moved;
            }
        }
        let stream = stream_text(&self.key.stream);
        tracing::warn!(
            stream,
            "the times of a session's media are not known: a discontinuity stands ahead of it"
        );
        None
    }

    /// By how many ticks a fragment of a session is moved; `None` until its track's playlist has been looked into.
    pub(in crate::sessions) fn ticks(&self, session: &Session<O::Handle>, track: u8) -> Option<u64> {
        if !self.moves_media() {
            return Some(0);
        }
        let Some(moved) = *session.moved.get()? else { return Some(0) };
        let known = lock(&self.state).timeline.track(session.generation, track)?;
        Some(known.ticks(moved))
    }
}

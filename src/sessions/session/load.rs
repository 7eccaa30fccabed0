//! Loading a playlist or manifest, from the request to the bytes that players get.
//!
//! [`SharedSession::playlist`] answers from the cached playlist or waits for one load. The load asks KVS,
//! takes the secrets out, finds out the times of the media, merges what KVS lists with what players have
//! seen, and plans what is fetched ahead of requests.

use super::alone::HELD_BACK;
use super::cached_playlist::{CachedPlaylist, Playlist, Published};
use super::media;
use super::prefetch::FootageIndex;
use super::shared::{SharedSession, lock};
use super::state::SessionState;
use super::upstream_session::UpstreamSession;
use crate::base::stored_text::{HeldText, StoredText};
use crate::cache::Outcome;
use crate::kvs::bounds::PLAYLIST_FRAGMENTS;
use crate::kvs::{Resource, Timestamp};
use crate::playback::{self, Rewritten};
use crate::sessions::dash::manifest;
use crate::sessions::error::{Effect, Error};
use crate::upstream;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// A session that has just been opened and lists nothing belongs to a silent camera, and another one would be
/// no better. One that lists nothing later than this may be over.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// The longest playlist that is read: 5,000 fragments of some 250 bytes, and room.
const LONGEST: usize = 4 << 20;
/// Fragments fetched ahead at the same time, per session: KVS allows 20 a second.
pub(super) const FETCHES: usize = 4;
/// How long a manifest counts as listing when its own times are not read.
const UNREAD_TARGET: Duration = Duration::from_secs(2);
const FIXED_TARGET: Duration = Duration::from_secs(60);
/// Playlists of footage are long, and wait longer for their turn under the quotas: so many times as long as
/// those of the present.
pub(super) const FOOTAGE_DEADLINES: u32 = 3;
/// Longer playlists are stored off the runtime.
const QUICK: usize = 64 << 10;

/// A playlist or manifest that was merged.
pub(super) struct Merged {
    pub(super) text: String,
    pub(super) listed: Vec<Resource>,
    pub(super) target: Duration,
    pub(super) fixed: bool,
    /// When the fragments end that are not listed yet because every replica goes by itself.
    pub(super) withheld: Vec<Timestamp>,
}

impl SharedSession {
    /// A playlist or manifest: at once, or after one load for all requests that wait.
    pub(in crate::sessions) async fn playlist(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Playlist, Error> {
        let cached = self.cached(resource);
        if let Some(answer) = self.fresh(&cached) {
            return answer;
        }
        // The load runs to its end even if the request that began it is dropped.
        let load = self.loads.start(resource.clone(), || self.clone().load(resource.clone(), cached.clone()));
        let outcome = if load.joined() { Outcome::Collapsed } else { Outcome::Miss };
        match cached.meanwhile(Instant::now()) {
            // Without a result `cached` has none either.
            None => drop(load.result().await),
            Some(_) => {
                let mut result = pin!(load.result());
                if timeout(self.context.config.patience.0, &mut result).await.is_err() {
                    match cached.meanwhile(Instant::now()) {
                        Some(last) => return Ok(last),
                        // It does not stand in any more: only the load says what is to be shown.
                        None => drop(result.await),
                    }
                }
            }
        }
        cached.after_load(outcome, Instant::now())
    }

    fn cached(&self, resource: &Resource) -> Arc<CachedPlaylist> {
        let mut playlists = lock(&self.playlists);
        let make = || Arc::new(CachedPlaylist::new(self.context.room.clone()));
        playlists.entry(resource.clone()).or_insert_with(make).clone()
    }

    fn fresh(&self, cached: &CachedPlaylist) -> Option<Result<Playlist, Error>> {
        let generation = lock(&self.state).current_generation();
        cached.answer(generation, Instant::now())
    }

    async fn load(self: Arc<Self>, resource: Resource, cached: Arc<CachedPlaylist>) {
        // Another load may have ended since the request looked.
        if self.fresh(&cached).is_some() {
            return;
        }
        if let Some(common) = self.playlists_in_common() {
            return self.load_in_common(common, &resource, &cached).await;
        }
        cached.begin(Instant::now());
        let result = match self.key.long_range() {
            None => self.fetch(&resource).await,
            Some(range) => self.fetch_parts(&resource, range).await,
        };
        match result {
            Ok(published) => cached.finish(Ok(published)),
            Err(failure) => self.load_failed(&cached, failure).await,
        }
    }

    /// Notes that a load failed.
    pub(super) async fn load_failed(&self, cached: &CachedPlaylist, failure: Error) {
        let result = match self.key.parameters.ends_when_silent && failure.effect() == Effect::NoData {
            true => self.ended(cached).await.ok_or(failure),
            false => Err(failure),
        };
        cached.finish(result);
    }

    /// A playlist or manifest as players get it.
    pub(super) async fn fetch(self: &Arc<Self>, resource: &Resource) -> Result<Published, Error> {
        let (session, answer, asked) = self.fetch_from_any(resource).await?;
        self.learn(&session, resource, &answer).await?;
        self.publish(&session, resource, answer, asked).await
    }

    /// What the upstream session answers for a playlist, and when it was asked; another one, if KVS has ended
    /// it.
    pub(super) async fn fetch_from_any(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<(Arc<UpstreamSession>, Rewritten, Instant), Error> {
        let mut session = self.session().await?;
        let mut is_second = false;
        loop {
            let asked = Instant::now();
            let error = match self.fetch_from(&session, resource).await {
                Ok(answer) => return Ok((session, answer, asked)),
                Err(error) => error,
            };
            let is_lost = match error.effect() {
                Effect::SessionLost => true,
                // A camera that has been silent may have taken the session with it (docs/KVS.md 5.7).
                Effect::NoData => session.opened.elapsed() >= SILENCE,
                Effect::Transient | Effect::Permanent => false,
            };
            if !is_lost || is_second {
                return Err(error);
            }
            is_second = true;
            session = self.replace(&session).await?;
        }
    }

    /// What a session answers for a playlist or manifest, without token and host.
    pub(super) async fn fetch_from(
        &self,
        session: &UpstreamSession,
        resource: &Resource,
    ) -> Result<Rewritten, Error> {
        let deadline = self.context.source.playlist_deadline();
        let patience = if self.key.is_live() { deadline } else { deadline * FOOTAGE_DEADLINES };
        let answering = async {
            let source = &self.context.source;
            let (stream, most, principal) =
                (&self.key.stream, session.parameters.max_fragments, self.turn.principal());
            let answer = source.fetch(stream, &session.url, resource, most, &principal).await?;
            answer.bytes(LONGEST).await.map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))
        };
        let bytes = timeout(patience, answering).await.map_err(|_| Error::Slow(patience))??;
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| upstream::Error::BrokenAnswer("a playlist is not UTF-8".to_owned()))?;
        let (host, token) = session.url.secret_parts();
        let host = host.split_once("://").map_or(host.as_str(), |(_, host)| host).trim_end_matches('/');
        playback::rewrite(resource, text, &[token.expose(), host]).map_err(Error::Rewrite)
    }

    /// Publishes what a session lists, and plans what is fetched ahead.
    async fn publish(
        self: &Arc<Self>,
        session: &UpstreamSession,
        resource: &Resource,
        answer: Rewritten,
        asked: Instant,
    ) -> Result<Published, Error> {
        let Merged { text, listed, target, fixed, .. } = self.merge(session, resource, answer)?;
        let text = self.store(text).await?;
        self.plan_ahead(resource, &listed);
        Ok(Published { text, asked, target, generation: session.generation, fixed, until: None })
    }

    /// Merges what a session lists with what players have seen.
    pub(super) fn merge(
        &self,
        session: &UpstreamSession,
        resource: &Resource,
        answer: Rewritten,
    ) -> Result<Merged, Error> {
        let mut withheld = Vec::new();
        let (text, listed, target, fixed) = match (resource, answer) {
            (Resource::MediaPlaylist { track }, Rewritten::Playlist(answer)) if self.key.is_live() => {
                let mut listed = answer.media.map_err(Error::UnusablePlaylist)?;
                let mut state = lock(&self.state);
                let now = state.now();
                let until = self.held_back(&state);
                state.hls.note_others(until.is_some());
                if let Some(until) = until {
                    listed.segments.retain(|segment| {
                        let Some(date) = segment.date else { return true };
                        let ends = date.plus(Duration::from_millis(segment.millis));
                        if ends > until {
                            withheld.push(ends);
                        }
                        ends <= until
                    });
                }
                let merged = state.hls.merge(*track, session.generation, &listed, now);
                let merged = merged.map_err(Error::UnusablePlaylist)?;
                let (target, fixed) = (Duration::from_secs(merged.target), merged.ended);
                let mut shown = merged;
                shown.ended |= self.key.parameters.ends_when_silent
                    && state.hls.window_shown(now).is_some_and(|window| window.silent);
                let text = shown.render(self.key.parameters.show_timestamps);
                (text, shown.resources(), target, fixed)
            }
            (_, Rewritten::Manifest(text)) if self.key.is_live() => {
                return self.merge_manifest(session, text);
            }
            (_, Rewritten::Manifest(text)) => {
                if self.key.is_whole_manifest() && manifest::listed(&text) >= usize::from(PLAYLIST_FRAGMENTS)
                {
                    return Err(Error::TooLong(
                        "the range holds 5,000 fragments or more, which is all that one DASH manifest lists: \
                         ask for a shorter range, or for vod.m3u8, which joins longer ones",
                    ));
                }
                (text, Vec::new(), FIXED_TARGET, true)
            }
            (_, Rewritten::Playlist(answer)) => (answer.text, answer.resources, FIXED_TARGET, true),
        };
        Ok(Merged { text, listed, target, fixed, withheld })
    }

    /// The newest time that is shown while every replica goes by itself; `None` otherwise.
    fn held_back(&self, state: &SessionState) -> Option<Timestamp> {
        self.common.as_ref()?.is_alone().then(|| state.now().minus(HELD_BACK))
    }

    /// Stores a playlist for its viewers. A long one is compressed off the runtime.
    pub(super) async fn store(&self, text: String) -> Result<HeldText, Error> {
        let is_short = text.len() <= QUICK;
        let room = self.context.room.clone();
        let store = move || HeldText::new(Arc::new(StoredText::new(text)), &room);
        if is_short {
            return Ok(store());
        }
        // It does not panic; the runtime may be shutting down.
        tokio::task::spawn_blocking(store).await.map_err(|_| Error::Gone)
    }

    /// The last playlist with an end: players that give up a list which stands still stop in good order.
    async fn ended(&self, cached: &CachedPlaylist) -> Option<Published> {
        const END: &str = "#EXT-X-ENDLIST";
        let last = cached.last()?;
        let stored = last.text.get(&self.context.room)?;
        let text = std::str::from_utf8(stored.plain()?).ok()?.to_owned();
        if text.trim_end().ends_with(END) {
            return Some(Published { asked: Instant::now(), ..last });
        }
        let text = self.store(format!("{text}{END}\n")).await.ok()?;
        Some(Published { text, asked: Instant::now(), ..last })
    }

    fn merge_manifest(&self, session: &UpstreamSession, text: String) -> Result<Merged, Error> {
        let merged =
            |text, target, fixed, withheld| Merged { text, listed: Vec::new(), target, fixed, withheld };
        let mut state = lock(&self.state);
        if state.pass_manifest {
            return Ok(merged(text, UNREAD_TARGET, false, Vec::new()));
        }
        let now = state.now();
        let until = self.held_back(&state);
        match state.dash.merge(session.generation, &text, now, until) {
            Ok(shown) => Ok(merged(shown.text, shown.target, shown.ended, shown.withheld)),
            Err(strange) if state.dash.is_empty() => {
                tracing::warn!(stream = self.key.stream_text(), "{strange}: it is passed on as it is");
                state.pass_manifest = true;
                Ok(merged(text, UNREAD_TARGET, false, Vec::new()))
            }
            Err(strange) => Err(Error::UnusablePlaylist(strange)),
        }
    }

    /// Plans what is fetched ahead after a playlist was published. What viewers will request of footage
    /// depends on where they are, so there it is only noted.
    pub(super) fn plan_ahead(self: &Arc<Self>, resource: &Resource, listed: &[Resource]) {
        if self.key.is_live() {
            let fragments = lock(&self.state).plan_live(resource);
            self.fetch_ahead(fragments);
        } else if let Resource::MediaPlaylist { track } = resource {
            let footage = FootageIndex::new(listed);
            let footage = footage.map(|footage| footage.kept_in(&self.context.room));
            lock(&self.state).prefetch.note_footage(*track, footage);
        }
    }

    /// A viewer requests a fragment of footage: those that follow it will be next.
    pub(in crate::sessions) fn fetch_following(self: &Arc<Self>, fragment: &Resource) {
        if !self.key.is_live() {
            let following = lock(&self.state).prefetch.plan_following(fragment, &self.context.room);
            self.fetch_ahead(following);
        }
    }

    /// Fetches what viewers will request, as long as there are any.
    fn fetch_ahead(self: &Arc<Self>, fragments: Vec<Resource>) {
        if fragments.is_empty() || lock(&self.viewers).count() == 0 {
            return;
        }
        let mut fetching = lock(&self.fetching_ahead);
        while fetching.try_join_next().is_some() {}
        for fragment in fragments {
            if fetching.len() >= FETCHES {
                return;
            }
            let this = self.clone();
            fetching.spawn(async move {
                if let Ok(at) = this.locate(&fragment).await {
                    // No viewer has requested it yet. The failure is reported to the first one who does.
                    let _ = media::warm(&this.context, &this.key.stream, &at).await;
                }
            });
        }
    }
}

//! Loading the playlists of a session: once for all who wait, merged with what they have seen, and what is fetched
//! ahead.

use super::shared::{FETCHES, Session, Shared, State, lock, stream_text};
use crate::kvs::Resource;
use crate::sessions::dash::manifest;
use crate::sessions::hls::long_vod::MOST;
use crate::sessions::hls::playlist::{self, MediaPlaylist};
use crate::sessions::origin::{Origin, Verdict};
use crate::sessions::session::cached_playlist::{Failure, Look, Outcome, Playlist, Published, Slot, Stands};
use crate::sessions::{Error, REVIVAL};
use aws_lc_rs::digest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// KVS answers faster, or not at all.
const LOADING: Duration = Duration::from_secs(5);

impl<O: Origin> Shared<O> {
    /// A playlist or manifest: at once, or after one load for all who wait.
    pub(in crate::sessions) async fn playlist(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Playlist, Error<O::Error>> {
        let slot = lock(&self.slots).entry(resource.clone()).or_insert_with(|| Arc::new(Slot::new())).clone();
        let generation = lock(&self.state).current.as_ref().map(|session| session.generation);
        let (mut done, outcome) = match slot.look(generation, Instant::now()) {
            Look::Answer(answer) => return answer,
            Look::Wait(done) => (done, Outcome::Collapsed),
            Look::Load(done) => {
                // On its own, so that it goes on when the one who asked first has left.
                tokio::spawn(Self::load(self.clone(), resource.clone(), slot.clone()));
                (done, Outcome::Miss)
            }
        };
        // The load always ends, and tells; see `Ending`.
        match slot.meanwhile(Instant::now()) {
            None => drop(done.changed().await),
            Some(stale) => {
                if timeout(self.config.patience.0, done.changed()).await.is_err() {
                    return Ok(slot.meanwhile(Instant::now()).unwrap_or(stale));
                }
            }
        }
        slot.after(outcome, Instant::now())
    }

    async fn load(self: Arc<Self>, resource: Resource, slot: Arc<Slot<O::Error>>) {
        let mut ending = Ending { slot: Some(slot) };
        let result = match self.key.whole() {
            None => self.fetch(&resource).await,
            Some(range) => self.fetch_parts(&resource, range).await,
        };
        let result = result.map_err(|error| self.failure(error));
        ending.tell(result);
    }

    pub(in crate::sessions) async fn fetch(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<Published, Error<O::Error>> {
        let mut session = self.session().await?;
        let mut second = false;
        loop {
            let asked = Instant::now();
            let answer = self.origin.playlist(&self.key, &session.handle, resource);
            // Footage is long, and its points are waited for.
            let patience = if self.key.moves() { LOADING } else { LOADING * 3 };
            let error = match timeout(patience, answer).await {
                Ok(Ok(text)) => {
                    self.learn(&session, resource, &text).await?;
                    return self.publish(&session, resource, &text, asked);
                }
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::Slow(patience)),
            };
            // A camera that has been silent may have taken the session with it (KVS.md 5.7).
            let lost = match O::verdict(&error) {
                Verdict::Expired => true,
                Verdict::NoData => session.opened.elapsed() >= REVIVAL,
                Verdict::Transient | Verdict::Fatal => false,
            };
            if !lost || second {
                return Err(Error::Origin(error));
            }
            second = true;
            session = self.replace(&session).await?;
        }
    }

    fn publish(
        self: &Arc<Self>,
        session: &Session<O::Handle>,
        resource: &Resource,
        text: &str,
        asked: Instant,
    ) -> Result<Published, Error<O::Error>> {
        let mut state = lock(&self.state);
        let now = state.now();
        let (text, target, fixed) = match resource {
            Resource::MediaPlaylist { track } if self.key.moves() => {
                let offered = MediaPlaylist::parse(text).map_err(Error::Strange)?;
                let merged = state.timeline.merge(*track, session.generation, &offered, now);
                let merged = merged.map_err(Error::Strange)?;
                let target = Duration::from_secs(merged.target);
                (merged.render(self.key.parameters.show_timestamps), target, merged.ended)
            }
            Resource::Manifest if self.key.moves() && !state.plain => {
                match state.periods.merge(session.generation, text, now) {
                    Ok(merged) => (merged.text, merged.target, merged.ended),
                    Err(strange) if state.periods.is_empty() => {
                        tracing::warn!(
                            stream = stream_text(&self.key.stream),
                            "{strange}: it is passed on as it is"
                        );
                        state.plain = true;
                        (text.to_owned(), Duration::from_secs(2), false)
                    }
                    Err(strange) => return Err(Error::Strange(strange)),
                }
            }
            Resource::Manifest if self.key.moves() => (text.to_owned(), Duration::from_secs(2), false),
            Resource::Manifest
                if self.key.whole_manifest() && manifest::listed(text) >= usize::from(MOST) =>
            {
                return Err(Error::TooLong(
                    "the range holds 5,000 fragments or more, which is all that one DASH manifest lists: ask for a \
                     shorter range, or for vod.m3u8, which joins longer ones",
                ));
            }
            _ => (text.to_owned(), Duration::from_secs(60), true),
        };
        let ahead = state.plan(resource, &text, self.key.moves());
        drop(state);
        self.fetch_ahead(ahead);
        Ok(Published {
            etag: etag(&text),
            text: text.into(),
            packed: Arc::default(),
            asked,
            target,
            generation: session.generation,
            fixed,
        })
    }

    /// Fetches what viewers will ask for, as long as there are any.
    pub(in crate::sessions) fn fetch_ahead(self: &Arc<Self>, fragments: Vec<Resource>) {
        if fragments.is_empty() || lock(&self.viewers).count() == 0 {
            return;
        }
        let mut fetching = lock(&self.fetching);
        while fetching.try_join_next().is_some() {}
        for fragment in fragments {
            if fetching.len() >= FETCHES {
                return;
            }
            let this = self.clone();
            fetching.spawn(async move {
                if let Ok(located) = this.behind(&fragment).await {
                    this.origin.prefetch(&this.key, located).await;
                }
            });
        }
    }

    /// A viewer asks for a fragment: those that follow it will be next.
    pub(in crate::sessions) fn asked_for(self: &Arc<Self>, fragment: &Resource) {
        if !self.key.moves() {
            let ahead = lock(&self.state).prefetch.asked(fragment);
            self.fetch_ahead(ahead);
        }
    }

    /// Nobody watches any more.
    pub(in crate::sessions) fn stop_fetching(&self) {
        lock(&self.fetching).abort_all();
    }

    fn failure(&self, error: Error<O::Error>) -> Failure<O::Error> {
        let stands = match &error {
            Error::Origin(error) => match O::verdict(error) {
                Verdict::NoData => Stands::AsLongAsItTakes,
                Verdict::Expired | Verdict::Transient => Stands::AWhile,
                Verdict::Fatal => Stands::No,
            },
            _ => Stands::AWhile,
        };
        Failure { error, stands }
    }
}

impl<O: Origin> State<O> {
    /// Which fragments to fetch ahead after a playlist was published.
    pub(in crate::sessions) fn plan(
        &mut self,
        resource: &Resource,
        text: &str,
        moves: bool,
    ) -> Vec<Resource> {
        match resource {
            Resource::MediaPlaylist { track } if moves => {
                let listed = self.timeline.fragments(*track);
                self.prefetch.listed(&listed)
            }
            Resource::MediaPlaylist { track } => {
                self.prefetch.footage(*track, playlist::fragments(text));
                Vec::new()
            }
            Resource::Manifest if moves => {
                let listed = self.periods.fragments();
                listed.into_iter().flat_map(|track| self.prefetch.listed(&track)).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Tells whoever waits for a load, even if it panics or is dropped.
struct Ending<E: Clone> {
    slot: Option<Arc<Slot<E>>>,
}

impl<E: Clone> Ending<E> {
    fn tell(&mut self, result: Result<Published, Failure<E>>) {
        if let Some(slot) = self.slot.take() {
            slot.finish(result);
        }
    }
}

impl<E: Clone> Drop for Ending<E> {
    fn drop(&mut self) {
        self.tell(Err(Failure { error: Error::Slow(LOADING), stands: Stands::AWhile }));
    }
}

/// A strong validator: equal bytes, equal tag, on any replica.
pub(in crate::sessions) fn etag(text: &str) -> Arc<str> {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let hex: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"").into()
}

//! A session that all replicas hold in common: whichever of them has the lease opens sessions and loads
//! playlists for all, and the others take over what it publishes.
//!
//! What one replica has shown is never replaced by something older: versions only rise. While the store does
//! not answer, what a replica of it has stands for a while, and then this process goes on alone, behind the
//! newest fragments, so that a player that is sent from one process to another does not go back.

use super::cached_playlist::{CachedPlaylist, PACE, Published};
use super::open::{LONGEST_OPENING, Opening};
use super::shared::{SharedSession, lock};
use super::spare_sessions::SpareSessions;
use super::upstream_session::{LoadedPlaylist, UpstreamSession};
use crate::fleet::Lease;
use crate::kvs::{Protocol, Resource, Timestamp};
use crate::sessions::common::{
    Committed, Common, Look, Publication, SessionLook, StoredContinuity, StoredPlaylist, StoredSession,
    StoredSessions, Verdict,
};
use crate::sessions::error::{Effect, Error};
use crate::sessions::numbering::Generation;
use crate::upstream;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long what the store said is taken as what it would say.
pub(super) const COHERENT: Duration = Duration::from_millis(150);
/// How long the last good playlist is held back while another replica loads the next one.
const LOAD_OF_ANOTHER: Duration = Duration::from_millis(60);
/// How often the store is looked at while another replica loads.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What is to be done after a load.
#[derive(PartialEq, Eq)]
enum Next {
    Answer,
    LookAgain,
}

/// What a replica of the store has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AtReplica {
    /// A newer playlist, which was taken over.
    Newer,
    /// Nothing newer, or it does not answer now.
    NothingNewer,
    /// There is none.
    NoReplica,
}

impl SharedSession {
    /// What is held in common of the playlists, if they are.
    pub(super) fn playlists_in_common(&self) -> Option<&Common> {
        self.common.as_ref().filter(|_| self.key.is_live())
    }

    /// Brings the playlist up to date, by loading it or by what another replica has loaded.
    pub(super) async fn load_in_common(
        self: &Arc<Self>,
        common: &Common,
        resource: &Resource,
        cached: &CachedPlaylist,
    ) {
        let began = Instant::now();
        let longest = self.context.source.playlist_deadline();
        let (mut tried_again, mut asked_alone) = (false, false);
        while began.elapsed() < longest {
            let verdict = match self.look(common, resource, cached).await {
                Ok(verdict) => verdict,
                Err(_) => {
                    common.note_outage();
                    // Others may have shown something newer than what is here.
                    cached.doubt();
                    let found = self.read_replica(common, resource, cached).await;
                    // One answer that was late says little: it is tried once more.
                    let is_odd = found != AtReplica::Newer && common.is_well();
                    if is_odd && !std::mem::replace(&mut tried_again, true) {
                        continue;
                    }
                    let now = Instant::now();
                    let stands = match found {
                        AtReplica::Newer => true,
                        AtReplica::NothingNewer => !common.is_alone() && cached.hold(now, now + COHERENT),
                        // Nothing says what the others show from now on.
                        AtReplica::NoReplica => false,
                    };
                    if stands {
                        return;
                    }
                    common.goes_alone();
                    return self.show_alone(common, resource, cached).await;
                }
            };
            match verdict {
                Verdict::Fresh => return,
                Verdict::Alone => {
                    if asked_alone || self.loaded_alone(resource).is_some() {
                        return self.show_alone(common, resource, cached).await;
                    }
                    // Another replica may publish while KVS is asked, and what it shows is newer: look again.
                    if let Err(error) = self.load_alone(resource, cached).await {
                        return self.load_failed(cached, error).await;
                    }
                    asked_alone = true;
                }
                Verdict::Failed(why) => return cached.finish(Err(failure(&why))),
                Verdict::Yours(lease) => {
                    cached.begin(Instant::now());
                    let loaded = self.load_for_all(resource).await;
                    let next = match loaded {
                        Ok(playlist) => self.publish_for_all(common, lease, resource, cached, playlist).await,
                        Err(error) => {
                            common.fail(lease, resource, word(&error)).await;
                            self.load_failed(cached, error).await;
                            Next::Answer
                        }
                    };
                    if next == Next::Answer {
                        return;
                    }
                }
                Verdict::Busy => {
                    let now = Instant::now();
                    if began.elapsed() >= LOAD_OF_ANOTHER && cached.hold(now, now) {
                        return;
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
        cached.finish(Err(Error::Slow(longest)));
    }

    /// Looks at the store and takes over what is newer there.
    async fn look(
        self: &Arc<Self>,
        common: &Common,
        resource: &Resource,
        cached: &CachedPlaylist,
    ) -> Result<Verdict, crate::fleet::Error> {
        // Two loads of this process take over in the order in which they looked.
        let _turn = common.turn().await;
        let generation = lock(&self.state).generation;
        let Look { verdict, age, playlist, sessions, continuity } =
            common.look(resource, PACE, generation).await?;
        let now = Instant::now();
        let asked = now.checked_sub(age).unwrap_or(now);
        self.take_over(sessions, continuity);
        let until = (asked + PACE).min(now + COHERENT);
        match playlist {
            Some(playlist) => self.take_over_playlist(cached, playlist, asked, until).await,
            None if matches!(verdict, Verdict::Fresh) => cached.confirm(asked, until),
            None => {}
        }
        Ok(verdict)
    }

    /// Takes over what another replica has published, if that is newer than what is held here.
    pub(super) fn take_over(&self, sessions: Option<StoredSessions>, continuity: Option<StoredContinuity>) {
        if let Some(continuity) = &continuity {
            lock(&self.state).anchors.clone_from(&continuity.anchors);
        }
        if let Some(sessions) = sessions {
            self.take_over_sessions(sessions);
        }
        let Some(continuity) = continuity else { return };
        let mut state = lock(&self.state);
        for session in state.sessions() {
            if let Some(anchor) = continuity.anchors.get(&*session.url.id) {
                session.set_delay(anchor.map(Duration::from_nanos));
            }
        }
        if let Some(hls) = continuity.hls {
            state.hls.take_over(hls);
        }
        if let Some(dash) = continuity.dash {
            state.dash.take_over(dash);
        }
        state.pass_manifest = continuity.pass_manifest;
    }

    fn take_over_sessions(&self, stored: StoredSessions) {
        let mut state = lock(&self.state);
        let (now, instant) = (state.now(), Instant::now());
        let mut taken = VecDeque::new();
        for StoredSession { generation, base, token, opened, expires, parameters } in stored.sessions {
            let adopted = self.context.source.adopt(&self.key.stream, &base, &token, expires);
            let url = match adopted {
                Ok(url) => url,
                Err(error) => {
                    tracing::warn!(
                        stream = self.key.stream_text(),
                        "a session of another replica is not used: {error}"
                    );
                    continue;
                }
            };
            let known =
                state.sessions().find(|known| known.url.id == url.id && known.generation == generation);
            let session = known.cloned().unwrap_or_else(|| {
                let left = Duration::from_millis(expires.millis().saturating_sub(now.millis()));
                let session = UpstreamSession {
                    delay: UpstreamSession::delay_of_new(),
                    replicas: self.replicas.clone(),
                    url,
                    parameters,
                    turn: self.turn.clone(),
                    spares: SpareSessions::new(instant),
                    generation,
                    opened: instant.checked_sub(opened.age(now)).unwrap_or(instant),
                    until: instant + left,
                };
                if let Some(anchor) = state.anchors.get(&*session.url.id) {
                    session.set_delay(anchor.map(Duration::from_nanos));
                }
                Arc::new(session)
            });
            taken.push_back(session);
        }
        let Some(current) = taken.pop_back() else { return };
        if state.current_generation().is_some_and(|before| before != current.generation) {
            state.replaced += 1;
            // The limit on replacing lost sessions counts those of all replicas.
            state.reopening.note(instant);
            state.absent.forget();
        }
        state.failed = None;
        state.generation = current.generation;
        state.older = taken;
        state.current = Some(current);
    }

    pub(super) async fn take_over_playlist(
        &self,
        cached: &CachedPlaylist,
        playlist: StoredPlaylist,
        asked: Instant,
        until: Instant,
    ) {
        let StoredPlaylist { text, target, generation, fixed } = playlist;
        let Ok(text) = self.store(text).await else { return };
        let target = Duration::from_millis(target);
        cached.finish(Ok(Published { text, asked, target, generation, fixed, until: Some(until) }));
    }

    /// Loads a playlist, with everything that the others need to serve what it lists.
    async fn load_for_all(self: &Arc<Self>, resource: &Resource) -> Result<(StoredPlaylist, Instant), Error> {
        let loaded = self.load_and_learn(resource).await?;
        let asked = loaded.asked;
        let (playlist, _) = self.merge_for_all(resource, loaded).await?;
        Ok((playlist, asked))
    }

    pub(super) async fn load_and_learn(
        self: &Arc<Self>,
        resource: &Resource,
    ) -> Result<LoadedPlaylist, Error> {
        let (session, answer, asked) = self.fetch_from_any(resource).await?;
        // Whichever replica opened the session, this one lists it first, or continues what is known.
        self.learn_target(&session.parameters).await;
        self.learn(&session, resource, &answer).await?;
        Ok(LoadedPlaylist { session, answer, asked })
    }

    /// Merges what was loaded. Gives as well when the fragments end that are not listed yet.
    pub(super) async fn merge_for_all(
        self: &Arc<Self>,
        resource: &Resource,
        loaded: LoadedPlaylist,
    ) -> Result<(StoredPlaylist, Vec<Timestamp>), Error> {
        let LoadedPlaylist { session, answer, .. } = loaded;
        let merged = self.merge(&session, resource, answer)?;
        if let Resource::MediaPlaylist { track } = resource {
            // The times of new fragments are decided here. Those of older ones follow from these, wherever
            // they are requested.
            let new = lock(&self.state).hls.fragments_behind_known(*track);
            for fragment in &new {
                self.find_time(fragment).await;
            }
        }
        let target = u64::try_from(merged.target.as_millis()).unwrap_or(u64::MAX);
        let (generation, fixed) = (session.generation, merged.fixed);
        Ok((StoredPlaylist { text: merged.text, target, generation, fixed }, merged.withheld))
    }

    async fn publish_for_all(
        self: &Arc<Self>,
        common: &Common,
        lease: Lease,
        resource: &Resource,
        cached: &CachedPlaylist,
        (playlist, asked): (StoredPlaylist, Instant),
    ) -> Next {
        let continuity = self.continuity();
        let (sessions, now) = {
            let state = lock(&self.state);
            (state.stored_sessions(), state.now())
        };
        let publication =
            Publication { playlist: &playlist, sessions: sessions.as_ref(), continuity: &continuity, now };
        let committed = {
            let _turn = common.turn().await;
            common.commit(lease, resource, &publication, asked.elapsed()).await
        };
        match committed {
            Ok(Committed::Done) => {
                let until = (asked + PACE).min(Instant::now() + COHERENT);
                self.take_over_playlist(cached, playlist, asked, until).await;
                self.plan_ahead(resource, &[]);
                Next::Answer
            }
            // Another replica was quicker, or it is not known: the next look says what stands.
            Ok(Committed::Refused) | Err(_) => Next::LookAgain,
        }
    }

    /// The primary does not answer: takes what its replica has.
    async fn read_replica(
        self: &Arc<Self>,
        common: &Common,
        resource: &Resource,
        cached: &CachedPlaylist,
    ) -> AtReplica {
        let newer = {
            let _turn = common.turn().await;
            let newer = common.read_replica(resource).await;
            if let Ok(Some(_)) = newer
                && let Ok((sessions, continuity)) = common.read_replica_state().await
            {
                self.take_over(sessions, continuity);
            }
            newer
        };
        let now = Instant::now();
        match newer {
            Ok(Some(playlist)) => {
                self.take_over_playlist(cached, playlist, now, now + COHERENT).await;
                AtReplica::Newer
            }
            Err(crate::fleet::Error::NotConnected) => AtReplica::NoReplica,
            Ok(None) | Err(_) => AtReplica::NothingNewer,
        }
    }

    /// Makes sure that everything that was published is known here.
    pub(super) async fn refresh(&self, common: &Common) {
        let _turn = common.turn().await;
        if let Ok((sessions, continuity)) = common.state().await {
            self.take_over(sessions, continuity);
        }
    }

    /// What the next playlist follows from.
    fn continuity(&self) -> StoredContinuity {
        let state = lock(&self.state);
        let anchors = state.sessions().filter_map(|session| {
            let nanos = |delay: Duration| u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
            Some((session.url.id.to_string(), session.delay()?.map(nanos)))
        });
        let is_hls = self.key.parameters.protocol == Protocol::Hls;
        StoredContinuity {
            anchors: anchors.collect(),
            hls: is_hls.then(|| state.hls.recent()),
            dash: (!is_hls).then(|| state.dash.recent()),
            pass_manifest: state.pass_manifest,
        }
    }

    /// An upstream session of all replicas, opened by one of them. `None`: the store does not answer.
    pub(super) async fn session_in_common(
        self: &Arc<Self>,
        common: &Common,
        mut other_than: Option<Generation>,
        opening: &Opening,
    ) -> Option<Result<Arc<UpstreamSession>, Error>> {
        let began = Instant::now();
        while began.elapsed() < LONGEST_OPENING {
            let look = {
                let _turn = common.turn().await;
                let (look, sessions) = common.look_for_session(other_than).await.ok()?;
                self.take_over(sessions, None);
                look
            };
            match look {
                SessionLook::Usable => {
                    let state = lock(&self.state);
                    if let Some(session) = state.usable(other_than) {
                        return Some(Ok(session));
                    }
                    // By the clock here it has ended.
                    other_than = state.current_generation();
                }
                SessionLook::Failed(why) => return Some(Err(failure(&why))),
                SessionLook::Yours(lease) => {
                    let opened = match self.open_at_kvs(opening).await {
                        Ok(opened) => opened,
                        Err(error) => {
                            common.fail_session(lease, word(&error)).await;
                            return Some(Err(error));
                        }
                    };
                    let (sessions, now) = {
                        let state = lock(&self.state);
                        (state.stored_sessions()?, state.now())
                    };
                    let _turn = common.turn().await;
                    match common.commit_sessions(lease, &sessions, now).await {
                        Ok(Committed::Done) => return Some(Ok(opened)),
                        Ok(Committed::Refused) => {}
                        Err(_) => {
                            common.opened_alone();
                            return Some(Ok(opened));
                        }
                    }
                }
                SessionLook::Busy => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
        Some(Err(Error::Slow(LONGEST_OPENING)))
    }
}

/// How a failure is written for other replicas.
fn word(error: &Error) -> &'static str {
    match error.effect() {
        Effect::SessionLost => "lost",
        Effect::NoData => "no_data",
        Effect::Transient => "transient",
        Effect::Permanent => "permanent",
    }
}

/// The failure of another replica.
fn failure(word: &str) -> Error {
    Error::from(match word {
        "no_data" => upstream::Error::NoData("KVS has no media at the moment".to_owned()),
        "lost" => upstream::Error::SessionExpired,
        "permanent" => upstream::Error::NotServed("KVS refuses it".to_owned()),
        _ => upstream::Error::Unreachable("another replica could not load it just now".into()),
    })
}

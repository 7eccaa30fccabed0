//! What all replicas hold in common of one shared session: its upstream sessions, its playlists, and the
//! continuity that these follow from. Whichever replica holds the lease loads for all.
//!
//! This is the way to the store and back. When it is used, and what happens without it, is in
//! `session::in_common`.

mod lease;
mod record;
mod scripts;

pub(super) use lease::Lease;
pub(super) use record::{StoredContinuity, StoredPlaylist, StoredSession, StoredSessions};

use super::key::SessionKey;
use super::numbering::Generation;
use crate::base::hex;
use crate::fleet::{Arg, Digest, Error, Key, KeyPart, LeaseKind, LeaseResult, Operation, Reply, Store, Unit};
use crate::kvs::{Resource, Timestamp};
use lease::LIFE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What is held in common of one shared session.
pub(super) struct Common {
    store: Store,
    unit: Unit,
    sessions: Key,
    continuity: Key,
    viewers: Key,
    held: Mutex<HeldVersions>,
    /// HeldVersions while this process looks and takes over what it found.
    turn: tokio::sync::Mutex<()>,
    alone: AtomicBool,
    /// Since when the store has not answered.
    out_since: Mutex<Option<Instant>>,
    /// When the store answered again.
    returned: Mutex<Option<Instant>>,
}

/// The versions of what this replica holds, and of what the store held when it was last looked at.
#[derive(Default)]
struct HeldVersions {
    sessions: Versions,
    continuity: Versions,
    playlists: HashMap<Resource, u64>,
}

#[derive(Default, Clone, Copy)]
struct Versions {
    here: u64,
    stored: u64,
    /// What is here is to be written over what is stored.
    ahead: bool,
}

/// What a look found, with whatever is newer than what this replica holds.
pub(super) struct Look {
    pub(super) verdict: Verdict,
    /// Since KVS was asked for the newest playlist.
    pub(super) age: Duration,
    pub(super) playlist: Option<StoredPlaylist>,
    pub(super) sessions: Option<StoredSessions>,
    pub(super) continuity: Option<StoredContinuity>,
}

/// What a look says is to be done.
pub(super) enum Verdict {
    /// The playlist is fresh: it is the one that is held here now.
    Fresh,
    /// This replica loads it.
    Yours(Lease),
    /// Another one does.
    Busy,
    /// Another one has just failed to.
    Failed(String),
    /// This replica has been alone, and so have the others, as far as can be seen: each goes on so until all
    /// have had the time to come back.
    Alone,
}

/// What a look for an upstream session found.
pub(super) enum SessionLook {
    /// There is a usable one.
    Usable,
    /// This replica opens one.
    Yours(Lease),
    /// Another one does.
    Busy,
    /// Another one has just failed to.
    Failed(String),
}

/// What became of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Committed {
    /// It stands.
    Done,
    /// The lease was lost, or there is a newer version: what was committed is not used.
    Refused,
}

/// State outlives all players, who give up earlier.
const STATE_LIFE: Duration = Duration::from_secs(25 * 3600);
/// How much longer than itself a session is remembered: what it gave is in caches.
const SESSION_LIFE: Duration = Duration::from_secs(300);
/// Why a load failed is remembered as long as nothing else is known.
const FAILURE_LIFE: Duration = Duration::from_secs(60);
/// For so long no other replica tries to open a session that could not be opened.
const FAILURE_STANDS: Duration = Duration::from_secs(1);
/// What was published since then shows that other replicas are not alone.
const RECENT: Duration = Duration::from_secs(3);
/// A replica that was alone waits so long before it publishes something: all others have noticed by then that
/// the store answers, and take over what is published.
const RETURN: Duration = Duration::from_secs(4);
/// A replica that has said nothing for so long has no viewers.
const VIEWERS_LIFE: Duration = Duration::from_secs(120);

impl Common {
    pub(super) fn new(store: &Store, key: &SessionKey) -> Self {
        // Plain values: JSON can hold all of them.
        let parameters = serde_json::to_string(&key.parameters).unwrap_or_default();
        let begun = key.began.map_or(0, Timestamp::millis).to_string();
        let texts = [&*key.entry, key.stream_text(), &parameters, &begun].map(str::as_bytes);
        let unit = Unit::Session(Digest::of("session", &texts));
        let named = |part| store.keys().key(&unit, &part);
        let (sessions, continuity) = (named(KeyPart::Upstream), named(KeyPart::Timeline));
        let viewers = named(KeyPart::Viewers);
        Self {
            store: store.clone(),
            unit,
            sessions,
            continuity,
            viewers,
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            alone: AtomicBool::new(false),
            returned: Mutex::default(),
            out_since: Mutex::default(),
        }
    }

    /// Looks at a playlist. `fresh_for` is how long one counts as fresh; `generation` that in use here.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn look(
        &self,
        resource: &Resource,
        fresh_for: Duration,
        generation: u32,
    ) -> Result<Look, Error> {
        let (playlist, lease, nonce) = (self.playlist(resource), self.lease("pl"), nonce(&self.store));
        let (have, sessions, continuity) = {
            let held = self.held();
            (held.playlist(resource), held.sessions.here, held.continuity.here)
        };
        let keys = [&playlist, &lease, &self.sessions, &self.continuity];
        let generation = u64::from(generation);
        let args = [
            nonce.as_str().into(),
            have.into(),
            fresh_for.into(),
            LIFE.into(),
            sessions.into(),
            continuity.into(),
            generation.into(),
        ];
        let reply = self.store.run(Operation::Look, &scripts::LOOK, &keys, &args, self.timeout()).await?;
        let mut reply = reply.list();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let (word, version, age) = (next(), number(&next()), number(&next()));
        let found = next().bytes();
        let (sessions_version, sessions) = (number(&next()), next().bytes());
        let (continuity_version, continuity) = (number(&next()), next().bytes());
        let why = next().bytes().and_then(|why| String::from_utf8(why).ok());
        let is_found = found.is_some();
        let is_recent = version > 0 && Duration::from_millis(age) < RECENT;
        if self.is_alone() && !is_recent && !self.is_back() {
            if word.is("yours") {
                drop(Lease::held(&self.store, &lease, nonce));
            }
            let mut held = self.held();
            held.playlists.insert(resource.clone(), version);
            held.sessions.settle(sessions_version);
            held.continuity.settle(continuity_version);
            drop(held);
            return Ok(Look {
                verdict: Verdict::Alone,
                age: Duration::ZERO,
                playlist: None,
                sessions: None,
                continuity: None,
            });
        }
        self.has_answered();
        let stored: Option<StoredPlaylist> = self.opened(&playlist, version, found);
        // What is not ours counts as not there: a higher version replaces it.
        let unreadable = is_found && stored.is_none();
        let verdict = if word.is("yours") {
            self.count(LeaseKind::Playlist, LeaseResult::Taken);
            Verdict::Yours(Lease::held(&self.store, &lease, nonce))
        } else if word.is("fresh") && !unreadable {
            Verdict::Fresh
        } else if word.is("failed") {
            Verdict::Failed(why.unwrap_or_default())
        } else {
            self.count(LeaseKind::Playlist, LeaseResult::Busy);
            Verdict::Busy
        };
        let sessions = self.opened(&self.sessions, sessions_version, sessions);
        let continuity = self.opened(&self.continuity, continuity_version, continuity);
        let mut held = self.held();
        held.sessions.note(sessions_version, sessions.is_some());
        held.continuity.note(continuity_version, continuity.is_some());
        if is_found {
            held.playlists.insert(resource.clone(), version + u64::from(unreadable));
        }
        drop(held);
        Ok(Look { verdict, age: Duration::from_millis(age), playlist: stored, sessions, continuity })
    }

    /// Publishes a playlist that was loaded under this lease, with the sessions and the continuity that it
    /// follows from. `elapsed` is the time since KVS was asked.
    ///
    /// # Errors
    /// The store does not answer: whether it stands is not known.
    pub(super) async fn commit(
        &self,
        lease: Lease,
        resource: &Resource,
        publication: &Publication<'_>,
        elapsed: Duration,
    ) -> Result<Committed, Error> {
        let (playlist, lease_key) = (self.playlist(resource), self.lease("pl"));
        let (version, sessions_version, continuity_version) = {
            let held = self.held();
            let sessions = if held.sessions.is_ahead() { held.sessions.next() } else { 0 };
            (held.playlist(resource) + 1, sessions, held.continuity.highest() + 1)
        };
        let text = self.sealed(&playlist, version, publication.playlist)?;
        let sessions = match (sessions_version, publication.sessions) {
            (0, _) | (_, None) => None,
            (version, Some(sessions)) => {
                Some((version, self.sealed(&self.sessions, version, sessions)?, sessions))
            }
        };
        let current = sessions.as_ref().and_then(|(.., sessions)| sessions.sessions.last());
        let continuity = self.sealed(&self.continuity, continuity_version, publication.continuity)?;
        let none: &[u8] = &[];
        let args: [Arg<'_>; 14] = [
            lease.nonce.as_str().into(),
            version.into(),
            text.as_slice().into(),
            u64::from(publication.playlist.fixed).into(),
            u64::from(publication.playlist.generation).into(),
            elapsed.into(),
            STATE_LIFE.into(),
            sessions.as_ref().map_or(0, |(version, ..)| *version).into(),
            sessions.as_ref().map_or(none, |(_, sealed, _)| sealed.as_slice()).into(),
            u64::from(current.map_or(0, |session| session.generation)).into(),
            current.map_or(0, |session| session.expires.millis()).into(),
            current.map_or(SESSION_LIFE, |session| life(session, publication.now)).into(),
            continuity_version.into(),
            continuity.as_slice().into(),
        ];
        let keys = [&playlist, &lease_key, &self.sessions, &self.continuity];
        let reply = self.store.run(Operation::Commit, &scripts::COMMIT, &keys, &args, self.timeout()).await?;
        lease.end();
        if reply.number() != Some(1) {
            self.count(LeaseKind::Playlist, LeaseResult::Lost);
            // What was merged here is void: the next look brings what stands.
            self.held().continuity = Versions::default();
            return Ok(Committed::Refused);
        }
        let mut held = self.held();
        held.playlists.insert(resource.clone(), version);
        held.continuity = Versions::both(continuity_version);
        if sessions_version > 0 {
            held.sessions = Versions::both(sessions_version);
        }
        Ok(Committed::Done)
    }

    /// Notes that a load under this lease failed.
    pub(super) async fn fail(&self, lease: Lease, resource: &Resource, why: &str) {
        let (playlist, lease_key) = (self.playlist(resource), self.lease("pl"));
        let args = [lease.nonce.as_str().into(), why.into(), FAILURE_LIFE.into()];
        // Without an answer the others find out themselves.
        let keys = [&playlist, &lease_key];
        if self.store.run(Operation::Commit, &scripts::FAIL, &keys, &args, self.timeout()).await.is_ok() {
            lease.end();
        }
    }

    /// Notes that an opening under this lease failed.
    pub(super) async fn fail_session(&self, lease: Lease, why: &str) {
        let lease_key = self.lease("up");
        let args = [lease.nonce.as_str().into(), why.into(), FAILURE_LIFE.into()];
        // Without an answer the others find out themselves.
        let keys = [&self.sessions, &lease_key];
        if self.store.run(Operation::Commit, &scripts::FAIL, &keys, &args, self.timeout()).await.is_ok() {
            lease.end();
        }
    }

    /// The sessions and the continuity, as far as they are newer than what is held here.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn state(&self) -> Result<(Option<StoredSessions>, Option<StoredContinuity>), Error> {
        let (sessions, continuity) = {
            let held = self.held();
            (held.sessions.here, held.continuity.here)
        };
        let (keys, args) = ([&self.sessions, &self.continuity], [sessions.into(), continuity.into()]);
        let reply = self.store.run(Operation::Look, &scripts::STATE, &keys, &args, self.timeout()).await?;
        let mut reply = reply.list();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let (sessions_version, sessions) = (number(&next()), next().bytes());
        let (continuity_version, continuity) = (number(&next()), next().bytes());
        let sessions = self.opened(&self.sessions, sessions_version, sessions);
        let continuity = self.opened(&self.continuity, continuity_version, continuity);
        let mut held = self.held();
        held.sessions.note(sessions_version, sessions.is_some());
        held.continuity.note(continuity_version, continuity.is_some());
        drop(held);
        Ok((sessions, continuity))
    }

    /// The turn of this process to look and to take over what it finds.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Whether all shards of the store answer, as far as is known.
    pub(super) fn is_well(&self) -> bool {
        self.store.is_well()
    }

    /// Notes that the store did not answer.
    pub(super) fn note_outage(&self) {
        lock(&self.out_since).get_or_insert_with(Instant::now);
    }

    /// Since when the store has not answered, while this replica goes by itself.
    pub(super) fn alone_since(&self) -> Option<Instant> {
        self.is_alone().then(|| *lock(&self.out_since)).flatten()
    }

    /// Whether this replica goes by itself.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Acquire)
    }

    /// Whether this replica has been back for long enough to publish again.
    fn is_back(&self) -> bool {
        lock(&self.returned).get_or_insert_with(Instant::now).elapsed() >= RETURN
    }

    /// The store does not answer: this replica goes by itself.
    pub(super) fn goes_alone(&self) {
        *lock(&self.returned) = None;
        if !self.alone.swap(true, Ordering::AcqRel) {
            self.store.metrics().alone(1);
        }
    }

    /// What the store says is what all replicas show.
    fn has_answered(&self) {
        *lock(&self.out_since) = None;
        if self.alone.swap(false, Ordering::AcqRel) {
            self.store.metrics().alone(-1);
        }
    }

    /// Looks for an upstream session other than that of this generation.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn look_for_session(
        &self,
        other_than: Option<Generation>,
    ) -> Result<(SessionLook, Option<StoredSessions>), Error> {
        let (lease, nonce) = (self.lease("up"), nonce(&self.store));
        let have = self.held().sessions.here;
        let other_than = u64::from(other_than.unwrap_or(0));
        let args =
            [nonce.as_str().into(), have.into(), other_than.into(), LIFE.into(), FAILURE_STANDS.into()];
        let keys = [&self.sessions, &lease];
        let reply =
            self.store.run(Operation::Look, &scripts::LOOK_SESSION, &keys, &args, self.timeout()).await?;
        let mut reply = reply.list();
        let mut next = || reply.next().unwrap_or(Reply::Nil);
        let (word, version, found, why) = (next(), number(&next()), next().bytes(), next().bytes());
        let sessions = self.opened(&self.sessions, version, found);
        self.held().sessions.note(version, sessions.is_some());
        let look = if word.is("yours") {
            self.count(LeaseKind::Session, LeaseResult::Taken);
            SessionLook::Yours(Lease::held(&self.store, &lease, nonce))
        } else if word.is("fresh") {
            SessionLook::Usable
        } else if word.is("failed") {
            SessionLook::Failed(why.and_then(|why| String::from_utf8(why).ok()).unwrap_or_default())
        } else {
            self.count(LeaseKind::Session, LeaseResult::Busy);
            SessionLook::Busy
        };
        Ok((look, sessions))
    }

    /// Publishes the upstream sessions after one was opened under this lease.
    ///
    /// # Errors
    /// The store does not answer: whether it stands is not known.
    pub(super) async fn commit_sessions(
        &self,
        lease: Lease,
        sessions: &StoredSessions,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let version = self.held().sessions.highest() + 1;
        let sealed = self.sealed(&self.sessions, version, sessions)?;
        let Some(current) = sessions.sessions.last() else { return Ok(Committed::Refused) };
        let args = [
            lease.nonce.as_str().into(),
            version.into(),
            sealed.as_slice().into(),
            u64::from(current.generation).into(),
            current.expires.millis().into(),
            life(current, now).into(),
        ];
        let lease_key = self.lease("up");
        let keys = [&self.sessions, &lease_key];
        let reply =
            self.store.run(Operation::Commit, &scripts::COMMIT_SESSION, &keys, &args, self.timeout()).await?;
        lease.end();
        if reply.number() != Some(1) {
            self.count(LeaseKind::Session, LeaseResult::Lost);
            self.held().sessions = Versions::default();
            return Ok(Committed::Refused);
        }
        self.held().sessions = Versions::both(version);
        Ok(Committed::Done)
    }

    /// What a replica of the store has, as far as it is newer than what is held here: for when the primary
    /// does not answer.
    ///
    /// # Errors
    /// That does not answer either.
    pub(super) async fn read_replica(&self, resource: &Resource) -> Result<Option<StoredPlaylist>, Error> {
        let key = self.playlist(resource);
        let fields = self.store.read_replica(&key, &["v", "d"], self.timeout()).await?;
        let mut fields = fields.into_iter();
        let version = fields.next().map_or(0, |version| number(&version));
        let found = fields.next().and_then(Reply::bytes);
        if version <= self.held().playlist(resource) {
            return Ok(None);
        }
        let stored = self.opened(&key, version, found);
        if stored.is_some() {
            self.held().playlists.insert(resource.clone(), version);
        }
        Ok(stored)
    }

    /// The sessions and the continuity that a replica of the store has, as far as they are newer.
    ///
    /// # Errors
    /// It does not answer.
    pub(super) async fn read_replica_state(
        &self,
    ) -> Result<(Option<StoredSessions>, Option<StoredContinuity>), Error> {
        let fields = &["v", "d"];
        let sessions = self.store.read_replica(&self.sessions, fields, self.timeout()).await?;
        let continuity = self.store.read_replica(&self.continuity, fields, self.timeout()).await?;
        let mut held = self.held();
        let sessions = held.sessions.newer(sessions);
        let continuity = held.continuity.newer(continuity);
        drop(held);
        let sessions =
            sessions.and_then(|(version, found)| self.opened(&self.sessions, version, Some(found)));
        let continuity =
            continuity.and_then(|(version, found)| self.opened(&self.continuity, version, Some(found)));
        Ok((sessions, continuity))
    }

    /// Notes that a session was opened here alone.
    pub(super) fn opened_alone(&self) {
        self.held().sessions.ahead = true;
    }

    /// Notes whether this replica has viewers of it, and gives how many replicas have. Without any, the
    /// sessions are let go.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn note_viewers(&self, any: bool) -> Result<u64, Error> {
        let args = [self.store.replica().into(), u64::from(any).into(), VIEWERS_LIFE.into()];
        let keys = [&self.viewers, &self.sessions];
        let reply = self.store.run(Operation::Presence, &scripts::VIEW, &keys, &args, self.timeout()).await?;
        Ok(number(&reply))
    }

    fn playlist(&self, resource: &Resource) -> Key {
        let name = match resource {
            Resource::MediaPlaylist { track } => format!("media{track}"),
            Resource::Manifest => "manifest".to_owned(),
            _ => "master".to_owned(),
        };
        self.store.keys().key(&self.unit, &KeyPart::Playlist(&name))
    }

    fn lease(&self, of: &str) -> Key {
        self.store.keys().key(&self.unit, &KeyPart::Lease(of))
    }

    fn timeout(&self) -> Duration {
        self.store.config().timeout.0
    }

    fn opened<T: DeserializeOwned>(&self, key: &Key, version: u64, found: Option<Vec<u8>>) -> Option<T> {
        let plain = self.store.open_value(key, version, found?).ok()?;
        record::decode(&plain)
    }

    fn sealed(&self, key: &Key, version: u64, record: &impl Serialize) -> Result<Vec<u8>, Error> {
        let plain = record::encode(record).ok_or(Error::NoKey)?;
        self.store.seal(key, version, &plain)
    }

    fn count(&self, kind: LeaseKind, result: LeaseResult) {
        self.store.metrics().lease(kind, result);
    }

    fn held(&self) -> MutexGuard<'_, HeldVersions> {
        lock(&self.held)
    }
}

impl Drop for Common {
    fn drop(&mut self) {
        self.has_answered();
    }
}

/// A playlist to publish, and what it follows from.
pub(super) struct Publication<'a> {
    pub(super) playlist: &'a StoredPlaylist,
    pub(super) sessions: Option<&'a StoredSessions>,
    pub(super) continuity: &'a StoredContinuity,
    pub(super) now: Timestamp,
}

impl HeldVersions {
    fn playlist(&self, resource: &Resource) -> u64 {
        self.playlists.get(resource).copied().unwrap_or(0)
    }
}

impl Versions {
    /// Notes the version that the store has, and whether what it has is held here now.
    fn note(&mut self, stored: u64, taken: bool) {
        self.stored = stored;
        if taken {
            *self = Self::both(stored);
        }
    }

    /// What is stored and here is this version.
    fn both(version: u64) -> Self {
        Self { here: version, stored: version, ahead: false }
    }

    /// What is stored is older than what is here, whatever its version.
    fn settle(&mut self, stored: u64) {
        *self = Self { ahead: true, ..Self::both(stored) };
    }

    fn is_ahead(self) -> bool {
        self.ahead || self.here > self.stored
    }

    /// The version to write what is here as.
    fn next(self) -> u64 {
        if self.here > self.stored { self.here } else { self.stored + 1 }
    }

    fn highest(self) -> u64 {
        self.here.max(self.stored)
    }

    fn newer(&mut self, fields: Vec<Reply>) -> Option<(u64, Vec<u8>)> {
        let mut fields = fields.into_iter();
        let version = number(&fields.next()?);
        let found = fields.next()?.bytes()?;
        if version <= self.here {
            return None;
        }
        *self = Self::both(version);
        Some((version, found))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn life(session: &StoredSession, now: Timestamp) -> Duration {
    Duration::from_millis(session.expires.millis().saturating_sub(now.millis())) + SESSION_LIFE
}

fn number(reply: &Reply) -> u64 {
    reply.number().and_then(|number| u64::try_from(number).ok()).unwrap_or(0)
}

/// What a lease is recognised by: no other attempt has it.
fn nonce(store: &Store) -> String {
    let mut random = [0; 8];
    // Without randomness leases of one replica are not told apart, and a late commit of its own may stand.
    let _ = aws_lc_rs::rand::fill(&mut random);
    format!("{}/{}", store.replica(), hex::encode(&random))
}

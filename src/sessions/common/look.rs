//! Looks at what all replicas hold: playlists, upstream sessions, continuity. A look gives what is newer than
//! what is held here, and the lease to make what is missing.

use super::held::Common;
use super::record::{StoredContinuity, StoredPlaylist, StoredSessions};
use super::scripts;
use super::versions::number;
use crate::fleet::{Error, LEASE_LIFE, Lease, LeaseKind, LeaseResult, Operation, Reply};
use crate::kvs::Resource;
use crate::sessions::numbering::Generation;
use std::time::Duration;

/// What a look found, with whatever is newer than what this replica holds.
pub(in crate::sessions) struct Look {
    pub(in crate::sessions) verdict: Verdict,
    /// Since KVS was asked for the newest playlist.
    pub(in crate::sessions) age: Duration,
    pub(in crate::sessions) playlist: Option<StoredPlaylist>,
    pub(in crate::sessions) sessions: Option<StoredSessions>,
    pub(in crate::sessions) continuity: Option<StoredContinuity>,
}

/// What a look says is to be done.
pub(in crate::sessions) enum Verdict {
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
pub(in crate::sessions) enum SessionLook {
    /// There is a usable one.
    Usable,
    /// This replica opens one.
    Yours(Lease),
    /// Another one does.
    Busy,
    /// Another one has just failed to.
    Failed(String),
}

/// For so long no other replica tries to open a session that could not be opened.
const FAILURE_STANDS: Duration = Duration::from_secs(1);
/// What was published since then shows that other replicas are not alone.
const RECENT: Duration = Duration::from_secs(3);

impl Common {
    /// Looks at a playlist. `fresh_for` is how long one counts as fresh; `generation` that in use here.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::sessions) async fn look(
        &self,
        resource: &Resource,
        fresh_for: Duration,
        generation: u32,
    ) -> Result<Look, Error> {
        let (playlist, lease, holder) = (self.playlist(resource), self.lease("pl"), self.store.unique_name());
        let (have, sessions, continuity) = {
            let held = self.held();
            (held.playlist(resource), held.sessions.here, held.continuity.here)
        };
        let keys = [&playlist, &lease, &self.sessions, &self.continuity];
        let generation = u64::from(generation);
        let args = [
            holder.as_str().into(),
            have.into(),
            fresh_for.into(),
            LEASE_LIFE.into(),
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
        if version == 0 && have > 0 {
            // The store has lost what it had: the others have been alone, even if it was not noticed here.
            // After a failover that lost the last commit there is an older version: loading goes on.
            self.alone.begin();
        }
        if self.is_alone() && !is_recent && !self.alone.is_back() {
            if word.is("yours") {
                drop(Lease::held(&self.store, &lease, holder));
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
        self.alone.end();
        let stored: Option<StoredPlaylist> = self.opened(&playlist, version, found);
        // What is not ours counts as not there: a higher version replaces it.
        let unreadable = is_found && stored.is_none();
        let verdict = if word.is("yours") {
            self.count(LeaseKind::Playlist, LeaseResult::Taken);
            Verdict::Yours(Lease::held(&self.store, &lease, holder))
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

    /// Looks for an upstream session other than that of this generation.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::sessions) async fn look_for_session(
        &self,
        other_than: Option<Generation>,
    ) -> Result<(SessionLook, Option<StoredSessions>), Error> {
        let (lease, holder) = (self.lease("up"), self.store.unique_name());
        let have = self.held().sessions.here;
        let other_than = u64::from(other_than.unwrap_or(0));
        let args = [
            holder.as_str().into(),
            have.into(),
            other_than.into(),
            LEASE_LIFE.into(),
            FAILURE_STANDS.into(),
        ];
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
            SessionLook::Yours(Lease::held(&self.store, &lease, holder))
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

    /// The sessions and the continuity, as far as they are newer than what is held here.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::sessions) async fn state(
        &self,
    ) -> Result<(Option<StoredSessions>, Option<StoredContinuity>), Error> {
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

    /// What a replica of the store has, as far as it is newer than what is held here: for when the primary
    /// does not answer.
    ///
    /// # Errors
    /// That does not answer either.
    pub(in crate::sessions) async fn read_replica(
        &self,
        resource: &Resource,
    ) -> Result<Option<StoredPlaylist>, Error> {
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
    pub(in crate::sessions) async fn read_replica_state(
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
}

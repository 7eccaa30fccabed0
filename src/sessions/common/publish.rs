//! Publishes what this replica made under a lease: playlists with what they follow from, upstream sessions,
//! failures, and whether it has viewers.

use super::held::Common;
use super::record::{StoredContinuity, StoredPlaylist, StoredSession, StoredSessions};
use super::scripts;
use super::versions::{Versions, number, version_after};
use crate::fleet::{Arg, Error, Lease, LeaseKind, LeaseResult, Operation};
use crate::kvs::{Resource, Timestamp};
use std::time::Duration;

/// What became of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sessions) enum Committed {
    /// It stands.
    Done,
    /// The lease was lost, or there is a newer version: what was committed is not used.
    Refused,
}

/// A playlist to publish, and what it follows from.
pub(in crate::sessions) struct Publication<'a> {
    pub(in crate::sessions) playlist: &'a StoredPlaylist,
    pub(in crate::sessions) sessions: Option<&'a StoredSessions>,
    pub(in crate::sessions) continuity: &'a StoredContinuity,
    pub(in crate::sessions) now: Timestamp,
}

/// State outlives all players, who give up earlier.
const STATE_LIFE: Duration = Duration::from_secs(25 * 3600);
/// How much longer than itself a session is remembered: what it gave is in caches.
const SESSION_LIFE: Duration = Duration::from_secs(300);
/// Why a load failed is remembered as long as nothing else is known.
const FAILURE_LIFE: Duration = Duration::from_secs(60);
/// A replica that has said nothing for so long has no viewers.
const VIEWERS_LIFE: Duration = Duration::from_secs(120);

impl Common {
    /// Publishes a playlist that was loaded under this lease, with the sessions and the continuity that it
    /// follows from. `elapsed` is the time since KVS was asked.
    ///
    /// # Errors
    /// The store does not answer: whether it stands is not known.
    pub(in crate::sessions) async fn commit(
        &self,
        lease: Lease,
        resource: &Resource,
        publication: &Publication<'_>,
        elapsed: Duration,
    ) -> Result<Committed, Error> {
        let (playlist, lease_key) = (self.playlist(resource), self.lease("pl"));
        let now = publication.now;
        let (version, sessions_version, continuity_version) = {
            let held = self.held();
            let sessions = if held.sessions.is_ahead() { held.sessions.next(now) } else { 0 };
            let after = |version| version_after(version, now);
            (after(held.playlist(resource)), sessions, after(held.continuity.highest()))
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
            lease.holder().into(),
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
    pub(in crate::sessions) async fn fail(&self, lease: Lease, resource: &Resource, why: &str) {
        let (playlist, lease_key) = (self.playlist(resource), self.lease("pl"));
        let args = [lease.holder().into(), why.into(), FAILURE_LIFE.into()];
        // Without an answer the others find out themselves.
        let keys = [&playlist, &lease_key];
        if self.store.run(Operation::Commit, &scripts::FAIL, &keys, &args, self.timeout()).await.is_ok() {
            lease.end();
        }
    }

    /// Publishes the upstream sessions after one was opened under this lease.
    ///
    /// # Errors
    /// The store does not answer: whether it stands is not known.
    pub(in crate::sessions) async fn commit_sessions(
        &self,
        lease: Lease,
        sessions: &StoredSessions,
        now: Timestamp,
    ) -> Result<Committed, Error> {
        let version = version_after(self.held().sessions.highest(), now);
        let sealed = self.sealed(&self.sessions, version, sessions)?;
        let Some(current) = sessions.sessions.last() else { return Ok(Committed::Refused) };
        let args = [
            lease.holder().into(),
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

    /// Notes that an opening under this lease failed.
    pub(in crate::sessions) async fn fail_session(&self, lease: Lease, why: &str) {
        let lease_key = self.lease("up");
        let args = [lease.holder().into(), why.into(), FAILURE_LIFE.into()];
        // Without an answer the others find out themselves.
        let keys = [&self.sessions, &lease_key];
        if self.store.run(Operation::Commit, &scripts::FAIL, &keys, &args, self.timeout()).await.is_ok() {
            lease.end();
        }
    }

    /// Notes whether this replica has viewers of it, and gives how many replicas have. Without any, the
    /// sessions are let go.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::sessions) async fn note_viewers(&self, any: bool) -> Result<u64, Error> {
        let args = [self.store.replica().into(), u64::from(any).into(), VIEWERS_LIFE.into()];
        let keys = [&self.viewers, &self.sessions];
        let reply = self.store.run(Operation::Presence, &scripts::VIEW, &keys, &args, self.timeout()).await?;
        Ok(number(&reply))
    }
}

fn life(session: &StoredSession, now: Timestamp) -> Duration {
    Duration::from_millis(session.expires.millis().saturating_sub(now.millis())) + SESSION_LIFE
}

//! What all replicas hold in common of one shared session: its upstream sessions, its playlists, and the
//! continuity that these follow from. Whichever replica holds the lease loads for all.
//!
//! This is the way to the store and back. When it is used, and what happens without it, is in
//! `session::in_common`.

mod alone;
mod held;
mod look;
mod publish;
mod record;
mod scripts;
mod versions;

pub(super) use held::Common;
pub(super) use look::{Look, SessionLook, Verdict};
pub(super) use publish::{Committed, Publication};
pub(super) use record::{StoredContinuity, StoredPlaylist, StoredSession, StoredSessions};

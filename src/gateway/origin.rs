//! How `sessions` reaches KVS: opens a session, loads a playlist and takes the secrets out of it.

use crate::kvs::{Resource, Timestamp};
use crate::playback;
use crate::sessions::{Opened, Origin, SessionKey, Verdict};
use crate::upstream::{self, Located, SessionUrl, Upstream};
use std::sync::Arc;
use std::time::Duration;

/// An upstream session, as media fetches need it.
pub type Handle = SessionUrl;

/// The longest playlist that is read: 5,000 fragments of some 250 bytes, and room.
const LONGEST: usize = 4 << 20;

/// KVS behind the shared sessions.
pub struct KvsOrigin {
    upstream: Upstream,
}

/// Why there is no session or playlist.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// KVS, or the way to it.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// The playlist cannot be passed on.
    #[error(transparent)]
    Rewrite(playback::Error),
}

impl KvsOrigin {
    /// Over these calls.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream }
    }
}

//! KVS playback sessions opened once, shared by many viewers.
//!
//! A KVS session URL serves one player, expires, and dies on a gap. [`Sessions`] holds one upstream session per
//! [`SessionKey`] for any number of viewers: opened by single flight, renewed ahead of its end, reopened when KVS drops
//! it, let go when nobody watches. Playlists are loaded at most once a second per track for everybody, and when KVS
//! fails the last good one stands for a while. What players must not notice of all this is decided by pure modules:
//! `continuity` for HLS, `periods` for DASH.
//!
//! How a session is opened and a playlist fetched is handed in as an [`Origin`]; media bytes are not handled here, but
//! [`Sessions::locate`] says which upstream session and resource stand behind a published address.

mod continuity;
mod key;
mod media_playlist;
mod metrics;
mod numbering;
mod origin;
mod pool;
mod shared;
mod slot;
mod viewers;

pub use key::{SessionKey, ViewerId};
pub use metrics::Metrics;
pub use origin::{Opened, Origin, Verdict};
pub use pool::{Located, Sessions};
pub use shared::Session;
pub use slot::{Outcome, Playlist};
pub use viewers::{SessionInfo, Viewing};

use crate::setting::Span;
use serde::{Deserialize, Serialize};

/// Section `[sessions]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// An upstream session without requests for so long is let go.
    pub idle: Span,
    /// A viewer without requests for so long is gone.
    pub viewer_timeout: Span,
    /// How long a request waits for a fresh playlist while an older one is at hand.
    pub patience: Span,
    /// Upstream sessions at most.
    pub most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            idle: Span::seconds(60),
            viewer_timeout: Span::seconds(30),
            // hls.js gives up on a playlist after three failures in three seconds (HARDENING.md).
            patience: Span::seconds(2),
            most: 10_000,
        }
    }
}

/// Why there is no playlist or session. `E` is the [`Origin`]'s own error.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error<E> {
    /// KVS, or the way to it, said so.
    #[error("{0}")]
    Origin(E),
    /// KVS did not answer in time.
    #[error("KVS did not answer within {0:?}")]
    Slow(std::time::Duration),
    /// KVS answered with something else than a playlist or manifest that can be kept continuous.
    #[error("{0}")]
    Strange(&'static str),
    /// The address belongs to a session that has ended, or to no session.
    #[error("this address is no longer part of the playback session")]
    Gone,
    /// As many sessions as `sessions.most` allows are watched.
    #[error("too many playback sessions are open")]
    Full,
}

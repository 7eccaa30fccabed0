//! Why a capability does not open, or a text is not passed on.

use crate::kvs::Timestamp;
use crate::kvs::leak::Leak;

/// Why a capability does not open, or a text is not passed on. No message repeats what was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Not a capability, or one that was tampered with; not a playlist or manifest.
    #[error("{0}")]
    Malformed(&'static str),
    /// Sealed by a key that is not, or no longer, configured.
    #[error("the playback capability was sealed with a key that is not in playback.keys")]
    UnknownKey,
    /// It holds only what policies read that are no longer in force.
    #[error("the policies have changed since the playback capability was made")]
    Outdated,
    /// It was made with a token whose issuer, or whose signing key, is trusted no more.
    #[error("the issuer of the token that the playback capability was made with, or its key, is gone")]
    Withdrawn,
    /// Its time is over.
    #[error("the playback capability expired at {0}")]
    Expired(Timestamp),
    /// A URI that is absolute, unknown, or could be read as another by some player (`docs/THREATS.md`, threat
    /// 4).
    #[error("a URI in KVS's answer points elsewhere: {0}")]
    Foreign(&'static str),
    /// A session token or an upstream host would have left (law 3).
    #[error("KVS's answer holds {0} where none belongs")]
    Leak(Leak),
}

impl From<Leak> for Error {
    fn from(leak: Leak) -> Self {
        Self::Leak(leak)
    }
}

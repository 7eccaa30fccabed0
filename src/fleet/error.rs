//! Why the store cannot be used for something. A request goes on without it.

use super::rejection::Rejection;

/// Why there is no answer of the store.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection.
    #[error("the shared store is not connected")]
    NotConnected,
    /// The shard has failed lately, and nothing is sent to it for a moment.
    #[error("the shared store does not answer")]
    Ill,
    /// No answer came in time.
    #[error("the shared store did not answer in time")]
    TimedOut,
    /// The store refused, or the connection broke.
    #[error("the shared store: {0}")]
    Failed(String),
    /// There are no playback keys to seal values with.
    #[error("there is no playback key to seal values with")]
    NoKey,
    /// The value is not ours.
    #[error("a value in the shared store was rejected: {0}")]
    Rejected(#[from] Rejection),
}

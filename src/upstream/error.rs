//! Why there is no answer of KVS, in words that say who is at fault. None of them holds a host, a token or
//! a key.

use crate::aws::credentials;
use crate::kvs::Fault;
use std::time::Duration;

/// No answer, and why.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// KVS said no; its answer is to be passed on, unless it refuses *us* ([`Fault::is_refusal`]).
    #[error("KVS answered {0}")]
    Kvs(Fault),
    /// No `[[aws]]` entry serves this stream.
    #[error("{0}")]
    NotServed(String),
    /// The playback session's token is no longer taken: open another session.
    #[error("the playback session has expired")]
    SessionExpired,
    /// The session has no such resource, or nothing to show at the moment.
    #[error("KVS has no media for this resource: {0}")]
    NoData(String),
    /// There are no credentials to sign with.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
    /// KVS throttled the call and all its retries.
    #[error("KVS throttles: {message}")]
    Throttled {
        /// When another try is worth it.
        retry_after: Duration,
        /// What KVS said.
        message: String,
    },
    /// KVS's quota for the stream is used up, by us, and the wait would be too long.
    #[error("the stream's {what} quota is used up for the moment")]
    Busy {
        /// When another try is worth it.
        retry_after: Duration,
        /// Which quota.
        what: &'static str,
    },
    /// Nothing is wrong with KVS: the answer has no room in memory beside others that are on their way.
    #[error("there is no room for an answer of {0} bytes at the moment")]
    NoRoom(u64),
    /// KVS did not answer in time.
    #[error("KVS did not answer within {0:?}")]
    Timeout(Duration),
    /// KVS cannot be reached.
    #[error("KVS cannot be reached: {0}")]
    Unreachable(String),
    /// KVS answered something that is not an answer to this call.
    #[error("KVS gave a broken answer: {0}")]
    BrokenAnswer(String),
    /// The endpoint has failed so often in a row that it is not called for a while.
    #[error("KVS is failing and is left alone for {retry_after:?}")]
    CircuitOpen {
        /// When the next probe is due.
        retry_after: Duration,
    },
}

impl Error {
    /// IAM does not let us, rather than a signature that has run out.
    #[must_use]
    pub fn is_access_denied(&self) -> bool {
        matches!(self, Self::Kvs(fault) if fault.is_refusal() && !fault.is_expired_credentials())
    }

    /// True if it was our own bounds that kept us from asking.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::CircuitOpen { .. })
    }

    /// When the call can be made again, if only its turn under KVS's quotas did not come.
    #[must_use]
    pub fn next_turn(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } | Self::Throttled { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// True if KVS itself is in trouble or out of reach, so that something older is better than nothing.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Kvs(fault) => fault.is_trouble() || fault.is_throttle() || fault.is_refusal(),
            Self::NotServed(_) | Self::SessionExpired | Self::NoData(_) | Self::NoRoom(_) => false,
            _ => true,
        }
    }
}

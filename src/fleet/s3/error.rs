//! Why a bucket did not do what it was asked to.

use crate::aws::{credentials, sign};
use crate::net::body::Broken;
use crate::net::client;
use http::StatusCode;
use std::time::Duration;

/// Why there is no object, or no whole one. None of these shows a secret or a body.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bucket has no such object.
    #[error("S3 has no such object")]
    Missing,
    /// The bucket refuses: wrong keys, no permission, no such bucket.
    #[error("S3 refused with {status} {code}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// S3's word for it, such as `AccessDenied`; empty if there was none.
        code: String,
    },
    /// The bucket has trouble of its own, or asks for fewer requests.
    #[error("S3 has trouble: {status} {code}")]
    Trouble {
        /// The status.
        status: StatusCode,
        /// S3's word for it, such as `SlowDown`.
        code: String,
    },
    /// No answer in time, credentials included.
    #[error("S3 did not answer within {0:?}")]
    Late(Duration),
    /// The body came too slowly.
    #[error("S3 sent fewer than {0} bytes in a second")]
    Slow(u64),
    /// There is no connection, or it broke.
    #[error("S3: {0}")]
    Client(#[from] client::Error),
    /// The body broke.
    #[error("S3: {0}")]
    Broken(#[from] Broken),
    /// What was answered is not what was asked for.
    #[error("S3 answered {0}")]
    Answer(&'static str),
    /// There are no credentials.
    #[error("S3: {0}")]
    Credentials(#[from] credentials::Error),
    /// The request cannot be signed.
    #[error("S3: {0}")]
    Sign(#[from] sign::Error),
    /// The bucket has failed lately, and nothing is sent to it for a moment.
    #[error("S3 is not used for a moment, because it failed")]
    Ill,
    /// The object's name does not fit into a URL.
    #[error("S3: an object's name that does not fit into a URL")]
    Name,
}

impl Error {
    /// Whether it took too long, rather than failed.
    #[must_use]
    pub fn is_late(&self) -> bool {
        matches!(
            self,
            Self::Late(_)
                | Self::Slow(_)
                | Self::Client(client::Error::Late(_))
                | Self::Broken(Broken::Stalled(_) | Broken::TooLong(_))
        )
    }
}

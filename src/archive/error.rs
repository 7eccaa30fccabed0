//! Why the archive has no answer.

use crate::cache::FillError;
use crate::kvs::ListedFragment;
use crate::net::body::Broken;
use crate::package::Refusal;
use crate::upstream;
use std::sync::Arc;
use std::time::Duration;

/// Why there is no answer. Nothing was kept, and nothing was given out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// KVS, or the way to it; shared by all who waited for the same fetch.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// A body broke before its first byte was sent.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// Too much footage is being listed or written for players, by this caller or by all. It holds the time
    /// after which to come again.
    #[error("too much footage is being prepared for playback")]
    Crowded(Duration),
    /// A stored fragment cannot be packaged.
    #[error("{place}: {refusal}")]
    Package {
        /// Which fragment, in words: its number and producer time.
        place: String,
        /// What about it.
        refusal: Refusal,
    },
}

impl Error {
    /// Whether the failure concerns the caller that met it, and another caller may succeed.
    pub(super) fn is_of_caller(&self) -> bool {
        match self {
            Self::Crowded(_) => true,
            Self::Upstream(error) => matches!(**error, upstream::Error::Busy { .. }),
            _ => false,
        }
    }

    pub(super) fn refused(row: Option<&ListedFragment>, refusal: Refusal) -> Self {
        let place = row.map_or_else(
            || "the footage".to_owned(),
            |row| format!("fragment {} of {}", row.number, row.producer),
        );
        Self::Package { place, refusal }
    }
}

impl From<upstream::Error> for Error {
    fn from(error: upstream::Error) -> Self {
        Self::Upstream(Arc::new(error))
    }
}

impl From<FillError<upstream::Error>> for Error {
    fn from(error: FillError<upstream::Error>) -> Self {
        match error {
            FillError::Fetch(error) => Self::Upstream(error),
            FillError::Broken(broken) => Self::Broken(broken),
        }
    }
}

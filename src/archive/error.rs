//! Why the archive has no answer.

use crate::cache::FillError;
use crate::net::body::Broken;
use crate::upstream;
use std::sync::Arc;

/// Why there is no answer. Nothing was kept, and nothing was given out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// KVS, or the way to it; shared by all who waited for the same fetch.
    #[error(transparent)]
    Upstream(Arc<upstream::Error>),
    /// A body broke before its first byte was sent.
    #[error(transparent)]
    Broken(#[from] Broken),
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

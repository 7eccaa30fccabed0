//! The kinds of places of a request that may hold a token, for `identity.order`.

use serde::{Deserialize, Serialize};

/// The kinds of places that `identity.order` orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// `X-Amz-Security-Token` beside an AWS signature.
    SecurityToken,
    /// `Authorization: Bearer`.
    Bearer,
    /// The headers of `identity.headers`, in their order there.
    Headers,
    /// The cookie of `identity.cookie`.
    Cookie,
}

impl PlaceKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::SecurityToken, Self::Bearer, Self::Headers, Self::Cookie];
}

//! A place in a request where the tokens of an issuer count, as it is written in the settings.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// A place where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceptedPlace {
    /// `Authorization: Bearer`.
    Bearer,
    /// `X-Amz-Security-Token`: the session token of an AWS SDK.
    SecurityToken,
    /// The cookie `identity.cookie`.
    Cookie,
    /// One of `identity.headers`; letter case does not matter.
    Header(String),
}

impl AcceptedPlace {
    fn parse(text: &str) -> Self {
        match text {
            "bearer" => Self::Bearer,
            "security-token" => Self::SecurityToken,
            "cookie" => Self::Cookie,
            header => Self::Header(header.to_owned()),
        }
    }

    /// Whether both are the same place of a request.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header(one), Self::Header(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => one == two,
        }
    }
}

impl fmt::Display for AcceptedPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bearer => "bearer",
            Self::SecurityToken => "security-token",
            Self::Cookie => "cookie",
            Self::Header(name) => name,
        })
    }
}

impl Serialize for AcceptedPlace {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AcceptedPlace {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(from)?))
    }
}

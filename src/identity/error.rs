//! Why a request could not be authenticated: one reason per rule, which logs, metrics and tests name.
//!
//! A detail may quote what the token claims (its `kid`, its `aud`), escaped and shortened, but never the
//! token itself. The gateway decides the HTTP status of a failure; the doc comments here name the intended
//! one.

use std::fmt;

/// A request that could not be authenticated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No token at all (401). The hint says where one was expected.
    #[error("no token: {hint}")]
    Missing {
        /// What to send, in one sentence.
        hint: &'static str,
    },
    /// More than one credential (400). kvs-edge does not guess which one is meant.
    #[error("more than one credential: {}; {advice}", found.join(", "))]
    Several {
        /// The places where one was found, in words; a place that holds two is named twice.
        found: Vec<String>,
        /// What to do about it.
        advice: &'static str,
    },
    /// A token beyond `identity.max_token` (431).
    #[error("the token is {bytes} bytes long; at most {limit} are accepted")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The longest accepted.
        limit: usize,
    },
    /// A token that is not accepted (401).
    #[error("{reason}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Refused {
        /// Which rule it broke.
        reason: Reason,
        /// What exactly, for the log; may be empty.
        detail: String,
    },
    /// The token may be good, but this issuer's keys are not here, or too old to be trusted (503).
    #[error("the keys of issuer {issuer} are not available: {detail}")]
    KeysUnavailable {
        /// Whose keys.
        issuer: String,
        /// Why not.
        detail: String,
    },
}

impl Error {
    /// One word for logs and for the metric label `reason`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Several { .. } => "several",
            Self::TooLarge { .. } => "too_large",
            Self::Refused { reason, .. } => reason.as_str(),
            Self::KeysUnavailable { .. } => "keys_unavailable",
        }
    }

    /// Every word that `as_str` can say, so that each has its metric series from the start.
    pub fn words() -> impl Iterator<Item = &'static str> {
        let others = ["missing", "several", "too_large", "keys_unavailable"];
        others.into_iter().chain(Reason::ALL.into_iter().map(Reason::as_str))
    }

    pub(super) fn refused(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Refused { reason, detail: detail.into() }
    }
}

/// Text that a stranger wrote, fit for a log: escaped and at most 64 characters of it.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    let dots = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{dots}")
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $sentence:literal;)*) => {
        /// The rule that a refused token broke.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// All of them.
            pub const ALL: [Self; [$($word),*].len()] = [$(Self::$name),*];

            /// One word for logs and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }

        impl fmt::Display for Reason {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $sentence,)* })
            }
        }
    };
}

reasons! {
    /// Not three base64url segments of JSON objects, or a member of the wrong type.
    Malformed = "malformed", "the token is malformed";
    /// A member occurs twice in the header or the payload, at any depth.
    Duplicate = "duplicate", "the token says something twice";
    /// A JWE: five segments, or an `enc` header.
    Encrypted = "encrypted", "encrypted tokens are not accepted";
    /// A `zip` header.
    Compressed = "compressed", "compressed tokens are not accepted";
    /// A token inside the token (`cty` is JWT).
    Nested = "nested", "nested tokens are not accepted";
    /// A `crit` header, or `b64`, which needs one: no extension is understood here.
    Critical = "critical", "the token demands an extension";
    /// `typ` is not an accepted one.
    Type = "type", "the token is of another type";
    /// `iss` is absent or not one of the configured issuers.
    Issuer = "issuer", "the token is from an unknown issuer";
    /// It arrived where tokens of its issuer do not count.
    Place = "place", "tokens of this issuer do not count in this place of a request";
    /// The `signer` in the header is none of the configured load balancers.
    Signer = "signer", "the token was signed by another load balancer";
    /// `alg` is none, unknown, or not allowed for this issuer.
    Algorithm = "algorithm", "the token's algorithm is not allowed";
    /// No key of this issuer has the token's `kid` and fits its algorithm.
    Key = "key", "the token's key is unknown";
    /// The signature is wrong.
    Signature = "signature", "the token's signature is wrong";
    /// `aud` is absent or names another audience.
    Audience = "audience", "the token is meant for somebody else";
    /// `exp` has passed.
    Expired = "expired", "the token has expired";
    /// `exp` is absent.
    Unbounded = "unbounded", "the token never expires";
    /// `nbf` lies ahead.
    NotYet = "not_yet", "the token is not valid yet";
    /// `iat` lies ahead.
    IssuedAhead = "issued_ahead", "the token was issued in the future";
    /// It lives longer than the issuer's `max_lifetime`.
    Lifetime = "lifetime", "the token lives too long";
    /// No usable subject where the claim map points.
    Subject = "subject", "the token names no subject";
    /// A mapped claim that is required is absent, or of another type than configured.
    Claim = "claim", "a required claim is missing or has the wrong type";
    /// A claim is not as `require` says.
    Require = "require", "the token lacks a claim that its issuer's tokens must have here";
    /// `cnf`: the token counts only together with a key that is not checked here.
    Bound = "bound", "the token is bound to a key, which is not checked here";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_metric_labels_and_none_is_used_twice() {
        let mut words: Vec<_> = Error::words().collect();
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        assert!(words.iter().all(|w| w.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn what_a_stranger_wrote_is_escaped_and_short() {
        assert_eq!(quoted("a\r\nb"), r#""a\r\nb""#);
        assert!(quoted(&"x".repeat(9000)).len() < 80);
    }
}

//! Why nobody was signed in, or a session was not renewed: one word for the page and the log.

/// Why a sign-in or a renewal came to nothing. The page has words for each; what exactly happened is in the
/// log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The answer belongs to no sign-in that this browser has begun, or to one that is over.
    #[error("the answer belongs to no sign-in that began in this browser, or to one that is over")]
    State,
    /// The answer is of another issuer than the one that was asked (RFC 9207).
    #[error("the answer came from another issuer than the one that was asked")]
    MixUp,
    /// No such issuer is configured, or it has no `client_id`.
    #[error("nobody can sign in with this issuer")]
    Issuer,
    /// The provider refused: its word (RFC 6749 4.1.2.1 and 5.2), in letters, digits and underscores.
    #[error("the identity provider refused: {0}")]
    Refused(String),
    /// The provider cannot be reached, or answers with nothing usable.
    #[error("the identity provider does not answer as it should")]
    Provider,
    /// The provider's tokens are not good.
    #[error("the identity provider sent a token that is not accepted here")]
    Token,
    /// The tokens do not fit into cookies.
    #[error("the identity provider's tokens are too large for a browser's cookies")]
    TooLarge,
    /// Too many sign-ins at once.
    #[error("too many people sign in at the moment")]
    Busy,
    /// The session has no refresh token, or it cannot be opened.
    #[error("this session cannot be renewed; sign in again")]
    NotRenewable,
}

impl Problem {
    /// One word.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::State => "state",
            Self::MixUp => "mix_up",
            Self::Issuer => "issuer",
            Self::Refused(word) => word,
            Self::Provider => "provider",
            Self::Token => "token",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::NotRenewable => "not_renewable",
        }
    }

    /// Whether the same may succeed a little later.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Provider | Self::Busy)
    }

    /// A refusal in the provider's own word, as far as it is one.
    pub(super) fn refused(word: &str) -> Self {
        let fits = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
        let word: String = word.chars().filter(fits).take(40).collect();
        Self::Refused(if word.is_empty() { "refused".to_owned() } else { word })
    }
}

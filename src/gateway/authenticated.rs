//! The caller of a request: the owner of a token, or the holder of a playback capability.

use crate::caller::{Caller, SigningKey};
use crate::playback::{OpenedCapability, Opens};
use std::sync::Arc;

/// A caller, and the credential that it was found by.
pub(super) enum Authenticated {
    /// A verified token.
    Token(Arc<Caller>, SigningKey),
    /// No credential: what is permitted to everybody.
    Anonymous(Arc<Caller>),
    /// A capability, which also says what may be played or downloaded.
    Capability(Arc<OpenedCapability>),
}

impl Authenticated {
    /// Whether it is a capability of a playback session, which a player shows several times a second.
    pub(super) fn plays(&self) -> bool {
        matches!(self, Self::Capability(capability) if matches!(capability.opens, Opens::Session(_)))
    }

    /// The caller.
    pub(super) fn caller(&self) -> &Arc<Caller> {
        match self {
            Self::Token(caller, _) | Self::Anonymous(caller) => caller,
            Self::Capability(capability) => &capability.caller,
        }
    }
}

//! Tokens that were verified, by a keyed digest of all their bytes, so that the next request costs a digest
//! and a look-up instead of a signature. The token itself is not kept.
//!
//! An entry is right until `exp`, or until the issuer's keys change. `Identity` checks both at each look-up;
//! the bound in this file only limits memory.

use super::claims::Window;
use super::error::Error;
use super::jwks::KeyStore;
use crate::base::digest::{Digest, DigestState, Digester};
use crate::caller::{Caller, SigningKey};
use crate::kvs::Timestamp;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::sync::Arc;

/// Entries; some 500 bytes each.
const CAPACITY: usize = 10_000;

/// A verified token.
pub(super) struct VerifiedToken {
    pub caller: Arc<Caller>,
    /// The key that verified it.
    pub key: SigningKey,
    pub window: Window,
    /// Its segments are padded: it counts only in a header that an access proxy sets.
    pub padded: bool,
    /// The issuer whose keys and settings verified it.
    pub issuer: Arc<KeyStore>,
    /// The generation of the keys that verified it.
    pub generation: u64,
}

impl VerifiedToken {
    /// Its caller, if it is valid at `now`.
    pub fn admit(&self, now: Timestamp) -> Result<Arc<Caller>, Error> {
        self.window.admit(now)?;
        Ok(self.caller.clone())
    }
}

/// The verified tokens.
pub(super) struct VerifiedTokens {
    digester: Digester,
    tokens: Cache<Digest, Arc<VerifiedToken>, UnitWeighter, DigestState>,
}

impl VerifiedTokens {
    pub fn new() -> Self {
        let (digests, evictions) = (DigestState::default(), DefaultLifecycle::default());
        let tokens = Cache::with(CAPACITY, CAPACITY as u64, UnitWeighter, digests, evictions);
        Self { digester: Digester::default(), tokens }
    }

    /// By what a token is found here.
    pub fn digest(&self, token: &[u8]) -> Digest {
        self.digester.of(token)
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<VerifiedToken>> {
        self.tokens.get(digest)
    }

    pub fn insert(&self, digest: Digest, token: Arc<VerifiedToken>) {
        self.tokens.insert(digest, token);
    }
}

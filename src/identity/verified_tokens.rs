//! Tokens that were verified, by a keyed digest of all their bytes, so that the next request costs a digest
//! and a look-up instead of a signature. The token itself is not kept.
//!
//! An entry is right until `exp`, or until the issuer's keys change. `Identity` checks both at each look-up;
//! the bound in this file only limits memory. It is a bound in bytes, because what a token claims may be a
//! hundred bytes or ten thousand. Tokens that were used twice are not displaced by those that were used once.

use super::claims::Window;
use super::error::Error;
use super::jwks::KeyStore;
use super::place::AcceptedPlace;
use crate::base::digest::{Digest, DigestState, Digester};
use crate::caller::{Caller, SigningKey};
use crate::kvs::Timestamp;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::sync::Arc;

/// Bytes of all entries: a token with few claims takes some 600, so there is room for 25,000 of those.
const CAPACITY: u64 = 16 << 20;
/// How many entries are usual, for the first allocation of the table.
const USUAL: usize = 10_000;
/// What an entry takes beside its caller: itself, its digest, and its place in the table.
const PER_TOKEN: usize = 200;

/// Weighs a token by what its caller takes.
#[derive(Clone)]
struct TokenWeigher;

impl Weighter<Digest, Arc<VerifiedToken>> for TokenWeigher {
    fn weight(&self, _: &Digest, token: &Arc<VerifiedToken>) -> u64 {
        (token.caller.weight() + PER_TOKEN) as u64
    }
}

/// A verified token.
pub(super) struct VerifiedToken {
    pub caller: Arc<Caller>,
    /// The key that verified it.
    pub key: SigningKey,
    pub window: Window,
    /// Where in a request it was verified, if the place made a difference; it counts only there.
    pub place: Option<AcceptedPlace>,
    /// The issuer whose keys and settings verified it.
    pub issuer: Arc<KeyStore>,
    /// The generation of the keys that verified it.
    pub generation: u64,
}

impl VerifiedToken {
    /// Whether it was verified for this place of a request; `None` is no place.
    pub fn counts_at(&self, place: Option<&AcceptedPlace>) -> bool {
        match (&self.place, place) {
            (None, _) => true,
            (Some(ours), Some(place)) => ours.is(place),
            (Some(_), None) => false,
        }
    }

    /// Its caller, if it is valid at `now`.
    pub fn admit(&self, now: Timestamp) -> Result<Arc<Caller>, Error> {
        self.window.admit(now)?;
        Ok(self.caller.clone())
    }
}

/// The verified tokens.
pub(super) struct VerifiedTokens {
    digester: Digester,
    tokens: Cache<Digest, Arc<VerifiedToken>, TokenWeigher, DigestState>,
}

impl VerifiedTokens {
    pub fn new() -> Self {
        let (digests, evictions) = (DigestState::default(), DefaultLifecycle::default());
        let tokens = Cache::with(USUAL, CAPACITY, TokenWeigher, digests, evictions);
        Self { digester: Digester::default(), tokens }
    }

    /// By what a token is found here.
    pub fn digest(&self, token: &[u8]) -> Digest {
        self.digester.of(token)
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<VerifiedToken>> {
        self.tokens.get(digest)
    }

    /// Bytes of all entries.
    #[cfg(test)]
    pub fn weight(&self) -> u64 {
        self.tokens.weight()
    }

    pub fn insert(&self, digest: Digest, token: Arc<VerifiedToken>) {
        self.tokens.insert(digest, token);
    }
}

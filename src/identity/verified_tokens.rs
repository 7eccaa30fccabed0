//! Tokens that were verified, by the SHA-256 of all their bytes, so that the next request costs a digest and
//! a look-up instead of a signature.
//!
//! An entry is right until `exp`, or until the issuer's keys change. `Identity` checks both at each look-up,
//! so the bounds in this file only limit memory.

use super::claims::Window;
use super::jwks::KeyStore;
use crate::base::digest::{Digest, DigestState};
use crate::caller::Caller;
use moka::Expiry;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Entries; some 500 bytes each.
const CAPACITY: u64 = 10_000;

/// A verified token.
pub(super) struct VerifiedToken {
    pub caller: Arc<Caller>,
    pub window: Window,
    /// The issuer whose keys and settings verified it.
    pub issuer: Arc<KeyStore>,
    /// The generation of the keys that verified it.
    pub generation: u64,
    /// How long the entry stays.
    pub time_to_live: Duration,
}

/// The verified tokens.
pub(super) struct VerifiedTokens(Cache<Digest, Arc<VerifiedToken>, DigestState>);

impl VerifiedTokens {
    pub fn new() -> Self {
        let tokens = Cache::builder().max_capacity(CAPACITY).expire_after(ExpireWithToken);
        Self(tokens.build_with_hasher(DigestState::default()))
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<VerifiedToken>> {
        self.0.get(digest)
    }

    pub fn insert(&self, digest: Digest, token: Arc<VerifiedToken>) {
        self.0.insert(digest, token);
    }
}

struct ExpireWithToken;

impl Expiry<Digest, Arc<VerifiedToken>> for ExpireWithToken {
    fn expire_after_create(&self, _: &Digest, token: &Arc<VerifiedToken>, _: Instant) -> Option<Duration> {
        Some(token.time_to_live)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        token: &Arc<VerifiedToken>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(token.time_to_live)
    }
}

//! Tokens that were verified, by the SHA-256 of their every byte, so that the next request costs a hash and a look-up
//! instead of a signature.
//!
//! What is remembered holds until `exp`, or until the issuer's keys change; both are checked again at each look-up, so
//! that the bound in here is memory's only.

use super::claims::Window;
use super::jwks::KeyStore;
use crate::caller::Caller;
use aws_lc_rs::digest;
use moka::Expiry;
use moka::sync::Cache;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many tokens are remembered; some 500 bytes each.
const MOST: u64 = 10_000;

/// A token's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

impl Hash for Digest {
    /// A digest is spread evenly already, so that its beginning is hash enough.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_ne_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Gives the number back that a [`Digest`] hashes to.
#[derive(Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        // Not used by `Digest`; any function of the bytes is right.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A verified token.
pub(super) struct Known {
    pub caller: Arc<Caller>,
    pub window: Window,
    /// Whose: the keys of an issuer under the settings that verified it.
    pub issuer: Arc<KeyStore>,
    /// The generation of the keys that verified it.
    pub generation: u64,
    /// How long it may stay.
    pub keep: Duration,
}

/// The verified tokens.
pub(super) struct Remembered(Cache<Digest, Arc<Known>, BuildHasherDefault<FirstBytes>>);

impl Remembered {
    pub fn new() -> Self {
        let tokens = Cache::builder().max_capacity(MOST).expire_after(UntilItEnds);
        Self(tokens.build_with_hasher(BuildHasherDefault::default()))
    }

    pub fn digest(token: &str) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Digest(bytes)
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<Known>> {
        self.0.get(digest)
    }

    pub fn insert(&self, digest: Digest, known: Arc<Known>) {
        self.0.insert(digest, known);
    }
}

struct UntilItEnds;

impl Expiry<Digest, Arc<Known>> for UntilItEnds {
    fn expire_after_create(&self, _: &Digest, known: &Arc<Known>, _: Instant) -> Option<Duration> {
        Some(known.keep)
    }

    fn expire_after_update(
        &self,
        _: &Digest,
        known: &Arc<Known>,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(known.keep)
    }
}

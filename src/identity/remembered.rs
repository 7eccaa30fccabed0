//! Tokens that were verified, by the SHA-256 of their every byte, so that the next request costs a hash and a look-up
//! instead of a signature.
//!
//! What is remembered holds until `exp`, or until the issuer's keys change; both are checked again at each look-up, so
//! that the bound in here is memory's only.

use super::claims::Window;
use super::jwks::KeyStore;
use super::source::Token;
use crate::caller::Caller;
use crate::setting::Secret;
use aws_lc_rs::digest;
use moka::Expiry;
use moka::sync::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many tokens are remembered; some 500 bytes each.
const MOST: u64 = 10_000;

/// A token's digest.
pub(super) type Digest = [u8; 32];

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
pub(super) struct Remembered(Cache<Digest, Arc<Known>>);

impl Remembered {
    pub fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST).expire_after(UntilItEnds).build())
    }

    pub fn digest(token: &str) -> Digest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        bytes
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<Known>> {
        self.0.get(digest)
    }

    pub fn insert(&self, digest: Digest, known: Arc<Known>) {
        self.0.insert(digest, known);
    }
}

/// The token that was last verified on a connection: most connections carry one caller's, again and again. It is held as
/// long as the connection is in use, in memory that is wiped, so that the next request costs a comparison.
#[derive(Default)]
pub struct LastToken(Option<Last>);

struct Last {
    token: Secret,
    /// In its place, `=` belongs to it.
    padded: bool,
    known: Arc<Known>,
}

impl LastToken {
    /// What is known of this token, if it is the last one.
    pub(super) fn get(&self, token: Token<'_>) -> Option<&Known> {
        // Not in constant time: a difference shows after eight bytes at the earliest, too many to guess one by one.
        let is = |last: &&Last| last.token.expose() == token.bytes() && last.padded == token.may_be_padded();
        self.0.as_ref().filter(is).map(|last| &*last.known)
    }

    pub(super) fn set(&mut self, token: Token<'_>, known: Arc<Known>) {
        let (bytes, padded) = (token.bytes().to_vec(), token.may_be_padded());
        self.0 = Some(Last { token: Secret::new(bytes), padded, known });
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

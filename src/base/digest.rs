//! SHA-256 digests as keys of look-ups.
//!
//! A digest is spread evenly already, so a map takes its first bytes for the hash instead of hashing it
//! again.

use aws_lc_rs::digest;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// The SHA-256 of something that must not be kept itself, such as a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(digest)
    }

    /// Its first eight bytes: enough to tell some thousands of things apart, too few to be the digest.
    #[must_use]
    pub fn beginning(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_ne_bytes(self.beginning()));
    }
}

/// Builds the hasher for maps whose keys are [`Digest`]s.
pub type DigestState = BuildHasherDefault<FirstBytes>;

/// Gives the number back that a [`Digest`] hashes to.
#[derive(Default)]
pub struct FirstBytes(u64);

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[test]
    fn a_digest_hashes_to_its_own_beginning() {
        let digest = Digest::of(b"a token");
        assert_eq!(DigestState::default().hash_one(digest), u64::from_ne_bytes(digest.beginning()));
        assert!(digest == Digest::of(b"a token") && digest != Digest::of(b"another"));
    }
}

//! Sealed values: nobody who can write to the store can put other bytes in place of ours, and nobody who can
//! read it learns anything.
//!
//! AES-256-GCM. The key is derived (HKDF-SHA-256) from a playback key and the name of the store's key, and
//! the format, that name and the version of the value are authenticated with it. So a value opens only under
//! its own name and as the version that it is: values that are swapped or replayed do not open. The nonce is
//! random, and one derived key seals far fewer than 2^32 values.
//!
//! Form: format (1 byte), id of the playback key (4), nonce (12), ciphertext and tag.

use super::blocks::{Blocks, BlocksOf};
use super::rejection::Rejection;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use zeroize::Zeroizing;

/// A playback key as the store uses it; `playback` derives the secret.
pub struct SealingSecret {
    /// Tells keys apart; the same on every replica.
    pub id: [u8; ID_LEN],
    /// The secret.
    pub secret: Zeroizing<[u8; 32]>,
}

/// Length of a key's id.
pub const ID_LEN: usize = 4;
const FORMAT: u8 = 1;
const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN;
const TAG_LEN: usize = 16;

/// How many bytes longer a sealed value is.
pub const SEAL_OVERHEAD: usize = HEAD_LEN + TAG_LEN;

/// Seals with the first key, opens with any.
pub(super) struct Sealer(Vec<SealingKey>);

struct SealingKey {
    id: [u8; ID_LEN],
    root: Prk,
}

impl Sealer {
    pub(super) fn new(secrets: &[SealingSecret]) -> Self {
        let salt = Salt::new(HKDF_SHA256, b"kvs-edge shared store");
        Self(secrets.iter().map(|s| SealingKey { id: s.id, root: salt.extract(s.secret.as_ref()) }).collect())
    }

    /// The ids of all keys, in their order.
    pub(super) fn key_ids(&self) -> Vec<[u8; ID_LEN]> {
        self.0.iter().map(|key| key.id).collect()
    }

    /// `None` without keys.
    pub(super) fn seal(&self, name: &str, version: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(SEAL_OVERHEAD + plain.len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(binding(name, version)));
        let tag = key.for_name(name)?.seal_in_place_separate_tag(nonce, aad, &mut sealed[HEAD_LEN..]).ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    pub(super) fn open(&self, name: &str, version: u64, mut sealed: Vec<u8>) -> Result<Vec<u8>, Rejection> {
        if sealed.len() < SEAL_OVERHEAD || sealed[0] != FORMAT {
            return Err(Rejection::Format);
        }
        let key = self.0.iter().find(|key| sealed[1..].starts_with(&key.id)).ok_or(Rejection::Key)?;
        let nonce = Nonce::try_assume_unique_for_key(&sealed[1 + ID_LEN..HEAD_LEN]);
        let nonce = nonce.map_err(|_| Rejection::Format)?;
        let aad = Aad::from(binding(name, version));
        let cipher = key.for_name(name).ok_or(Rejection::Key)?;
        let length =
            cipher.open_within(nonce, aad, &mut sealed, HEAD_LEN..).map_err(|_| Rejection::Mac)?.len();
        sealed.truncate(length);
        Ok(sealed)
    }
}

impl Sealer {
    /// For the blocks of a value under this name; and the id of the key that they are sealed with. `None`
    /// without keys.
    pub(super) fn blocks(&self, name: &str, of: &BlocksOf) -> Option<([u8; ID_LEN], Blocks)> {
        let key = self.0.first()?;
        Some((key.id, key.blocks(name, of)?))
    }

    /// For the blocks of a value that were sealed by the key of this id.
    pub(super) fn blocks_of(&self, id: [u8; ID_LEN], name: &str, of: &BlocksOf) -> Result<Blocks, Rejection> {
        let key = self.0.iter().find(|key| key.id == id).ok_or(Rejection::Key)?;
        key.blocks(name, of).ok_or(Rejection::Key)
    }
}

impl SealingKey {
    fn blocks(&self, name: &str, of: &BlocksOf) -> Option<Blocks> {
        let name = format!("{name} blocks {}", crate::base::hex::encode(&of.id));
        self.for_name(&name).map(|key| Blocks::new(key, of))
    }

    fn for_name(&self, name: &str) -> Option<LessSafeKey> {
        let mut key = Zeroizing::new([0; 32]);
        let info: [&[u8]; 2] = [b"kvs-edge shared value v1 ", name.as_bytes()];
        self.root.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut())).ok()?;
        UnboundKey::new(&AES_256_GCM, key.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// What a value is bound to.
fn binding(name: &str, version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + 8 + name.len());
    bytes.push(FORMAT);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealer(keys: &[u8]) -> Sealer {
        let secret = |key: &u8| SealingSecret { id: [*key; ID_LEN], secret: Zeroizing::new([*key; 32]) };
        Sealer::new(&keys.iter().map(secret).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_else_does(
            name in "[a-z:{}]{1,20}", version: u64, plain: Vec<u8>, at: usize, bit in 0..8_u8, any: Vec<u8>,
        ) {
            let sealer = sealer(&[1, 2]);
            let sealed = sealer.seal(&name, version, &plain).unwrap();
            prop_assert_eq!(sealed.len(), plain.len() + SEAL_OVERHEAD);
            prop_assert_eq!(sealer.open(&name, version, sealed.clone()), Ok(plain));
            prop_assert_eq!(sealer.open(&name, version ^ 1, sealed.clone()), Err(Rejection::Mac));
            prop_assert_eq!(sealer.open(&format!("{name}x"), version, sealed.clone()), Err(Rejection::Mac));
            let mut flipped = sealed.clone();
            flipped[at % sealed.len()] ^= 1 << bit;
            prop_assert!(sealer.open(&name, version, flipped).is_err());
            prop_assert!(sealer.open(&name, version, sealed[..at % sealed.len()].to_vec()).is_err());
            prop_assert!(sealer.open(&name, version, any).is_err());
        }
    }

    #[test]
    fn a_block_opens_at_its_place_in_its_value_only() {
        let (sealer, of) = (sealer(&[1, 2]), BlocksOf { id: [5; 16], version: 7, length: 100 });
        let (key, blocks) = sealer.blocks("k", &of).unwrap();
        let mut sealed = Vec::new();
        blocks.seal(0, b"first", &mut sealed).unwrap();
        blocks.seal(1, b"other", &mut sealed).unwrap();
        let (first, other) = sealed.split_at(5 + 16);
        let mut plain = [0; 5];
        let mut open = |name: &str, of: &BlocksOf, number: u64, block: &[u8]| {
            let opened = sealer.blocks_of(key, name, of).unwrap().open(number, block, &mut plain);
            opened.map(|()| plain)
        };
        assert_eq!(open("k", &of, 0, first), Ok(*b"first"));
        assert_eq!(open("k", &of, 1, other), Ok(*b"other"));
        for (name, of, number, block) in [
            ("k", of, 1, first),
            ("k", of, 0, other),
            ("l", of, 0, first),
            ("k", BlocksOf { id: [6; 16], ..of }, 0, first),
            ("k", BlocksOf { version: 8, ..of }, 0, first),
            ("k", BlocksOf { length: 99, ..of }, 0, first),
        ] {
            assert_eq!(open(name, &of, number, block), Err(Rejection::Mac));
        }
        assert_eq!(open("k", &of, 0, &first[..20]), Err(Rejection::Format));
        assert_eq!(sealer.blocks_of([9; ID_LEN], "k", &of).err(), Some(Rejection::Key));
        assert!(blocks.seal(2, &vec![0; 65_537], &mut sealed).is_none());
    }

    #[test]
    fn keys_rotate_without_an_interruption() {
        let (before, between, after) = (sealer(&[1]), sealer(&[1, 2]), sealer(&[2, 1]));
        let old = before.seal("k", 7, b"value").unwrap();
        let new = after.seal("k", 8, b"value").unwrap();
        for (sealer, sealed, version) in [(&between, &old, 7), (&after, &old, 7), (&between, &new, 8)] {
            assert_eq!(sealer.open("k", version, sealed.clone()).unwrap(), b"value");
        }
        assert_eq!(before.open("k", 8, new), Err(Rejection::Key));
    }
}

//! Keys that are published one by one, each as PEM under its `kid`: load balancers and Verified Access.
//!
//! There is no list of them, so a key is read when a token names it. Names that were made up must not keep
//! out the ones that are in use: of the names that wait, those that most tokens have had are read first, and
//! only a few at a time. A key that was read is kept until it is too old, whatever later answers say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// How many new keys are read at a time.
const AT_ONCE: usize = 4;
/// How many names wait to be read.
const MOST_WAITING: usize = 256;
/// How many keys are kept; AWS signs with one or two at a time.
const MOST_KEPT: usize = 64;
/// How long the answer is remembered that there is no such key.
const ABSENT: Duration = Duration::from_secs(60);

/// The keys of one issuer, and the names of those to read.
#[derive(Default)]
pub(super) struct PemKeys {
    known: BTreeMap<String, (Instant, Value)>,
    /// With the number of tokens that named it.
    waiting: BTreeMap<String, u32>,
    absent: BTreeMap<String, Instant>,
}

/// Whether a name can be part of an address: AWS writes UUIDs.
pub(super) fn is_name(kid: &str) -> bool {
    !kid.is_empty() && kid.len() <= 64 && kid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl PemKeys {
    /// Notes that a token names this key. False if there is none of this name, for sure.
    pub fn want(&mut self, kid: &str) -> bool {
        self.absent.retain(|_, when| when.elapsed() < ABSENT);
        if !is_name(kid) || self.absent.contains_key(kid) {
            return false;
        }
        if let Some(count) = self.waiting.get_mut(kid) {
            *count = count.saturating_add(1);
        } else if !self.known.contains_key(kid) {
            if self.waiting.len() >= MOST_WAITING {
                let least = self.waiting.iter().min_by_key(|(_, count)| **count).map(|(kid, _)| kid.clone());
                least.map(|kid| self.waiting.remove(&kid));
            }
            self.waiting.insert(kid.to_owned(), 1);
        }
        true
    }

    /// What to read now: a few of the new names, and again what was read long ago.
    pub fn take_names(&mut self, refresh: Duration) -> Vec<String> {
        let mut waiting: Vec<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        waiting.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.waiting = waiting.split_off(waiting.len().min(AT_ONCE)).into_iter().collect();
        let new = waiting.into_iter().map(|(kid, _)| kid);
        let old = self.known.iter().filter(|(_, (read, _))| read.elapsed() >= refresh / 2);
        new.chain(old.map(|(kid, _)| kid.clone())).collect()
    }

    /// Keeps a key that was read.
    pub fn keep(&mut self, kid: String, jwk: Value) {
        if self.known.len() >= MOST_KEPT && !self.known.contains_key(&kid) {
            let oldest = self.known.iter().min_by_key(|(_, (read, _))| *read).map(|(kid, _)| kid.clone());
            oldest.map(|kid| self.known.remove(&kid));
        }
        self.known.insert(kid, (Instant::now(), jwk));
    }

    /// Remembers that there is no such key. One that was read before stays until it is too old.
    pub fn miss(&mut self, kid: String) {
        if self.absent.len() < MOST_WAITING && !self.known.contains_key(&kid) {
            self.absent.insert(kid, Instant::now());
        }
    }

    /// The keys that are not too old.
    pub fn usable(&mut self, stale_max: Duration) -> Vec<(String, Value)> {
        self.known.retain(|_, (read, _)| read.elapsed() <= stale_max);
        self.known.iter().map(|(kid, (_, jwk))| (kid.clone(), jwk.clone())).collect()
    }

    /// Whether names wait.
    pub fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes over what another one has.
    pub fn inherit(&mut self, other: &Self) {
        self.known.clone_from(&other.known);
        self.waiting.clone_from(&other.waiting);
    }
}

/// A public key on P-256 or P-384 (RFC 5480 2) as a JWK; its numbers are not checked here.
pub(super) fn read_pem(text: &[u8]) -> Result<Value, &'static str> {
    const P256: &[u8] = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
    const P384: &[u8] =
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
    let der = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| "no PEM of a public key")?;
    for (prefix, curve, bytes) in [(P256, "P-256", 32), (P384, "P-384", 48)] {
        if let Some(point) = der.strip_prefix(prefix).filter(|point| point.len() == 2 * bytes) {
            let (x, y) = point.split_at(bytes);
            let number = |bytes| URL_SAFE_NO_PAD.encode(bytes);
            return Ok(json!({ "kty": "EC", "crv": curve, "x": number(x), "y": number(y) }));
        }
    }
    Err("a public key of another kind than EC on P-256 or P-384")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn made_up_names_do_not_keep_out_the_one_in_use() {
        let mut keys = PemKeys::default();
        for number in 0..10_000 {
            keys.want(&format!("made-up-{number}"));
            if number % 100 == 0 {
                assert!(keys.want("in-use"));
            }
        }
        let read = keys.take_names(Duration::from_secs(300));
        assert!(read.len() == AT_ONCE && read.contains(&"in-use".to_owned()), "{read:?}");
        for kid in read {
            if kid == "in-use" {
                keys.keep(kid, json!({}));
            } else {
                keys.miss(kid.clone());
                assert!(!keys.want(&kid), "it was just looked for");
            }
        }
        assert_eq!(keys.usable(Duration::from_secs(60)).len(), 1);
        assert!(keys.is_waited_for());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(keys.usable(Duration::from_secs(60)).is_empty());
        for bad in ["", "../a", "a/b", "a?b", "a%2e", &"k".repeat(65), "\u{e9}"] {
            assert!(!keys.want(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for bad in ["", "<Error/>", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(read_pem(bad.as_bytes()).is_err());
        }
    }
}

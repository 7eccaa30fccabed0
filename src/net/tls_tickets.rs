//! Session tickets of TLS (RFC 5077, RFC 8446 section 4.6.1): a returning client resumes its session without
//! a full handshake, at any replica that has the same secrets.
//!
//! The server keeps nothing per client: a ticket is the session, sealed. Its key is derived by HKDF from a
//! secret that replicas share, for a window of time, so keys change without being distributed. The
//! certificates that a client's must be signed by are part of the derivation, because a resumed session has
//! the client certificate of its first handshake and it is not verified again: a ticket that was made under
//! other rules does not open.
//!
//! AES-256-GCM-SIV by `aws-lc-rs`, which stays safe should two replicas draw the same nonce. The wire form is
//! id of the secret | time of issue | nonce | ciphertext and tag; the first two are authenticated.

use crate::base::clock;
use crate::kvs::Timestamp;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use rustls::server::ProducesTickets;
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// For how long a key seals tickets.
const WINDOW: Duration = Duration::from_secs(6 * 3600);
/// For how long a ticket resumes: keys of this window and of the two before it open.
const LIFE: Duration = Duration::from_secs(12 * 3600);
/// How far the clock of a replica that made a ticket may be ahead of ours.
const LEEWAY: Duration = Duration::from_secs(300);

const ID_LEN: usize = 4;
const TIME_LEN: usize = 8;
/// What is authenticated and not encrypted.
const HEAD_LEN: usize = ID_LEN + TIME_LEN;
const TAG_LEN: usize = 16;
/// A ticket of TLS has at most 65,535 bytes, its length included.
const LONGEST: usize = u16::MAX as usize - 2;

/// A secret that replicas share, from which keys of tickets are derived. No `Debug`, since nothing of it may
/// be shown.
#[derive(Clone)]
pub struct TicketSecret {
    id: [u8; ID_LEN],
    bytes: Zeroizing<[u8; 32]>,
}

impl TicketSecret {
    /// From 32 bytes that have no other use.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        let derived = derive(&bytes, &[b"kvs-edge tls ticket secret id"]);
        let mut id = [0; ID_LEN];
        id.copy_from_slice(&derived[..ID_LEN]);
        Self { id, bytes }
    }
}

/// Seals and opens tickets.
pub(super) struct Tickets {
    /// The first seals, all open, so that secrets rotate.
    secrets: Vec<TicketSecret>,
    /// What clients must prove, as a digest.
    rule: [u8; 32],
    now: fn() -> Timestamp,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl Tickets {
    /// Tickets of these secrets, which resume only under the same `rule`: a digest of the certificates that a
    /// client's must be signed by.
    pub(super) fn new(secrets: Vec<TicketSecret>, rule: [u8; 32]) -> Self {
        Self { secrets, rule, now: || Timestamp::from(clock::now()) }
    }

    fn key(&self, secret: &TicketSecret, issued: Timestamp) -> LessSafeKey {
        let window = issued.millis() / u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX);
        let key = derive(&secret.bytes, &[b"kvs-edge tls ticket v1", &self.rule, &window.to_be_bytes()]);
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, key.as_ref()).expect("the key has 32 bytes"))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        !self.secrets.is_empty()
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (secret, issued) = (self.secrets.first()?, (self.now)());
        if plain.len() + HEAD_LEN + NONCE_LEN + TAG_LEN > LONGEST {
            return None;
        }
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(HEAD_LEN + NONCE_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&secret.id);
        ticket.extend_from_slice(&issued.millis().to_be_bytes());
        let head = Aad::from(<[u8; HEAD_LEN]>::try_from(&ticket[..]).ok()?);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(plain);
        let body = &mut ticket[HEAD_LEN + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key(secret, issued).seal_in_place_separate_tag(nonce, head, body).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = ticket.split_at_checked(HEAD_LEN)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let (id, issued) = head.split_at(ID_LEN);
        let secret = self.secrets.iter().find(|secret| secret.id == *id)?;
        let issued = Timestamp::from_millis(u64::from_be_bytes(issued.try_into().ok()?));
        let now = (self.now)();
        if issued > now.plus(LEEWAY) || issued.age(now) >= LIFE {
            return None;
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.key(secret, issued).open_in_place(nonce, Aad::from(head), &mut body).ok()?;
        let length = plain.len();
        body.truncate(length);
        Some(body)
    }
}

/// 32 bytes for a purpose, by HKDF-Expand (RFC 5869).
fn derive(secret: &[u8; 32], purpose: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    Prk::new_less_safe(HKDF_SHA256, secret)
        .expand(purpose, HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut()))
        .expect("32 bytes are one block of HKDF-SHA-256");
    key
}

#[cfg(test)]
#[path = "tests/tls_tickets.rs"]
mod tests;

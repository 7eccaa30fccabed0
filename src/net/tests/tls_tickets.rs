//! Tickets: how long they open, where, and what does not.

use super::*;
use proptest::prelude::*;

const NOON: u64 = 1_790_000_000_000;

fn secret(byte: u8) -> TicketSecret {
    TicketSecret::new(Zeroizing::new([byte; 32]))
}

fn tickets(secrets: &[u8], now: fn() -> Timestamp) -> Tickets {
    Tickets { secrets: secrets.iter().map(|byte| secret(*byte)).collect(), rule: [0; 32], now }
}

fn at_noon() -> Timestamp {
    Timestamp::from_millis(NOON)
}

#[test]
fn a_ticket_opens_at_every_replica_with_the_secret_for_its_life() {
    let made = tickets(&[1], at_noon).encrypt(b"session").unwrap();
    let replica = |now| tickets(&[1], now).decrypt(&made);
    assert_eq!(replica(at_noon).unwrap(), b"session");
    // Another window, the last moment, and the first one after it.
    assert!(replica(|| Timestamp::from_millis(NOON).plus(WINDOW)).is_some());
    assert!(replica(|| Timestamp::from_millis(NOON - 1).plus(LIFE)).is_some());
    assert!(replica(|| Timestamp::from_millis(NOON).plus(LIFE)).is_none());
    // A replica whose clock is behind.
    assert!(replica(|| Timestamp::from_millis(NOON).minus(LEEWAY)).is_some());
    assert!(replica(|| Timestamp::from_millis(NOON - 1).minus(LEEWAY)).is_none());
    assert_eq!(tickets(&[1], at_noon).lifetime(), 43_200);
}

#[test]
fn secrets_rotate_and_removed_ones_open_nothing() {
    let made = tickets(&[1], at_noon).encrypt(b"session").unwrap();
    assert!(tickets(&[2, 1], at_noon).decrypt(&made).is_some());
    assert!(tickets(&[2], at_noon).decrypt(&made).is_none());
    let after = tickets(&[2, 1], at_noon).encrypt(b"session").unwrap();
    assert!(tickets(&[2], at_noon).decrypt(&after).is_some(), "the first one seals");
    assert!(!tickets(&[], at_noon).enabled() && tickets(&[], at_noon).encrypt(b"x").is_none());
}

#[test]
fn a_ticket_of_another_client_certificate_rule_does_not_open() {
    let made = tickets(&[1], at_noon).encrypt(b"session").unwrap();
    let other = Tickets { rule: [1; 32], ..tickets(&[1], at_noon) };
    assert!(other.decrypt(&made).is_none());
}

#[test]
fn windows_have_keys_of_their_own_and_no_two_tickets_are_alike() {
    let tickets = tickets(&[1], at_noon);
    assert_ne!(tickets.encrypt(b"session"), tickets.encrypt(b"session"));
    let sealed = |at: Timestamp| {
        let mut body = b"session".to_vec();
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        drop(tickets.key(&tickets.secrets[0], at).seal_in_place_separate_tag(nonce, Aad::empty(), &mut body));
        body
    };
    assert_ne!(sealed(at_noon()), sealed(at_noon().plus(WINDOW)));
    assert!(tickets.encrypt(&vec![0; LONGEST]).is_none(), "TLS has no room for it");
}

proptest! {
    #[test]
    fn one_changed_bit_and_it_does_not_open(at: usize, bit in 0..8_u8) {
        let tickets = tickets(&[1], at_noon);
        let mut made = tickets.encrypt(b"session").unwrap();
        let at = at % made.len();
        made[at] ^= 1 << bit;
        prop_assert!(tickets.decrypt(&made).is_none());
    }

    #[test]
    fn anything_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(tickets(&[1], at_noon).decrypt(&bytes).is_none());
    }
}

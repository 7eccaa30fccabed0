//! When a fragment reached KVS, read off its number.
//!
//! `number = 2^156 + (counter << 92) + (server milliseconds << 28) + tail` holds for every number seen between 2017
//! and 2024 (`KVS.md` 9.1), but AWS does not document it. It is used where policy must know how old the fragments of
//! a list are; a number of another shape has no known time, which policy takes for the oldest there could be.

use crate::kvs::{FragmentNumber, Timestamp};
use std::time::Duration;

/// The server's time in a fragment number, if the number has the known structure and a time between the launch of
/// KVS and an hour from `now`.
#[must_use]
pub fn server_time(number: &FragmentNumber, now: Timestamp) -> Option<Timestamp> {
    let limbs = binary(number.as_str())?;
    // Bit 156 is set, and none above it.
    if limbs[2] >> (156 - 128) != 1 {
        return None;
    }
    // Bits 28 to 92.
    let millis = (limbs[0] >> 28) | (limbs[1] << 36);
    let time = Timestamp::from_millis(millis);
    let plausible = millis >= LAUNCH && time <= now.plus(Duration::from_secs(3600));
    plausible.then_some(time)
}

/// 2017-11-01; KVS was announced at the end of that month.
const LAUNCH: u64 = 1_509_494_400_000;

/// Decimal digits as 192 bits, lowest limb first; `None` if they need more.
fn binary(digits: &str) -> Option<[u64; 3]> {
    let mut limbs = [0_u64; 3];
    // 19 digits at a time always fit a u64.
    for chunk in digits.as_bytes().chunks(19) {
        let (mut factor, mut carry) = (1_u64, 0_u64);
        for digit in chunk {
            carry = carry * 10 + u64::from(digit - b'0');
            factor *= 10;
        }
        for limb in &mut limbs {
            let wide = u128::from(*limb) * u128::from(factor) + u128::from(carry);
            // Cut on purpose: the low half stays, the high half is carried on.
            *limb = wide as u64;
            carry = (wide >> 64) as u64;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(limbs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn time(digits: &str) -> Option<u64> {
        server_time(&FragmentNumber::parse(digits).unwrap(), NOW).map(Timestamp::millis)
    }

    #[test]
    fn the_published_numbers_carry_their_listed_times() {
        // KVS.md 9.1 and 4.2 (server time 1.577156926042E9).
        assert_eq!(time("91343852333185057105875891022195998207386831087"), Some(1_643_353_247_067));
        assert_eq!(time("91343852333181432412489103253840132852129169963"), Some(1_577_156_926_042));
    }

    #[test]
    fn other_numbers_have_no_time() {
        for digits in ["0", "1", "91343852333185057105875891022195998207386831", &"9".repeat(128)] {
            assert_eq!(time(digits), None, "{digits}");
        }
        // The right structure with a time that cannot be: 1970, and tomorrow.
        assert_eq!(time("91343852333181432333556018154617420326498828288"), None);
        assert_eq!(time(&compose(1, NOW.millis() + 86_400_000, 0)), None);
    }

    /// 2^156 + (counter << 92) + (millis << 28) + tail, in decimal, by schoolbook arithmetic.
    fn compose(counter: u64, millis: u64, tail: u32) -> String {
        let mut digits = vec![0_u8];
        for bit in (0..=156).rev() {
            let set = match bit {
                156 => 1,
                92..156 => counter >> (bit - 92) & 1,
                28..92 => millis >> (bit - 28) & 1,
                _ => u64::from(tail) >> bit & 1,
            };
            let mut carry = set as u8;
            for digit in &mut digits {
                let doubled = *digit * 2 + carry;
                (*digit, carry) = (doubled % 10, doubled / 10);
            }
            if carry > 0 {
                digits.push(carry);
            }
        }
        digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
    }

    proptest! {
        #[test]
        fn composed_numbers_give_their_time_back(
            counter: u64, millis in LAUNCH..1_767_225_600_000_u64, tail in 0..1_u32 << 28
        ) {
            prop_assert_eq!(time(&compose(counter, millis, tail)), Some(millis));
        }

        #[test]
        fn any_digits_are_read_without_panic(digits in "[0-9]{1,128}") { let _ = time(&digits); }
    }
}

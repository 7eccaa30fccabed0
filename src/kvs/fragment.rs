//! Fragment numbers: opaque decimal strings that no number type can hold.
//!
//! `number = 2^156 + (counter << 92) + (server milliseconds << 28) + tail` holds for every number seen
//! between 2017 and 2024 (`docs/KVS.md` 9.1), but AWS does not document it. A number of another structure has
//! neither counter nor time.

use super::Timestamp;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// 1 to 128 decimal digits. Today's have 47 and need 157 bits, so they stay text for ever (docs/KVS.md 9.1).
///
/// Order is ingestion order: by length, then by digits, which is numeric order for numbers without leading
/// zeros.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FragmentNumber(Arc<str>);

impl FragmentNumber {
    /// Reads a number, or says what is wrong with it.
    ///
    /// # Errors
    /// A text that states the bound which the value breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > 128 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err("must be 1 to 128 decimal digits, as a string");
        }
        Ok(Self(text.into()))
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the number holds, if it has the known structure.
    #[must_use]
    pub fn parts(&self) -> Option<FragmentParts> {
        let limbs = binary(&self.0)?;
        // Bit 156 is set, and none above it.
        if limbs[2] >> (156 - 128) != 1 {
            return None;
        }
        // Bits 92 to 156, and 28 to 92.
        let counter = (limbs[1] >> 28) | (limbs[2] << 36);
        let millis = (limbs[0] >> 28) | (limbs[1] << 36);
        Some(FragmentParts { counter, server_time: Timestamp::from_millis(millis) })
    }

    /// When the fragment reached KVS, if the number has the known structure and a time between the launch of
    /// KVS and an hour from `now`.
    #[must_use]
    pub fn server_time(&self, now: Timestamp) -> Option<Timestamp> {
        let time = self.parts()?.server_time;
        let plausible = time.millis() >= LAUNCH && time <= now.plus(Duration::from_secs(3600));
        plausible.then_some(time)
    }
}

/// What a fragment number of the known structure holds. Nothing is plausible only because it is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FragmentParts {
    /// Steps by one per fragment and jumps forward between producer runs.
    pub counter: u64,
    /// When the fragment reached KVS.
    pub server_time: Timestamp,
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

impl Ord for FragmentNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for FragmentNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for FragmentNumber {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FragmentNumber {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl fmt::Debug for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_beyond_any_integer_keep_every_digit_and_sort_by_ingestion() {
        let early = FragmentNumber::parse("91343852333185057105875891022195998207386831087").unwrap();
        let late = FragmentNumber::parse("91343852333185057110827651179337519666762451998").unwrap();
        assert!(early < late);
        assert_eq!(early.as_str().len(), 47);
        assert!(FragmentNumber::parse("9").unwrap() < FragmentNumber::parse("10").unwrap());
        for bad in ["", "-1", "1e3", " 1", &"9".repeat(129), "\u{663}"] {
            assert!(FragmentNumber::parse(bad).is_err(), "{bad}");
        }
    }

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn time(digits: &str) -> Option<u64> {
        FragmentNumber::parse(digits).unwrap().server_time(NOW).map(Timestamp::millis)
    }

    #[test]
    fn the_published_numbers_carry_their_listed_times() {
        // docs/KVS.md 9.1 and 4.2 (server time 1.577156926042E9).
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

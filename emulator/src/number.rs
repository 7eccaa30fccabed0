//! Fragment numbers as observed: `2^156 + (counter << 92) + (server ms << 28) + 28 bits`, in
//! 47 decimal digits (docs/KVS.md 9.1).
//!
//! The last 28 bits are a digest of stream and time, so that the stream of a number can be recognised.

use std::fmt;

/// The parts of a fragment number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct FragmentNumber {
    /// Increases with each ingested fragment.
    pub(super) counter: u64,
    /// When the fragment began to arrive, in milliseconds since the epoch, below 2^64.
    pub(super) server_millis: u64,
    /// The low 28 bits.
    pub(super) tail: u32,
}

impl FragmentNumber {
    /// The number of the fragment that began to arrive at `server_millis`, in the stream of this `seed`.
    pub(super) fn new(seed: u64, counter: u64, server_millis: u64) -> Self {
        let digest = mix(seed ^ mix(counter ^ mix(server_millis)));
        Self { counter, server_millis, tail: (digest & 0x0fff_ffff) as u32 }
    }

    /// Parses the decimal form; `None` if it does not have the structure above.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.len() != 47 {
            return None;
        }
        // Five limbs of 32 bits, least significant first.
        let mut limbs = [0_u32; 5];
        for byte in text.bytes() {
            let mut carry = u64::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
            for limb in &mut limbs {
                let value = u64::from(*limb) * 10 + carry;
                *limb = value as u32;
                carry = value >> 32;
            }
            if carry != 0 {
                return None;
            }
        }
        let low =
            u128::from(limbs[0]) | u128::from(limbs[1]) << 32 | u128::from(limbs[2] & 0x0fff_ffff) << 64;
        let high = u128::from(limbs[2] >> 28) | u128::from(limbs[3]) << 4 | u128::from(limbs[4]) << 36;
        Some(Self {
            counter: u64::try_from(high.checked_sub(1 << 64)?).ok()?,
            server_millis: u64::try_from(low >> 28).ok()?,
            tail: (low & 0x0fff_ffff) as u32,
        })
    }
}

impl fmt::Display for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let high = (1_u128 << 64) + u128::from(self.counter);
        let low = u128::from(self.server_millis) << 28 | u128::from(self.tail);
        let mut limbs = [
            (high >> 36) as u32,
            (high >> 4) as u32,
            ((high & 0x0f) << 28) as u32 | (low >> 64) as u32,
            (low >> 32) as u32,
            low as u32,
        ];
        let mut digits = [0_u8; 48];
        for digit in digits.iter_mut().rev() {
            let mut rest = 0_u64;
            for limb in &mut limbs {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 10) as u32;
                rest = value % 10;
            }
            *digit = b'0' + rest as u8;
        }
        let text = std::str::from_utf8(&digits).map_err(|_| fmt::Error)?;
        f.write_str(text.trim_start_matches('0'))
    }
}

/// A seed from text.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0, |digest, byte| mix(digest ^ u64::from(byte)))
}

/// Hashes 64 bits (the finaliser of splitmix64), for values that look random and are the same in each run.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_captured_number_is_read_as_its_listing_says() {
        // docs/KVS.md 9.1: counter 732006, 1643353247067 ms, tail 73386223.
        let text = "91343852333185057105875891022195998207386831087";
        let number = FragmentNumber { counter: 732_006, server_millis: 1_643_353_247_067, tail: 73_386_223 };
        assert_eq!(FragmentNumber::parse(text), Some(number));
        assert_eq!(number.to_string(), text);
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(counter in 0..1_u64 << 40, server in 0..1_u64 << 44, seed: u64) {
            let number = FragmentNumber::new(seed, counter, server);
            prop_assert_eq!(number.to_string().len(), 47);
            prop_assert_eq!(FragmentNumber::parse(&number.to_string()), Some(number));
        }

        #[test]
        fn text_order_is_number_order(a in 0..1_u64 << 40, b in 0..1_u64 << 40) {
            let (first, second) = (FragmentNumber::new(1, a, 5), FragmentNumber::new(1, b, 5));
            prop_assert_eq!(first.to_string().cmp(&second.to_string()), first.cmp(&second));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9]{40,50}|\\PC{0,60}") { let _ = FragmentNumber::parse(&text); }
    }
}

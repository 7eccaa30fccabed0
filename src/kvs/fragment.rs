//! Fragment numbers: opaque decimal strings that no number type can hold.

use std::fmt;
use std::sync::Arc;

/// 1 to 128 decimal digits. Today's have 47 and need 157 bits, so they stay text for ever (`KVS.md` 9.1).
///
/// Order is ingestion order: by length, then by digits, which is numeric order for numbers without leading zeros.
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

impl fmt::Debug for FragmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

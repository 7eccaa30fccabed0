//! Percent-encoding (RFC 3986 section 2.1).

use std::borrow::Cow;

/// Everything but unreserved characters, encoded.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The text that was encoded; `+` stays. `None` for a broken encoding, or for what is not UTF-8.
#[must_use]
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text.into());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_broken_is_not_decoded() {
        assert_eq!(encode("a b/ü~"), "a%20b%2F%C3%BC~");
        assert_eq!(decode("a%20b+c").as_deref(), Some("a b+c"));
        for broken in ["%", "%f", "%zz", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn encoded_and_decoded_is_the_same(text in "\\PC{0,40}") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded).map(Cow::into_owned), Some(text));
        }

        #[test]
        fn any_text_is_decoded_or_refused_without_panic(text in "\\PC{0,60}") { let _ = decode(&text); }
    }
}

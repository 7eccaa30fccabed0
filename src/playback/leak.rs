//! The last check of a text before it leaves: no session token and no upstream host, in any spelling (law 3).
//!
//! The rewriters already write every URI anew. This catches what they keep byte for byte: comments, unknown
//! tags, unknown attributes.

use super::error::Error;
use std::borrow::Cow;

/// Pieces of a token of this length are as secret as the whole.
const PIECE: usize = 24;

/// Fails if `text` holds one of `secrets`, or the name of the token parameter, plain, percent-encoded, as XML
/// references, or in another letter case.
pub(super) fn scan(text: &str, secrets: &[&str]) -> Result<(), Error> {
    let needles: Vec<String> = secrets.iter().flat_map(|secret| needles(secret)).collect();
    let mut form = Cow::Borrowed(text);
    // Each round takes one layer of encoding off; deeper nesting is no accident.
    for _ in 0..4 {
        let lower = form.to_ascii_lowercase();
        if lower.contains("sessiontoken") {
            return Err(Error::Leak("a session token parameter"));
        }
        if needles.iter().any(|needle| lower.contains(needle.as_str())) {
            return Err(Error::Leak("a session token or upstream host"));
        }
        match decoded(&form) {
            None => return Ok(()),
            Some(plainer) => form = Cow::Owned(plainer),
        }
    }
    Err(Error::Malformed("the text is encoded many times over"))
}

/// What to look for: the secret without the padding that some encode and some drop, and pieces of a long one,
/// cut so that any long enough stretch of the secret holds one of them.
fn needles(secret: &str) -> Vec<String> {
    let secret = decoded(secret).unwrap_or_else(|| secret.to_owned()).to_ascii_lowercase();
    let secret = secret.trim_end_matches(['~', '=', '.']);
    // Nothing this short is a secret, and it could occur anywhere.
    if secret.len() < 4 {
        return Vec::new();
    }
    if secret.len() < 2 * PIECE || !secret.is_ascii() {
        return vec![secret.to_owned()];
    }
    secret.as_bytes().chunks_exact(PIECE).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
}

/// One layer of `%41` and `&#65;` taken off; `None` if there is none.
fn decoded(text: &str) -> Option<String> {
    if !text.contains(['%', '&']) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '&']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match escape(rest) {
            Some((char, length)) => {
                out.push(char);
                rest = &rest[length..];
            }
            None => {
                // ASCII, found above.
                out.push_str(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    (out != text).then_some(out)
}

/// The character that an escape at the beginning stands for, and the escape's length. Only ASCII matters:
/// tokens and hosts are made of it.
fn escape(text: &str) -> Option<(char, usize)> {
    if let Some(digits) = text.strip_prefix('%').and_then(|rest| rest.get(..2)) {
        let byte = u8::from_str_radix(digits, 16).ok()?;
        return (byte.is_ascii() && !digits.starts_with('+')).then_some((char::from(byte), 3));
    }
    let end = text.bytes().take(16).position(|byte| byte == b';')?;
    let code = match text.get(1..end)?.strip_prefix('#') {
        Some(number) => match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        },
        None => match text.get(1..end)? {
            "amp" => 0x26,
            "tilde" => 0x7e,
            "period" => 0x2e,
            "hyphen" => 0x2d,
            _ => return None,
        },
    };
    char::from_u32(code).map(|char| (char, end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TOKEN: &str = "CiA1fHk3bW9kZWw_-9aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789abcdefghijklmnop~";
    const HOST: &str = "b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com";

    fn hex(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    proptest! {
        #[test]
        fn a_planted_secret_is_found_in_any_spelling(
            before in "[ -~]{0,40}", after in "[ -~]{0,40}", host: bool, spelling in 0..5, from in 0..20_usize
        ) {
            let secret = if host { HOST } else { TOKEN };
            let written = match spelling {
                0 => secret.to_owned(),
                1 => hex(secret),
                2 => secret.bytes().map(|byte| format!("&#x{byte:x};")).collect(),
                3 => hex(&hex(secret)),
                _ if host => secret.to_uppercase(),
                _ => secret[from..from + 2 * PIECE].to_owned(),
            };
            let text = format!("{before}\n{written}\n{after}");
            prop_assert!(scan(&text, &[TOKEN, HOST]).is_err(), "{}", text);
        }

        #[test]
        fn any_text_is_scanned_without_panic(text in "\\PC{0,80}", odd in "[%&#x0-9a-f;\u{e9}]{0,40}") {
            let _ = scan(&text, &[TOKEN]);
            let _ = scan(&odd, &[&text, &odd]);
        }
    }

    #[test]
    fn clean_text_passes() {
        let text = "#EXTM3U\ngetMP4MediaFragment.mp4?FragmentNumber=913&TrackNumber=1&amp;x=100%\n";
        assert_eq!(scan(text, &[TOKEN, HOST, ""]), Ok(()));
        assert!(scan("x?SessionToken=", &[]).is_err());
        assert!(scan("x?Session%54oken=", &[]).is_err());
    }
}

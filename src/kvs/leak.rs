//! The last check of a text of KVS before it leaves: no session token, no credential and no upstream host, in
//! any spelling (law 3). One scan for playlists, members of JSON answers, error texts and log lines.
//!
//! Playlists are rebuilt and JSON answers are cut down to known members first; this catches what they keep
//! byte for byte.

use std::borrow::Cow;

/// Pieces of a token of this length are as secret as the whole.
const PIECE: usize = 24;
/// A longer text of an error is no sentence.
const LONGEST_SENTENCE: usize = 500;

/// Why a text must not leave. No message repeats what was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Leak {
    /// The name of the parameter that carries a session token.
    #[error("a session token parameter")]
    Parameter,
    /// One of the secrets that were looked for.
    #[error("a session token or upstream host")]
    Secret,
    /// The name of a host of KVS.
    #[error("an upstream host")]
    Host,
    /// It is encoded so many times over that what it says is not known.
    #[error("a text that is encoded many times over")]
    Encoded,
}

/// Fails if `text` holds one of `secrets`, a host of KVS, or the name of the token parameter: plain,
/// percent-encoded, as XML references, or in another letter case.
///
/// # Errors
/// What was found first.
pub fn scan(text: &str, secrets: &[&str]) -> Result<(), Leak> {
    let needles: Vec<String> = secrets.iter().flat_map(|secret| needles(secret)).collect();
    each_form(text, |form| {
        let lower = form.to_ascii_lowercase();
        if lower.contains("sessiontoken") || has_value(&lower, "x-amz-security-token") {
            return Err(Leak::Parameter);
        }
        if needles.iter().any(|needle| lower.contains(needle.as_str())) {
            return Err(Leak::Secret);
        }
        let names_host = UPSTREAM_HOSTS.iter().any(|part| lower.contains(part));
        if names_host { Err(Leak::Host) } else { Ok(()) }
    })
}

/// Whether a parameter or header of this name stands there with a value. Its name alone is no secret: a
/// client's own token has the same one.
fn has_value(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let behind = text[at + name.len()..].trim_start_matches(['"', ' ', '\\']);
        let Some(value) = behind.strip_prefix(':') else { return behind.starts_with('=') };
        let value = value.trim_start_matches(['"', ' ', '\\']);
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/_=.~%-".contains(byte);
        value.bytes().take_while(is_part).count() >= PIECE
    })
}

/// A sentence of KVS that may be shown: it passes [`scan`] and has no word that could be a host, an address,
/// a token or a key. `None` if it has. What is refused is only said in our own words instead.
#[must_use]
pub fn sentence(text: &str, secrets: &[&str]) -> Option<String> {
    let text = text.trim();
    let is_plain =
        text.len() <= LONGEST_SENTENCE && !text.chars().any(|char| char.is_control() && char != '\t');
    if text.is_empty() || !is_plain || scan(text, secrets).is_err() {
        return None;
    }
    let checked =
        each_form(text, |form| if form.split(is_gap).any(is_suspect) { Err(Leak::Secret) } else { Ok(()) });
    checked.ok().map(|()| text.to_owned())
}

/// What all names of KVS's hosts have in them (docs/KVS.md 1.2). ARNs have a colon there.
const UPSTREAM_HOSTS: [&str; 3] = ["kinesisvideo.", "amazonaws.com", ".api.aws"];

/// Runs a check on a text and on each layer of encoding below it.
fn each_form(text: &str, check: impl Fn(&str) -> Result<(), Leak>) -> Result<(), Leak> {
    let mut form = Cow::Borrowed(text);
    // Each round takes one layer of encoding off; deeper nesting is no accident.
    for _ in 0..4 {
        check(&form)?;
        match decoded(&form) {
            None => return Ok(()),
            Some(plainer) => form = Cow::Owned(plainer),
        }
    }
    Err(Leak::Encoded)
}

/// What stands between words.
fn is_gap(char: char) -> bool {
    char.is_whitespace()
        || matches!(char, '"' | '\'' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | ',' | ';' | '`')
}

/// A word that could be a host, an address, a URL, a token or a key. Names of members and exceptions are
/// letters only, fragment numbers digits only.
fn is_suspect(word: &str) -> bool {
    let word = word.trim_matches(|char: char| matches!(char, '.' | ':' | '!' | '?'));
    let labels: Vec<&str> = word.split(['.', '/', ':', '@', '=']).collect();
    let is_name =
        |label: &&str| label.len() > 1 && label.starts_with(|char: char| char.is_ascii_alphabetic());
    let is_address = word.split('.').count() == 4 && word.bytes().filter(u8::is_ascii_digit).count() > 3;
    let is_mixed = |part: &str| {
        part.len() >= 14
            && part.bytes().any(|byte| byte.is_ascii_digit())
            && part.bytes().any(|byte| byte.is_ascii_alphabetic())
    };
    word.contains("//")
        || word.contains("::")
        || word.contains('@')
        || (word.contains('.') && labels.last().is_some_and(is_name))
        || is_address
        || word.split([':', '=']).any(is_mixed)
        || word.len() > 128
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

    #[test]
    fn the_name_of_a_header_is_no_secret_and_its_value_is() {
        for fine in
            ["the token in X-Amz-Security-Token is malformed", "X-Amz-Security-Token: it is malformed"]
        {
            assert_eq!(scan(fine, &[]), Ok(()), "{fine}");
        }
        for value in [
            "https://h/?X-Amz-Security-Token=a",
            "x-amz-security-token: IQoJb3JpZ2luX2VjEJr//////////wEaCWV1",
            r#"{"X-Amz-Security-Token": "IQoJb3JpZ2luX2VjEJr//////////wEaCWV1"}"#,
            "X-Amz-Security-Token%3DIQoJb3",
        ] {
            assert_eq!(scan(value, &[]), Err(Leak::Parameter), "{value}");
        }
    }
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
            let _ = sentence(&text, &[&odd]);
        }
    }

    #[test]
    fn clean_text_passes() {
        let text = "#EXTM3U\ngetMP4MediaFragment.mp4?FragmentNumber=913&TrackNumber=1&amp;x=100%\n";
        assert_eq!(scan(text, &[TOKEN, HOST, ""]), Ok(()));
        assert!(scan("x?SessionToken=", &[]).is_err());
        assert!(scan("x?Session%54oken=", &[]).is_err());
        assert_eq!(scan("see https://b-1.kinesisvideo.eu-west-1.amazonaws.com", &[]), Err(Leak::Host));
        assert_eq!(scan("arn:aws:kinesisvideo:eu-west-1:111122223333:stream/cam-1/1", &[]), Ok(()));
    }

    #[test]
    fn sentences_of_kvs_pass_and_what_could_be_a_secret_does_not() {
        for fine in [
            "No fragments found in the stream for the streaming request.",
            "The requested stream is not found or not active.",
            "StartTimestamp must be before EndTimestamp",
            "Fragment 91343852333185057105875891022195998207386831087 was not found.",
            "Missing codec private data for track 1 (UnsupportedStreamMediaTypeException).",
            "must be at most 24 hours: 2026-01-01",
        ] {
            assert_eq!(sentence(fine, &[TOKEN, HOST]).as_deref(), Some(fine));
        }
        for secret in [
            "trouble at b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com",
            "trouble at internal-host.example",
            "trouble at 10.0.0.17",
            "trouble at fd00::17",
            "see https://h/",
            "key AKIAIOSFODNN7EXAMPLE",
            "token CiA1fHk3bW9kZWw_-9aBcDeFgHiJk~",
            "token=CiA1fHk3bW9kZWw",
            "SessionToken=x",
            "user@host",
            "two\nlines",
            "",
            HOST,
            TOKEN,
        ] {
            assert_eq!(sentence(secret, &[TOKEN, HOST]), None, "{secret}");
        }
    }
}

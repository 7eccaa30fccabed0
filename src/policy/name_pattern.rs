//! How stream names are put together, and the named pieces of a name.
//!
//! A piece ends where the character after it in the pattern comes first, so a name has one way to be read and
//! no choice of a name moves a border: `customer-{customer}-*` reads `acme` from `customer-acme-x-1`.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;

/// A pattern of stream names, such as `customer-{customer}-*`: text that stands as it is, `{name}` for a
/// piece of at least one character, and at its end `*` for any text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamePattern {
    written: String,
    parts: Vec<Part>,
    /// It ends with `*`.
    open: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    /// A piece of this name; it ends before the character, or with the stream's name.
    Piece(String, Option<char>),
}

impl NamePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong with it and what to write.
    pub fn parse(written: &str) -> Result<Self, String> {
        let wrong = |problem: &str| format!("`{written}`: {problem}");
        let (body, open) = match written.strip_suffix('*') {
            Some(body) => (body, true),
            None => (written, false),
        };
        let (mut parts, mut seen, mut rest) = (Vec::new(), BTreeSet::new(), body);
        while !rest.is_empty() {
            let Some(inner) = rest.strip_prefix('{') else {
                let (text, after) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
                if text.contains(|c: char| !(c.is_ascii_alphanumeric() || "_.-".contains(c))) {
                    return Err(wrong(
                        "beside {pieces} write letters, digits, '_', '.' and '-', and '*' at the end only",
                    ));
                }
                parts.push(Part::Text(text.to_owned()));
                rest = after;
                continue;
            };
            let (name, after) = inner.split_once('}').ok_or_else(|| wrong("a '{' is not closed"))?;
            if !is_word(name) {
                return Err(wrong(
                    "the name of a piece needs letters, digits and '_', and begins with a letter",
                ));
            }
            if !seen.insert(name) {
                return Err(wrong(&format!("the piece {{{name}}} stands twice; give one another name")));
            }
            let next = after.chars().next();
            if next == Some('{') || (next.is_none() && open) {
                return Err(wrong(&format!(
                    "nothing says where {{{name}}} ends; write a character after it"
                )));
            }
            parts.push(Part::Piece(name.to_owned(), next));
            rest = after;
        }
        if seen.is_empty() {
            return Err(wrong("names no piece; write for instance \"customer-{customer}-*\""));
        }
        Ok(Self { written: written.to_owned(), parts, open })
    }

    /// The names of its pieces.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Piece(name, _) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// As it was written.
    pub(super) fn as_str(&self) -> &str {
        &self.written
    }

    /// The pieces of a stream's name, if it fits.
    pub(super) fn pieces<'a>(&'a self, stream: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let (mut found, mut rest) = (Vec::new(), stream);
        for part in &self.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Piece(name, next) => {
                    let end = next.map_or(Some(rest.len()), |next| rest.find(next))?;
                    let (piece, after) = rest.split_at(end);
                    if piece.is_empty() {
                        return None;
                    }
                    found.push((name.as_str(), piece));
                    rest = after;
                }
            }
        }
        (self.open || rest.is_empty()).then_some(found)
    }
}

fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

impl<'de> Deserialize<'de> for NamePattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Serialize for NamePattern {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(pattern: &str, stream: &str) -> Option<String> {
        let pattern = NamePattern::parse(pattern).unwrap();
        let found = pattern.pieces(stream)?;
        Some(found.iter().map(|(name, piece)| format!("{name}={piece}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_name_is_read_in_one_way() {
        for (pattern, stream, expected) in [
            ("customer-{customer}-*", "customer-acme-lobby-1", Some("customer=acme")),
            ("customer-{customer}-*", "customer-acme-", Some("customer=acme")),
            ("customer-{customer}-*", "customer-acme", None),
            ("customer-{customer}-*", "customer--lobby", None),
            ("customer-{customer}-*", "Customer-acme-1", None),
            ("customer-{customer}-*", "x-customer-acme-1", None),
            ("{site}.{camera}", "berlin.door-1", Some("site=berlin camera=door-1")),
            ("{site}.{camera}", "berlin.a.b", Some("site=berlin camera=a.b")),
            ("{site}-cam", "berlin-cam", Some("site=berlin")),
            ("{site}-cam", "berlin-mitte-cam", None),
            ("{site}-cam", "berlin-cam-2", None),
            ("cam-{n}", "cam-1-2", Some("n=1-2")),
        ] {
            assert_eq!(pieces(pattern, stream).as_deref(), expected, "{pattern} {stream}");
        }
    }

    #[test]
    fn a_pattern_that_could_be_read_in_two_ways_is_refused() {
        for (pattern, words) in [
            ("lobby-*", "names no piece"),
            ("{a}{b}", "nothing says where {a} ends"),
            ("x-{a}*", "nothing says where {a} ends"),
            ("*-{a}", "at the end only"),
            ("{a}-?", "at the end only"),
            ("{a}-{a}", "stands twice"),
            ("{a", "not closed"),
            ("{}-x", "begins with a letter"),
            ("{a b}-x", "begins with a letter"),
            ("a}-{b}", "at the end only"),
        ] {
            let problem = NamePattern::parse(pattern).unwrap_err();
            assert!(problem.contains(words), "{pattern}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn pieces_put_together_are_the_name(customer in "[a-z.]{1,5}", rest in "[a-z-]{0,5}") {
            let stream = format!("customer-{customer}-{rest}");
            let found = pieces("customer-{customer}-*", &stream);
            prop_assert_eq!(found, Some(format!("customer={customer}")));
        }
    }
}

//! `application/x-www-form-urlencoded`: what is sent to a provider, and what it sends back with the browser
//! (RFC 6749, appendix B).

use crate::base::percent;
use std::borrow::Cow;

/// Names and values as one text.
pub(super) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", percent::encode(name), percent::encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// An address with more parameters in its query.
pub(super) fn with_query(address: &str, query: &str) -> String {
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}{query}")
}

/// A parameter is there twice, or its encoding is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Unclear;

/// The value of a parameter, decoded.
pub(super) fn value(query: &str, name: &str) -> Result<Option<String>, Unclear> {
    let mut values = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Unclear);
    }
    decode(value).map(Some).ok_or(Unclear)
}

fn decode(text: &str) -> Option<String> {
    percent::decode(&text.replace('+', " ")).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_parameter_that_is_there_twice_has_no_value() {
        assert_eq!(value("code=a&state=b", "code"), Ok(Some("a".into())));
        assert_eq!(value("code=a&code=a", "code"), Err(Unclear));
        assert_eq!(value("code=%f", "code"), Err(Unclear));
        assert_eq!(value("xcode=a&code", "code"), Ok(None));
        assert_eq!(
            value("iss=https%3A%2F%2Fa.example%2f&x=a+b", "iss"),
            Ok(Some("https://a.example/".into()))
        );
    }

    #[test]
    fn a_query_is_added_to_whatever_address_there_is() {
        let query = pairs([("a b", "c&d"), ("e", "https://x/?y")]);
        assert_eq!(query, "a%20b=c%26d&e=https%3A%2F%2Fx%2F%3Fy");
        assert_eq!(with_query("https://a/auth", &query), format!("https://a/auth?{query}"));
        assert_eq!(with_query("https://a/auth?p=1", &query), format!("https://a/auth?p=1&{query}"));
    }

    proptest! {
        #[test]
        fn encoded_and_decoded_is_the_same(text in "\\PC{0,40}") {
            let query = pairs([("name", text.as_str())]);
            prop_assert_eq!(value(&query, "name"), Ok(Some(text)));
        }

        #[test]
        fn any_query_is_read_or_refused_without_panic(query in "\\PC{0,60}") {
            let _ = value(&query, "code");
        }
    }
}

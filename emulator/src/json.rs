//! JSON as KVS writes it: keys in alphabetical order, explicit nulls, times in Java's E-notation (docs/KVS.md
//! 2.2, 3.2).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// A value in a response.
#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Text(String),
    Integer(u64),
    /// Milliseconds since the epoch, written as seconds: `1.577156926042E9`.
    Time(u64),
    List(Vec<Json>),
    Object(BTreeMap<&'static str, Json>),
    /// An object with keys from the user.
    Map(BTreeMap<String, Json>),
}

impl Json {
    /// An object of these members, which are written in alphabetical order.
    pub(super) fn object<const N: usize>(members: [(&'static str, Json); N]) -> Self {
        Self::Object(BTreeMap::from(members))
    }

    /// Text.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Text, or null.
    pub(super) fn maybe(text: Option<String>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Text(text) => quoted(f, text),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Time(millis) => f.write_str(&scientific(*millis)),
            Self::List(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { "," })?;
                }
                f.write_char(']')
            }
            Self::Object(members) => object(f, members.iter().map(|(name, value)| (*name, value))),
            Self::Map(members) => object(f, members.iter().map(|(name, value)| (name.as_str(), value))),
        }
    }
}

fn object<'a>(f: &mut fmt::Formatter<'_>, members: impl Iterator<Item = (&'a str, &'a Json)>) -> fmt::Result {
    f.write_char('{')?;
    for (at, (name, value)) in members.enumerate() {
        f.write_str(if at == 0 { "" } else { "," })?;
        quoted(f, name)?;
        write!(f, ":{value}")?;
    }
    f.write_char('}')
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::Value::from(text).to_string())
}

/// Seconds as `Double.toString` of Java writes them: one digit before the point, at least one after, no zeros
/// at the end.
fn scientific(millis: u64) -> String {
    if millis < 10_000_000_000 {
        // Below 10^7 seconds Java writes plain decimals.
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        let short = text.trim_end_matches('0');
        return if short.ends_with('.') { format!("{short}0") } else { short.to_owned() };
    }
    let digits = millis.to_string();
    let (first, rest) = digits.split_at(1);
    let rest = match rest.trim_end_matches('0') {
        "" => "0",
        rest => rest,
    };
    format!("{first}.{rest}E{}", digits.len() - 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_look_as_captured() {
        for (millis, text) in [
            (1_577_156_926_042, "1.577156926042E9"),
            (1_577_156_962_110, "1.57715696211E9"),
            (1_767_225_600_000, "1.7672256E9"),
            (2_000_000_000_000, "2.0E9"),
            (1_500, "1.5"),
            (3_000, "3.0"),
        ] {
            assert_eq!(scientific(millis), text);
        }
    }

    #[test]
    fn keys_are_alphabetical_and_nulls_are_written() {
        let json =
            Json::object([("NextToken", Json::Null), ("Fragments", Json::List(vec![Json::Integer(1)]))]);
        assert_eq!(json.to_string(), r#"{"Fragments":[1],"NextToken":null}"#);
    }

    proptest! {
        #[test]
        fn every_time_is_read_back_to_the_millisecond(millis in 0..4_000_000_000_000_u64) {
            let seconds: f64 = serde_json::from_str(&scientific(millis)).unwrap();
            prop_assert_eq!((seconds * 1000.0).round() as u64, millis);
        }

        #[test]
        fn any_text_survives(text in "\\PC*") {
            let back: String = serde_json::from_str(&Json::text(text.clone()).to_string()).unwrap();
            prop_assert_eq!(back, text);
        }
    }
}

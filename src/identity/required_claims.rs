//! `require`: claims that a token must have beside those that every issuer's tokens need.
//!
//! A value must be equal in type and content: a list is not the text in it, `1` is not `"1"`, and letter case
//! counts. Only `{ contains = … }` looks into a list.

use super::one_or_many::OneOrMany;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// What a token must claim, by JSON pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequiredClaims(BTreeMap<String, OneOrMany<Wanted>>);

/// What a claim must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "write a text, a whole number, a truth value, or { contains = \"text\" }")]
enum Wanted {
    Text(String),
    Long(i64),
    Bool(bool),
    List(Contains),
}

/// A list of texts that has one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contains {
    contains: OneOrMany<String>,
}

impl Wanted {
    fn fits(&self, found: &Value) -> bool {
        match (self, found) {
            (Self::Text(wanted), Value::String(found)) => wanted == found,
            (Self::Long(wanted), Value::Number(found)) => found.as_i64() == Some(*wanted),
            (Self::Bool(wanted), Value::Bool(found)) => wanted == found,
            (Self::List(wanted), Value::Array(found)) => {
                let listed = |text: &String| found.iter().any(|item| item.as_str() == Some(text));
                found.iter().all(Value::is_string) && wanted.contains.as_slice().iter().any(listed)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Long(number) => write!(f, "{number}"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::List(list) => write!(f, "a list with one of {:?}", list.contains.as_slice()),
        }
    }
}

impl RequiredClaims {
    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first claim that is absent or another one, and what it must be; for the log.
    pub(super) fn broken_by(&self, claims: &Value) -> Option<(&str, String)> {
        let broken = |(pointer, wanted): (&'_ String, &OneOrMany<Wanted>)| {
            let found = claims.pointer(pointer);
            !found.is_some_and(|found| wanted.as_slice().iter().any(|wanted| wanted.fits(found)))
        };
        let (pointer, wanted) = self.0.iter().find(|(pointer, wanted)| broken((pointer, wanted)))?;
        let words: Vec<_> = wanted.as_slice().iter().map(Wanted::to_string).collect();
        Some((pointer, words.join(" or ")))
    }

    /// The pointers.
    pub(super) fn pointers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What is wrong, by pointer.
    pub(super) fn faults(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.0.iter().filter_map(|(pointer, wanted)| {
            let lists = wanted.as_slice().iter().filter_map(|wanted| match wanted {
                Wanted::List(list) => Some(list.contains.as_slice()),
                _ => None,
            });
            let empty = wanted.as_slice().is_empty() || lists.into_iter().any(<[String]>::is_empty);
            let problem = if !pointer.starts_with('/') {
                "write a JSON pointer, such as \"/token_use\""
            } else if empty {
                "write at least one accepted value"
            } else {
                return None;
            };
            Some((pointer.as_str(), problem))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn required(text: &str) -> RequiredClaims {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn values_are_equal_in_type_and_content() {
        let rules = required(
            "'/use' = 'access'\n'/org' = ['octo', 'hub']\n'/n' = 1\n'/ok' = true\n'/amr' = { contains = 'mfa' }",
        );
        let good = json!({ "use": "access", "org": "hub", "n": 1, "ok": true, "amr": ["pwd", "mfa"] });
        assert_eq!(rules.broken_by(&good), None);
        for (name, bad) in [
            ("use", json!(["access"])),
            ("use", json!("Access")),
            ("use", json!("access ")),
            ("use", json!(null)),
            ("org", json!(["octo", "evil"])),
            ("org", json!({ "octo": true })),
            ("n", json!("1")),
            ("n", json!(1.5)),
            ("n", json!(true)),
            ("ok", json!("true")),
            ("ok", json!(1)),
            ("amr", json!("mfa")),
            ("amr", json!("pwd mfa")),
            ("amr", json!([["mfa"]])),
            ("amr", json!(["mfa", 1])),
            ("amr", json!({ "mfa": true })),
        ] {
            let mut claims = good.clone();
            claims[name] = bad;
            assert_eq!(rules.broken_by(&claims).unwrap().0, format!("/{name}"), "{claims}");
        }
        assert!(rules.broken_by(&json!({})).is_some());
    }

    #[test]
    fn what_can_never_fit_is_a_fault() {
        for bad in ["use = 'a'", "'/use' = []", "'/use' = { contains = [] }"] {
            assert_eq!(required(bad).faults().count(), 1, "{bad}");
        }
        assert!(toml::from_str::<RequiredClaims>("'/use' = { has = 'a' }").is_err());
        assert!(toml::from_str::<RequiredClaims>("'/use' = 1.5").is_err());
        assert_eq!(toml::to_string(&required("'/use' = ['a', 2]")).unwrap(), "\"/use\" = [\"a\", 2]\n");
    }
}

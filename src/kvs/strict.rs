//! JSON as requests, tokens and key documents must be written: no duplicate members, bounded depth, nothing
//! after the end.
//!
//! Two readers that keep different ones of two equal members see two different requests or tokens: policy
//! would judge one of them and KVS would serve the other (docs/THREATS.md, threat 3; RFC 8725 2.4).
//! `serde_json` silently keeps the last one. Members are compared after unescaping, so `"a"` and `"\u0061"`
//! are the same.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// How deep arrays and objects may nest (docs/THREATS.md, limits); real requests and tokens stay under 5.
const DEPTH: usize = 16;

/// Why a text is not such JSON. The message is for the author of the text and may quote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A member occurs twice.
    #[error("{0}")]
    Twice(String),
    /// It is JSON, and no object.
    #[error("it is JSON of another kind")]
    Kind,
    /// No JSON, or nested too deeply.
    #[error("{told}")]
    Bad {
        /// In serde_json's words.
        told: String,
        /// What kind of fault and where, without a letter of the text.
        plain: String,
    },
}

impl Fault {
    /// The same without any of the text, for logs, which must not repeat what a stranger has sent.
    #[must_use]
    pub fn plain(&self) -> &str {
        match self {
            Self::Twice(_) => "a member occurs twice",
            Self::Kind => "not a JSON object",
            Self::Bad { plain, .. } => plain,
        }
    }
}

/// Reads one JSON object.
///
/// # Errors
/// Anything else, and an object that is ambiguous or nested more than 16 deep.
pub fn object(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    let twice = Cell::new(false);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = Strict { depth: DEPTH, twice: &twice }.deserialize(&mut json);
    match read.and_then(|value| json.end().map(|()| value)) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err(Fault::Kind),
        Err(error) if twice.get() => Err(Fault::Twice(error.to_string())),
        Err(error) => Err(Fault::Bad {
            told: error.to_string(),
            plain: format!("not JSON ({:?} error at column {})", error.classify(), error.column()),
        }),
    }
}

#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// Set where a member occurs twice: serde's errors are text only.
    twice: &'a Cell<bool>,
}

impl Strict<'_> {
    fn inner<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("nested too deeply"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if all.contains_key(&name) {
                self.twice.set(true);
                return Err(A::Error::custom(format!("member {name:?} occurs twice")));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_member_that_occurs_twice_is_refused_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[{"a":null,"a":null}]}"#,
        ] {
            let fault = object(text.as_bytes()).unwrap_err();
            assert!(matches!(fault, Fault::Twice(_)), "{text}: {fault:?}");
            assert!(fault.to_string().starts_with("member \"a\" occurs twice at line 1"), "{fault}");
            assert_eq!(fault.plain(), "a member occurs twice");
        }
        assert!(object(br#"{"a":1,"A":2,"b":{"a":3}}"#).is_ok());
    }

    #[test]
    fn what_is_not_one_shallow_object_is_refused() {
        let deep = format!("{}1{}", "{\"a\":".repeat(17), "}".repeat(17));
        for text in ["", "{} {}", "{}x", "{\"a\":1e999}", "\u{feff}{}", "{'a':1}", &deep] {
            assert!(matches!(object(text.as_bytes()), Err(Fault::Bad { .. })), "{text}");
        }
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(object(text.as_bytes()), Err(Fault::Kind), "{text}");
        }
        assert!(matches!(object(b"{\"a\":\"\xff\"}"), Err(Fault::Bad { .. })));
        let deep = format!("{}{}", "{\"a\":".repeat(16) + "[]", "}".repeat(16));
        assert!(object(deep.as_bytes()).unwrap_err().to_string().contains("nested too deeply"));
        assert!(object(format!("{}1{}", "{\"a\":".repeat(16), "}".repeat(16)).as_bytes()).is_ok());
    }

    #[test]
    fn the_plain_words_hold_nothing_of_the_text() {
        for text in
            ["{\"a\":hunter2}", "hunter2", "{\"hunter2\":1,\"hunter2\":2}", "{} hunter2", "{\"a\":\"hunter2"]
        {
            let fault = object(text.as_bytes()).unwrap_err();
            assert!(!fault.plain().contains("hunter2"), "{text}: {}", fault.plain());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("\\PC{0,4}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn honest_json_reads_as_serde_json_reads_it(
            members in prop::collection::btree_map("\\PC{0,4}", value(), 0..5),
        ) {
            let honest: Map<String, Value> = members.into_iter().collect();
            let text = serde_json::to_vec(&honest).unwrap();
            prop_assert_eq!(object(&text), Ok(honest));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) { let _ = object(&bytes); }
    }
}

//! Reads the members of a request body and checks the bounds of the API model (docs/KVS.md 2 and 4).
//!
//! Unknown members are ignored, as at KVS. An explicit null is an absent member.

use super::answer::KvsError;
use super::archive::Selector;
use super::clock::Millis;
use serde_json::{Map, Value};

/// The members of one JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Members<'a>(&'a Map<String, Value>);

/// A start and an end.
pub(super) type TimeRange = (Millis, Millis);

impl<'a> Members<'a> {
    /// The members of a body, which must be a JSON object.
    pub(super) fn of(body: &'a Value) -> Result<Self, KvsError> {
        body.as_object()
            .map(Self)
            .ok_or_else(|| KvsError::new(400, "SerializationException", "the body is not a JSON object"))
    }

    fn get(self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Text of `least..=most` characters that are all `allowed`.
    pub(super) fn text(
        self,
        name: &str,
        (least, most): (usize, usize),
        allowed: fn(char) -> bool,
    ) -> Result<Option<&'a str>, KvsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let text = value.as_str().ok_or_else(|| wrong(name, value, "must be a string"))?;
        let length = text.chars().count();
        if length < least || length > most {
            return Err(wrong(name, value, &format!("must have length between {least} and {most}")));
        }
        if !text.chars().all(allowed) {
            return Err(wrong(name, value, "must satisfy regular expression pattern"));
        }
        Ok(Some(text))
    }

    /// One of `choices`.
    pub(super) fn choice(
        self,
        name: &str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, KvsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let found = choices.iter().find(|choice| value.as_str() == Some(choice));
        found.map(|choice| Some(*choice)).ok_or_else(|| {
            wrong(name, value, &format!("must satisfy enum value set: [{}]", choices.join(", ")))
        })
    }

    /// A whole number of `least..=most`.
    pub(super) fn integer(self, name: &str, least: u64, most: u64) -> Result<Option<u64>, KvsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| number.fract() == 0.0);
        match number {
            None => Err(wrong(name, value, "must be an integer")),
            Some(number) if number < least as f64 => {
                Err(wrong(name, value, &format!("must have value greater than or equal to {least}")))
            }
            Some(number) if number > most as f64 => {
                Err(wrong(name, value, &format!("must have value less than or equal to {most}")))
            }
            Some(number) => Ok(Some(number as u64)),
        }
    }

    /// Seconds since the epoch in any form of a JSON number, to the nearest millisecond (docs/KVS.md 3.2).
    pub(super) fn time(self, name: &str) -> Result<Option<Millis>, KvsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // 13 digits are milliseconds, a common mistake.
        let seconds = value.as_f64().filter(|seconds| (0.0..100_000_000_000.0).contains(seconds));
        let seconds =
            seconds.ok_or_else(|| wrong(name, value, "must be a time in seconds since the epoch"))?;
        Ok(Some((seconds * 1000.0).round() as Millis))
    }

    /// A nested structure.
    pub(super) fn inner(self, name: &str) -> Result<Option<Members<'a>>, KvsError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_object().map(|map| Some(Self(map))).ok_or_else(|| wrong(name, value, "must be a structure"))
    }

    /// A list of numbers in text form, 1 to 1000 of them.
    pub(super) fn fragment_numbers(self, name: &str) -> Result<Vec<&'a str>, KvsError> {
        let value = self.get(name).ok_or_else(|| missing(name))?;
        let list = value.as_array().ok_or_else(|| wrong(name, value, "must be a list"))?;
        if list.is_empty() || list.len() > 1000 {
            return Err(wrong(name, &list.len().into(), "must have length between 1 and 1000"));
        }
        let number = |item: &'a Value| {
            let digits = |text: &&str| {
                (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
            };
            item.as_str().filter(digits).ok_or_else(|| wrong(name, item, "must satisfy pattern ^[0-9]+$"))
        };
        list.iter().map(number).collect()
    }

    /// A continuation token.
    pub(super) fn next_token(self) -> Result<Option<&'a str>, KvsError> {
        let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        self.text("NextToken", (1, 4096), base64)
    }

    /// `FragmentSelectorType` and the like.
    pub(super) fn selector(self, name: &str) -> Result<Option<Selector>, KvsError> {
        Ok(self.choice(name, &["PRODUCER_TIMESTAMP", "SERVER_TIMESTAMP"])?.map(|text| match text {
            "PRODUCER_TIMESTAMP" => Selector::Producer,
            _ => Selector::Server,
        }))
    }

    /// Two required times.
    pub(super) fn range(self) -> Result<TimeRange, KvsError> {
        let start = self.time("StartTimestamp")?.ok_or_else(|| missing("StartTimestamp"))?;
        let end = self.time("EndTimestamp")?.ok_or_else(|| missing("EndTimestamp"))?;
        Ok((start, end))
    }
}

/// The error for a required member that is absent.
pub(super) fn missing(name: &str) -> KvsError {
    KvsError::invalid(format!(
        "1 validation error detected: Value null at '{name}' failed to satisfy constraint: \
         Member must not be null"
    ))
}

fn wrong(name: &str, value: &Value, constraint: &str) -> KvsError {
    KvsError::invalid(format!(
        "1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: \
         Member {constraint}"
    ))
}

/// `[a-zA-Z0-9_.-]`.
pub(super) fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_number_form_of_a_time_is_the_same_millisecond() {
        for text in ["1643353247.067", "1.643353247067E9", "1643353247.066999", "1643353247.0670004"] {
            let body: Value = serde_json::from_str(&format!("{{\"t\":{text}}}")).unwrap();
            assert_eq!(Members::of(&body).unwrap().time("t"), Ok(Some(1_643_353_247_067)), "{text}");
        }
        for body in [json!({"t": 1_643_353_247_067_u64}), json!({"t": -1}), json!({"t": "1643353247"})] {
            assert_eq!(Members::of(&body).unwrap().time("t").unwrap_err().kind, "InvalidArgumentException");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_nulls_absent() {
        let body = json!({"a": 1, "b": 1000, "c": 0, "d": 1001, "e": null, "f": 1.5, "g": "1"});
        let members = Members::of(&body).unwrap();
        assert_eq!(members.integer("a", 1, 1000), Ok(Some(1)));
        assert_eq!(members.integer("b", 1, 1000), Ok(Some(1000)));
        assert_eq!(members.integer("e", 1, 1000), Ok(None));
        for bad in ["c", "d", "f", "g"] {
            assert!(members.integer(bad, 1, 1000).is_err(), "{bad}");
        }
    }
}

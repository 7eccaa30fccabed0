//! Reading request bodies: strict about form, tolerant about numbers, and precise about what is wrong.
//!
//! A body is one JSON object of bounded depth without duplicate keys (`strict`). Unknown members are
//! ignored. They are never forwarded, because a request to KVS is always written from what was understood.

use super::fragment::FragmentNumber;
use super::range::{SelectorType, TimeRange};
use super::stream::{StreamArn, StreamName, StreamRef};
use super::strict;
use super::timestamp::Timestamp;
use serde_json::{Map, Value};

/// A request that KVS would refuse: which member, and what is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Invalid {
    /// Not one JSON object.
    #[error("the request body must be one JSON object: {0}")]
    Body(String),
    /// One member is missing or out of its bounds.
    #[error("{member} {problem}")]
    Member {
        /// The member, with its path: `ClipFragmentSelector.TimestampRange.StartTimestamp`.
        member: String,
        /// What is wrong, with the bound.
        problem: String,
    },
}

impl Invalid {
    pub(super) fn member(member: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Member { member: member.into(), problem: problem.into() }
    }
}

/// The members of a JSON object and where that object sits, for messages.
pub struct Members<'a> {
    map: &'a Map<String, Value>,
    path: String,
}

impl<'a> Members<'a> {
    /// Reads a body as one JSON object; an empty body is an empty object.
    ///
    /// # Errors
    /// [`Invalid::Body`] for other JSON, bad JSON, trailing bytes, duplicate keys, nesting beyond 16.
    pub fn parse(body: &[u8]) -> Result<Map<String, Value>, Invalid> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Map::new());
        }
        strict::object(body).map_err(|fault| Invalid::Body(fault.to_string()))
    }

    /// The outermost object.
    #[must_use]
    pub fn of(map: &'a Map<String, Value>) -> Self {
        Self { map, path: String::new() }
    }

    /// A member's full name.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn wrong(&self, name: &str, problem: impl Into<String>) -> Invalid {
        Invalid::member(self.path(name), problem)
    }

    /// A member that is there and not null.
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// True if the member is there and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Text, if there.
    ///
    /// # Errors
    /// Another JSON type.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(name, "must be a string")),
        }
    }

    /// A whole number within bounds, if there. `5` and `5.0` are the same number.
    ///
    /// # Errors
    /// Another JSON type, a fraction, or out of bounds.
    pub fn integer(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let whole = value.as_i64().or_else(|| {
            let float = value.as_f64()?;
            // Within 2^53 the conversion is exact.
            (float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0).then_some(float as i64)
        });
        match whole {
            Some(number) if (min..=max).contains(&number) => Ok(Some(number)),
            Some(number) => Err(self.wrong(name, format!("is {number}; it must be from {min} to {max}"))),
            None => Err(self.wrong(name, format!("must be a whole number from {min} to {max}"))),
        }
    }

    /// An instant, if there: a JSON number of seconds in any form.
    ///
    /// # Errors
    /// Another JSON type, negative, or milliseconds by mistake.
    pub fn timestamp(&self, name: &str) -> Result<Option<Timestamp>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let seconds =
            value.as_f64().ok_or_else(|| self.wrong(name, "must be a number of seconds since 1970"))?;
        Timestamp::from_seconds(seconds).map(Some).map_err(|problem| self.wrong(name, problem))
    }

    /// An object, if there.
    ///
    /// # Errors
    /// Another JSON type.
    pub fn object(&self, name: &str) -> Result<Option<Members<'a>>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Members { map, path: self.path(name) })),
            Some(_) => Err(self.wrong(name, "must be an object")),
        }
    }

    /// Key and text of an object with exactly one member.
    ///
    /// # Errors
    /// More or fewer members, or a value that is no string.
    pub fn single_text(&self, name: &str) -> Result<Option<(&'a str, &'a str)>, Invalid> {
        let Some(object) = self.object(name)? else { return Ok(None) };
        let mut pairs = object.map.iter();
        match (pairs.next(), pairs.next()) {
            (Some((key, Value::String(value))), None) => Ok(Some((key, value))),
            (Some((key, _)), None) => Err(object.wrong(key, "must be a string")),
            _ => Err(self.wrong(name, "must have exactly one member")),
        }
    }

    /// One of several words, if there.
    ///
    /// # Errors
    /// Names all the words.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Invalid> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(self.wrong(name, format!("must be one of {}", all.join(", "))))
            }
        }
    }

    /// The value, or the complaint that it is missing.
    ///
    /// # Errors
    /// The member is not there.
    pub fn required<T>(&self, name: &str, value: Option<T>) -> Result<T, Invalid> {
        value.ok_or_else(|| self.wrong(name, "is required"))
    }

    /// `StreamName` and `StreamARN`, if either is there. Both must then agree.
    ///
    /// # Errors
    /// Malformed, or two different streams: "both" is a way to have one judged and the other served.
    pub fn stream(&self) -> Result<Option<StreamRef>, Invalid> {
        let name = self.text("StreamName")?.map(StreamName::parse).transpose();
        let name = name.map_err(|problem| self.wrong("StreamName", problem))?;
        let arn = self.text("StreamARN")?.map(StreamArn::parse).transpose();
        let arn = arn.map_err(|problem| self.wrong("StreamARN", problem))?;
        match (name, arn) {
            (None, None) => Ok(None),
            (Some(name), None) => Ok(Some(StreamRef::Name(name))),
            (Some(name), Some(arn)) if name != *arn.name() => {
                Err(self.wrong("StreamName", format!("is {name}, but StreamARN names {}", arn.name())))
            }
            (_, Some(arn)) => Ok(Some(StreamRef::Arn(arn))),
        }
    }

    /// The stream of an operation that needs one.
    ///
    /// # Errors
    /// As [`Members::stream`], or neither member is there.
    pub fn required_stream(&self) -> Result<StreamRef, Invalid> {
        self.stream()?.ok_or_else(|| self.wrong("StreamName", "or StreamARN is required"))
    }

    /// `FragmentSelectorType`, if there.
    ///
    /// # Errors
    /// Another word.
    pub fn selector_type(&self, name: &str) -> Result<Option<SelectorType>, Invalid> {
        const WORDS: [(&str, SelectorType); 2] =
            [("PRODUCER_TIMESTAMP", SelectorType::Producer), ("SERVER_TIMESTAMP", SelectorType::Server)];
        self.choice(name, &WORDS)
    }

    /// `TimestampRange` with both ends, start before or at the end.
    ///
    /// # Errors
    /// A missing end, or an inverted range.
    pub fn closed_range(&self, name: &str) -> Result<TimeRange, Invalid> {
        let range = self.required(name, self.object(name)?)?;
        let start = range.required("StartTimestamp", range.timestamp("StartTimestamp")?)?;
        let end = range.required("EndTimestamp", range.timestamp("EndTimestamp")?)?;
        if end < start {
            return Err(range.wrong("EndTimestamp", "must not be before StartTimestamp"));
        }
        Ok(TimeRange { start, end: Some(end) })
    }

    /// A list of fragment numbers.
    ///
    /// # Errors
    /// Missing, empty, too long, or a member that is no string of digits.
    pub fn fragment_numbers(&self, name: &str, max: usize) -> Result<Vec<FragmentNumber>, Invalid> {
        let list = match self.get(name) {
            Some(Value::Array(list)) => list,
            Some(_) => return Err(self.wrong(name, "must be a list of strings")),
            None => return Err(self.wrong(name, "is required")),
        };
        if list.is_empty() || list.len() > max {
            return Err(self.wrong(name, format!("has {} members; it must have from 1 to {max}", list.len())));
        }
        list.iter()
            .enumerate()
            .map(|(index, value)| {
                let member = format!("{name}[{index}]");
                let text = value
                    .as_str()
                    .ok_or_else(|| self.wrong(&member, "must be a string of decimal digits"))?;
                FragmentNumber::parse(text).map_err(|problem| self.wrong(&member, problem))
            })
            .collect()
    }

    /// A pagination token of KVS's alphabet.
    ///
    /// # Errors
    /// Too long, or other characters.
    pub fn next_token(&self, max: usize) -> Result<Option<String>, Invalid> {
        let Some(token) = self.text("NextToken")? else { return Ok(None) };
        let plain = token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='));
        if token.len() > max || !plain {
            return Err(self.wrong("NextToken", format!("must be at most {max} characters of base64")));
        }
        Ok((!token.is_empty()).then(|| token.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_depth_and_trailing_bytes_are_refused() {
        for (bad, why) in [
            (r#"{"StreamName":"a","StreamName":"b"}"#, "occurs twice"),
            (r#"{"x":{"y":1,"y":2}}"#, "occurs twice"),
            (&format!("{}1{}", r#"{"a":"#.repeat(17), "}".repeat(17)), "deeply"),
            ("{} {}", "trailing"),
            ("[]", "another kind"),
            ("nope", "expected"),
        ] {
            let error = Members::parse(bad.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(Members::parse(b" ").unwrap().is_empty());
    }

    #[test]
    fn name_and_arn_must_agree() {
        let arn = "arn:aws:kinesisvideo:us-east-1:1:stream/cam-1/1";
        let body = |name: &str| {
            Members::parse(format!(r#"{{"StreamName":"{name}","StreamARN":"{arn}"}}"#).as_bytes())
        };
        assert!(matches!(Members::of(&body("cam-1").unwrap()).stream(), Ok(Some(StreamRef::Arn(_)))));
        let error = Members::of(&body("cam-2").unwrap()).stream().unwrap_err().to_string();
        assert!(error.contains("StreamARN names cam-1"), "{error}");
    }
}

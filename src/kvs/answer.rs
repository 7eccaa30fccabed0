//! KVS's JSON answers, cut down to what the models say: known members with values of the right shape, nothing
//! else (docs/KVS.md 2.2, 2.3, 4.2, 4.5). What KVS adds one day does not leave before somebody has read it
//! (law 3).
//!
//! Numbers are copied as they are written, E-notation included.

use super::leak;
use super::operation::Operation;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Why an answer is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it is not what {0} answers with")]
pub struct NotAnAnswer(&'static str);

/// What a member may hold.
enum Shape {
    /// A number.
    Number,
    /// Text of these characters. Other text is left out.
    Text(fn(char) -> bool),
    /// A picture in base64. Anything else is no answer.
    Picture,
    /// An object with these members.
    Object(&'static [Member]),
    /// A list of objects with these members.
    Rows(&'static [Member]),
}

type Member = (&'static str, Shape);

const STREAM: &[Member] = &[
    ("DeviceName", Shape::Text(is_name)),
    ("StreamName", Shape::Text(is_name)),
    ("StreamARN", Shape::Text(is_arn)),
    ("MediaType", Shape::Text(is_arn)),
    ("KmsKeyId", Shape::Text(is_arn)),
    ("Version", Shape::Text(is_name)),
    ("Status", Shape::Text(is_name)),
    ("CreationTime", Shape::Number),
    ("DataRetentionInHours", Shape::Number),
];
const DESCRIPTION: &[Member] = &[("StreamInfo", Shape::Object(STREAM))];
const FRAGMENTS: &[Member] = &[
    (
        "Fragments",
        Shape::Rows(&[
            ("FragmentNumber", Shape::Text(is_digit)),
            ("FragmentSizeInBytes", Shape::Number),
            ("ProducerTimestamp", Shape::Number),
            ("ServerTimestamp", Shape::Number),
            ("FragmentLengthInMilliseconds", Shape::Number),
        ]),
    ),
    ("NextToken", Shape::Text(is_token)),
];
const IMAGES: &[Member] = &[
    (
        "Images",
        Shape::Rows(&[
            ("TimeStamp", Shape::Number),
            ("Error", Shape::Text(is_name)),
            ("ImageContent", Shape::Picture),
        ]),
    ),
    ("NextToken", Shape::Text(is_token)),
];

/// The answer to a call without what no model has. `secrets` are the hosts that must not stand in it.
///
/// # Errors
/// It is not a JSON object, or a picture is none.
pub fn known(operation: Operation, answer: &str, secrets: &[&str]) -> Result<String, NotAnAnswer> {
    let members = match operation {
        Operation::DescribeStream => DESCRIPTION,
        Operation::ListFragments => FRAGMENTS,
        Operation::GetImages => IMAGES,
        // Their answers are never passed on.
        _ => return Err(NotAnAnswer(operation.name())),
    };
    let mut writer = Writer { out: String::with_capacity(answer.len()), secrets };
    match writer.object(answer, members) {
        Ok(()) => Ok(writer.out),
        Err(Broken) => Err(NotAnAnswer(operation.name())),
    }
}

/// A stream as ListStreams shows it, without what no model has; `None` if it is not one.
#[must_use]
pub fn known_stream(members: &RawValue, secrets: &[&str]) -> Option<Box<RawValue>> {
    let mut writer = Writer { out: String::new(), secrets };
    writer.object(members.get(), STREAM).ok()?;
    RawValue::from_string(writer.out).ok()
}

/// It has another shape.
struct Broken;

struct Writer<'a> {
    out: String,
    secrets: &'a [&'a str],
}

impl Writer<'_> {
    fn object(&mut self, text: &str, known: &[Member]) -> Result<(), Broken> {
        let Members(found) = serde_json::from_str(text).map_err(|_| Broken)?;
        self.out.push('{');
        let mut is_first = true;
        for (name, value) in found {
            let Some((name, shape)) = known.iter().find(|(known, _)| *known == name) else { continue };
            let before = self.out.len();
            if !is_first {
                self.out.push(',');
            }
            self.out.push('"');
            self.out.push_str(name);
            self.out.push_str("\":");
            if self.value(value.get(), shape)? {
                is_first = false;
            } else {
                self.out.truncate(before);
            }
        }
        self.out.push('}');
        Ok(())
    }

    /// Writes a value; false if it is to be left out.
    fn value(&mut self, raw: &str, shape: &Shape) -> Result<bool, Broken> {
        if raw == "null" {
            self.out.push_str(raw);
            return Ok(true);
        }
        match shape {
            Shape::Number => {
                let is_number = raw.starts_with(|first: char| first == '-' || first.is_ascii_digit());
                if is_number {
                    self.out.push_str(raw);
                }
                Ok(is_number)
            }
            Shape::Text(allowed) => {
                let Ok(text) = serde_json::from_str::<String>(raw) else { return Ok(false) };
                let is_fine = text.chars().all(allowed) && leak::scan(&text, self.secrets).is_ok();
                if is_fine {
                    // No allowed character needs an escape.
                    self.out.push('"');
                    self.out.push_str(&text);
                    self.out.push('"');
                }
                Ok(is_fine)
            }
            Shape::Picture => {
                let content = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or(Broken)?;
                // Of JPEG and of PNG; an empty one stands beside an error.
                let begins = ["/9j/", "iVBORw0KGgo"].iter().any(|head| content.starts_with(head));
                if !(content.is_empty() || begins) || !content.bytes().all(is_base64) {
                    return Err(Broken);
                }
                self.out.push_str(raw);
                Ok(true)
            }
            Shape::Object(members) => self.object(raw, members).map(|()| true),
            Shape::Rows(members) => {
                let rows: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| Broken)?;
                self.out.push('[');
                for (index, row) in rows.into_iter().enumerate() {
                    if index > 0 {
                        self.out.push(',');
                    }
                    self.object(row.get(), members)?;
                }
                self.out.push(']');
                Ok(true)
            }
        }
    }
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '_' | '.' | '-')
}

fn is_arn(char: char) -> bool {
    is_name(char) || matches!(char, ':' | '/' | '+' | ',')
}

fn is_digit(char: char) -> bool {
    char.is_ascii_digit()
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Sealed into a token of our own before it leaves.
fn is_token(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, '"' | '\\')
}

/// The members of an object in their order.
struct Members<'a>(Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct MembersVisitor;
        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(MembersVisitor)
    }
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn known_members_stay_to_the_byte_and_unknown_ones_go() {
        let answer = r#"{"Fragments":[{"FragmentNumber":"913","ServerTimestamp":1.577156926042E9,"Host":"h"}],
            "Endpoint":"https://h","NextToken":null}"#;
        let expected =
            r#"{"Fragments":[{"FragmentNumber":"913","ServerTimestamp":1.577156926042E9}],"NextToken":null}"#;
        assert_eq!(known(Operation::ListFragments, answer, &[]).as_deref(), Ok(expected));
        let stream = r#"{"StreamInfo":{"DeviceName":"b-1.kinesisvideo.eu-west-1.amazonaws.com","Version":"a b",
            "StreamARN":"arn:aws:kinesisvideo:eu-west-1:111122223333:stream/cam-1/1","MediaType":"video/h264",
            "Status":"h.internal","CreationTime":"soon","Inner":{"StreamName":"x"}}}"#;
        let expected = r#"{"StreamInfo":{"StreamARN":"arn:aws:kinesisvideo:eu-west-1:111122223333:stream/cam-1/1","MediaType":"video/h264"}}"#;
        assert_eq!(known(Operation::DescribeStream, stream, &["h.internal"]).as_deref(), Ok(expected));
    }

    #[test]
    fn a_picture_that_is_none_is_no_answer() {
        let page =
            |content: &str| format!(r#"{{"Images":[{{"TimeStamp":1.0E9,"ImageContent":{content}}}]}}"#);
        for fine in ["null", r#""""#, r#""/9j/4AAQSkZJRg==""#, r#""iVBORw0KGgoAAAANSUhEUg==""#] {
            assert_eq!(known(Operation::GetImages, &page(fine), &[]).as_deref(), Ok(&*page(fine)));
        }
        for bad in [r#""aGk=""#, r#""/9j/<script>""#, "7", r#"["/9j/"]"#] {
            assert!(known(Operation::GetImages, &page(bad), &[]).is_err(), "{bad}");
        }
        assert!(known(Operation::GetImages, "[]", &[]).is_err());
        assert!(known(Operation::GetClip, "{}", &[]).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,80}", inner in "\\PC{0,40}") {
            let _ = known(Operation::ListFragments, &text, &[&inner]);
            let wrapped = serde_json::json!({"Fragments": [{"FragmentNumber": inner, &text: inner}]}).to_string();
            let clean = known(Operation::ListFragments, &wrapped, &[]).unwrap();
            prop_assert!(serde_json::from_str::<Value>(&clean).is_ok(), "{}", clean);
        }
    }
}

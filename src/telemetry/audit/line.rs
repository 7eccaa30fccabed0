//! One audit line as it is put together: a JSON object, member by member, in one allocation. Decisions are told on the
//! path of a request, where a tree of values would cost more than the decision.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

/// A line under way.
pub(super) struct Line(String);

/// Most lines are shorter.
const USUAL: usize = 512;

impl Line {
    pub(super) fn new() -> Self {
        let mut line = String::with_capacity(USUAL);
        line.push('{');
        Self(line)
    }

    /// A member whose value is any text.
    pub(super) fn text(&mut self, key: &'static str, value: &str) {
        self.key(key);
        self.quoted(value);
    }

    /// The same, or no member.
    pub(super) fn some_text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// A member whose value is a list of texts.
    pub(super) fn texts(&mut self, key: &'static str, values: &[Arc<str>]) {
        self.key(key);
        self.0.push('[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.quoted(value);
        }
        self.0.push(']');
    }

    /// A member whose value shows itself as text that needs no escapes: a time, an address.
    pub(super) fn shown(&mut self, key: &'static str, value: impl Display) {
        self.key(key);
        // Writing to a string cannot fail.
        let _ = write!(self.0, "\"{value}\"");
    }

    /// A member whose value shows itself as JSON: a number.
    pub(super) fn shown_bare(&mut self, key: &'static str, value: impl Display) {
        self.key(key);
        let _ = write!(self.0, "{value}");
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }

    fn key(&mut self, key: &'static str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
    }

    /// RFC 8259 section 7: quotation mark, reverse solidus and control characters must be escaped.
    fn quoted(&mut self, value: &str) {
        self.0.push('"');
        let is_plain = |byte: u8| (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
        // Nearly every text is, and without a branch per byte sixteen are looked at together.
        if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
            self.0.push_str(value);
            self.0.push('"');
            return;
        }
        let mut plain = 0;
        for (at, byte) in value.bytes().enumerate() {
            if is_plain(byte) {
                continue;
            }
            // An ASCII byte is a character of its own, so both cuts are between characters.
            self.0.push_str(&value[plain..at]);
            let _ = match byte {
                b'"' | b'\\' => write!(self.0, "\\{}", char::from(byte)),
                _ => write!(self.0, "\\u{byte:04x}"),
            };
            plain = at + 1;
        }
        self.0.push_str(&value[plain..]);
        self.0.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_text_holds_it_comes_back_and_stays_on_its_line(text in any::<String>(), more in any::<String>()) {
            let mut line = Line::new();
            line.text("a", &text);
            line.some_text("none", None);
            line.texts("b", &[text.as_str().into(), more.as_str().into()]);
            line.shown_bare("c", 7);
            let line = line.end();
            prop_assert!(!line.contains('\n'));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read, serde_json::json!({"a": text, "b": [text, more], "c": 7}));
        }
    }
}

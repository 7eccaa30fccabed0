//! Makes serde's messages plainer: which key is at fault, and which was probably meant.

use crate::base::similar::nearest;

/// serde names the table in which an unknown field sits; the field itself is in the message.
pub(super) fn misspelt(path: &str, message: &str) -> String {
    let Some(field) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        return path.to_owned();
    };
    if path == "." || path.is_empty() {
        field.to_owned()
    } else if path == field || path.ends_with(&format!(".{field}")) {
        path.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// Adds "did you mean" to serde's list of known fields.
pub(super) fn with_suggestion(message: &str) -> String {
    let message = message.trim_end();
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let Some((wrong, known)) = words.split_first().filter(|_| message.starts_with("unknown")) else {
        return message.to_owned();
    };
    match nearest(wrong, known.iter().copied()) {
        Some(word) => format!("{message}; did you mean `{word}`?"),
        None => message.to_owned(),
    }
}

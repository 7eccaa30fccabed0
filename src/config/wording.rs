//! Makes serde's messages plainer: which key is at fault, and which was probably meant.

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
    let near = known.iter().map(|word| (distance(wrong, word), *word)).min();
    match near {
        Some((steps, word)) if steps <= 2 || word.contains(wrong) => {
            format!("{message}; did you mean `{word}`?")
        }
        _ => message.to_owned(),
    }
}

/// Levenshtein distance: how many letters to change, add or drop.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

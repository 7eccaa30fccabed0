//! Places in a policy file's text: Cedar's diagnoses carry byte offsets, people want line and column, and a
//! decision names the line of the policy that made it, which Cedar does not tell.

use std::ops::Range;

/// Line and column, from 1, columns in characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line = before.matches('\n').count() + 1;
    (line, before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1)
}

/// The policies of a text that parses, each from its first annotation, or `permit` or `forbid`, to its `;`,
/// which elsewhere stands only in quotes and comments.
pub(super) fn spans(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let (mut spans, mut at) = (Vec::new(), 0);
    let mut start: Option<usize> = None;
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while bytes.get(at + 1).is_some_and(|next| !matches!(next, b'\n' | b'\r')) {
                    at += 1;
                }
            }
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += 1 + usize::from(bytes[at] == b'\\');
                }
            }
            b';' => spans.extend(start.take().map(|start| start..at + 1)),
            byte if byte.is_ascii_whitespace() => {}
            _ => start = start.or(Some(at)),
        }
        at += 1;
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_found_between_comments_and_quotes() {
        let text = "// permit (principal, action, resource);\n\
                    @id(\"a;b\\\";\") // c;\n permit (principal, action, resource);forbid (principal, // x;\n\
                    action, resource) when { context.issuer == \"// ;\" };\n// end;";
        let found: Vec<_> = spans(text).into_iter().map(|span| &text[span]).collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("@id(\"a;b") && found[0].ends_with("resource);"), "{found:?}");
        assert!(found[1].starts_with("forbid") && found[1].ends_with("};"), "{found:?}");
        assert_eq!(text.parse::<cedar_policy::PolicySet>().unwrap().num_of_policies(), 2);
    }

    #[test]
    fn places_count_characters_from_one() {
        assert_eq!(place("ab\nçdé", 0), (1, 1));
        assert_eq!(place("ab\nçdé", 3), (2, 1));
        assert_eq!(place("ab\nçdé", 6), (2, 3));
        assert_eq!(place("ab\nçdé", 99), (2, 4));
    }
}

//! Name patterns with `*` (any run of characters) and `?` (any one character), for stream sets and policy files.
//!
//! Nothing else is special: stream names hold no brackets or braces, and a pattern that means only what it shows is
//! one that a security person can check by eye. Matching is exact in letter case and takes time linear in pattern
//! times text at worst, whatever a caller names.

/// True if the whole of `text` fits `pattern`.
#[must_use]
pub fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = if pattern.is_ascii() && text.is_ascii() {
        return fits_in(pattern.as_bytes(), text.as_bytes(), b'*', b'?');
    } else {
        (pattern.chars().collect(), text.chars().collect())
    };
    fits_in(&pattern, &text, '*', '?')
}

/// Greedy matching with one point of return: only the last `*` ever needs to take more.
fn fits_in<T: PartialEq + Copy>(pattern: &[T], text: &[T], any: T, one: T) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == any {
            retry = Some((p + 1, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == one || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((after, taken)) = retry {
            retry = Some((after, taken + 1));
            p = after;
            t = taken + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|rest| *rest == any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_mean_what_they_show() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "cam-1", true),
            ("lobby-*", "lobby-", true),
            ("lobby-*", "lobby-1", true),
            ("lobby-*", "Lobby-1", false),
            ("lobby-*", "the-lobby-1", false),
            ("cam-?", "cam-1", true),
            ("cam-?", "cam-10", false),
            ("cam-?", "cam-", false),
            ("*-north-*", "site-north-3", true),
            ("*-north", "a-north-north", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("", "", true),
            ("", "x", false),
            ("[a-z]", "b", false),
            ("cam-*", "kam-1", false),
            ("\u{441}am-*", "cam-1", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    fn slow(pattern: &[char], text: &[char]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some(('*', rest)) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            Some((c, rest)) => {
                text.split_first().is_some_and(|(t, tail)| (*c == '?' || c == t) && slow(rest, tail))
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?é]{0,8}", text in "[abé]{0,10}") {
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(fits(&pattern, &text), slow(&p, &t));
        }
    }
}

//! Name patterns with `*` (any run of characters) and `?` (any one character): does one match a name, and can
//! two of them match the same name?
//!
//! Nothing else is special: stream names hold no brackets or braces, and a pattern that means only what it
//! shows can be checked by eye. Matching is exact in letter case and takes time linear in pattern times text
//! at worst. The second question is answered exactly, with a name as proof, so that ambiguous settings can be
//! refused.

use std::collections::HashSet;

/// True if `pattern` matches the whole of `text`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = if pattern.is_ascii() && text.is_ascii() {
        return matches_in(pattern.as_bytes(), text.as_bytes(), b'*', b'?');
    } else {
        (pattern.chars().collect(), text.chars().collect())
    };
    matches_in(&pattern, &text, '*', '?')
}

/// Greedy matching with one point of return: only the last `*` ever needs to take more.
fn matches_in<T: PartialEq + Copy>(pattern: &[T], text: &[T], any: T, one: T) -> bool {
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

/// A name that both patterns match, if there is one. Both are ASCII.
#[must_use]
pub fn overlap(a: &str, b: &str) -> Option<String> {
    let mut name = Vec::new();
    let mut dead = HashSet::new();
    walk(a.as_bytes(), b.as_bytes(), (0, 0), &mut name, &mut dead)
        .then(|| if name.is_empty() { "x".to_owned() } else { String::from_utf8_lossy(&name).into_owned() })
}

/// Walks both globs at once, spelling a common name; `dead` holds pairs of positions that lead nowhere.
fn walk(
    a: &[u8],
    b: &[u8],
    at: (usize, usize),
    name: &mut Vec<u8>,
    dead: &mut HashSet<(usize, usize)>,
) -> bool {
    let (i, j) = at;
    if i == a.len() && j == b.len() {
        return true;
    }
    if !dead.insert(at) {
        return false;
    }
    let mut step = |next, letter: Option<u8>, name: &mut Vec<u8>| {
        let length = name.len();
        name.extend(letter);
        let found = walk(a, b, next, name, dead);
        if !found {
            name.truncate(length);
        }
        found
    };
    let plain = |letter: u8| if letter == b'?' { b'x' } else { letter };
    match (a.get(i).copied(), b.get(j).copied()) {
        // A star ends here, or takes what the other one wants next.
        (Some(b'*'), Some(b'*')) => step((i + 1, j), None, name) || step((i, j + 1), None, name),
        (Some(b'*'), Some(other)) => {
            step((i + 1, j), None, name) || step((i, j + 1), Some(plain(other)), name)
        }
        (Some(other), Some(b'*')) => {
            step((i, j + 1), None, name) || step((i + 1, j), Some(plain(other)), name)
        }
        (Some(b'*'), None) => step((i + 1, j), None, name),
        (None, Some(b'*')) => step((i, j + 1), None, name),
        (Some(x), Some(y)) if x == y || x == b'?' || y == b'?' => {
            step((i + 1, j + 1), Some(plain(if x == b'?' { y } else { x })), name)
        }
        _ => false,
    }
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
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn overlaps_are_found_with_a_proof_and_only_real_ones() {
        for (a, b) in [("*", "*"), ("cam-*", "*-1"), ("cam-?", "cam-*"), ("a*c", "ab*"), ("lobby", "lobby")] {
            let name = overlap(a, b).unwrap();
            assert!(matches(a, &name) && matches(b, &name), "{a} {b} {name}");
        }
        for (a, b) in [("lobby-*", "gate-*"), ("cam-?", "cam-??"), ("*a", "*b"), ("a?c", "abcd*"), ("x", "y")]
        {
            assert_eq!(overlap(a, b), None, "{a} {b}");
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
            prop_assert_eq!(matches(&pattern, &text), slow(&p, &t));
        }

        #[test]
        fn a_name_that_both_match_is_an_overlap(a in "[ab*?]{1,6}", b in "[ab*?]{1,6}", name in "[ab]{1,6}") {
            if matches(&a, &name) && matches(&b, &name) { prop_assert!(overlap(&a, &b).is_some()); }
            if let Some(proof) = overlap(&a, &b) {
                prop_assert!(matches(&a, &proof) && matches(&b, &proof), "{} {} {}", a, b, proof);
            }
        }
    }
}

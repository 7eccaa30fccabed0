//! Globs over stream names: does one match, and can two of them match the same name?
//!
//! `*` stands for any run of characters, `?` for exactly one. The second question is answered exactly, with a name
//! as proof, so that an ambiguous configuration is refused before a camera is served with the wrong account.

use std::collections::HashSet;

/// True if `glob` matches the whole of `name`.
pub(super) fn matches(glob: &str, name: &str) -> bool {
    let (glob, name) = (glob.as_bytes(), name.as_bytes());
    let (mut g, mut n) = (0, 0);
    // Where to go on after a mismatch: the last `*` takes one character more.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match glob.get(g) {
            Some(b'*') => {
                retry = Some((g + 1, n + 1));
                g += 1;
            }
            Some(&want) if want == b'?' || want == name[n] => {
                g += 1;
                n += 1;
            }
            _ => match retry {
                None => return false,
                Some((star, from)) => {
                    (g, n) = (star, from);
                    retry = Some((star, from + 1));
                }
            },
        }
    }
    glob[g..].iter().all(|b| *b == b'*')
}

/// Says what is wrong with a glob, if anything is.
pub(super) fn check(glob: &str) -> Result<(), &'static str> {
    if glob.is_empty() || glob.len() > 256 {
        return Err("a stream glob is 1 to 256 characters long");
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'*' | b'?');
    if glob.bytes().all(fine) {
        Ok(())
    } else {
        Err("a stream glob holds letters, digits, '_', '.', '-', and the wildcards * and ?")
    }
}

/// A name that both globs match, if there is one.
pub(super) fn overlap(a: &str, b: &str) -> Option<String> {
    let mut name = Vec::new();
    let mut dead = HashSet::new();
    walk(a.as_bytes(), b.as_bytes(), (0, 0), &mut name, &mut dead)
        .then(|| if name.is_empty() { "x".to_owned() } else { String::from_utf8_lossy(&name).into_owned() })
}

/// Walks both globs at once, spelling a common name; `dead` remembers pairs of places that lead nowhere.
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
    fn globs_match_as_in_a_shell() {
        for (glob, name, wanted) in [
            ("*", "cam-1", true),
            ("cam-?", "cam-1", true),
            ("cam-?", "cam-10", false),
            ("cam-*", "cam-", true),
            ("*-door", "front-door", true),
            ("*-door", "front-door-2", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "acb", false),
            ("cam", "Cam", false),
        ] {
            assert_eq!(matches(glob, name), wanted, "{glob} {name}");
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

    proptest! {
        #[test]
        fn a_name_that_both_match_is_an_overlap(a in "[ab*?]{1,6}", b in "[ab*?]{1,6}", name in "[ab]{1,6}") {
            if matches(&a, &name) && matches(&b, &name) { prop_assert!(overlap(&a, &b).is_some()); }
            if let Some(proof) = overlap(&a, &b) {
                prop_assert!(matches(&a, &proof) && matches(&b, &proof), "{} {} {}", a, b, proof);
            }
        }
    }
}

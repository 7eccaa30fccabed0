//! Which known word was probably meant by an unknown one.

/// More changes than these are another word.
const MOST_CHANGES: usize = 2;

/// The known word that is nearest to `wrong`, if it is near: two letters changed, added or dropped at most,
/// and fewer than the word has, or `wrong` is a part of it. Letter case does not count.
pub fn nearest<'w>(wrong: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let wrong = wrong.to_lowercase();
    let length = wrong.chars().count();
    let steps = |word: &'w str| {
        let lower = word.to_lowercase();
        // Words of other lengths need as many changes, which spares comparing them.
        let is_far = lower.chars().count().abs_diff(length) > MOST_CHANGES;
        let steps = if is_far { MOST_CHANGES + 1 } else { distance(&wrong, &lower) };
        let is_near = steps <= MOST_CHANGES && steps < length;
        let is_part = length > MOST_CHANGES && lower.contains(&wrong);
        (is_near || is_part).then_some((steps, word))
    };
    known.into_iter().filter_map(steps).min().map(|(_, word)| word)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_nearest_word_is_found_and_far_ones_are_not() {
        let cameras = ["cam-1", "cam-12", "lobby", "north-gate"];
        for (wrong, expected) in [
            ("cam1", Some("cam-1")),
            ("Cam-1", Some("cam-1")),
            ("cam-13", Some("cam-1")),
            ("loby", Some("lobby")),
            ("gate", Some("north-gate")),
            ("x", None),
            ("garage", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, cameras), expected, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_known_word_is_nearest_to_itself(word in "\\PC{2,20}", other in "\\PC{0,20}") {
            prop_assert!(nearest(&word, [other.as_str(), word.as_str()]).is_some());
        }
    }
}

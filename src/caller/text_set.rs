//! A set of texts in one piece of memory.
//!
//! A token of 8 KiB may name more than a thousand groups. As texts of their own these took ten times the
//! token, and a caller is remembered for as long as its token is valid.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Texts, sorted, each once. Each takes its own bytes and four more.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TextSet {
    text: Box<str>,
    /// Where each of them ends in `text`.
    ends: Box<[u32]>,
}

impl TextSet {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The texts, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.text_at(index))
    }

    /// Keeps those for which `keeps` is true.
    pub fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        *self = self.iter().filter(|text| keeps(text)).collect();
    }

    /// Bytes of memory beside the value itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.text.len() + size_of_val(&*self.ends)
    }

    fn text_at(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.text[start..self.ends[index] as usize]
    }
}

/// Beyond 4 GiB of text, which no token has, further texts are left out.
impl<T: AsRef<str>> FromIterator<T> for TextSet {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let mut sorted: Vec<T> = texts.into_iter().collect();
        sorted.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        sorted.dedup_by(|a, b| (*a).as_ref() == (*b).as_ref());
        let mut all = String::with_capacity(sorted.iter().map(|text| text.as_ref().len()).sum());
        let mut ends = Vec::with_capacity(sorted.len());
        for text in &sorted {
            let Ok(end) = u32::try_from(all.len() + text.as_ref().len()) else { break };
            all.push_str(text.as_ref());
            ends.push(end);
        }
        Self { text: all.into(), ends: ends.into() }
    }
}

impl<T: AsRef<str>, const N: usize> From<[T; N]> for TextSet {
    fn from(texts: [T; N]) -> Self {
        texts.into_iter().collect()
    }
}

impl std::fmt::Debug for TextSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for TextSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for TextSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<String>::deserialize(deserializer).map(|texts| texts.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// It is the set that the standard library makes, in the same order.
        #[test]
        fn it_has_the_texts_of_a_set(texts in prop::collection::vec("\\PC{0,4}", 0..12)) {
            let (ours, theirs): (TextSet, BTreeSet<String>) =
                (texts.iter().collect(), texts.iter().cloned().collect());
            prop_assert!(ours.iter().eq(theirs.iter().map(String::as_str)));
            prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
            let json = serde_json::to_string(&ours).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&theirs).unwrap());
            prop_assert_eq!(serde_json::from_str::<TextSet>(&json).unwrap(), ours.clone());
            let mut short = ours.clone();
            short.retain(|text| text.len() < 3);
            prop_assert!(short.iter().eq(theirs.iter().filter(|text| text.len() < 3).map(String::as_str)));
        }
    }

    #[test]
    fn a_thousand_groups_take_little_more_than_their_names() {
        let groups: TextSet = (0..1000).map(|number| format!("g{number}")).collect();
        assert_eq!(groups.heap_bytes(), 3890 + 4 * 1000);
    }
}

//! Which fragments to fetch before anybody asks.
//!
//! Of a playlist that moves, the newest ones: every viewer will ask for them within moments. Of footage, those that
//! follow the one just asked for. Each once, a few at a time, and none when nobody watches; the fetching itself is
//! handed in ([`crate::sessions::Origin::prefetch`]). Pure.

use crate::kvs::Resource;
use std::collections::{BTreeMap, VecDeque};

/// What has been planned for one session.
pub(in crate::sessions) struct Prefetch {
    /// How many fragments ahead, per track. 0: none.
    ahead: usize,
    /// Planned lately.
    planned: VecDeque<Resource>,
    /// Footage in order, by track.
    order: BTreeMap<u8, Vec<Resource>>,
}

const REMEMBERED: usize = 256;

impl Prefetch {
    pub(in crate::sessions) fn new(ahead: usize) -> Self {
        Self { ahead, planned: VecDeque::new(), order: BTreeMap::new() }
    }

    /// A playlist that moves lists these, oldest first: which to fetch now.
    pub(in crate::sessions) fn listed(&mut self, fragments: &[Resource]) -> Vec<Resource> {
        let newest = &fragments[fragments.len().saturating_sub(self.ahead)..];
        self.unplanned(newest.iter().cloned())
    }

    /// The fragments of a track of footage, in order.
    pub(in crate::sessions) fn footage(&mut self, track: u8, fragments: Vec<Resource>) {
        self.order.insert(track, fragments);
    }

    /// A viewer asks for this fragment of footage: which to fetch now.
    pub(in crate::sessions) fn asked(&mut self, fragment: &Resource) -> Vec<Resource> {
        let track = match fragment {
            Resource::Mp4Fragment { track, .. } => *track,
            Resource::TsFragment { .. } => 1,
            _ => return Vec::new(),
        };
        let order = self.order.get(&track).map_or(&[][..], Vec::as_slice);
        // Players go forward: the search is short from where it was, but 5,000 comparisons are nothing either.
        let Some(at) = order.iter().position(|resource| resource == fragment) else { return Vec::new() };
        let next: Vec<_> = order[at + 1..].iter().take(self.ahead).cloned().collect();
        self.remember(fragment.clone());
        self.unplanned(next.into_iter())
    }

    fn unplanned(&mut self, fragments: impl Iterator<Item = Resource>) -> Vec<Resource> {
        let fragments: Vec<_> = fragments.filter(|fragment| !self.planned.contains(fragment)).collect();
        for fragment in &fragments {
            self.remember(fragment.clone());
        }
        fragments
    }

    fn remember(&mut self, fragment: Resource) {
        if self.planned.len() == REMEMBERED {
            self.planned.pop_front();
        }
        self.planned.push_back(fragment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;

    fn fragments(numbers: std::ops::Range<u32>) -> Vec<Resource> {
        numbers
            .map(|n| Resource::TsFragment { number: FragmentNumber::parse(&n.to_string()).unwrap() })
            .collect()
    }

    #[test]
    fn the_newest_are_fetched_each_once() {
        let mut prefetch = Prefetch::new(2);
        assert_eq!(prefetch.listed(&fragments(0..5)), fragments(3..5));
        assert_eq!(prefetch.listed(&fragments(0..5)), []);
        assert_eq!(prefetch.listed(&fragments(1..6)), fragments(5..6));
        assert_eq!(prefetch.listed(&fragments(6..7)), fragments(6..7));
        assert_eq!(prefetch.listed(&[]), []);
        assert_eq!(Prefetch::new(0).listed(&fragments(0..5)), []);
    }

    #[test]
    fn footage_is_fetched_a_few_fragments_ahead() {
        let mut prefetch = Prefetch::new(2);
        let all = fragments(0..10);
        assert_eq!(prefetch.asked(&all[0]), [], "nothing is known of the order yet");
        prefetch.footage(1, all.clone());
        assert_eq!(prefetch.asked(&all[3]), all[4..6]);
        assert_eq!(prefetch.asked(&all[4]), all[6..7]);
        assert_eq!(prefetch.asked(&all[9]), []);
        assert_eq!(prefetch.asked(&all[8]), [], "asked for already");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut prefetch = Prefetch::new(5);
        for first in 0..500 {
            prefetch.listed(&fragments(first * 5..first * 5 + 5));
        }
        assert_eq!(prefetch.planned.len(), REMEMBERED);
    }
}

//! Which fragments to fetch ahead of requests.
//!
//! Of a playlist that changes, the newest ones: every viewer will request them within moments. Of footage,
//! those that follow the one just requested. Each once, a few at a time, and none without viewers. The
//! fetching itself is in `load`; there is no I/O here.

use crate::kvs::Resource;
use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What has been planned for one session.
pub(super) struct Prefetch {
    /// How many fragments ahead, per track. 0: none.
    ahead: usize,
    /// Planned lately.
    planned: VecDeque<Resource>,
    /// The fragments of footage, by track.
    footage: BTreeMap<u8, FootageIndex>,
}

const REMEMBERED: usize = 256;

impl Prefetch {
    pub(super) fn new(ahead: usize) -> Self {
        Self { ahead, planned: VecDeque::new(), footage: BTreeMap::new() }
    }

    /// A playlist that changes lists these fragments, oldest first: which of them to fetch now.
    pub(super) fn plan_newest(&mut self, fragments: &[Resource]) -> Vec<Resource> {
        let newest = &fragments[fragments.len().saturating_sub(self.ahead)..];
        self.not_yet_planned(newest.iter().cloned())
    }

    /// Notes what a track of footage lists.
    pub(super) fn note_footage(&mut self, track: u8, footage: FootageIndex) {
        self.footage.insert(track, footage);
    }

    /// A viewer requests this fragment of footage: which of those that follow it to fetch now.
    pub(super) fn plan_following(&mut self, fragment: &Resource) -> Vec<Resource> {
        let track = match fragment {
            Resource::Mp4Fragment { track, .. } => *track,
            Resource::TsFragment { .. } => 1,
            _ => return Vec::new(),
        };
        let Some(footage) = self.footage.get(&track) else { return Vec::new() };
        let Some(next) = footage.after(fragment, self.ahead) else { return Vec::new() };
        self.remember(fragment.clone());
        self.not_yet_planned(next.into_iter())
    }

    fn not_yet_planned(&mut self, fragments: impl Iterator<Item = Resource>) -> Vec<Resource> {
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

/// What a track of footage lists, with an index by fragment number: a joined playlist has up to 100,000
/// fragments, and each request for one looks here.
pub(super) struct FootageIndex {
    listed: Arc<[Resource]>,
    /// Places in `listed`, sorted by fragment number.
    by_number: Vec<u32>,
}

impl FootageIndex {
    pub(super) fn new(listed: Arc<[Resource]>) -> Self {
        let places = 0..u32::try_from(listed.len()).unwrap_or(u32::MAX);
        let mut by_number: Vec<u32> = places.filter(|place| is_fragment(at(&listed, *place))).collect();
        by_number.sort_by(|a, b| compare(at(&listed, *a), at(&listed, *b)));
        Self { listed, by_number }
    }

    /// The `most` fragments that follow this one; `None` if it is not listed.
    fn after(&self, fragment: &Resource, most: usize) -> Option<Vec<Resource>> {
        let found = self.by_number.binary_search_by(|place| compare(at(&self.listed, *place), fragment));
        let place = *self.by_number.get(found.ok()?)? as usize;
        let following = self.listed.get(place + 1..)?.iter().filter(|resource| is_fragment(resource));
        Some(following.take(most).cloned().collect())
    }
}

fn at(listed: &[Resource], place: u32) -> &Resource {
    &listed[place as usize]
}

fn is_fragment(resource: &Resource) -> bool {
    matches!(resource, Resource::Mp4Fragment { .. } | Resource::TsFragment { .. })
}

/// By number. Only fragments of one playlist are compared, whose other members are equal.
fn compare(a: &Resource, b: &Resource) -> Ordering {
    a.fragment_number().cmp(&b.fragment_number())
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
        assert_eq!(prefetch.plan_newest(&fragments(0..5)), fragments(3..5));
        assert_eq!(prefetch.plan_newest(&fragments(0..5)), []);
        assert_eq!(prefetch.plan_newest(&fragments(1..6)), fragments(5..6));
        assert_eq!(prefetch.plan_newest(&fragments(6..7)), fragments(6..7));
        assert_eq!(prefetch.plan_newest(&[]), []);
        assert_eq!(Prefetch::new(0).plan_newest(&fragments(0..5)), []);
    }

    #[test]
    fn footage_is_fetched_a_few_fragments_ahead() {
        let mut prefetch = Prefetch::new(2);
        let all = fragments(0..10);
        assert_eq!(prefetch.plan_following(&all[0]), [], "nothing is known of the order yet");
        prefetch.note_footage(1, FootageIndex::new(all.clone().into()));
        assert_eq!(prefetch.plan_following(&all[3]), all[4..6]);
        assert_eq!(prefetch.plan_following(&all[4]), all[6..7]);
        assert_eq!(prefetch.plan_following(&all[9]), []);
        assert_eq!(prefetch.plan_following(&all[8]), [], "requested already");
    }

    #[test]
    fn a_hundred_thousand_fragments_are_not_scanned_for_each_request() {
        let all = fragments(0..100_000);
        let mut prefetch = Prefetch::new(2);
        prefetch.note_footage(1, FootageIndex::new(all.clone().into()));
        let start = std::time::Instant::now();
        for fragment in all.iter().step_by(10) {
            prefetch.plan_following(fragment);
        }
        // A scan per request would make five hundred million comparisons here.
        assert!(start.elapsed() < std::time::Duration::from_secs(3), "{:?}", start.elapsed());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut prefetch = Prefetch::new(5);
        for first in 0..500 {
            prefetch.plan_newest(&fragments(first * 5..first * 5 + 5));
        }
        assert_eq!(prefetch.planned.len(), REMEMBERED);
    }
}

//! Which fragments to fetch ahead of requests.
//!
//! Of a playlist that changes, the newest ones: every viewer will request them within moments. Of footage,
//! those that follow the one just requested. Each once, a few at a time, and none without viewers. The
//! fetching itself is in `load`; there is no I/O here.

use crate::base::room::{Kept, Room};
use crate::kvs::{FragmentNumber, Resource};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What has been planned for one session.
pub(super) struct Prefetch {
    /// How many fragments ahead, per track. 0: none.
    ahead: usize,
    /// Planned lately.
    planned: VecDeque<Resource>,
    /// The fragments of footage, by track.
    footage: BTreeMap<u8, Kept<FootageIndex>>,
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
    pub(super) fn note_footage(&mut self, track: u8, footage: Option<Kept<FootageIndex>>) {
        match footage {
            Some(footage) => self.footage.insert(track, footage),
            None => self.footage.remove(&track),
        };
    }

    /// A viewer requests this fragment of footage: which of those that follow it to fetch now. `room` has
    /// the index.
    pub(super) fn plan_following(&mut self, fragment: &Resource, room: &Room) -> Vec<Resource> {
        let track = match fragment {
            Resource::Mp4Fragment { track, .. } => *track,
            Resource::TsFragment { .. } => 1,
            _ => return Vec::new(),
        };
        let Some(footage) = self.footage.get(&track).and_then(|kept| room.get(kept)) else {
            return Vec::new();
        };
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

/// The numbers of the fragments that a track of footage lists, with an index: a joined playlist has up to
/// 100,000 fragments, and each request for one looks here. It takes some 50 bytes a fragment.
pub(super) struct FootageIndex {
    /// All numbers in the order of the list, each padded on its left to `width`, so that their order as text
    /// is that of numbers.
    padded: String,
    width: usize,
    /// Places in the list, sorted by number.
    by_number: Vec<u32>,
}

impl FootageIndex {
    /// The index of a list; `None` if it lists no fragments.
    pub(super) fn new(listed: &[Resource]) -> Option<Self> {
        let numbers = listed.iter().filter(|resource| is_fragment(resource));
        let numbers = numbers.filter_map(Resource::fragment_number).map(FragmentNumber::as_str);
        let width = numbers.clone().map(str::len).max()?;
        let mut padded = String::with_capacity(width * listed.len());
        numbers.for_each(|number| pad(&mut padded, number, width));
        let count = u32::try_from(padded.len() / width).ok()?;
        let mut index = Self { padded, width, by_number: Vec::new() };
        let mut by_number: Vec<u32> = (0..count).collect();
        by_number.sort_by(|a, b| index.padded(*a).cmp(&index.padded(*b)));
        index.by_number = by_number;
        Some(index)
    }

    /// Keeps it as long as there is room.
    pub(super) fn kept_in(self, room: &Room) -> Kept<Self> {
        let bytes = self.padded.capacity() + self.by_number.len() * size_of::<u32>();
        room.keep(Arc::new(self), bytes)
    }

    fn padded(&self, place: u32) -> Option<&str> {
        let start = place as usize * self.width;
        self.padded.get(start..start + self.width)
    }

    /// The `most` fragments that follow this one; `None` if it is not listed.
    fn after(&self, fragment: &Resource, most: usize) -> Option<Vec<Resource>> {
        let mut number = String::with_capacity(self.width);
        pad(&mut number, fragment.fragment_number()?.as_str(), self.width);
        let found = self.by_number.binary_search_by(|place| self.padded(*place).cmp(&Some(&number))).ok()?;
        let place = *self.by_number.get(found)?;
        let following = (place + 1..).map_while(|place| self.padded(place)).take(most);
        Some(following.filter_map(|number| numbered(fragment, number.trim_start())).collect())
    }
}

fn pad(to: &mut String, number: &str, width: usize) {
    to.extend(std::iter::repeat_n(' ', width.saturating_sub(number.len())));
    to.push_str(number);
}

/// The fragment of another number that is otherwise addressed as this one.
fn numbered(fragment: &Resource, number: &str) -> Option<Resource> {
    let number = FragmentNumber::parse(number).ok()?;
    Some(match fragment {
        Resource::Mp4Fragment { protocol, track, .. } => {
            Resource::Mp4Fragment { protocol: *protocol, number, track: *track }
        }
        _ => Resource::TsFragment { number },
    })
}

fn is_fragment(resource: &Resource) -> bool {
    matches!(resource, Resource::Mp4Fragment { .. } | Resource::TsFragment { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (mut prefetch, room) = (Prefetch::new(2), Room::default());
        let all = fragments(0..12);
        assert_eq!(prefetch.plan_following(&all[0], &room), [], "nothing is known of the order yet");
        prefetch.note_footage(1, FootageIndex::new(&all).map(|index| index.kept_in(&room)));
        assert_eq!(prefetch.plan_following(&all[3], &room), all[4..6]);
        assert_eq!(prefetch.plan_following(&all[4], &room), all[6..7]);
        assert_eq!(prefetch.plan_following(&all[9], &room), all[10..12], "numbers of another length");
        assert_eq!(prefetch.plan_following(&all[11], &room), []);
        assert_eq!(prefetch.plan_following(&all[10], &room), [], "requested already");
    }

    #[test]
    fn a_hundred_thousand_fragments_are_not_scanned_for_each_request() {
        let all = fragments(0..100_000);
        let (mut prefetch, room) = (Prefetch::new(2), Room::default());
        prefetch.note_footage(1, FootageIndex::new(&all).map(|index| index.kept_in(&room)));
        let start = std::time::Instant::now();
        for fragment in all.iter().step_by(10) {
            prefetch.plan_following(fragment, &room);
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

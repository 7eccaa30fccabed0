//! The fragments of a stream at any instant within its retention. They are computed, not stored.
//!
//! Time is divided into slots of one fragment, counted from 1970, so that two emulators, or one before and
//! after a restart, give a fragment the same number. A stream has a fragment in each slot since it was
//! created, except in gaps. Backfill is footage of a gap that is uploaded afterwards: its fragments have
//! producer times in the gap and the server times of the upload, as at KVS (docs/KVS.md 4.1, 9.1).

use super::clock::Millis;
use super::media::{FRAGMENT_MILLIS, Recording};
use super::number::{FragmentNumber, mix};

/// How long after its last frame a fragment can be listed.
const PERSIST_MILLIS: Millis = 120;
/// The interval of backfilled fragments: KVS accepts five a second (docs/KVS.md 6).
const LATE_STEP: Millis = 200;

/// Which clock a range is compared with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Selector {
    /// When KVS began to receive a fragment.
    Server,
    /// When a fragment began by the clock of the camera.
    Producer,
}

/// One recorded fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fragment {
    /// Its position in the endless loop.
    pub(super) index: u64,
    /// When it began by the clock of the camera.
    pub(super) producer: Millis,
    /// When it began to arrive.
    pub(super) server: Millis,
    /// Its fragment number.
    pub(super) number: FragmentNumber,
    /// The number of changes of codec settings before it.
    pub(super) codec: u32,
    /// The recording that it shows.
    pub(super) recording: usize,
    /// Whether it was uploaded afterwards.
    pub(super) backfilled: bool,
}

impl Fragment {
    /// Its start on the selected clock.
    pub(super) fn start(&self, selector: Selector) -> Millis {
        match selector {
            Selector::Server => self.server,
            Selector::Producer => self.producer,
        }
    }

    /// When it can be listed and fetched.
    pub(super) fn ready(&self) -> Millis {
        if self.backfilled { self.server } else { self.server + FRAGMENT_MILLIS + PERSIST_MILLIS }
    }

    /// The recording that holds its samples.
    pub(super) fn recording(&self) -> &'static Recording {
        Recording::of(self.recording)
    }
}

/// Footage of `[from, to)` that is uploaded from `at` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Backfill {
    pub(super) from: Millis,
    pub(super) to: Millis,
    pub(super) at: Millis,
}

/// What determines the fragments of one stream.
#[derive(Clone, Debug)]
pub(super) struct Archive {
    /// Identifies the stream in its fragment numbers.
    pub(super) seed: u64,
    /// The camera recorded nothing before.
    pub(super) first_recorded: Millis,
    /// The retention; 0 keeps nothing.
    pub(super) retention_hours: u64,
    /// From the camera to KVS.
    pub(super) latency: Millis,
    /// The latency of a fragment is longer by up to this. Less than the length of a fragment.
    pub(super) jitter: Millis,
    /// When the camera did not record. The end `Millis::MAX` stands for a gap that has not ended.
    pub(super) gaps: Vec<(Millis, Millis)>,
    /// Footage that is uploaded afterwards.
    pub(super) backfills: Vec<Backfill>,
    /// When the codec settings changed, in ascending order.
    pub(super) codec_changes: Vec<Millis>,
    /// The recording of the camera, and the position in its loop at slot 0.
    pub(super) recording: usize,
    pub(super) loop_offset: u64,
}

impl Archive {
    /// The oldest instant that is kept at `now`.
    pub(super) fn head(&self, now: Millis) -> Millis {
        self.first_recorded.max(now.saturating_sub(self.retention_hours * 3_600_000))
    }

    /// Every fragment that is ready at `now` and starts within `[from, to]` on the selected clock, in the
    /// order in which KVS received them.
    pub(super) fn range(&self, selector: Selector, from: Millis, to: Millis, now: Millis) -> Vec<Fragment> {
        let head = self.head(now);
        let (first, last) = match selector {
            Selector::Producer => (from, to),
            Selector::Server => {
                (from.saturating_sub(self.latency + self.jitter), to.saturating_sub(self.latency))
            }
        };
        let (first, last) = (first.max(head) / FRAGMENT_MILLIS, last.min(now) / FRAGMENT_MILLIS);
        let mut found: Vec<Fragment> = (first..=last.max(first)).filter_map(|slot| self.live(slot)).collect();
        found.extend(self.backfilled());
        found.retain(|f| (from..=to).contains(&f.start(selector)) && f.server >= head && f.ready() <= now);
        found.sort_unstable_by_key(|f| f.number);
        found
    }

    /// The newest `count` fragments by server time at `now`, oldest first.
    pub(super) fn newest(&self, count: usize, now: Millis) -> Vec<Fragment> {
        let mut from = now.saturating_sub(FRAGMENT_MILLIS * (count as u64 + 8));
        loop {
            let mut found = self.range(Selector::Server, from, now, now);
            if found.len() >= count || from <= self.head(now) {
                return found.split_off(found.len().saturating_sub(count));
            }
            from = from.saturating_sub((now - from) * 3);
        }
    }

    /// The fragment with this number, if it exists and is ready at `now`.
    pub(super) fn find(&self, number: FragmentNumber, now: Millis) -> Option<Fragment> {
        let kept = |f: &Fragment| f.number == number && f.server >= self.head(now) && f.ready() <= now;
        let live = (number.counter <= now / FRAGMENT_MILLIS).then(|| self.live(number.counter)).flatten();
        live.into_iter().chain(self.backfilled()).find(kept)
    }

    /// Whether this stream issues a number, at any time.
    pub(super) fn issued(&self, number: FragmentNumber) -> bool {
        FragmentNumber::new(self.seed, number.counter, number.server_millis) == number
    }

    /// The fragment that the camera sent as it recorded this slot.
    fn live(&self, slot: u64) -> Option<Fragment> {
        let start = slot * FRAGMENT_MILLIS;
        if start < self.first_recorded || self.in_gap(start) {
            return None;
        }
        let jitter = if self.jitter == 0 {
            0
        } else {
            mix(slot ^ self.loop_offset) % self.jitter.min(FRAGMENT_MILLIS)
        };
        Some(self.fragment(slot, start + self.latency + jitter, false))
    }

    /// All backfilled fragments.
    fn backfilled(&self) -> impl Iterator<Item = Fragment> {
        self.backfills.iter().flat_map(move |backfill| {
            let slots = backfill.from.div_ceil(FRAGMENT_MILLIS)..backfill.to / FRAGMENT_MILLIS;
            let arrival = move |n: usize| backfill.at + n as u64 * LATE_STEP;
            slots.enumerate().map(move |(n, slot)| self.fragment(slot, arrival(n), true))
        })
    }

    fn fragment(&self, slot: u64, server: Millis, backfilled: bool) -> Fragment {
        let producer = slot * FRAGMENT_MILLIS;
        // Equal counters are ordered by server time, which is the next part of the number.
        let counter = server.saturating_sub(self.latency) / FRAGMENT_MILLIS;
        let codec = self.codec_changes.iter().filter(|at| **at <= producer).count();
        Fragment {
            index: slot + self.loop_offset,
            producer,
            server,
            number: FragmentNumber::new(self.seed, counter, server),
            codec: codec as u32,
            recording: self.recording + codec,
            backfilled,
        }
    }

    fn in_gap(&self, start: Millis) -> bool {
        self.gaps.iter().any(|&(from, to)| start < to && start + FRAGMENT_MILLIS > from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Millis = 1_700_000_000_000;

    fn archive() -> Archive {
        Archive {
            seed: 1,
            first_recorded: NOW - 25 * 3_600_000,
            retention_hours: 24,
            latency: 137,
            jitter: 0,
            gaps: Vec::new(),
            backfills: Vec::new(),
            codec_changes: Vec::new(),
            recording: 0,
            loop_offset: 3,
        }
    }

    #[test]
    fn the_newest_fragments_are_those_that_have_arrived() {
        let newest = archive().newest(5, NOW);
        assert_eq!(newest.len(), 5);
        assert!(newest.windows(2).all(|w| w[1].producer - w[0].producer == FRAGMENT_MILLIS));
        let last = newest[4];
        assert!(last.ready() <= NOW && last.ready() + FRAGMENT_MILLIS > NOW);
    }

    #[test]
    fn nothing_is_older_than_retention_or_birth() {
        let mut it = archive();
        let day = it.range(Selector::Server, 0, NOW, NOW);
        assert_eq!(day.len() as u64, 24 * 3_600_000 / FRAGMENT_MILLIS - 1);
        assert_eq!(it.find(day[0].number, NOW), Some(day[0]));
        assert_eq!(it.find(day[0].number, NOW + FRAGMENT_MILLIS), None);
        it.retention_hours = 0;
        assert!(it.range(Selector::Server, 0, NOW, NOW).is_empty());
        assert!(it.newest(5, NOW).is_empty());
    }

    #[test]
    fn a_gap_is_filled_late_and_sorts_after_what_came_first() {
        let mut it = archive();
        let (from, to) = (NOW - 60_000, NOW - 30_000);
        it.gaps.push((from, to));
        assert!(it.range(Selector::Producer, from, to - FRAGMENT_MILLIS, NOW).is_empty());
        it.backfills.push(Backfill { from, to, at: NOW - 10_000 });
        let late = it.range(Selector::Producer, from, to - FRAGMENT_MILLIS, NOW);
        assert!(late.len() > 10 && late.iter().all(|f| f.server >= NOW - 10_000));
        let before = it.range(Selector::Server, NOW - 30_000, NOW - 10_001, NOW);
        assert!(before.last().unwrap().number < late[0].number);
        assert!(late.iter().all(|f| it.find(f.number, NOW) == Some(*f)));
    }

    proptest! {
        #[test]
        fn order_of_numbers_is_order_of_arrival_and_ranges_are_inclusive(
            jitter in 0..2_000_u64, from in 0..100_000_u64, length in 0..100_000_u64,
        ) {
            let it = Archive { jitter, ..archive() };
            let (from, to) = (NOW - 200_000 + from, NOW - 200_000 + from + length);
            let all = it.range(Selector::Server, NOW - 400_000, NOW, NOW);
            let some = it.range(Selector::Server, from, to, NOW);
            let expected: Vec<_> = all.iter().copied().filter(|f| (from..=to).contains(&f.server)).collect();
            prop_assert_eq!(&some, &expected);
            prop_assert!(all.windows(2).all(|w| w[0].server < w[1].server));
            prop_assert!(all.iter().all(|f| it.issued(f.number) && it.find(f.number, NOW) == Some(*f)));
        }
    }
}

//! Where each fragment lies in a clip, and which of them a range touches.

use crate::kvs::ListedFragment;
use crate::package::Fragment;
use crate::package::timeline::{ClipTimeline, LONGEST_FRAGMENT, millis};
use std::ops::Range;

/// What is written around the frames of a fragment, beside what each frame takes.
const PER_FRAGMENT: u64 = 512;
/// What is written for each frame, less what Matroska takes for it.
const PER_FRAME: u64 = 15;
/// How much room a slot may have: references of an index have 31 bits.
const LARGEST: u64 = (1 << 31) - 1;

/// The slots of a clip: one for each fragment, one after the other.
#[derive(Default)]
pub(super) struct Slots {
    /// Where the first begins.
    start: u64,
    /// Where each ends.
    ends: Vec<u64>,
}

/// How large each slot is: what KVS lists, whether that is the payload or the whole chunk, and room for what
/// packaging adds, judged by the frame rate of the first fragment.
pub(super) fn sizes(
    rows: &[ListedFragment],
    timeline: &ClipTimeline,
    first: &Fragment,
    slack: u8,
) -> Vec<u32> {
    let media = |at: usize| match millis(&rows[at]) {
        0 => timeline.length(at).min(LONGEST_FRAGMENT),
        length => length,
    };
    let span = span(first).unwrap_or_else(|| media(0)).max(1);
    let frames = first.frames.len() as u64;
    let room = |at: usize| {
        let for_frames = (PER_FRAME * frames).saturating_mul(media(at)).div_ceil(span);
        for_frames.saturating_add(PER_FRAGMENT).saturating_mul(4_u64.saturating_pow(u32::from(slack)))
    };
    (0..rows.len()).map(|at| rows[at].size.saturating_add(room(at)).min(LARGEST) as u32).collect()
}

/// From the first to the last frame, in milliseconds; none if that says nothing about the frame rate.
pub(super) fn span(fragment: &Fragment) -> Option<u64> {
    const TELLING: u128 = 100;
    let times = fragment.frames.iter().map(|frame| frame.time);
    let ticks = times.clone().max()?.abs_diff(times.min()?);
    let span = u128::from(ticks) * u128::from(fragment.tick) / 1_000_000;
    (span >= TELLING).then_some(u64::try_from(span).unwrap_or(u64::MAX))
}

impl Slots {
    pub(super) fn new(start: u64, sizes: &[u32]) -> Self {
        let ends = sizes.iter().scan(start, |end, size| {
            *end += u64::from(*size);
            Some(*end)
        });
        Self { start, ends: ends.collect() }
    }

    /// Where the last ends.
    pub(super) fn end(&self) -> u64 {
        self.ends.last().copied().unwrap_or(self.start)
    }

    /// Where one begins.
    pub(super) fn begin(&self, index: usize) -> u64 {
        if index == 0 { self.start } else { self.ends[index - 1] }
    }

    /// How long one is.
    pub(super) fn length(&self, index: usize) -> usize {
        (self.ends[index] - self.begin(index)) as usize
    }
}

/// A part of a clip's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Section {
    /// Of the header.
    Header(Range<usize>),
    /// Of a fragment's slot.
    Fragment {
        /// Which fragment.
        index: usize,
        /// Which bytes of its slot.
        range: Range<usize>,
    },
    /// Of what follows the last slot.
    Trailer(Range<usize>),
}

/// The sections of a range, in order.
pub struct Sections<'c> {
    slots: &'c Slots,
    at: u64,
    end: u64,
}

impl<'c> Sections<'c> {
    pub(super) fn new(slots: &'c Slots, range: Range<u64>, length: u64) -> Self {
        Self { slots, at: range.start, end: range.end.min(length) }
    }

    /// Which fragments the rest of the range touches.
    #[must_use]
    pub fn fragments(&self) -> Range<usize> {
        let of = |at: u64| self.slots.ends.partition_point(|end| *end <= at);
        if self.at >= self.end || self.end <= self.slots.start {
            return 0..0;
        }
        let last = of(self.end - 1);
        of(self.at)..(last + 1).min(self.slots.ends.len())
    }
}

impl Iterator for Sections<'_> {
    type Item = Section;

    fn next(&mut self) -> Option<Section> {
        if self.at >= self.end {
            return None;
        }
        let Slots { start, ends } = self.slots;
        let index = ends.partition_point(|end| *end <= self.at);
        let (from, to) = match ends.get(index) {
            _ if self.at < *start => (0, *start),
            Some(end) => (self.slots.begin(index), *end),
            None => (self.slots.end(), u64::MAX),
        };
        let part = (self.at - from) as usize..(self.end.min(to) - from) as usize;
        let section = match ends.get(index) {
            _ if self.at < *start => Section::Header(part),
            Some(_) => Section::Fragment { index, range: part },
            None => Section::Trailer(part),
        };
        self.at = self.end.min(to);
        Some(section)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_borders_of_slots() {
        let slots = Slots::new(10, &[5, 7]);
        let of = |range| Sections::new(&slots, range, 30).collect::<Vec<_>>();
        let fragment = |index, range| Section::Fragment { index, range };
        assert_eq!(of(0..10), [Section::Header(0..10)]);
        assert_eq!(of(9..11), [Section::Header(9..10), fragment(0, 0..1)]);
        assert_eq!(of(14..16), [fragment(0, 4..5), fragment(1, 0..1)]);
        assert_eq!(of(21..40), [fragment(1, 6..7), Section::Trailer(0..8)]);
        assert_eq!(of(25..26), [Section::Trailer(3..4)]);
        assert_eq!(of(5..5), []);
        let touched = |range| Sections::new(&slots, range, 30).fragments();
        assert_eq!(touched(0..10), 0..0);
        assert_eq!((touched(0..11), touched(14..16), touched(15..30)), (0..1, 0..2, 1..2));
        assert!(touched(25..26).is_empty());
    }
}

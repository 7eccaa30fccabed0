//! The list of a range some rows at a time, in the order of their starts: a list of many days takes no more
//! memory than one of its pieces.
//!
//! On the server's clock a piece is an hour index, so that a list that is requested again costs no call to
//! KVS. Producers may upload at any time and into the future of our clock, so their lists are not made of
//! indexes, which are kept and end now, but of slices of the range that are listed anew. So are ranges that
//! are shorter than an hour.

use super::hour::HourIndex;
use crate::archive::listing::drain;
use crate::archive::{Archive, Error, Source, Stream};
use crate::kvs::bounds::FRAGMENTS_PAGE;
use crate::kvs::operations::FragmentSelector;
use crate::kvs::{ListedFragment, SelectorType, TimeRange, Timestamp};
use crate::upstream;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Ranges up to this length are listed at once.
const SHORT: Duration = Duration::from_secs(3600);
/// The length of a slice, unless a range has too many of them.
const SLICE: Duration = Duration::from_secs(86_400);
/// So many slices a range is cut into at first.
const SLICES: u32 = 64;
/// How often a piece is tried again when its turn under KVS's quotas does not come in time, which would
/// break the whole list off. The first piece is not: its failure becomes the answer.
const TRIES: u32 = 5;

/// The rows of a range that have not been listed yet.
pub(in crate::archive) struct RowPieces {
    archive: Archive,
    from: Source,
    clock: SelectorType,
    start: Timestamp,
    /// Inclusive.
    end: Timestamp,
    /// Rows of the server's clock before this are past their retention.
    oldest: Timestamp,
    left: VecDeque<Piece>,
    has_begun: bool,
}

#[derive(Clone)]
enum Piece {
    Hour(HourIndex),
    /// Both ends included.
    Slice(Timestamp, Timestamp),
}

impl RowPieces {
    /// The rows that begin from `selector`'s start to `end`, both included, as of `now`.
    pub(in crate::archive) fn new(
        archive: Archive,
        from: Source,
        stream: &Stream,
        selector: FragmentSelector,
        end: Timestamp,
        now: Timestamp,
    ) -> Self {
        let (clock, start) = (selector.kind, selector.range.start);
        let oldest = now.minus(stream.retention());
        let left = if start > end {
            VecDeque::new()
        } else if start.age(end) <= SHORT {
            [Piece::Slice(start, end)].into()
        } else if clock == SelectorType::Server {
            let first = HourIndex::of(stream, clock, start.max(oldest));
            let last = HourIndex::of(stream, clock, end.min(now));
            let hours = (first.hour..=last.hour).map(|hour| HourIndex { hour, ..first.clone() });
            let listed = start..end.plus(Duration::from_millis(1));
            settled_or_split(hours, &listed, now, from.rules.settle).map(Piece::Hour).collect()
        } else {
            slices(start, end).map(|(start, end)| Piece::Slice(start, end)).collect()
        };
        Self { archive, from, clock, start, end, oldest, left, has_begun: false }
    }

    /// Whether all pieces have been listed.
    pub(in crate::archive) fn is_done(&self) -> bool {
        self.left.is_empty()
    }

    /// The rows of the next piece, perhaps none; `None` after the last one.
    ///
    /// # Errors
    /// The piece could not be listed: part of a list is never taken for the whole.
    pub(in crate::archive) async fn next(&mut self) -> Result<Option<Vec<ListedFragment>>, upstream::Error> {
        while let Some(piece) = self.left.pop_front() {
            let Some(mut rows) = self.list(&piece).await? else { continue };
            self.has_begun = true;
            let listed = self.start..=self.end;
            rows.retain(|row| listed.contains(&row.start(self.clock)) && row.server > self.oldest);
            return Ok(Some(rows));
        }
        Ok(None)
    }

    /// The rows of a piece; `None` if it has too many, in which case its halves are next.
    async fn list(&mut self, piece: &Piece) -> Result<Option<Vec<ListedFragment>>, upstream::Error> {
        let mut tries = 0;
        loop {
            let listed = match piece {
                Piece::Hour(hour) => self.hour(hour).await.map(Some),
                Piece::Slice(start, end) => self.slice(*start, *end).await,
            };
            let Some(wait) = listed.as_ref().err().and_then(upstream::Error::next_turn) else {
                return listed;
            };
            tries += 1;
            if !self.has_begun || tries == TRIES {
                return listed;
            }
            tokio::time::sleep(wait.clamp(Duration::from_millis(100), Duration::from_secs(5))).await;
        }
    }

    async fn hour(&self, hour: &HourIndex) -> Result<Vec<ListedFragment>, upstream::Error> {
        let listing = self.archive.whole_hour(hour, self.from.on_behalf_of.clone());
        listing.await.map_err(|error| match error {
            Error::Upstream(error) => Arc::unwrap_or_clone(error),
            other => upstream::Error::BrokenAnswer(other.to_string()),
        })
    }

    async fn slice(
        &mut self,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Option<Vec<ListedFragment>>, upstream::Error> {
        let range = TimeRange { start, end: Some(end) };
        let selector = FragmentSelector { kind: self.clock, range };
        let rows = drain(&self.from, selector, FRAGMENTS_PAGE).await?;
        if rows.is_none() {
            let middle = start.plus(start.age(end) / 2);
            if middle == end {
                return Err(upstream::Error::BrokenAnswer("too many fragments begin at one instant".into()));
            }
            self.left.push_front(Piece::Slice(middle.plus(Duration::from_millis(1)), end));
            self.left.push_front(Piece::Slice(start, middle));
        }
        Ok(rows)
    }
}

/// A long range in slices that do not overlap, both ends included.
fn slices(start: Timestamp, end: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
    let step = SLICE.max(start.age(end) / SLICES);
    let mut next = Some(start);
    std::iter::from_fn(move || {
        let from = next?;
        let to = from.plus(step).min(end);
        next = (to < end).then(|| to.plus(Duration::from_millis(1)));
        Some((from, to))
    })
}

/// What of these hours must be listed for a range: hours that have settled as a whole, of others on the
/// server's clock the parts that the range touches.
pub(super) fn settled_or_split(
    hours: impl IntoIterator<Item = HourIndex>,
    range: &Range<Timestamp>,
    now: Timestamp,
    settle: Duration,
) -> impl Iterator<Item = HourIndex> {
    let touches = |part: &HourIndex| part.start() < range.end && part.end() > range.start;
    let split = hours.into_iter().flat_map(move |hour| {
        if hour.clock == SelectorType::Producer || hour.has_settled(now, settle) {
            vec![hour]
        } else {
            hour.parts().filter(touches).collect()
        }
    });
    split.filter(move |hour| hour.can_have_rows(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Every instant of a range lies in exactly one slice.
        #[test]
        fn slices_cover_a_range_once(start in 0..4_000_000_000_000_u64, length in 0..4_000_000_000_000_u64) {
            let (start, end) = (Timestamp::from_millis(start), Timestamp::from_millis(start + length));
            let mut next = start;
            let mut count = 0;
            for (from, to) in slices(start, end) {
                prop_assert_eq!(from, next);
                prop_assert!(from <= to);
                (next, count) = (to.plus(Duration::from_millis(1)), count + 1);
            }
            prop_assert_eq!(next, end.plus(Duration::from_millis(1)));
            prop_assert!(count <= SLICES + 1, "{} slices", count);
        }
    }
}

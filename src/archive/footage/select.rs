//! Which rows belong to a range: decided on sorted lists, without I/O.

use crate::kvs::{ListedFragment, SelectorType, Timestamp};
use std::time::Duration;

/// No fragment lasts longer (docs/KVS.md 4.1).
pub(super) const LONGEST: Duration = Duration::from_secs(20);
/// KVS's length ends where the last frame begins. If the next fragment begins no later than this after it,
/// the last frame is shown until then.
const LAST_FRAME: Duration = Duration::from_secs(1);

/// Of fragments that begin at the same instant on the producer's clock, the one with the largest number stays
/// (docs/KVS.md 4.1). The rows are sorted, so it is the last of them. On the server's clock nothing is left
/// out: producers without a clock of their own count from zero in each session.
pub(super) fn without_duplicates(rows: Vec<ListedFragment>, clock: SelectorType) -> Vec<ListedFragment> {
    if clock == SelectorType::Server {
        return rows;
    }
    let mut kept: Vec<ListedFragment> = Vec::with_capacity(rows.len());
    for row in rows {
        match kept.last_mut() {
            Some(last) if last.producer == row.producer => *last = row,
            _ => kept.push(row),
        }
    }
    kept
}

/// The place of the fragment that covers `instant`: the last one that begins at or before it and ends after
/// it. Rows that are not retained do not count.
pub(super) fn covering(
    rows: &[ListedFragment],
    clock: SelectorType,
    instant: Timestamp,
    is_retained: impl Fn(&ListedFragment) -> bool,
) -> Option<usize> {
    let begun = rows.partition_point(|row| row.start(clock) <= instant);
    let earliest = instant.minus(LONGEST);
    (0..begun)
        .rev()
        .take_while(|place| rows[*place].start(clock) >= earliest)
        .filter(|place| is_retained(&rows[*place]))
        .find(|place| end(rows, *place, clock) > instant)
}

/// When a fragment ends on a clock, as far as the list tells.
pub(super) fn end(rows: &[ListedFragment], place: usize, clock: SelectorType) -> Timestamp {
    let row = &rows[place];
    let (start, next) = (row.start(clock), rows.get(place + 1).map(|next| next.start(clock)));
    let listed = start.plus(row.length.min(LONGEST));
    match next {
        // Some producers' fragments have no length.
        _ if row.length.is_zero() => next.map_or(start.plus(LONGEST), |next| next.min(start.plus(LONGEST))),
        Some(next) if next <= listed.plus(LAST_FRAME) => listed.max(next),
        _ => listed,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;
    use SelectorType::{Producer, Server};

    /// A row: number, start on both clocks and length in milliseconds.
    pub(in crate::archive) fn row(number: u64, start: u64, length: u64) -> ListedFragment {
        ListedFragment {
            number: FragmentNumber::parse(&number.to_string()).unwrap(),
            server: Timestamp::from_millis(start),
            producer: Timestamp::from_millis(start),
            length: Duration::from_millis(length),
            size: 1000,
        }
    }

    fn at(rows: &[ListedFragment], instant: u64) -> Option<usize> {
        covering(rows, Server, Timestamp::from_millis(instant), |_| true)
    }

    #[test]
    fn the_fragment_that_covers_an_instant_is_found() {
        let rows = [row(1, 10_000, 1960), row(2, 12_000, 1960), row(3, 30_000, 1960), row(4, 60_000, 0)];
        for (instant, expected) in [
            (9_999, None),
            (10_000, Some(0)),
            (11_980, Some(0)), // the last frame is shown until the next fragment
            (12_000, Some(1)),
            (13_960, None), // nothing follows
            (29_000, None),
            (31_959, Some(2)),
            (79_999, Some(3)), // its length is unknown
            (80_000, None),
        ] {
            assert_eq!(at(&rows, instant), expected, "{instant}");
        }
        assert_eq!(covering(&rows, Server, Timestamp::from_millis(12_000), |row| row.length.is_zero()), None);
    }

    #[test]
    fn a_length_of_zero_ends_where_the_next_fragment_begins() {
        let rows = [row(1, 10_000, 0), row(2, 12_000, 0), row(3, 50_000, 0)];
        let ends = [0, 1, 2].map(|place| end(&rows, place, Server).millis());
        assert_eq!(ends, [12_000, 32_000, 70_000]);
    }

    #[test]
    fn fragments_that_arrive_in_bunches_may_cover_an_instant_together() {
        let rows = [row(1, 10_000, 9_000), row(2, 10_010, 1000)];
        assert_eq!((at(&rows, 11_000), at(&rows, 15_000), at(&rows, 19_000)), (Some(1), Some(0), None));
    }

    #[test]
    fn of_equal_producer_starts_the_largest_number_stays() {
        let rows = vec![row(1, 10, 0), row(7, 10, 0), row(2, 20, 0)];
        let numbers = |clock| {
            let rows = without_duplicates(rows.clone(), clock);
            rows.iter().map(|row| row.number.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(Producer), ["7", "2"]);
        assert_eq!(numbers(Server), ["1", "7", "2"]);
    }
}

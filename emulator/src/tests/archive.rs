//! What the archive of a camera has.

use super::*;
use proptest::prelude::*;

const NOW: Millis = 1_700_000_000_000;

fn archive() -> Archive {
    Archive {
        seed: 1,
        producer: Producer::default(),
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
    assert!(newest.windows(2).all(|w| w[1].producer - w[0].producer == WINDOW_MILLIS));
    let last = newest[4];
    assert!(last.ready <= NOW && last.ready + WINDOW_MILLIS > NOW);
}

#[test]
fn nothing_is_older_than_retention_or_birth() {
    let mut it = archive();
    let day = it.range(Selector::Server, 0, NOW, NOW);
    assert_eq!(day.len() as u64, 24 * 3_600_000 / WINDOW_MILLIS - 1);
    assert_eq!(it.find(day[0].number, NOW), Some(day[0]));
    assert_eq!(it.find(day[0].number, NOW + WINDOW_MILLIS), None);
    it.retention_hours = 0;
    assert!(it.range(Selector::Server, 0, NOW, NOW).is_empty());
    assert!(it.newest(5, NOW).is_empty());
}

#[test]
fn a_gap_is_filled_late_and_sorts_after_what_came_first() {
    let mut it = archive();
    let (from, to) = (NOW - 60_000, NOW - 30_000);
    it.gaps.push((from, to));
    assert!(it.range(Selector::Producer, from, to - WINDOW_MILLIS, NOW).is_empty());
    it.backfills.push(Backfill { from, to, at: NOW - 10_000 });
    let late = it.range(Selector::Producer, from, to - WINDOW_MILLIS, NOW);
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

//! Where published numbers begin, so that a restarted or second kvs-edge continues where the other one is.
//!
//! Players hold MEDIA-SEQUENCE, DASH numbers and init addresses over a restart of kvs-edge, and take numbers
//! that go back as the end of the stream. Without shared state a number must therefore follow from the
//! fragment itself, or from the clock.
//!
//! *From the fragment.* Today's fragment numbers hold a counter that increases by one per fragment and jumps
//! forward between producer runs (docs/KVS.md 9.1: exact on every published row, but inferred). As
//! MEDIA-SEQUENCE it gives the same number to the same fragment in every process. It is used only if the rest
//! of the number has the known shape, its time included. Should it increase by more than one, or jump, a
//! restart moves numbers forward, never back: a playlist that continues from an older fragment can only have
//! counted less.
//!
//! *From the clock*, for numbers of any other shape. KVS accepts at most 5 fragments a second, so a count of
//! fifths of a second is ahead of any count of fragments, and a restart again moves numbers forward.

use crate::kvs::{FragmentNumber, FragmentParts, Timestamp};

/// Which upstream session of a stream, counted from 1 in the order of opening.
pub(super) type Generation = u32;

/// 2020-01-01T00:00:00Z. Counted from here, fifths of a second stay below 2^31 until 2033, which some players
/// need.
const CLOCK_START: u64 = 1_577_836_800_000;
const FIFTH: u64 = 200;
/// Larger numbers are not safe in players written in JavaScript.
const LARGEST: u64 = 1 << 52;

/// The MEDIA-SEQUENCE of a fragment that has none yet. `date` is its time, if KVS shows it.
pub(super) fn first_sequence(number: &FragmentNumber, date: Option<Timestamp>, now: Timestamp) -> u64 {
    match parts(number) {
        Some(parts) if parts.counter < LARGEST => parts.counter,
        _ => clock(date.unwrap_or(now)),
    }
}

/// The distance from one fragment to a later one by their numbers: 0 for the same, and 1 where that is not
/// known.
pub(super) fn distance(from: &FragmentNumber, to: &FragmentNumber) -> u64 {
    match (parts(from), parts(to)) {
        _ if from == to => 0,
        (Some(from), Some(to)) if from.counter < to.counter && to.counter < LARGEST => {
            to.counter - from.counter
        }
        _ => 1,
    }
}

/// A number that no earlier process can have reached by counting fragments.
pub(super) fn clock(now: Timestamp) -> u64 {
    now.millis().saturating_sub(CLOCK_START) / FIFTH
}

/// The EXT-X-DISCONTINUITY-SEQUENCE to begin with, for a fragment of this MEDIA-SEQUENCE, if `always` each
/// fragment has a discontinuity.
///
/// Players accept little here, as tried with hls.js 1.7.4. It refuses a playlist in which a known fragment
/// has a *higher* count than before, and corrects a *lower* one by itself. So where discontinuities are rare,
/// and a process cannot know how many an earlier one has counted, the count begins at 0. Where each fragment
/// has one, the count follows from the sequence number and is the same in every process. But it must be
/// small: hls.js goes through an array of this length at every load, and a count of 876 million stops the
/// page for 20 s. So it wraps every 65,536 fragments, a day or two, after which a restarted process counts
/// from a lower number, which is corrected.
pub(super) fn first_discontinuity(sequence: u64, always: bool) -> u64 {
    if always { sequence % (1 << 16) } else { 0 }
}

/// A number for an init segment that no earlier process has given. It counts seconds, because sessions are
/// opened less often, and has at most nine digits, which is what the `SequenceNumber` of a resource may have.
pub(super) fn init_epoch(now: Timestamp) -> u32 {
    u32::try_from(now.millis().saturating_sub(CLOCK_START) / 1000 % 1_000_000_000).unwrap_or(0)
}

/// True for numbers that mean the same fragment in every session. In June 2019 KVS gave positions in the
/// session instead (docs/KVS.md 5), and those are short.
pub(super) fn is_global(number: &FragmentNumber) -> bool {
    number.as_str().len() >= 30
}

/// The server's time inside a number of the known shape.
pub(super) fn server_time(number: &FragmentNumber) -> Option<Timestamp> {
    parts(number).map(|parts| parts.server_time)
}

/// The parts of a number of today's length with a plausible time.
fn parts(number: &FragmentNumber) -> Option<FragmentParts> {
    const PLAUSIBLE: std::ops::Range<u64> = 1_483_228_800_000..4_102_444_800_000; // 2017 to 2100
    let parts = number.parts().filter(|parts| PLAUSIBLE.contains(&parts.server_time.millis()))?;
    (number.as_str().len() == 47).then_some(parts)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number of the seen shape.
    pub(in crate::sessions) fn fragment(counter: u64, millis: u64, tail: u32) -> FragmentNumber {
        let mut words = [0_u32; 5];
        let mut set = |from: usize, value: u64| {
            for bit in (0..64).filter(|bit| value >> bit & 1 == 1 && from + bit < 160) {
                words[(from + bit) / 32] |= 1 << ((from + bit) % 32);
            }
        };
        set(156, 1);
        set(92, counter);
        set(28, millis);
        set(0, u64::from(tail & 0x0fff_ffff));
        let mut digits = Vec::new();
        while words.iter().any(|word| *word != 0) {
            let mut rest = 0_u64;
            for word in words.iter_mut().rev() {
                let sum = rest << 32 | u64::from(*word);
                *word = (sum / 10) as u32;
                rest = sum % 10;
            }
            digits.push(b'0' + rest as u8);
        }
        digits.reverse();
        FragmentNumber::parse(std::str::from_utf8(&digits).unwrap()).unwrap()
    }

    #[test]
    fn the_published_example_is_taken_apart() {
        // docs/KVS.md 9.1
        let number = FragmentNumber::parse("91343852333185057105875891022195998207386831087").unwrap();
        let parts = parts(&number).unwrap();
        assert_eq!((parts.counter, parts.server_time.millis()), (732_006, 1_643_353_247_067));
        assert_eq!(first_sequence(&number, None, Timestamp::from_millis(0)), 732_006);
    }

    #[test]
    fn the_distance_is_what_the_counters_say_and_else_one() {
        let at = |counter| fragment(counter, 1_600_000_000_000, 7);
        let other = |digits: &str| FragmentNumber::parse(digits).unwrap();
        for (from, to, expected) in [
            (at(5), at(5), 0),
            (at(5), at(9), 4),
            (at(9), at(5), 1),
            (at(5), at(LARGEST), 1),
            (other("7"), other("9"), 1),
            (other("7"), other("7"), 0),
        ] {
            assert_eq!(distance(&from, &to), expected, "{from} {to}");
        }
    }

    #[test]
    fn other_shapes_count_by_the_clock() {
        let now = Timestamp::from_millis(CLOCK_START + 1_000);
        for other in ["7", "99999999999999999999999999999999999999999999999", &"9".repeat(60)] {
            let number = FragmentNumber::parse(other).unwrap();
            assert_eq!(first_sequence(&number, None, now), 5, "{other}");
            assert_eq!(first_sequence(&number, Some(now.plus(std::time::Duration::from_secs(1))), now), 10);
        }
        assert_eq!(first_sequence(&FragmentNumber::parse("7").unwrap(), None, Timestamp::from_millis(0)), 0);
    }

    proptest! {
        #[test]
        fn numbers_are_taken_apart_as_they_are_made(
            counter in 0..1_u64 << 60, millis in 1_500_000_000_000..4_000_000_000_000_u64, tail: u32
        ) {
            let number = fragment(counter, millis, tail);
            let parts = parts(&number).unwrap();
            prop_assert_eq!((parts.counter, parts.server_time.millis()), (counter, millis));
        }

        #[test]
        fn any_number_is_read_without_panic(digits in "[0-9]{1,128}") {
            let number = FragmentNumber::parse(&digits).unwrap();
            prop_assert!(first_sequence(&number, None, Timestamp::from_millis(u64::MAX)) < LARGEST);
        }
    }
}

//! The rows of an hour as bytes, some 25 a row: what the cache keeps of an hour index.
//!
//! A version, the number of rows, then each row as its difference from the one before. Every integer is a
//! LEB128 number; differences are zigzag-coded. A fragment number is the count of leading digits that it has
//! in common with the number before, the count of the other digits, and those digits, two in a byte.
//! The version is part of the cache key too, so replicas of different releases do not read each other's.

use crate::kvs::{FragmentNumber, ListedFragment, SelectorType, Timestamp};
use std::time::Duration;

/// The version of this encoding.
pub(super) const FORMAT: u8 = 1;
/// In the second half of the last byte of an odd count of digits.
const FILLER: u8 = 0xf;
/// No encoded row is shorter.
const SHORTEST_ROW: usize = 6;

/// Encodes rows.
pub(super) fn encode(rows: &[ListedFragment]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    write(&mut out, rows.len() as u64);
    let (mut server, mut producer, mut number) = (0, 0, "");
    for row in rows {
        write_change(&mut out, server, row.server.millis());
        write_change(&mut out, producer, row.producer.millis());
        write(&mut out, u64::try_from(row.length.as_millis()).unwrap_or(u64::MAX));
        write(&mut out, row.size);
        write_number(&mut out, number, row.number.as_str());
        (server, producer, number) = (row.server.millis(), row.producer.millis(), row.number.as_str());
    }
    out
}

/// Decodes rows. `None`: they are not encoded so, or not sorted on this clock and then by number.
pub(super) fn decode(bytes: &[u8], clock: SelectorType) -> Option<Vec<ListedFragment>> {
    let (&FORMAT, rest) = bytes.split_first()? else { return None };
    let mut from = Input(rest);
    let count = usize::try_from(from.read()?).ok().filter(|count| *count <= rest.len() / SHORTEST_ROW)?;
    let mut rows: Vec<ListedFragment> = Vec::with_capacity(count);
    let (mut server, mut producer, mut digits) = (0, 0, String::new());
    for _ in 0..count {
        server = from.read_change(server)?;
        producer = from.read_change(producer)?;
        let (length, size) = (Duration::from_millis(from.read()?), from.read()?);
        from.read_number(&mut digits)?;
        let row = ListedFragment {
            number: FragmentNumber::parse(&digits).ok()?,
            server: Timestamp::from_millis(server),
            producer: Timestamp::from_millis(producer),
            length,
            size,
        };
        let place = |row: &ListedFragment| (row.start(clock), row.number.clone());
        if rows.last().is_some_and(|before| place(before) >= place(&row)) {
            return None;
        }
        rows.push(row);
    }
    from.0.is_empty().then_some(rows)
}

fn write(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Instants lie below 2^48 (`Timestamp`), so that their differences have a sign to spare.
fn write_change(out: &mut Vec<u8>, from: u64, to: u64) {
    let change = to as i64 - from as i64;
    write(out, (change << 1 ^ change >> 63) as u64);
}

fn write_number(out: &mut Vec<u8>, before: &str, number: &str) {
    let common = before.bytes().zip(number.bytes()).take_while(|(a, b)| a == b).count();
    let rest = &number.as_bytes()[common..];
    write(out, common as u64);
    write(out, rest.len() as u64);
    let digit = |byte: &u8| byte - b'0';
    out.extend(rest.chunks(2).map(|pair| digit(&pair[0]) << 4 | pair.get(1).map_or(FILLER, digit)));
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn read(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The last byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn read_change(&mut self, from: u64) -> Option<u64> {
        let coded = self.read()?;
        let change = (coded >> 1) as i64 ^ -((coded & 1) as i64);
        let to = from.checked_add_signed(change)?;
        // Nothing beyond is an instant.
        (Timestamp::from_millis(to).millis() == to).then_some(to)
    }

    /// Replaces the number before by the next one.
    fn read_number(&mut self, digits: &mut String) -> Option<()> {
        let common = usize::try_from(self.read()?).ok().filter(|common| *common <= digits.len())?;
        let rest = usize::try_from(self.read()?).ok()?;
        digits.truncate(common);
        for at in (0..rest).step_by(2) {
            let pair = self.byte()?;
            digits.push(char::from_digit(u32::from(pair >> 4), 10)?);
            match (pair & 0xf, at + 1 < rest) {
                (FILLER, false) => {}
                (digit, true) => digits.push(char::from_digit(u32::from(digit), 10)?),
                (_, false) => return None,
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row() -> impl Strategy<Value = ListedFragment> {
        let instant = || prop_oneof![1_700_000_000_000..1_700_000_009_000_u64, 0..253_402_300_799_999_u64];
        let digits = prop_oneof!["91343852333185057[0-9]{30}", "[0-9]{1,128}"];
        let length = prop_oneof![Just(0), 0..20_000_u64, any::<u64>()];
        (digits, instant(), instant(), length, prop_oneof![0..9_000_000_u64, any::<u64>()]).prop_map(
            |(digits, server, producer, length, size)| ListedFragment {
                number: FragmentNumber::parse(&digits).unwrap(),
                server: Timestamp::from_millis(server),
                producer: Timestamp::from_millis(producer),
                length: Duration::from_millis(length),
                size,
            },
        )
    }

    fn rows(clock: SelectorType) -> impl Strategy<Value = Vec<ListedFragment>> {
        prop::collection::vec(row(), 0..20).prop_map(move |mut rows| {
            rows.sort_by_key(|row| (row.start(clock), row.number.clone()));
            rows.dedup_by_key(|row| (row.start(clock), row.number.clone()));
            rows
        })
    }

    const CLOCKS: [SelectorType; 2] = [SelectorType::Server, SelectorType::Producer];

    proptest! {
        #[test]
        fn rows_are_the_same_when_they_are_read_again(
            server in rows(CLOCKS[0]), producer in rows(CLOCKS[1])
        ) {
            for (rows, clock) in [(server, CLOCKS[0]), (producer, CLOCKS[1])] {
                let bytes = encode(&rows);
                prop_assert_eq!(decode(&bytes, clock), Some(rows));
                prop_assert_eq!(decode(&bytes[..bytes.len() - 1], clock), None, "cut");
                prop_assert_eq!(decode(&[&bytes[..], &[0]].concat(), clock), None, "longer");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200), rows in rows(CLOCKS[0]),
            at: prop::sample::Index,
        ) {
            decode(&bytes, CLOCKS[0]);
            let mut changed = encode(&rows);
            let at = at.index(changed.len());
            changed[at] ^= 1 << (at % 8);
            decode(&changed, CLOCKS[0]);
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
                decode(&bytes, CLOCKS[1]);
            }
        }
    }

    #[test]
    fn an_hour_of_one_second_fragments_is_some_90_kilobytes() {
        let start = 1_700_000_000_000;
        let rows: Vec<ListedFragment> = (0..3600)
            .map(|n: u64| ListedFragment {
                // The counter in docs/KVS.md 9.1 changes the digits from the 20th on.
                number: FragmentNumber::parse(&format!(
                    "9134385233318505710{:028}",
                    n * 4_951_760_157 % 100_003
                ))
                .unwrap(),
                server: Timestamp::from_millis(start + n * 1000 + n % 37),
                producer: Timestamp::from_millis(start + n * 1000),
                length: Duration::from_millis(960),
                size: 400_000 + n,
            })
            .collect();
        let bytes = encode(&rows);
        assert!(bytes.len() < 100_000, "{}", bytes.len());
        assert_eq!(decode(&bytes, SelectorType::Producer), Some(rows));
    }

    #[test]
    fn another_version_or_order_is_refused() {
        let row = |number: &str, server| ListedFragment {
            number: FragmentNumber::parse(number).unwrap(),
            server: Timestamp::from_millis(server),
            producer: Timestamp::from_millis(9 - server),
            length: Duration::ZERO,
            size: 0,
        };
        let mut bytes = encode(&[row("1", 1), row("2", 2)]);
        assert!(decode(&bytes, SelectorType::Server).is_some());
        assert!(decode(&bytes, SelectorType::Producer).is_none());
        bytes[0] += 1;
        assert!(decode(&bytes, SelectorType::Server).is_none());
        assert!(decode(&[], SelectorType::Server).is_none());
        assert!(decode(&[FORMAT, 0xff, 0xff, 0xff, 0xff, 0x0f], SelectorType::Server).is_none(), "count");
    }
}

//! When the media of each fragment of live HLS is presented, so that fragments meet.
//!
//! KVS places the fragments of a session by its own clock (docs/KVS.md 4.6), which moves with the network:
//! between two fragments that the camera recorded without a pause there are holes and overlaps of hundreds of
//! milliseconds. Players stall at a hole, and sound breaks at both. A fragment is therefore presented where
//! the media of the one ahead of it ends, by its own length. Behind a gap it is presented at its
//! PROGRAM-DATE-TIME.
//!
//! The first fragment that is read begins at its PROGRAM-DATE-TIME. Those listed ahead of it, which a player
//! may request later, end where the one behind them begins. Times are milliseconds since 1970. There is no
//! I/O here.

use crate::kvs::{FragmentNumber, Timestamp};
use crate::sessions::numbering::Generation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// The times of the fragments that were read.
#[derive(Default, Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct MediaTimes {
    known: BTreeMap<FragmentNumber, FragmentTime>,
}

/// When a fragment is presented.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::sessions) struct FragmentTime {
    /// Milliseconds since 1970.
    pub start: u64,
    pub end: u64,
    /// The session that listed it, and how much later than there it is presented; None if it could not be
    /// read, and is delayed as its session is.
    pub generation: Generation,
    pub delay: Option<Duration>,
}

/// Where a fragment is placed, in milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sessions) enum MediaPlace {
    BeginsAt(u64),
    EndsAt(u64),
}

/// A listed fragment of the track whose media is read.
pub(super) struct Step<'a> {
    pub(super) number: &'a FragmentNumber,
    /// Its PROGRAM-DATE-TIME.
    pub(super) date: Option<Timestamp>,
    /// A discontinuity stands ahead of it.
    pub(super) tagged: bool,
}

/// The time from camera to KVS varies by less than this (docs/KVS.md 9.2). What is apart by no more is no
/// gap, whatever stands between: a track that lacks a fragment has a discontinuity there, and then so have
/// the others.
const LAG: u64 = 2_000;
/// Fragments whose times are remembered.
const REMEMBERED: usize = 512;

impl MediaTimes {
    pub(in crate::sessions) fn of(&self, number: &FragmentNumber) -> Option<FragmentTime> {
        self.known.get(number).copied()
    }

    pub(in crate::sessions) fn note(&mut self, number: FragmentNumber, time: FragmentTime) {
        self.known.entry(number).or_insert(time);
        while self.known.len() > REMEMBERED {
            self.known.pop_first();
        }
    }

    /// Forgets all but the newest `most`.
    pub(super) fn keep_newest(&mut self, most: usize) {
        while self.known.len() > most {
            self.known.pop_first();
        }
    }

    /// Adds the times of older fragments.
    pub(super) fn add_older(&mut self, older: Self) {
        let oldest = self.known.keys().next().cloned();
        let is_older = |number: &FragmentNumber| oldest.as_ref().is_none_or(|oldest| number < oldest);
        self.known.extend(older.known.into_iter().filter(|(number, _)| is_older(number)));
        self.keep_newest(REMEMBERED);
    }

    /// The newest `most`.
    pub(super) fn newest(&self, most: usize) -> impl Iterator<Item = (&FragmentNumber, FragmentTime)> {
        self.known.iter().rev().take(most).map(|(number, time)| (number, *time))
    }

    /// The fragment to read next so that the time of `number` becomes known, as an index into `listed`, and
    /// its place. `None` if it is not listed or nothing says where it belongs.
    pub(super) fn next_read(
        &self,
        listed: &[Step<'_>],
        number: &FragmentNumber,
    ) -> Option<(usize, MediaPlace)> {
        let at = listed.iter().position(|step| step.number == number)?;
        if let Some((before, time)) = (0..at).rev().find_map(|at| Some((at, self.of(listed[at].number)?))) {
            let next = &listed[before + 1];
            let date = next.date.filter(|_| next.tagged).map_or(0, Timestamp::millis);
            let begins = if date > time.end.saturating_add(LAG) { date } else { time.end };
            return Some((before + 1, MediaPlace::BeginsAt(begins)));
        }
        let run = listed[at + 1..].iter().take_while(|step| !step.tagged);
        let behind = run.zip(at + 1..).find_map(|(step, at)| Some((at, self.of(step.number)?)));
        match behind {
            Some((behind, time)) => Some((behind - 1, MediaPlace::EndsAt(time.start))),
            None => Some((at, MediaPlace::BeginsAt(listed[at].date?.millis()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::numbering::tests::fragment;

    const START: u64 = 1_767_225_600_000;

    fn read(times: &mut MediaTimes, listed: &[Step<'_>], wanted: usize, length: u64) -> u64 {
        loop {
            let (at, place) = times.next_read(listed, listed[wanted].number).unwrap();
            let start = match place {
                MediaPlace::BeginsAt(start) => start,
                MediaPlace::EndsAt(end) => end - length,
            };
            let time = FragmentTime { start, end: start + length, generation: 1, delay: None };
            times.note(listed[at].number.clone(), time);
            if at == wanted {
                return start;
            }
        }
    }

    #[test]
    fn fragments_meet_whatever_their_arrival_says_and_whichever_is_read_first() {
        // Server gaps of 9 ms to 1.1 s between fragments of a second; behind the tag nothing was recorded for
        // a while.
        let dates = [0, 1100, 1109, 2900, 60_000, 60_500].map(|after| START + after);
        let numbers: Vec<_> = dates.iter().zip(0..).map(|(date, n)| fragment(n, *date, 1)).collect();
        let listed: Vec<Step<'_>> = numbers
            .iter()
            .zip(dates)
            .enumerate()
            .map(|(at, (number, date))| Step {
                number,
                date: Some(Timestamp::from_millis(date)),
                tagged: at == 4,
            })
            .collect();
        for first in 0..4 {
            let mut times = MediaTimes::default();
            assert_eq!(read(&mut times, &listed, first, 1000), dates[first]);
            let starts: Vec<u64> = (0..4)
                .map(|at| match times.of(listed[at].number) {
                    Some(time) => time.start,
                    None => read(&mut times, &listed, at, 1000),
                })
                .collect();
            assert!(starts.windows(2).all(|pair| pair[1] == pair[0] + 1000), "{first}: {starts:?}");
            assert_eq!(
                read(&mut times, &listed, 5, 1000),
                dates[4] + 1000,
                "behind the gap by its date, and then it meets"
            );
        }
        let mut times = MediaTimes::default();
        assert_eq!(read(&mut times, &listed, 5, 1000), dates[5]);
        assert_eq!(read(&mut times, &listed, 3, 1000), dates[3], "not across a discontinuity");
    }
}

//! TARGETDURATION of a live stream: at least every EXTINF, rounded (RFC 8216, 4.3.3.1), and it does not
//! change (6.2.1).
//!
//! KVS computes it anew for each list. Here it is found once, from the first list and from the fragments that
//! were recorded of late ([`Recent`]), and stands as long as the timeline does, over sessions and restarts.
//! EXTINF is the time between two arrivals, so one that is longer by a little says less about its media than
//! about the network: it is cut to TARGETDURATION. Only for a fragment that is longer by more does
//! TARGETDURATION grow.

use serde::{Deserialize, Serialize};

/// TARGETDURATION, seconds; 0 until a playlist was published.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(in crate::sessions) struct TargetDuration {
    seconds: u64,
    /// Of fragments recorded of late; 0 if that is not known.
    learned: u64,
}

/// A stored fragment: when it reached KVS, and how long it lasts, milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::sessions) struct Recent {
    pub(in crate::sessions) start: u64,
    pub(in crate::sessions) length: u64,
}

/// No fragment lasts longer (docs/KVS.md 4.1).
const LONGEST: u64 = 20_000;

impl TargetDuration {
    pub(super) fn of(seconds: u64) -> Self {
        Self { seconds, learned: 0 }
    }

    pub(in crate::sessions) fn seconds(self) -> u64 {
        self.seconds
    }

    /// Notes how long fragments lasted of late. It counts until the first playlist is published.
    pub(in crate::sessions) fn learn(&mut self, mut recent: Vec<Recent>) {
        recent.sort_unstable();
        let spacing = recent.windows(2).map(|pair| (pair[0].length, pair[1].start - pair[0].start));
        // As KVS lists them: until the next one begins, unless nothing was recorded for a while.
        let listed =
            spacing.map(|(length, next)| if next < length.saturating_mul(2) { next } else { length });
        let longest = listed.chain(recent.last().map(|last| last.length)).max().unwrap_or(0);
        self.learned = rounded(longest.min(LONGEST));
    }

    /// The first playlist, with the TARGETDURATION that KVS gave it.
    pub(super) fn begin(&mut self, given: u64) {
        if self.seconds == 0 {
            self.seconds = given.max(self.learned);
        }
    }

    /// What a fragment that is listed now may last in EXTINF at most, milliseconds.
    pub(super) fn hold(&mut self, millis: u64) -> u64 {
        if millis > self.most() && millis > self.seconds.saturating_mul(1250) {
            self.seconds = rounded(millis);
        }
        self.most()
    }

    /// The longest EXTINF that rounds to it.
    fn most(self) -> u64 {
        self.seconds.saturating_mul(1000).saturating_add(499)
    }
}

fn rounded(millis: u64) -> u64 {
    millis.saturating_add(500) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(rows: &[(u64, u64)]) -> Vec<Recent> {
        rows.iter().map(|&(start, length)| Recent { start, length }).collect()
    }

    #[test]
    fn it_is_learned_from_what_was_recorded_of_late() {
        for (rows, learned) in [
            (&[(0, 2000), (2000, 2000), (4100, 2000)][..], 2),
            // In any order; arrivals apart by more than the length of the media.
            (&[(4700, 1000), (0, 1500), (2600, 1300)], 3),
            // A gap is no fragment, and nothing is longer than 20 s.
            (&[(0, 1400), (90_000, 1000)], 1),
            (&[(0, 18_400), (18_500, 99_000)], 20),
            (&[], 0),
        ] {
            let mut target = TargetDuration::default();
            target.learn(recent(rows));
            assert_eq!(target.learned, learned, "{rows:?}");
            target.begin(2);
            assert_eq!(target.seconds(), learned.max(2));
            target.begin(9);
            assert_eq!(target.seconds(), learned.max(2));
        }
    }

    #[test]
    fn no_extinf_rounds_to_more_and_it_grows_for_fragments_alone_that_are_much_longer() {
        let mut target = TargetDuration::of(10);
        for (millis, seconds) in [(10_499, 10), (10_500, 10), (12_500, 10), (12_501, 13), (2000, 13)] {
            let shown = millis.min(target.hold(millis));
            assert_eq!(target.seconds(), seconds, "{millis}");
            assert!(rounded(shown) <= seconds);
        }
        assert_eq!(TargetDuration::of(u64::MAX).hold(u64::MAX), u64::MAX);
    }
}

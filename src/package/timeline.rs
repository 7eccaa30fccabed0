//! Where each fragment stands in a clip, from the list alone.

use crate::kvs::ListedFragment;

/// How much a fragment may begin before the end of the one ahead of it without being moved: producers' clocks
/// and the ends of sound differ by that much.
const OVERLAP: u64 = 100;
/// What is put between two fragments of which the second was moved: half a frame of most cameras.
const SEPARATION: u64 = 20;
/// The longest fragment of KVS, for producers that do not say a length.
pub(super) const LONGEST_FRAGMENT: u64 = 20_000;

/// The fragments of a clip in time. All times are milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct ClipTimeline {
    /// When each fragment begins, after the beginning of the first.
    starts: Vec<u64>,
    /// When the last one ends.
    end: u64,
}

impl ClipTimeline {
    /// The timeline of fragments in the order in which they are presented. A gap in the footage stays a gap;
    /// a fragment that overlaps the one before it follows it.
    pub(super) fn of(rows: &[ListedFragment]) -> Self {
        let mut starts: Vec<u64> = Vec::with_capacity(rows.len());
        let base = rows.first().map_or(0, |row| row.producer.millis());
        let mut earliest = 0;
        for (at, row) in rows.iter().enumerate() {
            let mut start = row.producer.millis().saturating_sub(base);
            if let Some(before) = at.checked_sub(1) {
                let ends = starts[before] + millis(&rows[before]);
                start = if start + OVERLAP < ends { ends + SEPARATION } else { start.max(earliest) };
            }
            starts.push(start);
            earliest = start + 1;
        }
        let mut timeline = Self { starts, end: 0 };
        timeline.end = timeline.starts.last().map_or(0, |start| start + timeline.last_length(rows));
        timeline
    }

    /// The fragment that begins then.
    pub(super) fn find(&self, start: u64) -> Option<usize> {
        self.starts.binary_search(&start).ok()
    }

    /// When a fragment begins.
    pub(super) fn start(&self, at: usize) -> u64 {
        self.starts[at]
    }

    /// From the beginning of a fragment to that of the next.
    pub(super) fn length(&self, at: usize) -> u64 {
        self.starts.get(at + 1).unwrap_or(&self.end) - self.starts[at]
    }

    /// From the beginning of the first fragment to the end of the last.
    pub(super) fn total(&self) -> u64 {
        self.end
    }

    /// The last fragment has no successor to end at.
    fn last_length(&self, rows: &[ListedFragment]) -> u64 {
        match rows.last().map_or(0, millis) {
            0 => {
                let mut lengths: Vec<u64> = self.starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
                lengths.sort_unstable();
                lengths.get(lengths.len() / 2).map_or(2000, |usual| (*usual).min(LONGEST_FRAGMENT))
            }
            length => length,
        }
    }
}

/// The length of a fragment as it is listed.
pub(super) fn millis(row: &ListedFragment) -> u64 {
    u64::try_from(row.length.as_millis()).unwrap_or(u64::MAX).min(24 * 3_600_000)
}

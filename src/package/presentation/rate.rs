//! How many bits a second a presentation takes, from the list alone.

use super::Presentation;

/// Bits a second.
pub(super) struct Rates {
    pub(super) peak: u64,
    pub(super) mean: u64,
}

/// What is written around the frames of a fragment, at most, in usual footage.
const HEADS: u64 = 1024;
/// The largest fragment that is believed.
const LARGEST: u64 = 64 << 20;

impl Presentation {
    /// The mean of the whole, and the highest of any stretch of at least half a target duration (RFC 8216
    /// 4.3.4.2): a single short fragment is no measure.
    pub(super) fn rates(&self) -> Rates {
        let least = self.target() * 1000 / 2;
        let entries: Vec<(u64, u64)> = self
            .entries()
            .map(|entry| (self.rows[entry.index].size.min(LARGEST) + HEADS, entry.duration))
            .collect();
        let (mut bytes, mut millis, mut first, mut peak) = (0, 0, 0, 0);
        for (size, duration) in &entries {
            (bytes, millis) = (bytes + size, millis + duration);
            while let Some((size, duration)) = entries.get(first)
                && millis - duration >= least.max(1)
            {
                (bytes, millis, first) = (bytes - size, millis - duration, first + 1);
            }
            if millis >= least {
                peak = peak.max(bits(bytes, millis));
            }
        }
        let total = entries.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let mean = bits(total.0, total.1).max(1);
        Rates { peak: peak.max(mean), mean }
    }

    /// The longest segment in seconds, to the nearest, at least 1: `EXT-X-TARGETDURATION` (RFC 8216
    /// 4.3.3.1).
    pub(super) fn target(&self) -> u64 {
        let longest = self.entries().map(|entry| entry.duration).max().unwrap_or(0);
        ((longest + 500) / 1000).max(1)
    }
}

fn bits(bytes: u64, millis: u64) -> u64 {
    bytes.saturating_mul(8000) / millis.max(1)
}

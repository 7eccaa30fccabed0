//! Where KVS silently stops a clip: at its 200th fragment or its 100th megabyte, counted from the start
//! (docs/KVS.md 4.4).
//!
//! Nothing in KVS's answer says so. Long clips are therefore compared with the list of fragments in their
//! range, of which no more than a piece is held at a time. If the list is not to be had, the clip is served
//! all the same.

use super::footage::RowPieces;
use super::remembered::Truncation;
use super::{Archive, Clip, Error, Object};
use crate::cache::Keep;
use crate::cache::freshness::{self, Kind};
use crate::kvs::bounds::{CLIP_BYTES, CLIP_FRAGMENTS};
use crate::kvs::{ListedFragment, Timestamp};
use crate::upstream::OnBehalfOf;
use http::StatusCode;
use std::time::Duration;

/// Shorter clips cannot be cut: KVS takes 12.5 MB/s and five fragments a second at most, and no camera does
/// both.
const SHORT: Duration = Duration::from_secs(40);

impl Archive {
    /// Whether KVS cuts this clip short. A clip that was fetched just now was charged for as many fragments
    /// as could start in its range; the rest goes back to the stream's quota, since their number is known
    /// here.
    pub async fn truncation<E: From<Error>>(
        &self,
        clip: &Clip,
        now: Timestamp,
        on_behalf_of: impl FnOnce() -> Result<OnBehalfOf, E>,
    ) -> Option<Truncation> {
        let range = clip.call.selector.range;
        let end = range.end?;
        if range.start.age(end) <= SHORT {
            return None;
        }
        let key = clip.key();
        if let Some(known) = self.0.truncations.known.get(&key) {
            return known;
        }
        let from = self.source(clip, on_behalf_of().ok()?);
        let counting = self.0.truncations.counts.run(key, || {
            count(RowPieces::new(self.clone(), from, &clip.stream, clip.call.selector, end, now))
        });
        let (shown, truncation) = counting.result().await.ok()??;
        self.0.upstream.settle_clip(clip.stream.located(), &clip.call, shown);
        // Footage that has not settled may have more fragments the next time.
        let rules = self.rules(clip.retention());
        if freshness::keep(Kind::Clip { range }, StatusCode::OK, now, &rules) != Keep::No {
            self.0.truncations.known.insert(key, truncation.clone());
        }
        truncation
    }
}

/// The fragments that a clip of these shows, and how it is cut.
async fn count(mut pieces: RowPieces) -> Option<(u32, Option<Truncation>)> {
    let mut count = ClipCount::default();
    while let Some(rows) = pieces.next().await.ok()? {
        rows.iter().for_each(|row| count.add(row));
    }
    Some((u32::try_from(count.shown).unwrap_or(u32::MAX), count.truncation()))
}

/// How many fragments of a range KVS puts into a clip, and which is the first that it leaves out.
#[derive(Default)]
struct ClipCount {
    shown: usize,
    listed: usize,
    bytes: u64,
    until: Option<Timestamp>,
}

impl ClipCount {
    /// Adds the next fragment.
    fn add(&mut self, row: &ListedFragment) {
        self.listed += 1;
        self.bytes = self.bytes.saturating_add(row.size);
        if self.until.is_none() {
            if self.shown < CLIP_FRAGMENTS as usize && self.bytes <= CLIP_BYTES {
                self.shown += 1;
            } else {
                self.until = Some(row.server);
            }
        }
    }

    fn truncation(&self) -> Option<Truncation> {
        let until = self.until?.to_string();
        Some(Truncation { shown: self.shown, listed: self.listed, until })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::FragmentNumber;

    fn cut(count: u64, bytes: u64) -> Option<Truncation> {
        let mut of_clip = ClipCount::default();
        for second in 0..count {
            let at = Timestamp::from_millis(second * 1000);
            let number = FragmentNumber::parse("1").unwrap();
            let length = Duration::from_secs(1);
            of_clip.add(&ListedFragment { number, server: at, producer: at, length, size: bytes });
        }
        of_clip.truncation()
    }

    #[test]
    fn a_clip_is_cut_at_200_fragments_or_100_megabytes() {
        assert_eq!(cut(200, 1000), None);
        let by_count = Truncation { shown: 200, listed: 250, until: "1970-01-01T00:03:20.000Z".into() };
        assert_eq!(cut(250, 1000), Some(by_count));
        let by_bytes = Truncation { shown: 3, listed: 10, until: "1970-01-01T00:00:03.000Z".into() };
        assert_eq!(cut(10, 30_000_000), Some(by_bytes));
        assert_eq!(cut(0, 0), None);
    }
}

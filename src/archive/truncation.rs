//! Where KVS silently stops a clip: at its 200th fragment or its 100th megabyte, counted from the start
//! (docs/KVS.md 4.4).
//!
//! Nothing in KVS's answer says so. Long clips are therefore compared with the list of fragments in their
//! range, which is kept like any other list. If the list is not to be had, the clip is served all the same.

use super::fragment_list::{Row, rows};
use super::remembered::Truncation;
use super::{Archive, Clip, Error, FragmentList, Object};
use crate::cache::Keep;
use crate::cache::freshness::{self, Kind};
use crate::kvs::Timestamp;
use crate::kvs::bounds::{CLIP_BYTES, CLIP_FRAGMENTS};
use crate::upstream::OnBehalfOf;
use http::StatusCode;
use std::time::Duration;

/// Shorter clips cannot be cut: KVS takes 12.5 MB/s and five fragments a second at most, and no camera does
/// both.
const SHORT: Duration = Duration::from_secs(40);
/// The longest list that is read: a day of one-second fragments.
const LONGEST_LIST: u64 = 32 << 20;

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
        if let Some(known) = self.0.truncations.0.get(&key) {
            return known;
        }
        let list = FragmentList { stream: clip.stream.clone(), selector: clip.call.selector, end };
        let found = self.get(&list, on_behalf_of).await.ok()?;
        let rows = rows(&found.entry.collect(LONGEST_LIST).await.ok()?)?;
        let shown = shown(&rows);
        let count = u32::try_from(shown).unwrap_or(u32::MAX);
        self.0.upstream.settle_clip(clip.stream.located(), &clip.call, count);
        let truncation = truncation(&rows, shown);
        // Footage that has not settled may have more fragments the next time.
        let rules = self.rules(clip.retention());
        if freshness::keep(Kind::Clip { range }, StatusCode::OK, now, &rules) != Keep::No {
            self.0.truncations.0.insert(key, truncation.clone());
        }
        truncation
    }
}

/// How many of these fragments KVS puts into a clip.
fn shown(rows: &[Row]) -> usize {
    let mut bytes = 0;
    let fits = rows.iter().take(CLIP_FRAGMENTS as usize).take_while(|row| {
        bytes += row.bytes;
        bytes <= CLIP_BYTES
    });
    fits.count()
}

fn truncation(rows: &[Row], shown: usize) -> Option<Truncation> {
    let missing = rows.get(shown)?;
    Some(Truncation { shown, listed: rows.len(), until: missing.server_start.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fragments(count: usize, bytes: u64) -> Vec<Row> {
        let row = |n: usize| {
            json!({"bytes": bytes, "length_ms": 1, "number": "1", "producer_start": "",
                "server_start": format!("t{n}")})
        };
        (0..count).map(|n| serde_json::from_value(row(n)).unwrap()).collect()
    }

    #[test]
    fn a_clip_is_cut_at_200_fragments_or_100_megabytes() {
        let cut = |rows: &[Row]| truncation(rows, shown(rows));
        assert_eq!(cut(&fragments(200, 1000)), None);
        let by_count = Truncation { shown: 200, listed: 250, until: "t200".into() };
        assert_eq!(cut(&fragments(250, 1000)), Some(by_count));
        let by_bytes = Truncation { shown: 3, listed: 10, until: "t3".into() };
        assert_eq!(cut(&fragments(10, 30_000_000)), Some(by_bytes));
        assert_eq!(cut(&[]), None);
    }
}

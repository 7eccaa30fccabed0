//! Where KVS silently stops a clip: at its 200th fragment or its 100th megabyte, counted from the start (`KVS.md` 4.4).
//!
//! Nothing in KVS's answer tells, so long clips are compared with the list of fragments in their range, which is kept
//! like any other list. A list that cannot be had is no reason to refuse the clip.

use super::record::Record;
use super::reply::Reply;
use super::{Ask, Gateway};
use crate::cache::freshness::{self, Kind};
use crate::cache::{Keep, Key};
use crate::kvs::operations::{GetClip, ListFragments};
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde_json::Value;
use std::time::Duration;

/// Says that a clip is shorter than its range, and where it ends.
pub const TRUNCATED: HeaderName = HeaderName::from_static("kvs-edge-truncated");

/// Most fragments of a clip.
const FRAGMENTS: usize = crate::kvs::bounds::CLIP_FRAGMENTS as usize;
/// Most bytes of a clip.
const BYTES: u64 = crate::kvs::bounds::CLIP_BYTES;
/// Shorter clips cannot be cut: KVS takes 12.5 MB/s and five fragments a second at most, and no camera does both.
const SHORT: Duration = Duration::from_secs(40);
/// The longest list that is looked at: a day of one-second fragments.
const LONGEST: u64 = 32 << 20;

/// A clip that KVS cuts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// So many fragments are in the clip.
    shown: usize,
    /// So many are in its range.
    listed: usize,
    /// The start of the first one that is missing.
    until: String,
}

/// Where clips that are held are cut: looked at once per clip, as long as clips are kept, not at each request.
#[derive(Clone)]
pub struct Cuts(moka::sync::Cache<Key, Option<Cut>>);

/// Clips remembered.
const CLIPS: u64 = 10_000;

impl Cuts {
    /// For clips that are kept so long.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self(moka::sync::Cache::builder().max_capacity(CLIPS).time_to_live(max_age).build())
    }
}

impl Gateway {
    /// Whether KVS will cut this clip. What a clip that was fetched just now was charged for too many fragments
    /// goes back to the stream's quota: their number is known here.
    pub(super) async fn cut_short(&self, ask: &Ask<'_>, clip: &GetClip, record: &Record) -> Option<Cut> {
        let range = clip.selector.range;
        if range.start.age(range.end?) <= SHORT {
            return None;
        }
        let arn = self.arn(ask.located().ok()?).await.ok()?;
        let key = Key::clip(&arn, clip.selector.kind, range.start, range.end?);
        if let Some(cut) = self.cuts.0.get(&key) {
            return cut;
        }
        let selector = Some(clip.selector);
        let list = ListFragments {
            stream: clip.stream.clone(),
            selector,
            max_results: Some(crate::kvs::bounds::FRAGMENTS_PAGE),
            next_token: None,
        };
        let found = self.fragment_list(ask, &list).await.ok()?;
        let body = found.entry.collect(LONGEST).await.ok()?;
        let json: Value = serde_json::from_slice(&body).ok()?;
        let fragments = json.get("fragments")?.as_array()?;
        let shown = shown(fragments);
        let count = u32::try_from(shown).unwrap_or(u32::MAX);
        self.upstream.settle_clip(ask.located().ok()?, clip, count);
        let cut = cut(fragments, shown);
        // What has not settled may have more fragments the next time.
        if freshness::keep(Kind::Clip { range }, StatusCode::OK, ask.now, &self.rules(None)) != Keep::No {
            self.cuts.0.insert(key, cut.clone());
        }
        let cut = cut?;
        tracing::warn!(request_id = %record.request_id, stream = %clip.stream.name(), shown = cut.shown,
            listed = cut.listed, until = cut.until, "KVS cuts this clip short; ask for shorter ranges");
        Some(cut)
    }
}

/// How many of these fragments KVS puts into a clip.
fn shown(fragments: &[Value]) -> usize {
    let mut bytes = 0;
    let fits = fragments.iter().take(FRAGMENTS).take_while(|fragment| {
        bytes += fragment.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        bytes <= BYTES
    });
    fits.count()
}

fn cut(fragments: &[Value], shown: usize) -> Option<Cut> {
    let missing = fragments.get(shown)?;
    let until = missing.get("server_start").and_then(Value::as_str).unwrap_or_default().to_owned();
    Some(Cut { shown, listed: fragments.len(), until })
}

/// Tells the client, in an RFC 8941 dictionary.
pub fn told_cut(reply: Reply, cut: Option<Cut>) -> Reply {
    let Some(Cut { shown, listed, until }) = cut else { return reply };
    match HeaderValue::from_str(&format!("fragments={shown}, of={listed}, until=\"{until}\"")) {
        Ok(value) => reply.with(TRUNCATED, value),
        Err(_) => reply,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fragments(count: usize, bytes: u64) -> Vec<Value> {
        (0..count).map(|n| json!({"server_start": format!("t{n}"), "bytes": bytes})).collect()
    }

    #[test]
    fn a_clip_is_cut_at_200_fragments_or_100_megabytes() {
        let cut = |fragments: &[Value]| cut(fragments, shown(fragments));
        assert_eq!(cut(&fragments(200, 1000)), None);
        assert_eq!(cut(&fragments(250, 1000)), Some(Cut { shown: 200, listed: 250, until: "t200".into() }));
        assert_eq!(cut(&fragments(10, 30_000_000)), Some(Cut { shown: 3, listed: 10, until: "t3".into() }));
        assert_eq!(cut(&[]), None);
    }
}

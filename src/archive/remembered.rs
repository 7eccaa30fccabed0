//! What the archive remembers beside the cache: which picture of a camera is the newest, where clips are cut,
//! hours of fragment lists decoded, and the last list of streams of each account.

use crate::base::clock;
use crate::base::single_flight::SingleFlight;
use crate::cache::Key;
use crate::kvs::{ListedFragment, StreamArn, StreamName, Timestamp, answer};
use crate::upstream;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Cameras, and sizes of their pictures, of which the newest one is known.
const CAMERAS: u64 = 10_000;
/// Clips whose truncation is remembered.
const CLIPS: u64 = 10_000;
/// The most memory for rows that are held decoded: a day of one-second fragments and more.
const DECODED: u64 = 16 << 20;

/// When the newest picture of each camera was fetched last.
pub(super) struct NewestImages(pub(super) moka::sync::Cache<Key, Timestamp>);

impl Default for NewestImages {
    fn default() -> Self {
        Self(moka::sync::Cache::new(CAMERAS))
    }
}

impl NewestImages {
    /// Two pictures may arrive at once: the later instant stays.
    pub(super) fn insert(&self, camera: Key, at: Timestamp) {
        self.0.entry(camera).and_upsert_with(|known| known.map_or(at, |known| known.into_value().max(at)));
    }
}

/// A clip that KVS cuts short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Truncation {
    /// Fragments in the clip.
    pub shown: usize,
    /// Fragments in its range.
    pub listed: usize,
    /// The server start of the first fragment that is missing, RFC 3339.
    pub until: String,
}

/// What is known of clips that are kept: looked up once per clip, not at each request.
pub(super) struct Truncations {
    pub(super) known: moka::sync::Cache<Key, Option<Truncation>>,
    /// Lists being counted: the fragments that a clip shows, and how it is cut. `None`: not to be had.
    pub(super) counts: SingleFlight<Key, Option<(u32, Option<Truncation>)>>,
}

impl Truncations {
    /// For clips that are kept for so long.
    pub(super) fn new(max_age: Duration) -> Self {
        let known = moka::sync::Cache::builder().max_capacity(CLIPS).time_to_live(max_age).build();
        Self { known, counts: SingleFlight::default() }
    }
}

/// The rows of an hour of a stream's fragment list, sorted, without duplicates.
pub(super) type Rows = Arc<[ListedFragment]>;

/// Which entry of the cache rows were decoded from: when it was stored, and its length.
pub(super) type HourVersion = (Timestamp, Option<u64>);

/// Hours as rows, decoded once and not at each segment that a player requests.
pub(super) struct DecodedHours(pub(super) moka::sync::Cache<Key, (HourVersion, Rows)>);

impl Default for DecodedHours {
    fn default() -> Self {
        /// An entry without rows, with its key.
        const ENTRY: usize = 512;
        let weigh = |_: &Key, (_, rows): &(HourVersion, Rows)| {
            u32::try_from(ENTRY + rows.len() * ListedFragment::WEIGHT).unwrap_or(u32::MAX)
        };
        Self(moka::sync::Cache::builder().max_capacity(DECODED).weigher(weigh).build())
    }
}

/// One stream as KVS lists it.
#[derive(Clone, Debug)]
pub struct ListedStream {
    /// Its name.
    pub name: StreamName,
    /// Its ARN.
    pub arn: StreamArn,
    /// KVS's own members, without what no model has: text, because an account may have a hundred thousand
    /// streams, and values take five times as much.
    pub members: Box<RawValue>,
}

impl ListedStream {
    pub(super) fn read(members: &RawValue) -> Option<Self> {
        let members = answer::known_stream(members, &[])?;
        let row: StreamRow<'_> = serde_json::from_str(members.get()).ok()?;
        let name = StreamName::parse(&row.name).ok()?;
        let arn = StreamArn::parse(&row.arn).ok()?;
        Some(Self { name, arn, members })
    }

    /// Lists are in the order of names.
    pub(super) fn order(&self) -> (&StreamName, &StreamArn) {
        (&self.name, &self.arn)
    }

    /// KVS's own members, read.
    #[must_use]
    pub fn members(&self) -> Value {
        serde_json::from_str(self.members.get()).unwrap_or_default()
    }
}

/// The members that say which stream it is.
#[derive(Deserialize)]
struct StreamRow<'a> {
    #[serde(borrow, rename = "StreamName")]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "StreamARN")]
    arn: Cow<'a, str>,
}

/// What is known of each `[[aws]]` entry.
#[derive(Default)]
pub(super) struct StreamLists {
    entries: Mutex<HashMap<Arc<str>, EntryList>>,
    /// The lists of several entries that were merged last, and the result.
    merged: Mutex<Option<(Vec<Streams>, Streams)>>,
    pub(super) flights: SingleFlight<Arc<str>, Listing>,
}

pub(super) type Streams = Arc<Vec<Arc<ListedStream>>>;
pub(super) type Listing = Result<Streams, Arc<upstream::Error>>;

#[derive(Clone, Default)]
pub(super) struct EntryList {
    pub(super) good: Option<(Streams, Timestamp, Instant)>,
    pub(super) failed: Option<(Arc<upstream::Error>, Instant)>,
}

impl StreamLists {
    /// The lists of all entries as one, if they have been merged before.
    pub(super) fn merged(&self, lists: &[Streams]) -> Option<Streams> {
        let merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, result) = merged.as_ref()?;
        let same = of.len() == lists.len() && of.iter().zip(lists).all(|(a, b)| Arc::ptr_eq(a, b));
        same.then(|| Arc::clone(result))
    }

    /// Remembers one list for these.
    pub(super) fn remember_merged(&self, lists: Vec<Streams>, result: &Streams) {
        let merged = Some((lists, Arc::clone(result)));
        let before =
            std::mem::replace(&mut *self.merged.lock().unwrap_or_else(PoisonError::into_inner), merged);
        drop(before); // outside the lock: it may be long
    }

    pub(super) fn known(&self, entry: &Arc<str>) -> EntryList {
        self.lock().get(entry).cloned().unwrap_or_default()
    }

    pub(super) fn store(&self, entry: &Arc<str>, listed: Result<Streams, upstream::Error>) -> Listing {
        let mut entries = self.lock();
        let known = entries.entry(Arc::clone(entry)).or_default();
        match listed {
            Ok(streams) => {
                known.good = Some((Arc::clone(&streams), Timestamp::from(clock::now()), Instant::now()));
                known.failed = None;
                Ok(streams)
            }
            Err(error) => {
                tracing::warn!(aws = %entry, "streams cannot be listed: {error}");
                let error = Arc::new(error);
                known.failed = Some((Arc::clone(&error), Instant::now()));
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, EntryList>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{FragmentNumber, SelectorType};

    fn row(n: u64) -> ListedFragment {
        ListedFragment {
            number: FragmentNumber::parse(&n.to_string()).unwrap(),
            server: Timestamp::from_millis(n * 1000),
            producer: Timestamp::from_millis(n * 1000),
            length: Duration::from_secs(1),
            size: 1000,
        }
    }

    #[test]
    fn decoded_hours_are_weighed_in_bytes() {
        let hours = DecodedHours::default();
        let rows: Rows = (0..3600).map(row).collect();
        for hour in 0..100 {
            let arn = StreamArn::parse("arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1").unwrap();
            let key = Key::hour_index(&arn, SelectorType::Server, (hour, None), 1);
            hours.0.insert(key, ((Timestamp::from_millis(hour), None), rows.clone()));
        }
        hours.0.run_pending_tasks();
        let bytes = hours.0.entry_count() * 3600 * ListedFragment::WEIGHT as u64;
        assert!(hours.0.entry_count() >= 20 && bytes <= DECODED, "{bytes}");
    }
}

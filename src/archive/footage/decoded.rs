//! Hours as rows: decoded once, not at each segment that a player asks for.
//!
//! The cache decides what is held. What is decoded here is of use only as long as the cache gives out the very
//! entry that it was decoded from, so a purge or an expiry reaches it too.

use super::encoding::decode;
use super::hour::HourIndex;
use super::select::without_duplicates;
use crate::archive::{Archive, Error, Object};
use crate::cache::{Key, Reading};
use crate::kvs::{ListedFragment, Timestamp};
use crate::upstream::{self, OnBehalfOf};
use std::sync::Arc;

/// The rows of an hour, sorted, without duplicates.
pub(super) type Rows = Arc<[ListedFragment]>;

/// Rows that are held decoded: a day of one-second fragments. Each takes some 130 bytes.
const MOST_ROWS: u64 = 100_000;
/// The longest encoded hour: five fragments a second are 450 KB.
const LONGEST: u64 = 64 << 20;

/// Decoded hours.
pub(in crate::archive) struct DecodedHours(moka::sync::Cache<Key, (Version, Rows)>);

/// Which entry of the cache rows were decoded from: when it was stored, and its length.
type Version = (Timestamp, Option<u64>);

impl Default for DecodedHours {
    fn default() -> Self {
        let weigh = |_: &Key, (_, rows): &(Version, Rows)| u32::try_from(rows.len() + 1).unwrap_or(u32::MAX);
        Self(moka::sync::Cache::builder().max_capacity(MOST_ROWS).weigher(weigh).build())
    }
}

impl Archive {
    /// The rows of an hour, if they are held in memory and fresh.
    pub(super) fn held_hour(&self, hour: &HourIndex) -> Option<Rows> {
        let key = hour.key();
        let found = self.0.cache.get(&key)?;
        let version = version(&found.entry);
        if let Some((of, rows)) = self.0.decoded_hours.0.get(&key)
            && of == version
        {
            return Some(rows);
        }
        let encoded = found.entry.whole_bytes()?.concat();
        self.decode_hour(hour, key, version, &encoded).ok()
    }

    /// The rows of an hour.
    pub(super) async fn hour(&self, hour: &HourIndex, on_behalf_of: OnBehalfOf) -> Result<Rows, Error> {
        let found = self.get(hour, || Ok::<_, Error>(on_behalf_of)).await?;
        let mut entry = found.entry;
        entry.known_length().await?;
        let version = version(&entry);
        let encoded = entry.collect(LONGEST).await?;
        self.decode_hour(hour, hour.key(), version, &encoded)
    }

    fn decode_hour(
        &self,
        hour: &HourIndex,
        key: Key,
        version: Version,
        encoded: &[u8],
    ) -> Result<Rows, Error> {
        let not_ours = || upstream::Error::BrokenAnswer("an hour index cannot be decoded".to_owned());
        let rows = decode(encoded, hour.clock).ok_or_else(not_ours)?;
        let rows: Rows = without_duplicates(rows, hour.clock).into();
        self.0.decoded_hours.0.insert(key, (version, Arc::clone(&rows)));
        Ok(rows)
    }
}

fn version(entry: &Reading) -> Version {
    (entry.head().stored, entry.length())
}

//! Hours as rows: decoded once, not at each segment that a player requests.
//!
//! The cache decides what is held. What is decoded here is of use only as long as the cache gives out the
//! very entry that it was decoded from, so a purge or an expiry reaches it too.

use super::encoding::decode;
use super::hour::HourIndex;
use super::select::without_duplicates;
use crate::archive::remembered::{HourVersion, Rows};
use crate::archive::{Archive, Error, Object};
use crate::cache::{Key, Reading};
use crate::kvs::ListedFragment;
use crate::upstream::{self, OnBehalfOf};
use std::sync::Arc;

/// The longest encoded hour: five fragments a second are 450 KB.
const LONGEST: u64 = 64 << 20;

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

    /// All rows of an hour as KVS lists them, those that a later upload has replaced included. They are not
    /// kept decoded: a list of many days would displace what players use.
    pub(super) async fn whole_hour(
        &self,
        hour: &HourIndex,
        on_behalf_of: OnBehalfOf,
    ) -> Result<Vec<ListedFragment>, Error> {
        let found = self.get(hour, || Ok::<_, Error>(on_behalf_of)).await?;
        let encoded = found.entry.collect(LONGEST).await?;
        decode(&encoded, hour.clock).ok_or_else(not_ours)
    }

    fn decode_hour(
        &self,
        hour: &HourIndex,
        key: Key,
        version: HourVersion,
        encoded: &[u8],
    ) -> Result<Rows, Error> {
        let rows = decode(encoded, hour.clock).ok_or_else(not_ours)?;
        let rows: Rows = without_duplicates(rows, hour.clock).into();
        self.0.decoded_hours.0.insert(key, (version, Arc::clone(&rows)));
        Ok(rows)
    }
}

fn not_ours() -> Error {
    upstream::Error::BrokenAnswer("an hour index cannot be decoded".to_owned()).into()
}

fn version(entry: &Reading) -> HourVersion {
    (entry.head().stored, entry.length())
}

//! What is held in common of a shared session, as it is written: JSON, compressed. `fleet` seals it.

use crate::kvs::{SessionParameters, Timestamp};
use crate::sessions::numbering::Generation;
use crate::sessions::{dash, hls};
use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;

/// An upstream session. It holds its token, a credential of KVS, and so is nothing to show.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct StoredSession {
    pub(in crate::sessions) generation: Generation,
    /// The address that its resources are under.
    pub(in crate::sessions) base: String,
    pub(in crate::sessions) token: String,
    pub(in crate::sessions) opened: Timestamp,
    /// When KVS ends it.
    pub(in crate::sessions) expires: Timestamp,
    pub(in crate::sessions) parameters: SessionParameters,
}

/// The upstream sessions of a key.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct StoredSessions {
    /// Oldest first; the last one is in use. Never empty.
    pub(in crate::sessions) sessions: Vec<StoredSession>,
}

/// What the next playlist follows from.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::sessions) struct StoredContinuity {
    /// By how much the media of each session is delayed, in nanoseconds, by the session's id. It is decided
    /// once, by whichever replica lists the session first. `None`: that cannot be found out.
    pub(in crate::sessions) anchors: BTreeMap<String, Option<u64>>,
    pub(in crate::sessions) hls: Option<hls::Timeline>,
    pub(in crate::sessions) dash: Option<dash::Timeline>,
    /// The manifest is passed on as KVS gives it.
    pub(in crate::sessions) pass_manifest: bool,
}

/// A playlist as players get it.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::sessions) struct StoredPlaylist {
    pub(in crate::sessions) text: String,
    /// Milliseconds.
    pub(in crate::sessions) target: u64,
    pub(in crate::sessions) generation: Generation,
    pub(in crate::sessions) fixed: bool,
}

/// No record is longer; what claims to be is not read.
const LONGEST: u64 = 8 << 20;

/// Writes a record.
pub(super) fn encode(record: &impl Serialize) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(record).ok()?;
    let mut bytes = Vec::with_capacity(json.len() / 4);
    DeflateEncoder::new(json.as_slice(), Compression::fast()).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let mut json = Vec::new();
    DeflateDecoder::new(bytes).take(LONGEST).read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_anything_else_is_none() {
        let playlist =
            StoredPlaylist { text: "#EXTM3U\n".repeat(99), target: 2000, generation: 3, fixed: false };
        let bytes = encode(&playlist).unwrap();
        assert!(bytes.len() < 200);
        let read: StoredPlaylist = decode(&bytes).unwrap();
        assert_eq!((read.text, read.target, read.generation), (playlist.text, 2000, 3));
        assert!(decode::<StoredPlaylist>(&bytes[..bytes.len() / 2]).is_none());
        assert!(decode::<StoredPlaylist>(b"").is_none());
        assert!(decode::<StoredSessions>(&bytes).is_none());
    }
}

//! The settings of an emulator, and their defaults.

use super::clock::Millis;
use super::media::Producer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// What the local KVS is like.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether `/_emulator/faults` may plan faults.
    pub allow_faults: bool,
    /// The region of its streams, and the one that signatures must be made for.
    pub region: String,
    /// The account that its streams belong to: 12 digits.
    pub account: String,
    /// The access key ID that may sign.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Names of its streams.
    pub streams: Vec<String>,
    /// Producers of streams by their names, in every account; the default one if absent.
    pub producers: BTreeMap<String, Producer>,
    /// More accounts, or regions, each with streams of its own.
    pub accounts: Vec<Account>,
    /// The creation time in every clip, so that the same call gives the same bytes; the time of the call if
    /// absent.
    pub clip_creation_time: Option<Millis>,
    /// What GetDataEndpoint answers; the address it is bound to if absent.
    pub public_endpoint: Option<String>,
    /// Whether data operations live at another port than control operations, and each port answers those of
    /// the other with the 90 bytes of docs/KVS.md 3.6.
    pub separate_data_plane: bool,
    /// Text of at most 36 characters of `[A-Za-z0-9_-]` that every session token contains, for leak tests.
    pub canary: Option<String>,
    /// Sessions end after this many seconds, whatever was asked for.
    pub max_session_seconds: Option<u64>,
    /// Temporary credentials end after this many seconds, whatever was asked for.
    pub max_credential_seconds: Option<u64>,
    /// The external ID without which no role is given out.
    pub external_id: Option<String>,
    /// Whether requests beyond KVS's quotas are refused.
    pub quotas: bool,
    /// KVS's quotas times this.
    pub quota_scale: f64,
    /// How long the streams keep what they record.
    pub retention_hours: u64,
    /// Since how many hours the cameras have been recording.
    pub history_hours: u64,
    /// When its streams were created, whatever `history_hours` says: an emulator that starts again in another
    /// hour then has the streams it had.
    pub created: Option<Millis>,
    /// How much the time from camera to KVS varies, in milliseconds below 2048.
    pub jitter_millis: u64,
    /// Whether playlists name the codec epoch of an init fragment (`SequenceNumber`), as seen in 2023.
    pub init_sequence_number: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4567)),
            allow_faults: false,
            region: "eu-west-1".into(),
            account: "123456789012".into(),
            access_key: "AKIDEMULATOR".into(),
            secret_key: "emulator-secret".into(),
            streams: ["cam-1", "cam-2", "cam-3"].map(String::from).into(),
            producers: BTreeMap::new(),
            accounts: Vec::new(),
            clip_creation_time: None,
            public_endpoint: None,
            separate_data_plane: false,
            canary: None,
            max_session_seconds: None,
            max_credential_seconds: None,
            external_id: None,
            quotas: true,
            quota_scale: 1.0,
            retention_hours: 24,
            history_hours: 25,
            created: None,
            jitter_millis: 0,
            init_sequence_number: true,
        }
    }
}

/// Another account of the emulator.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Twelve digits.
    pub account: String,
    /// The region of its streams; the main one if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// The access key ID that may sign.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Names of its streams.
    pub streams: Vec<String>,
}

impl Account {
    pub(crate) fn region(&self, config: &Config) -> String {
        self.region.clone().unwrap_or_else(|| config.region.clone())
    }
}

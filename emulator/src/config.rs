//! The settings of an emulator, and their defaults.

use super::clock::Millis;
use super::media::Producer;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

/// Settings of a local KVS.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on; port 0 takes a free port.
    pub listen: SocketAddr,
    /// Whether `/_emulator/faults` accepts fault plans.
    pub allow_faults: bool,
    /// The region of the streams, and of the signatures that are accepted.
    pub region: String,
    /// The account of the streams: 12 digits.
    pub account: String,
    /// The access key ID of accepted signatures.
    pub access_key: String,
    /// The secret access key of `access_key`.
    pub secret_key: String,
    /// Names of the streams.
    pub streams: Vec<String>,
    /// Producers by stream name, in every account. A stream that is absent has `Producer::default()`.
    pub producers: BTreeMap<String, Producer>,
    /// Further accounts or regions, each with its own streams.
    pub accounts: Vec<Account>,
    /// The creation time in every clip, in milliseconds since 1970, so that the same call gives the same
    /// bytes. The time of the call if absent.
    pub clip_creation_time: Option<Millis>,
    /// The URL that GetDataEndpoint returns; the bound address if absent.
    pub public_endpoint: Option<String>,
    /// Whether data operations have a port of their own. Each port then answers operations of the other with
    /// the 90 bytes of docs/KVS.md 3.6.
    pub separate_data_plane: bool,
    /// Text that every session token contains, for leak tests: at most 36 characters of `[A-Za-z0-9_-]`.
    pub canary: Option<String>,
    /// An upper bound for the lifetime of sessions, in seconds.
    pub max_session_seconds: Option<u64>,
    /// An upper bound for the lifetime of temporary credentials, in seconds.
    pub max_credential_seconds: Option<u64>,
    /// The external ID that AssumeRole requires.
    pub external_id: Option<String>,
    /// Whether requests over KVS's quotas are refused.
    pub quotas: bool,
    /// A factor for KVS's quotas.
    pub quota_scale: f64,
    /// The retention of every stream.
    pub retention_hours: u64,
    /// For how many hours the cameras have recorded when the emulator starts.
    pub history_hours: u64,
    /// When the streams were created, in milliseconds since 1970, instead of `history_hours`. An emulator
    /// that restarts in another hour then has streams of the same ARN.
    pub created: Option<Millis>,
    /// How much the latency from camera to KVS varies, in milliseconds, less than 2048.
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

/// A further account of the emulator.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The account number: 12 digits.
    pub account: String,
    /// The region of the streams; that of the configuration if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// The access key ID of accepted signatures.
    pub access_key: String,
    /// The secret access key of `access_key`.
    pub secret_key: String,
    /// Names of the streams.
    pub streams: Vec<String>,
}

impl Account {
    pub(crate) fn region(&self, config: &Config) -> String {
        self.region.clone().unwrap_or_else(|| config.region.clone())
    }
}

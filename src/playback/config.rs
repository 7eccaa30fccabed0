//! The `[playback]` section, and how long a capability lives.

use super::capability::Binding;
use crate::kvs::Timestamp;
use crate::kvs::bounds::{LIVE_WINDOW_MAX, LIVE_WINDOW_MIN};
use crate::setting::{Mistake, SecretSource, Span};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Section `[playback]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys of playback capabilities: the first seals, all of them open. None: a random one for the life of
    /// the process, which neither other replicas nor the next start share.
    pub keys: Vec<SecretSource>,
    /// The longest life of a capability, whatever the caller requests.
    pub max_ttl: Span,
    /// Most fragments that a caller may ask for in a LIVE playlist, 3 to 10.
    pub live_window: u16,
    /// True lets a capability live longer than the JWT that it was made with; policy still decides at each
    /// request.
    pub outlive_token: bool,
    /// What a capability is tied to besides its holder.
    pub bind: Bind,
    /// Who packages archived footage for players.
    pub archive: Packager,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            max_ttl: Span::seconds(12 * 3600),
            live_window: 5,
            outlive_token: false,
            bind: Bind::None,
            archive: Packager::Own,
        }
    }
}

impl Config {
    /// Makes relative key files start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        for key in &mut self.keys {
            key.resolve(folder);
        }
    }

    /// What is wrong with the settings, without reading any secret.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if !(LIVE_WINDOW_MIN..=LIVE_WINDOW_MAX).contains(&self.live_window) {
            mistakes.push(Mistake::at(
                "playback.live_window",
                format!("{} is out of bounds: write a number of fragments from 3 to 10", self.live_window),
            ));
        }
        if self.max_ttl < Span::seconds(60) || self.max_ttl > Span::seconds(7 * 86_400) {
            mistakes.push(Mistake::at(
                "playback.max_ttl",
                format!("{} is out of bounds: write a duration from 1m to 7d, such as 12h", self.max_ttl),
            ));
        }
        mistakes
    }
}

/// Who packages archived footage in fragmented MP4 for players.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Packager {
    /// kvs-edge, of stored fragments: ranges of any length, the same bytes for all viewers and replicas.
    #[default]
    Own,
    /// KVS, in playback sessions, as MPEG_TS and live playback always are.
    Kvs,
}

/// Whether a copied playback URL works elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Anyone who holds the URL may use it until it expires. Works in every player.
    #[default]
    None,
    /// Only from the address that requested it.
    Address,
    /// Only with the cookie that was set when it was requested: browsers only.
    Cookie,
}

impl Bind {
    /// Whether a capability that is bound so is bound as the setting demands now.
    #[must_use]
    pub fn is_met_by(self, bound: Option<&Binding>) -> bool {
        match self {
            Self::None => true,
            Self::Address => matches!(bound, Some(Binding::Address(_))),
            Self::Cookie => matches!(bound, Some(Binding::Cookie(_))),
        }
    }
}

/// Until when a capability made `now` may live.
///
/// `requested` is the caller's `Expires`, `token_expires` the `exp` of the caller's JWT.
#[must_use]
pub fn lifetime(now: Timestamp, requested: Duration, token_expires: Timestamp, config: &Config) -> Timestamp {
    let longest = now.plus(requested.min(config.max_ttl.0));
    if config.outlive_token { longest } else { longest.min(token_expires) }
}

//! What a player may hold on to: capabilities, and playlists that hold no secret.
//!
//! A player gets two things from kvs-edge. The *capability* ([`Statement`] sealed by [`Keys`]) is one opaque path
//! segment which says who may play what until when; any replica with the same key opens it. The *playlist or
//! manifest* ([`rewrite`]) is KVS's own with the session token taken out of every URI, relative, the same for all
//! viewers. Neither holds a KVS token or host, and what looks strange is refused, never repaired.
//!
//! This part is text in, text out. Who opens upstream sessions and keeps playlists continuous is `sessions`; who
//! answers the player is `gateway`.

mod capability;
mod compact;
mod dash;
pub mod hls;
mod keys;
mod leak;
pub mod mp4;
mod opened;
#[cfg(test)]
mod planted;
mod uri;

pub use capability::{Binding, Statement};
pub use keys::Keys;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use keys::PURPOSE;
pub use opened::{OpenedCapabilities, OpenedCapability};

use crate::kvs::bounds::{LIVE_WINDOW_MAX, LIVE_WINDOW_MIN};
use crate::kvs::{Resource, Timestamp};
use crate::setting::{Mistake, SecretSource, Span};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// Section `[playback]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keys of playback capabilities: the first seals, all of them open. None: a random one for the life of the
    /// process, which neither other replicas nor the next start share.
    pub keys: Vec<SecretSource>,
    /// The longest life of a capability, whatever was asked.
    pub max_ttl: Span,
    /// Most fragments that a LIVE playlist lists, 3 to 10.
    pub live_window: u16,
    /// True lets a capability live longer than the JWT that asked for it; policy is still asked at each request.
    pub outlive_token: bool,
    /// What a capability is tied to besides its holder.
    pub bind: Bind,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            max_ttl: Span::seconds(12 * 3600),
            live_window: 5,
            outlive_token: false,
            bind: Bind::None,
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

/// Whether a copied playback URL works elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bind {
    /// Anyone who holds the URL may use it until it expires. Works in every player.
    #[default]
    None,
    /// Only from the address that asked for it.
    Address,
    /// Only with the cookie that was set when it was asked for: browsers only.
    Cookie,
}

/// Until when a capability made `now` may live.
///
/// `requested` is the caller's `Expires`, `token_expires` the `exp` of the JWT that vouches for the caller.
#[must_use]
pub fn lifetime(now: Timestamp, requested: Duration, token_expires: Timestamp, config: &Config) -> Timestamp {
    let longest = now.plus(requested.min(config.max_ttl.0));
    if config.outlive_token { longest } else { longest.min(token_expires) }
}

/// Takes session token and foreign matter out of a playlist or manifest that KVS answered for `resource`.
///
/// `secrets` are the texts that must not come out: the session token and the upstream host. They are looked for in
/// the result, in plain and in encoded spellings, in whole and in pieces.
///
/// # Errors
/// [`Error`]: the text is not what `resource` should be, points elsewhere, or would leak. [`Error::Malformed`] too
/// if `resource` is media, which is nothing to rewrite.
pub fn rewrite(resource: &Resource, text: &str, secrets: &[&str]) -> Result<Rewritten, Error> {
    let clean = match resource {
        Resource::MasterPlaylist => Rewritten::Playlist(hls::clean_master(text)?),
        Resource::MediaPlaylist { .. } => Rewritten::Playlist(hls::clean_media(text)?),
        Resource::Manifest => Rewritten::Manifest(dash::rewrite(text)?),
        Resource::InitSegment { .. } | Resource::Mp4Fragment { .. } | Resource::TsFragment { .. } => {
            return Err(Error::Malformed("media is not rewritten"));
        }
    };
    leak::scan(clean.text(), secrets)?;
    Ok(clean)
}

/// What KVS answered, without secrets.
#[derive(Clone, PartialEq, Debug)]
pub enum Rewritten {
    /// A playlist of HLS, with its model.
    Playlist(hls::Playlist),
    /// A manifest of DASH.
    Manifest(String),
}

impl Rewritten {
    /// The text that may leave.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Playlist(playlist) => &playlist.text,
            Self::Manifest(text) => text,
        }
    }
}

/// No playlist or manifest of KVS comes near it: 5,000 fragments take 1.5 MB.
const LONGEST_TEXT: usize = 8 << 20;

/// Why a capability does not open, or a text is not passed on. No message repeats what was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Not a capability, or one that was tampered with; not a playlist or manifest.
    #[error("{0}")]
    Malformed(&'static str),
    /// Sealed by a key that is not, or no longer, configured.
    #[error("the playback capability was sealed with a key that is not in playback.keys")]
    UnknownKey,
    /// It holds only what policies read that are no longer in force.
    #[error("the policies have changed since the playback capability was made")]
    Outdated,
    /// Its time is over.
    #[error("the playback capability expired at {0}")]
    Expired(Timestamp),
    /// A URI that is absolute, unknown, or could be read as another by some player (`HARDENING.md`, threat 4).
    #[error("a URI in KVS's answer points elsewhere: {0}")]
    Foreign(&'static str),
    /// A session token or an upstream host would have left (law 3).
    #[error("KVS's answer holds {0} where none belongs")]
    Leak(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_lives_no_longer_than_asked_than_the_token_and_than_the_limit() {
        let config = Config::default();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        assert_eq!(lifetime(now, hour, now.plus(day), &config), now.plus(hour));
        assert_eq!(lifetime(now, day, now.plus(day), &config), now.plus(Duration::from_secs(43_200)));
        assert_eq!(lifetime(now, hour, now.plus(Duration::from_secs(9)), &config).age(now), Duration::ZERO);
        assert_eq!(
            lifetime(now, hour, now.plus(Duration::from_secs(9)), &config),
            now.plus(Duration::from_secs(9))
        );
        let outlive = Config { outlive_token: true, ..config };
        assert_eq!(lifetime(now, hour, now.plus(Duration::from_secs(9)), &outlive), now.plus(hour));
    }

    #[test]
    fn settings_out_of_bounds_say_what_to_write() {
        assert_eq!(Config::default().check(), []);
        let config = Config { live_window: 50, max_ttl: Span::seconds(1), ..Config::default() };
        let problems: Vec<_> = config.check().into_iter().map(|m| m.problem).collect();
        assert!(problems[0].contains("3 to 10") && problems[1].contains("12h"), "{problems:?}");
        assert!(toml::from_str::<Config>("bind = 'address'\nmax_ttl = '1h'").is_ok());
        assert!(toml::from_str::<Config>("window = 5").is_err());
    }
}

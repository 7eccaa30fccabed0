//! What a player may hold on to: capabilities, and playlists that hold no secret.
//!
//! A player gets two things from kvs-edge. The *capability* ([`Statement`] sealed by [`Keys`]) is one opaque
//! path segment which names a caller, what may be played or downloaded and until when; any replica with the
//! same key opens it. The tag of the stream at its beginning lets a load balancer keep a camera on one
//! replica. The *playlist or manifest* ([`rewrite`]) is KVS's own with the session token taken out of every
//! URI, relative, the same for all viewers. Neither holds a KVS token or host, and what looks strange is
//! refused, never repaired.
//!
//! This part turns texts into texts. `sessions` opens upstream sessions and keeps playlists continuous;
//! `gateway` answers the player.

mod capability;
mod compact;
mod config;
mod dash;
mod error;
pub mod hls;
mod keys;
mod link;
pub mod mp4;
mod opened;
mod stream_tag;
#[cfg(test)]
mod tests;
mod uri;

pub use capability::{Binding, Opens, Statement};
pub use config::{Bind, Config, Packager, lifetime};
pub use error::Error;
pub use keys::Keys;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use keys::PURPOSE;
pub use link::{Link, LinkFile};
pub use opened::{OpenedCapabilities, OpenedCapability};

use crate::kvs::{Resource, leak};

/// Takes session token and foreign matter out of a playlist or manifest that KVS answered for `resource`.
///
/// `secrets` are the texts that must not come out: the session token and the upstream host. They are looked
/// for in the result, in plain and in encoded spellings, in whole and in pieces.
///
/// # Errors
/// [`Error`]: the text is not what `resource` should be, points elsewhere, or would leak.
/// [`Error::Malformed`] too if `resource` is media, which is nothing to rewrite.
pub fn rewrite(resource: &Resource, text: &str, secrets: &[&str]) -> Result<Rewritten, Error> {
    let clean = match resource {
        Resource::MasterPlaylist => Rewritten::Playlist(hls::clean_master(text)?),
        Resource::MediaPlaylist { .. } => Rewritten::Playlist(hls::clean_media(text)?),
        Resource::Manifest => Rewritten::Manifest(dash::rewrite(text)?),
        Resource::InitSegment { .. }
        | Resource::Mp4Fragment { .. }
        | Resource::TsFragment { .. }
        | Resource::Packaged(_) => {
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

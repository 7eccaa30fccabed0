//! HLS playlists without secrets, as text and as a model.
//!
//! `clean` reads each playlist of KVS once: it writes every URI anew without the session token and passes
//! each line on to `model`, so that nothing else in kvs-edge reads the text again. `attributes` reads the
//! attribute lists of tags.

mod attributes;
mod clean;
mod model;

pub(super) use clean::{clean_master, clean_media};
pub use model::{Map, MediaPlaylist, Playlist, Segment};

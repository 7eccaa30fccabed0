//! Footage as fragments: MKV documents become MP4, HLS, DASH and joined MKV. Pure: bytes and rows in,
//! bytes out.
//!
//! A stored fragment never changes, so everything that is made of it is a pure function of its bytes, of the
//! rows that KVS lists and of the settings of the first fragment: every replica makes the same bytes.

pub mod clip;
mod document;
#[cfg(test)]
#[path = "tests/support.rs"]
pub(crate) mod documents;
mod error;
mod flac;
mod fragment;
pub mod mkv;
mod mp4;
mod output;
pub mod presentation;
mod runs;
mod settings;
mod timeline;
mod timing;

pub use document::Document;
pub use error::Refusal;
pub use fragment::{Codec, Fragment, Frame, Track, TrackKind};
pub use runs::run_starts;
pub use settings::TrackSettings;

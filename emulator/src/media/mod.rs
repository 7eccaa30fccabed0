//! The media of the cameras: three committed recordings of 40.96 s, and every form in which KVS serves them.
//!
//! The recordings are ordinary MP4 files and JPEGs that `make.sh` makes with ffmpeg. Everything else
//! (fragmented MP4, Matroska, MPEG-TS, clips) is written from their samples for each request, so that times
//! and numbers are right for any instant of an endless loop. Which fragments exist is decided in `archive`.

mod boxes;
pub(super) mod clip;
pub(super) mod fmp4;
pub(super) mod mkv;
pub(super) mod picture;
mod producer;
mod recording;
pub(super) mod ts;

pub use producer::Producer;
pub(super) use recording::{Recording, Track};

/// Video frames, and AAC frames, in one fragment.
pub(super) const FRAMES: usize = 32;
/// Fragments in one loop of a recording.
pub(super) const FRAGMENTS: u64 = 20;
/// How long one frame lasts, in both tracks: 15.625 pictures a second; 1024 samples at 16 kHz.
pub(super) const FRAME_MILLIS: u64 = 64;
/// How long one fragment lasts. Both tracks end on the same millisecond (see `make.sh`).
pub(super) const FRAGMENT_MILLIS: u64 = FRAME_MILLIS * FRAMES as u64;
/// Samples of sound in a second.
pub(super) const SAMPLE_RATE: u32 = 16_000;
/// Ticks in a millisecond in every MP4; both tracks count in 1/16000 s.
pub(super) const TICKS_PER_MILLI: u64 = 16;

//! The media of the cameras: committed recordings of 40.96 s, and every form in which KVS serves them.
//!
//! The recordings are ordinary MP4 files and JPEGs that `make.sh` makes with ffmpeg. Everything else
//! (fragmented MP4, Matroska, MPEG-TS, clips) is written from their samples for each request, so that times
//! and numbers are right for any instant of an endless loop. Which fragments exist is decided in `archive`;
//! `footage` collects the samples of one.

mod boxes;
pub(super) mod clip;
pub(super) mod fmp4;
mod footage;
pub(super) mod mkv;
mod mp4_source;
pub(super) mod picture;
mod producer;
mod recording;
mod sound;
pub(super) mod ts;

pub(super) use footage::{Footage, Span, rate};
pub use producer::{Container, FragmentSize, Producer, Recorded, Timecodes, Timing};
pub use recording::VideoCodec;
pub(super) use recording::{Recording, Track};
pub use sound::SoundCodec;

/// Pictures in one window of a recording, which has one JPEG and begins with a key frame.
pub(super) const WINDOW_FRAMES: u64 = 32;
/// Pictures in one loop of a recording.
pub(super) const LOOP_FRAMES: u64 = 640;
/// How long one picture lasts: 15.625 a second.
pub(super) const FRAME_MILLIS: u64 = 64;
/// How long one window lasts. With AAC of 16 kHz both tracks end on the same millisecond (see `make.sh`).
pub(super) const WINDOW_MILLIS: u64 = FRAME_MILLIS * WINDOW_FRAMES;
/// How long one loop lasts.
pub(super) const LOOP_MILLIS: u64 = FRAME_MILLIS * LOOP_FRAMES;
/// Ticks in a millisecond of the video track in every MP4: both tracks count in 1/16000 s with AAC of 16
/// kHz.
pub(super) const TICKS_PER_MILLI: u64 = 16;

//! The producer of a stream: what its camera records and how it writes it. One value per stream, from its
//! configuration; everything in which producers differ is a method here.

use super::Track;
use serde::Deserialize;

/// How the camera of a stream makes its fragments. Each has H.264 without B-frames, fragments of 2.048 s that
/// begin with a key frame, absolute timecodes, and the Matroska of an uploaded file (docs/KVS.md 9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Producer {
    /// A second track of AAC-LC, 16 kHz, mono.
    #[default]
    VideoAndAudio,
    /// No sound.
    VideoOnly,
}

impl Producer {
    /// The tracks of every fragment, in the order of their numbers.
    pub(crate) fn tracks(self) -> &'static [Track] {
        match self {
            Self::VideoAndAudio => &[Track::Video, Track::Audio],
            Self::VideoOnly => &[Track::Video],
        }
    }

    /// Whether there is a track of sound.
    pub(crate) fn has_audio(self) -> bool {
        self.tracks().contains(&Track::Audio)
    }

    /// DescribeStream's MediaType.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::VideoAndAudio => "video/h264,audio/aac",
            Self::VideoOnly => "video/h264",
        }
    }
}

//! The producer of a stream: what its camera records and how it writes it. One value per stream, from its
//! configuration or the operator API; everything in which producers differ is a field here.

use super::recording::VideoCodec;
use super::sound::SoundCodec;
use serde::{Deserialize, Serialize};

/// How the camera of a stream makes its fragments (docs/KVS.md 9.2).
#[derive(Clone, Copy, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Producer {
    /// The form of the Matroska documents.
    pub container: Container,
    /// What the timecodes of Clusters count from.
    pub timecodes: Timecodes,
    /// Where fragments begin, and when they arrive.
    pub timing: Timing,
    /// When the camera records.
    pub recording: Recorded,
    /// The video codec.
    pub video: VideoCodec,
    /// The sound codec.
    pub sound: SoundCodec,
    /// Before this instant, in seconds since 1970, fragments have no track of sound.
    pub sound_begins: Option<f64>,
    /// What FragmentSizeInBytes counts.
    pub fragment_size: FragmentSize,
    /// Whether FragmentLengthInMilliseconds is 0, as for some producers [seen G9].
    pub zero_length: bool,
    /// Whether every eighth fragment, on average, begins 200 ms before the fragment ahead of it ends.
    pub overlaps: bool,
    /// How many seconds after its recording a fragment is uploaded.
    pub upload_delay_seconds: u64,
    /// How many seconds the camera's clock, and with it producer timestamps, is ahead of the time; behind it
    /// if negative.
    pub clock_ahead_seconds: i64,
    /// Whether one fragment in five has no frame of sound. HLS does not list it on the track of sound.
    pub sound_missing: bool,
    /// A PutMedia session ends after so many seconds and the next begins: the counter of fragment numbers
    /// jumps.
    pub run_seconds: Option<u64>,
    /// Whether each PutMedia session has other codec settings than the one before: another size of the
    /// pictures.
    pub settings_change: bool,
    /// How many bytes of filler data each picture carries, which decoders skip: 32,000 make about 4 Mb/s.
    pub filler_bytes: u32,
}

/// The form of the Matroska documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// A finished file that was uploaded: DocTypeVersion 4, known sizes, a SeekHead that points at Cues
    /// that are not there, a Void.
    File,
    /// AWS's Producer SDK: DocTypeVersion 2, DocType with a NUL, Clusters of unknown size, sizes of eight
    /// bytes, CodecIDs padded with NULs, Tags of the producer.
    Sdk,
}

/// What the timecodes of Clusters count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timecodes {
    /// 1970.
    Absolute,
    /// The start of the PutMedia session. Producer timestamps are absolute.
    Relative,
    /// The start of the PutMedia session, which the producer did not send: producer timestamps count from
    /// it, too, and lie in 1970 (`0.000`, `5.000`).
    RelativeWithoutStart,
}

/// Where fragments begin, and when they arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Every 2.048 s; both tracks end on the same millisecond; a constant time to KVS.
    Regular,
    /// As measured [seen G13]: 0.297 to 1.495 s between fragments, frames that are up to 23 ms late, 0.346
    /// s ahead of server time to 1.471 s behind it. Sound does not end where fragments end.
    Jitter,
    /// As `Jitter`, and fragments from 0.3 to 18.4 s in one stream.
    Varied,
}

/// When the camera records.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Always.
    Continuous,
    /// Only motion: stretches of 10 to 60 s with minutes between them, each a PutMedia session.
    Motion,
}

/// What FragmentSizeInBytes counts; KVS does not say (docs/KVS.md 9.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FragmentSize {
    /// The frames.
    Payload,
    /// The whole chunk of GetMediaForFragmentList.
    Chunk,
}

impl Default for Producer {
    /// An uploaded file of H.264 and AAC with fragments of 2.048 s.
    fn default() -> Self {
        Self {
            container: Container::File,
            timecodes: Timecodes::Absolute,
            timing: Timing::Regular,
            recording: Recorded::Continuous,
            video: VideoCodec::H264,
            sound: SoundCodec::Aac,
            sound_begins: None,
            fragment_size: FragmentSize::Payload,
            zero_length: false,
            overlaps: false,
            upload_delay_seconds: 0,
            clock_ahead_seconds: 0,
            sound_missing: false,
            run_seconds: None,
            settings_change: false,
            filler_bytes: 0,
        }
    }
}

impl Producer {
    /// AWS's Producer SDK on a camera: unknown-size Clusters, real jitter, sizes of whole chunks.
    #[must_use]
    pub fn sdk() -> Self {
        Self {
            container: Container::Sdk,
            timing: Timing::Jitter,
            fragment_size: FragmentSize::Chunk,
            ..Self::default()
        }
    }

    /// DescribeStream's MediaType.
    pub(crate) fn media_type(&self) -> &'static str {
        let h265 = self.video == VideoCodec::H265;
        match self.sound {
            SoundCodec::None if h265 => "video/h265",
            SoundCodec::None => "video/h264",
            SoundCodec::Aac | SoundCodec::Aac48k if h265 => "video/h265,audio/aac",
            SoundCodec::Aac | SoundCodec::Aac48k => "video/h264,audio/aac",
            SoundCodec::Alaw if h265 => "video/h265,audio/alaw",
            SoundCodec::Alaw => "video/h264,audio/alaw",
            SoundCodec::Mulaw if h265 => "video/h265,audio/mulaw",
            SoundCodec::Mulaw => "video/h264,audio/mulaw",
        }
    }
}

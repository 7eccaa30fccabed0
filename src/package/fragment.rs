//! What a stored fragment holds: tracks and frames, by their place in the document.

use crate::kvs::{FragmentNumber, Timestamp};
use std::ops::Range;

/// One fragment, read.
#[derive(Clone, Debug)]
pub struct Fragment {
    /// In the order of the document.
    pub tracks: Vec<Track>,
    /// In the order of the document, which is decoding order within a track. Never empty. The first frame of
    /// a video track is a key frame.
    pub frames: Vec<Frame>,
    /// Nanoseconds per tick of the frames' times; 1,000,000 for nearly all producers.
    pub tick: u64,
    /// The time of the Cluster, in ticks: what the producer's timestamp of the fragment stands for.
    pub cluster_time: i64,
    /// Where the content of Tracks lies in the document.
    pub tracks_content: Range<usize>,
    /// Where the content of the Cluster lies in the document.
    pub cluster: Range<usize>,
    /// Where the Timestamp element lies in the Cluster, its head included; empty at the Cluster's beginning
    /// if there is none.
    pub cluster_timestamp: Range<usize>,
    /// AWS's tags, where they are there.
    pub number: Option<FragmentNumber>,
    /// AWS_KINESISVIDEO_SERVER_TIMESTAMP.
    pub server: Option<Timestamp>,
    /// AWS_KINESISVIDEO_PRODUCER_TIMESTAMP.
    pub producer: Option<Timestamp>,
}

/// One track of a fragment.
#[derive(Clone, Debug)]
pub struct Track {
    /// TrackNumber.
    pub number: u64,
    /// TrackType.
    pub kind: TrackKind,
    /// None: a codec that is not packaged. Such a track is left out if it is neither sound nor pictures.
    pub codec: Option<Codec>,
    /// CodecPrivate, as it is.
    pub private: Vec<u8>,
    /// PixelWidth, PixelHeight; 0 if absent.
    pub size: (u32, u32),
    /// SamplingFrequency in Hz; 8,000 if absent (RFC 9559).
    pub sampling_rate: f64,
    /// Channels; 1 if absent.
    pub channels: u32,
    /// DefaultDuration in nanoseconds.
    pub default_duration: Option<u64>,
}

/// What a track holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Anything else.
    Other,
}

/// A codec that can be packaged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// H.264.
    Avc,
    /// H.265.
    Hevc,
    /// AAC.
    Aac,
    /// G.711 A-law.
    Alaw,
    /// G.711 µ-law.
    Ulaw,
}

/// One frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// Index into [`Fragment::tracks`].
    pub track: u8,
    /// Whether decoding can begin here.
    pub key: bool,
    /// When it is presented, in ticks on the clock of `cluster_time`.
    pub time: i64,
    /// Where its bytes begin in the document.
    pub at: u32,
    /// How many they are; never 0.
    pub length: u32,
}

impl Fragment {
    /// How long after the Cluster's time this is, in units of which a second has so many; to the nearest.
    #[must_use]
    pub fn after_cluster(&self, time: i64, per_second: u32) -> i64 {
        scaled(i128::from(time) - i128::from(self.cluster_time), self.tick, per_second)
    }
}

/// Ticks of so many nanoseconds as units of which a second has so many, to the nearest.
#[must_use]
pub fn scaled(ticks: i128, tick: u64, per_second: u32) -> i64 {
    const SECOND: i128 = 1_000_000_000;
    let units = ticks.saturating_mul(i128::from(tick)).saturating_mul(i128::from(per_second));
    let nearest = units.saturating_add(SECOND / 2).div_euclid(SECOND);
    nearest.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl Frame {
    /// Where its bytes lie in the document.
    #[must_use]
    pub fn place(&self) -> Range<usize> {
        self.at as usize..self.at as usize + self.length as usize
    }
}

impl Codec {
    /// Whether it codes pictures.
    #[must_use]
    pub const fn is_video(self) -> bool {
        matches!(self, Self::Avc | Self::Hevc)
    }
}

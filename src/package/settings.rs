//! What is needed of a track to write its frames as MP4, and to name its codec.

use super::{Codec, Fragment, Refusal, Track};

/// The settings of one track, taken from a fragment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrackSettings {
    /// Its codec.
    pub codec: Codec,
    /// Units per second of its times in MP4: 90,000 for pictures, the sampling rate for sound.
    pub timescale: u32,
    /// avcC, hvcC, AudioSpecificConfig or WAVEFORMATEX.
    pub private: Vec<u8>,
    /// Pixels; 0 for sound.
    pub width: u16,
    /// Pixels; 0 for sound.
    pub height: u16,
    /// 1 to 8; 0 for pictures.
    pub channels: u16,
    /// Samples per frame of AAC (1,024); 0 for other codecs.
    pub frame: u32,
    /// The most by which a frame of the observed fragment is presented after it is decoded, in units of
    /// `timescale`: an edit list takes it back.
    pub delay: u32,
}

impl TrackSettings {
    /// The settings of a track, with no delay observed yet.
    ///
    /// # Errors
    /// Its codec or CodecPrivate cannot be packaged.
    pub fn of(track: &Track) -> Result<Self, Refusal> {
        let _ = track;
        Err(Refusal::Unsupported("not written yet"))
    }

    /// The settings of all tracks of a fragment that are packaged and have frames: pictures first, then
    /// sound, each with its index in [`Fragment::tracks`], delay observed.
    ///
    /// # Errors
    /// A track of pictures or sound cannot be packaged.
    pub fn of_fragment(fragment: &Fragment) -> Result<Vec<(usize, Self)>, Refusal> {
        let _ = fragment;
        Err(Refusal::Unsupported("not written yet"))
    }

    /// SPS, PPS (and VPS) of `private`, and how many bytes hold the length of each NAL unit.
    ///
    /// # Errors
    /// It is no avcC or hvcC.
    pub fn parameter_sets(&self) -> Result<(usize, Vec<&[u8]>), Refusal> {
        Err(Refusal::Unsupported("not written yet"))
    }

    /// RFC 6381: `avc1.64001f`, `hvc1.1.6.L93.B0`, `mp4a.40.2`, `alaw`, `ulaw`; `avc3`/`hev1` if parameter
    /// sets may stand in the stream.
    #[must_use]
    pub fn codec_string(&self, in_stream: bool) -> String {
        let _ = in_stream;
        String::new()
    }
}

impl TrackSettings {
    /// Whether sound of these settings can follow that of others without a new init segment.
    pub(super) fn same_sound(&self, other: &Self) -> bool {
        (self.codec, self.timescale, self.channels) == (other.codec, other.timescale, other.channels)
    }
}

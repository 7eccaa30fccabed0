//! What is needed of a track to write its frames as MP4, and to name its codec.

mod audio;
mod video;

use super::{Codec, Fragment, Refusal, Track};
use audio::{AacConfig, WaveFormat};
use video::DecoderConfig;

/// The settings of one track, taken from a fragment.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
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
    /// Samples per frame of AAC (1,024, or 960 if its settings say so); 0 for other codecs.
    pub frame: u32,
    /// The most by which a frame of the observed fragment is decoded after the time at which it is presented
    /// if frames are decoded at the sorted times of their presentation, in units of `timescale`. An edit list
    /// takes it back.
    pub delay: u32,
}

const VIDEO_TIMESCALE: u32 = 90_000;
/// Seconds. More than any encoder reorders; a broken clock must not delay a clip for hours.
const MOST_DELAY: u32 = 2;

impl TrackSettings {
    /// The settings of a track, with no delay observed yet.
    ///
    /// # Errors
    /// Its codec or CodecPrivate cannot be packaged.
    pub fn of(track: &Track) -> Result<Self, Refusal> {
        let codec = track.codec.ok_or(Refusal::Unsupported("its codec is not packaged"))?;
        let settings = Self {
            codec,
            timescale: VIDEO_TIMESCALE,
            private: track.private.clone(),
            width: 0,
            height: 0,
            channels: 0,
            frame: 0,
            delay: 0,
        };
        match codec {
            Codec::Avc | Codec::Hevc => settings.video(track.size),
            Codec::Aac => settings.aac(track.channels),
            Codec::Alaw | Codec::Ulaw => settings.g711(),
        }
    }

    /// The settings of all tracks of a fragment that are packaged and have frames: pictures first, then
    /// sound, each with its index in [`Fragment::tracks`], delay observed.
    ///
    /// # Errors
    /// A track of pictures or sound cannot be packaged.
    pub fn of_fragment(fragment: &Fragment) -> Result<Vec<(usize, Self)>, Refusal> {
        let mut found = Vec::new();
        for (index, track) in fragment.tracks.iter().enumerate() {
            if track.codec.is_some() && fragment.frames.iter().any(|frame| usize::from(frame.track) == index)
            {
                let mut settings = Self::of(track)?;
                settings.observe(fragment, index);
                found.push((index, settings));
            }
        }
        found.sort_by_key(|(index, settings)| (!settings.codec.is_video(), *index));
        Ok(found)
    }

    /// SPS, PPS (and VPS) of `private`, and how many bytes hold the length of each NAL unit. Each of them is
    /// short enough for such a length.
    ///
    /// # Errors
    /// It is no avcC or hvcC.
    pub fn parameter_sets(&self) -> Result<(usize, Vec<&[u8]>), Refusal> {
        let config = DecoderConfig::read(self.codec, &self.private)?;
        Ok((config.length_size, config.parameter_sets))
    }

    /// RFC 6381: `avc1.64001f`, `hvc1.1.6.L93.B0`, `mp4a.40.2`, `alaw`, `ulaw`; `avc3`/`hev1` if parameter
    /// sets may stand in the stream.
    #[must_use]
    pub fn codec_string(&self, in_stream: bool) -> String {
        match self.codec {
            Codec::Avc => video::avc_string(&self.private, in_stream),
            Codec::Hevc => video::hevc_string(&self.private, in_stream),
            Codec::Aac => {
                let object_type = AacConfig::read(&self.private).map_or(audio::LC, |aac| aac.object_type);
                format!("mp4a.40.{object_type}")
            }
            Codec::Alaw => "alaw".into(),
            Codec::Ulaw => "ulaw".into(),
        }
    }

    /// Whether sound of these settings can follow that of others without a new init segment.
    pub(super) fn same_sound(&self, other: &Self) -> bool {
        (self.codec, self.timescale, self.channels) == (other.codec, other.timescale, other.channels)
    }

    /// Sees by how much the pictures of a fragment are reordered. Matroska has times of presentation only: a
    /// picture can be decoded at the time that has its place among the sorted ones, if presentation waits for
    /// as long as the latest picture needs.
    fn observe(&mut self, fragment: &Fragment, index: usize) {
        if !self.codec.is_video() {
            return;
        }
        let frames = fragment.frames.iter().filter(|frame| usize::from(frame.track) == index);
        let presented: Vec<_> =
            frames.map(|frame| fragment.after_cluster(frame.time, self.timescale)).collect();
        let mut decoded = presented.clone();
        decoded.sort_unstable();
        let late =
            presented.iter().zip(&decoded).map(|(presented, decoded)| decoded.saturating_sub(*presented));
        let most = i64::from(self.timescale * MOST_DELAY);
        self.delay = late.max().unwrap_or(0).clamp(0, most) as u32;
    }

    fn video(self, (width, height): (u32, u32)) -> Result<Self, Refusal> {
        const SIZE: Refusal = Refusal::Unsupported("its pictures are larger than 65,535 pixels");
        DecoderConfig::read(self.codec, &self.private)?;
        let width = width.try_into().map_err(|_| SIZE)?;
        Ok(Self { width, height: height.try_into().map_err(|_| SIZE)?, ..self })
    }

    /// `channels` counts if its own settings leave them to the stream.
    fn aac(self, channels: u32) -> Result<Self, Refusal> {
        let aac = AacConfig::read(&self.private)?;
        let channels = if aac.channels > 0 { aac.channels } else { channels.clamp(1, 8) as u16 };
        Ok(Self { timescale: aac.sampling_rate, frame: aac.samples_per_frame, channels, ..self })
    }

    fn g711(self) -> Result<Self, Refusal> {
        let wave = WaveFormat::read(&self.private)?;
        Ok(Self { timescale: wave.sampling_rate, channels: wave.channels, ..self })
    }
}

#[cfg(test)]
#[path = "../tests/settings.rs"]
mod tests;

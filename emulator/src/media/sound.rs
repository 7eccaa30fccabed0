//! The sound of a stream as an endless sequence of frames: AAC from the recordings, G.711 computed.

use super::mp4_source;
use super::{LOOP_MILLIS, Recording};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use std::sync::LazyLock;

/// The sound codec.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SoundCodec {
    /// No track of sound.
    None,
    /// AAC-LC, mono, 16 kHz: a frame lasts 64 ms.
    Aac,
    /// AAC-LC, mono, 48 kHz: a frame lasts 21 1/3 ms, which no Matroska timecode can say.
    #[serde(rename = "aac_48k")]
    Aac48k,
    /// G.711 A-law, 8 kHz, in frames of 20 ms.
    Alaw,
    /// G.711 µ-law, 8 kHz, in frames of 20 ms.
    Mulaw,
}

/// The bytes of G.711 in one frame.
const G711_FRAME: usize = 160;

impl SoundCodec {
    /// Samples in a second, and ticks of the track in every MP4.
    pub(crate) fn rate(self) -> u32 {
        match self {
            Self::None | Self::Aac => 16_000,
            Self::Aac48k => 48_000,
            Self::Alaw | Self::Mulaw => 8_000,
        }
    }

    /// Samples in a frame.
    pub(crate) fn frame_samples(self) -> u32 {
        match self {
            Self::None | Self::Aac | Self::Aac48k => 1024,
            Self::Alaw | Self::Mulaw => G711_FRAME as u32,
        }
    }

    /// Whether it is G.711.
    pub(crate) fn is_g711(self) -> bool {
        matches!(self, Self::Alaw | Self::Mulaw)
    }

    /// Frames in one loop: 40.96 s.
    pub(crate) fn loop_frames(self) -> u64 {
        LOOP_MILLIS * u64::from(self.rate()) / 1000 / u64::from(self.frame_samples())
    }

    /// The number of the first frame that begins at or after `ticks`.
    pub(crate) fn first_at(self, ticks: u64) -> u64 {
        ticks.div_ceil(u64::from(self.frame_samples()))
    }

    /// Frame `number` of the endless sequence; the recording has the AAC of 16 kHz.
    pub(crate) fn frame(self, recording: &Recording, number: u64) -> Bytes {
        let at = (number % self.loop_frames()) as usize;
        let bytes = |all: &Bytes| all.slice(at * G711_FRAME..(at + 1) * G711_FRAME);
        match self {
            Self::None | Self::Aac => recording.aac[at].clone(),
            Self::Aac48k => AAC_48K.frames[at].clone(),
            Self::Alaw => bytes(&ALAW),
            Self::Mulaw => bytes(&MULAW),
        }
    }

    /// The codec private data: AudioSpecificConfig, or WAVEFORMATEX.
    pub(crate) fn private_data(self, recording: &Recording) -> Bytes {
        match self {
            Self::None | Self::Aac => recording.asc.clone(),
            Self::Aac48k => AAC_48K.config.clone(),
            Self::Alaw => wave_format(6),
            Self::Mulaw => wave_format(7),
        }
    }

    /// Its name in `CODECS` of playlists and manifests.
    pub(crate) fn codec_name(self) -> &'static str {
        match self {
            Self::None | Self::Aac | Self::Aac48k => "mp4a.40.2",
            Self::Alaw => "alaw",
            Self::Mulaw => "ulaw",
        }
    }
}

/// WAVEFORMATEX of G.711: mono, 8 kHz, 8 bits.
fn wave_format(tag: u16) -> Bytes {
    let mut out = Vec::with_capacity(18);
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&8000_u32.to_le_bytes());
    out.extend_from_slice(&8000_u32.to_le_bytes());
    out.extend_from_slice(&1_u16.to_le_bytes());
    out.extend_from_slice(&8_u16.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.into()
}

static AAC_48K: LazyLock<mp4_source::Track> = LazyLock::new(|| {
    let file = Bytes::from_static(include_bytes!("../../media/sound-48k.mp4"));
    let [track] = mp4_source::tracks(&file).try_into().unwrap_or_else(|_| panic!("make.sh writes one track"));
    track
});
static ALAW: LazyLock<Bytes> = LazyLock::new(|| pcm().map(alaw).collect::<Vec<u8>>().into());
static MULAW: LazyLock<Bytes> = LazyLock::new(|| pcm().map(mulaw).collect::<Vec<u8>>().into());

/// One loop at 8 kHz: the hum of `make.sh` and a beep of 0.128 s every 2.048 s. Whole periods in the loop,
/// so that it joins its own beginning.
fn pcm() -> impl Iterator<Item = i16> {
    let samples = LOOP_MILLIS * 8;
    (0..samples).map(move |n| {
        let turn = |times: u64| (TAU * ((n * times) % samples) as f64 / samples as f64).sin();
        let beep = if n % 16_384 < 1024 { 0.12 * turn(36_044) } else { 0.0 };
        ((0.05 * turn(9011) + 0.02 * turn(18_022) + beep) * 32_767.0) as i16
    })
}

/// A-law (ITU-T G.711): sign, three bits of exponent, four of mantissa, the even bits inverted.
fn alaw(sample: i16) -> u8 {
    let (sign, value) = if sample < 0 { (0, !sample >> 3) } else { (0x80, sample >> 3) };
    // 13 bits: a magnitude of at most 4095.
    let exponent = (16 - value.leading_zeros()).saturating_sub(5);
    let mantissa = if exponent > 1 { value >> exponent } else { value >> 1 } & 0x0f;
    (sign | (exponent as u8) << 4 | mantissa as u8) ^ 0x55
}

/// µ-law (ITU-T G.711): a bias of 33 in 14 bits, all bits inverted.
fn mulaw(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let value = (i32::from(sample).abs().min(32_635) + 132) as u32;
    let exponent = 24 - value.leading_zeros().min(24);
    let mantissa = value >> (exponent + 3) & 0x0f;
    !(sign | (exponent as u8) << 4 | mantissa as u8)
}

//! AudioSpecificConfig (ISO/IEC 14496-3, 1.6.2) and WAVEFORMATEX: the settings of AAC and G.711.

use crate::package::Refusal;

/// The audio object type of AAC LC.
pub(super) const LC: u8 = 2;
/// AAC Main, LC, SSR and LTP, and what stands for LC with SBR and PS.
const OBJECT_TYPES: [u8; 6] = [1, LC, 3, 4, SBR, PS];
const SBR: u8 = 5;
const PS: u8 = 29;

const SAMPLING_RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// By channelConfiguration. 0: the stream says. 7 and 14 have eight, some are reserved or have more.
const CHANNELS: [Option<u16>; 16] = [
    Some(0),
    Some(1),
    Some(2),
    Some(3),
    Some(4),
    Some(5),
    Some(6),
    Some(8),
    None,
    None,
    None,
    Some(7),
    Some(8),
    None,
    Some(8),
    None,
];

/// What an AudioSpecificConfig says of the core of the stream; SBR doubles its rate when it is decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AacConfig {
    pub(super) object_type: u8,
    /// Hz.
    pub(super) sampling_rate: u32,
    /// 0: the stream says.
    pub(super) channels: u16,
    pub(super) samples_per_frame: u32,
}

impl AacConfig {
    pub(super) fn read(config: &[u8]) -> Result<Self, Refusal> {
        let bits = Bits { bytes: config, at: 0 };
        let found = Self::from_bits(bits);
        let found = found.ok_or(Refusal::Unsupported("a CodecPrivate is no AudioSpecificConfig"))?;
        if !OBJECT_TYPES.contains(&found.object_type) {
            return Err(Refusal::Unsupported("its sound is another kind of AAC than LC, SBR and PS"));
        }
        Ok(found)
    }

    fn from_bits(mut bits: Bits<'_>) -> Option<Self> {
        let object_type = bits.object_type()?;
        let sampling_rate = bits.sampling_rate()?;
        let channels = CHANNELS[bits.take(4)? as usize]?; // four bits: below 16
        if matches!(object_type, SBR | PS) {
            // The rate after SBR, then the type of the core.
            bits.sampling_rate()?;
            bits.object_type()?;
        }
        let is_short = bits.take(1)? == 1;
        let samples_per_frame = if is_short { 960 } else { 1024 };
        Some(Self { object_type, sampling_rate, channels, samples_per_frame })
    }
}

struct Bits<'b> {
    bytes: &'b [u8],
    /// In bits.
    at: usize,
}

impl Bits<'_> {
    /// Up to 32 bits.
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u8> {
        const ESCAPE: u32 = 31;
        let value = match self.take(5)? {
            ESCAPE => 32 + self.take(6)?,
            value => value,
        };
        u8::try_from(value).ok()
    }

    /// In Hz; 13 and 14 are reserved.
    fn sampling_rate(&mut self) -> Option<u32> {
        const ESCAPE: u32 = 15;
        match self.take(4)? {
            ESCAPE => self.take(24).filter(|rate| *rate > 0),
            index => SAMPLING_RATES.get(index as usize).copied(),
        }
    }
}

/// What a WAVEFORMATEX says besides its format.
pub(super) struct WaveFormat {
    /// 1 to 8.
    pub(super) channels: u16,
    /// Hz; at most 384,000.
    pub(super) sampling_rate: u32,
}

impl WaveFormat {
    pub(super) fn read(format: &[u8]) -> Result<Self, Refusal> {
        // Format tag, channels and rate; bytes per second, alignment and bits follow from them.
        let [_, _, a, b, c, d, e, f, ..] = *format else {
            return Err(Refusal::Unsupported("a CodecPrivate is no WAVEFORMATEX"));
        };
        let channels = u16::from_le_bytes([a, b]);
        let sampling_rate = u32::from_le_bytes([c, d, e, f]);
        if !(1..=8).contains(&channels) || !(1..=384_000).contains(&sampling_rate) {
            return Err(Refusal::Unsupported("its WAVEFORMATEX has no usual channels or rate"));
        }
        Ok(Self { channels, sampling_rate })
    }
}

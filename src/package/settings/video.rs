//! avcC and hvcC: the settings of H.264 and H.265 (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1), and how RFC 6381
//! names them.

use crate::package::{Codec, Refusal};
use std::fmt::Write;

/// What an avcC or hvcC holds.
pub(super) struct DecoderConfig<'b> {
    /// Bytes of the length in front of each NAL unit: 1, 2 or 4.
    pub(super) length_size: usize,
    /// In their order; never empty.
    pub(super) parameter_sets: Vec<&'b [u8]>,
}

/// Of H.265: VPS, SPS and PPS. An hvcC may hold SEI messages too, which do not belong to each key frame.
const HEVC_PARAMETER_SETS: std::ops::RangeInclusive<u8> = 32..=34;

impl<'b> DecoderConfig<'b> {
    pub(super) fn read(codec: Codec, private: &'b [u8]) -> Result<Self, Refusal> {
        const NO_CONFIG: Refusal = Refusal::Unsupported("a CodecPrivate is no avcC or hvcC");
        let config = match codec {
            Codec::Avc => Self::avc(private),
            Codec::Hevc => Self::hevc(private),
            Codec::Aac | Codec::Alaw | Codec::Ulaw => None,
        };
        let config = config.ok_or(NO_CONFIG)?;
        if config.parameter_sets.is_empty() {
            return Err(Refusal::Unsupported("a CodecPrivate has no parameter sets"));
        }
        let most = (1_u64 << (8 * config.length_size)) - 1;
        if config.parameter_sets.iter().any(|set| set.is_empty() || set.len() as u64 > most) {
            return Err(NO_CONFIG);
        }
        Ok(config)
    }

    fn avc(private: &'b [u8]) -> Option<Self> {
        // Version, profile, compatibility, level, size of lengths, count of SPS.
        let [1, _, _, _, lengths, count, ..] = *private else { return None };
        let mut units = NalUnits { rest: &private[6..] };
        let mut parameter_sets = Vec::new();
        for _ in 0..count & 31 {
            parameter_sets.push(units.set()?);
        }
        for _ in 0..units.byte()? {
            parameter_sets.push(units.set()?);
        }
        Some(Self { length_size: length_size(lengths)?, parameter_sets })
    }

    fn hevc(private: &'b [u8]) -> Option<Self> {
        // The version comes first; the size of lengths and the count of arrays are bytes 21 and 22.
        if private.first() != Some(&1) {
            return None;
        }
        let (head, arrays) = private.split_at_checked(23)?;
        let mut units = NalUnits { rest: arrays };
        let mut parameter_sets = Vec::new();
        for _ in 0..head[22] {
            units.byte()?;
            for _ in 0..units.number()? {
                let unit = units.set()?;
                let kind = unit.first()? >> 1 & 63;
                if HEVC_PARAMETER_SETS.contains(&kind) {
                    parameter_sets.push(unit);
                }
            }
        }
        Some(Self { length_size: length_size(head[21])?, parameter_sets })
    }
}

/// Three bytes are reserved.
fn length_size(byte: u8) -> Option<usize> {
    let size = usize::from(byte & 3) + 1;
    (size != 3).then_some(size)
}

struct NalUnits<'b> {
    rest: &'b [u8],
}

impl<'b> NalUnits<'b> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    /// A NAL unit behind its length.
    fn set(&mut self) -> Option<&'b [u8]> {
        let length = usize::from(self.number()?);
        let (set, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(set)
    }
}

/// `avc1.64001f`: profile, compatibility and level.
pub(super) fn avc_string(private: &[u8], in_stream: bool) -> String {
    let name = if in_stream { "avc3" } else { "avc1" };
    let [_, profile, compatibility, level, ..] = *private else { return name.into() };
    format!("{name}.{profile:02x}{compatibility:02x}{level:02x}")
}

/// `hvc1.1.6.L93.B0` (ISO/IEC 14496-15, E.3): profile space and profile, compatibility flags from the lowest
/// bit up, tier and level, then the bytes of the constraints without the zeros at their end.
pub(super) fn hevc_string(private: &[u8], in_stream: bool) -> String {
    let name = if in_stream { "hev1" } else { "hvc1" };
    let Some(general) = private.get(1..13) else { return name.into() };
    let space = ["", "A", "B", "C"][usize::from(general[0] >> 6)];
    let tier = if general[0] & 0x20 == 0 { 'L' } else { 'H' };
    let profile = general[0] & 31;
    let flags = u32::from_be_bytes([general[1], general[2], general[3], general[4]]).reverse_bits();
    let (constraints, level) = (&general[5..11], general[11]);
    let mut text = format!("{name}.{space}{profile}.{flags:X}.{tier}{level}");
    let length = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    for byte in &constraints[..length] {
        // Writing to a String does not fail.
        let _ = write!(text, ".{byte:X}");
    }
    text
}

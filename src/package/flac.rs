//! G.711 as FLAC (RFC 9639): lossless, and known to the media sources of browsers, which take neither A-law
//! nor µ-law.
//!
//! Each frame of G.711 becomes one frame of FLAC, a pure function of its bytes and of the number of its first
//! sample. The encoder tries the fixed predictors and codes the residual with one Rice parameter: G.711 has
//! 8 bits of information a sample, so more effort would save little.

use super::{Codec, Refusal};

/// The content of the `dfLa` box behind its version and flags, or what follows `fLaC` in a file: STREAMINFO
/// (RFC 9639 8.2), the only metadata. Lengths and the checksum of the whole are not known, which 0 says.
#[must_use]
pub(super) fn stream_info(sampling_rate: u32, channels: u16) -> Vec<u8> {
    const LAST_BLOCK_STREAM_INFO: u8 = 0x80;
    const LENGTH: u8 = 34;
    const LEAST_BLOCK: u16 = 16;
    let mut bits = Bits::default();
    bits.put(u64::from(LAST_BLOCK_STREAM_INFO), 8);
    bits.put(u64::from(LENGTH), 24);
    bits.put(u64::from(LEAST_BLOCK), 16);
    bits.put(MOST_SAMPLES as u64, 16);
    bits.put(0, 24); // the smallest frame
    bits.put(0, 24); // the largest frame
    bits.put(u64::from(sampling_rate), 20);
    bits.put(u64::from(channels.clamp(1, MOST_CHANNELS)) - 1, 3);
    bits.put(SAMPLE_BITS - 1, 5);
    bits.put(0, 36); // samples
    bits.put(0, 64); // MD5, 16 bytes
    bits.put(0, 64);
    bits.bytes
}

/// One frame of G.711, whose channels alternate byte by byte, as one frame of FLAC. `first_sample` is the
/// number of its first sample, of which FLAC keeps 36 bits. Bytes that are no whole sample of all channels
/// are left out.
///
/// # Errors
/// It is not G.711, has no samples, or more than a frame of FLAC can have.
pub(super) fn frame(codec: Codec, channels: u16, g711: &[u8], first_sample: u64) -> Result<Vec<u8>, Refusal> {
    let decode = match codec {
        Codec::Alaw => alaw,
        Codec::Ulaw => ulaw,
        Codec::Avc | Codec::Hevc | Codec::Aac => return Err(Refusal::Unsupported("it is not G.711")),
    };
    let channels = channels.clamp(1, MOST_CHANNELS);
    let step = usize::from(channels);
    let samples = g711.len() / step;
    if samples == 0 {
        return Err(Refusal::Unsupported("a frame has less than one sample"));
    }
    if samples > MOST_SAMPLES {
        return Err(Refusal::TooLarge("samples in a frame of sound"));
    }
    let mut bits = Bits::default();
    frame_header(&mut bits, channels, samples, first_sample);
    for channel in 0..step {
        let samples = g711.chunks_exact(step).map(|bytes| decode(bytes[channel])).collect();
        subframe(&mut bits, samples);
    }
    bits.align();
    let check = crc16(&bits.bytes);
    bits.put(u64::from(check), 16);
    Ok(bits.bytes)
}

/// RFC 9639 8.2: a block has at most 65,535 samples.
const MOST_SAMPLES: usize = u16::MAX as usize;
const MOST_CHANNELS: u16 = 8;
/// G.711 decodes to 14 and 13 bits, which are taken to the upper end of 16.
const SAMPLE_BITS: u64 = 16;

/// RFC 9639 9.1. The rate is left to STREAMINFO.
fn frame_header(bits: &mut Bits, channels: u16, samples: usize, first_sample: u64) {
    const SYNC_AND_VARIABLE_BLOCK_SIZE: u64 = 0xFFF9;
    const BLOCK_SIZE_IN_16_BITS: u64 = 0b0111;
    const RATE_OF_STREAM_INFO: u64 = 0;
    const SAMPLES_OF_16_BITS: u64 = 0b100;
    bits.put(SYNC_AND_VARIABLE_BLOCK_SIZE, 16);
    bits.put(BLOCK_SIZE_IN_16_BITS, 4);
    bits.put(RATE_OF_STREAM_INFO, 4);
    // Independent channels.
    bits.put(u64::from(channels) - 1, 4);
    bits.put(SAMPLES_OF_16_BITS, 3);
    bits.put(0, 1);
    bits.put_coded_number(first_sample & ((1 << 36) - 1));
    bits.put(samples as u64 - 1, 16);
    let check = crc8(&bits.bytes);
    bits.put(u64::from(check), 8);
}

/// The samples of one channel by the fixed predictor that leaves the smallest residual (RFC 9639 9.2.5).
fn subframe(bits: &mut Bits, samples: Vec<i32>) {
    const MOST_ORDER: usize = 4;
    const FIXED_PREDICTOR: u64 = 0b00_1000;
    let first = samples[..samples.len().min(MOST_ORDER)].to_vec();
    let size = |residual: &[i32]| residual.iter().map(|value| u64::from(value.unsigned_abs())).sum::<u64>();
    // The residual of order n + 1 is the difference of neighbours in that of order n.
    let mut residual = samples;
    let (mut best, mut best_size, mut best_order) = (residual.clone(), size(&residual), 0);
    for order in 1..=MOST_ORDER.min(residual.len() - 1) {
        residual = residual.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let size = size(&residual);
        if size < best_size {
            (best, best_size, best_order) = (residual.clone(), size, order);
        }
    }
    bits.put(0, 1);
    bits.put(FIXED_PREDICTOR | best_order as u64, 6);
    bits.put(0, 1); // no wasted bits
    for warm_up in &first[..best_order] {
        bits.put_signed(*warm_up, SAMPLE_BITS as u32);
    }
    rice(bits, &best, best_size);
}

/// A residual whose absolute values have this sum, in one partition (RFC 9639 9.2.7).
fn rice(bits: &mut Bits, residual: &[i32], sum: u64) {
    const MOST_PARAMETER: u32 = 14;
    let mean = sum * 2 / residual.len().max(1) as u64;
    let parameter = mean.checked_ilog2().unwrap_or(0).min(MOST_PARAMETER);
    bits.put(0, 2); // parameters of 4 bits
    bits.put(0, 4); // one partition
    bits.put(u64::from(parameter), 4);
    for value in residual {
        // 0, -1, 1, -2, 2, … become 0, 1, 2, 3, 4, …
        let folded = (value << 1 ^ value >> 31) as u32;
        bits.put_unary(folded >> parameter);
        bits.put(u64::from(folded), parameter);
    }
}

/// Bits, the highest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits that do not fill a byte yet, in the low end.
    rest: u8,
    /// How many they are.
    count: u32,
}

impl Bits {
    /// The lowest `count` bits of a value; at most 64.
    fn put(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            let taken = count.min(8 - self.count);
            count -= taken;
            let part = (value >> count) as u8 & (u8::MAX >> (8 - taken));
            // A whole byte leaves nothing of `rest`, which is 0 then.
            self.rest = self.rest.checked_shl(taken).unwrap_or(0) | part;
            self.count += taken;
            if self.count == 8 {
                self.bytes.push(self.rest);
                (self.rest, self.count) = (0, 0);
            }
        }
    }

    fn put_signed(&mut self, value: i32, count: u32) {
        // Two's complement: the lowest bits are the same in any width.
        self.put(value as u64, count);
    }

    /// So many zeros, then a one.
    fn put_unary(&mut self, zeros: u32) {
        (0..zeros / 64).for_each(|_| self.put(0, 64));
        self.put(0, zeros % 64);
        self.put(1, 1);
    }

    /// A number of up to 36 bits as UTF-8 would write it (RFC 9639 9.1.5).
    fn put_coded_number(&mut self, number: u64) {
        if number < 0x80 {
            return self.put(number, 8);
        }
        // With n bytes that follow, the first has 6 - n bits of the number, and each other 6.
        let following = (1..6).find(|n| number >> (6 * n + 6 - n) == 0).unwrap_or(6);
        let marks = !(u64::from(u8::MAX) >> (following + 1));
        self.put(marks | number >> (6 * following), 8);
        for index in (0..following).rev() {
            self.put(0x80 | number >> (6 * index) & 0x3F, 8);
        }
    }

    fn align(&mut self) {
        self.put(0, (8 - self.count) % 8);
    }
}

/// Polynomial x⁸ + x² + x + 1 (RFC 9639 9.1.8).
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |check, byte| {
        (0..8).fold(check ^ byte, |check, _| if check & 0x80 == 0 { check << 1 } else { check << 1 ^ 0x07 })
    })
}

/// Polynomial x¹⁶ + x¹⁵ + x² + 1 (RFC 9639 9.3).
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |check, byte| {
        let check = check ^ u16::from(*byte) << 8;
        (0..8).fold(check, |check, _| if check & 0x8000 == 0 { check << 1 } else { check << 1 ^ 0x8005 })
    })
}

/// ITU-T G.711, table 1: sign, three bits of segment and four of a step, with alternate bits inverted.
fn alaw(byte: u8) -> i32 {
    let code = i32::from(byte ^ 0x55);
    let (segment, step) = (code >> 4 & 7, code & 15);
    // The middle of the step.
    let magnitude = match segment {
        0 => (step << 4) + 8,
        _ => ((step << 4) + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

/// ITU-T G.711, table 2: sign, three bits of segment and four of a step, all inverted.
fn ulaw(byte: u8) -> i32 {
    const BIAS: i32 = 0x84;
    let code = i32::from(!byte);
    let (segment, step) = (code >> 4 & 7, code & 15);
    let magnitude = (((step << 3) + BIAS) << segment) - BIAS;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
#[path = "tests/flac.rs"]
mod tests;

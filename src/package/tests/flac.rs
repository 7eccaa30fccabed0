//! Frames of FLAC against a decoder that others wrote.

use super::*;
use proptest::prelude::*;
use std::io::Cursor;

/// What the frames decode to, channel by channel as they are interleaved.
fn decoded(sampling_rate: u32, channels: u16, frames: &[Vec<u8>]) -> Vec<i32> {
    let stream = [&b"fLaC"[..], &stream_info(sampling_rate, channels), &frames.concat()].concat();
    let mut reader = claxon::FlacReader::new(Cursor::new(stream)).unwrap();
    let info = reader.streaminfo();
    assert_eq!((info.sample_rate, info.channels), (sampling_rate, u32::from(channels)));
    reader.samples().collect::<Result<_, _>>().unwrap()
}

fn pcm(codec: Codec, g711: &[u8]) -> Vec<i32> {
    g711.iter().map(|byte| if codec == Codec::Alaw { alaw(*byte) } else { ulaw(*byte) }).collect()
}

#[test]
fn the_laws_have_the_values_of_the_standard() {
    // Ends and middle of the range: G.711 tables 1a to 2b, taken to 16 bits.
    for (byte, value) in [(0xD5, 8), (0x55, -8), (0xAA, 32_256), (0x2A, -32_256), (0xC5, 264), (0x80, 5504)] {
        assert_eq!(alaw(byte), value, "{byte:x}");
    }
    for (byte, value) in [(0xFF, 0), (0x7F, 0), (0x80, 32_124), (0x00, -32_124), (0xFE, 8), (0xEF, 132)] {
        assert_eq!(ulaw(byte), value, "{byte:x}");
    }
}

#[test]
fn every_code_survives() {
    let all: Vec<u8> = (0..=255).collect();
    for codec in [Codec::Alaw, Codec::Ulaw] {
        let frame = frame(codec, 1, &all, 0).unwrap();
        assert_eq!(decoded(8000, 1, &[frame]), pcm(codec, &all));
    }
}

#[test]
fn speech_takes_less_than_its_samples_of_16_bits_and_silence_almost_nothing() {
    let silence = frame(Codec::Alaw, 1, &[0xD5; 160], 0).unwrap();
    assert!(silence.len() < 40, "{}", silence.len());
    let tone: Vec<u8> = (0..160_u32).map(|at| 0x80 | ((at as f64 / 5.0).sin() * 40.0 + 60.0) as u8).collect();
    assert!(frame(Codec::Ulaw, 1, &tone, 0).unwrap().len() < 320);
}

#[test]
fn frames_have_at_least_one_sample_and_at_most_65_535() {
    assert!(frame(Codec::Alaw, 2, &[1], 0).is_err());
    assert!(frame(Codec::Alaw, 1, &[], 0).is_err());
    assert_eq!(frame(Codec::Alaw, 1, &[7; 65_536], 0), Err(Refusal::TooLarge("samples in a frame of sound")));
    let longest = frame(Codec::Alaw, 1, &[7; 65_535], 0).unwrap();
    assert_eq!(decoded(8000, 1, &[longest]).len(), 65_535);
    assert!(frame(Codec::Aac, 1, &[7; 10], 0).is_err());
}

#[test]
fn the_number_of_a_sample_is_written_in_one_to_seven_bytes() {
    let bytes = |number| {
        let mut bits = Bits::default();
        bits.put_coded_number(number);
        bits.bytes
    };
    for number in [0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFF, 0x1_0000, 0x10_FFFF] {
        let text = char::from_u32(number).map_or(Vec::new(), |c| c.to_string().into_bytes());
        assert_eq!(bytes(u64::from(number)), text, "{number:x}");
    }
    assert_eq!(bytes(0x7FFF_FFFF), [0xFD, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]);
    assert_eq!(bytes(0x8000_0000), [0xFE, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80]);
    assert_eq!(bytes(0xF_FFFF_FFFF), [0xFE, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF, 0xBF]);
}

proptest! {
    #[test]
    fn flac_decodes_to_the_samples_of_its_g711(
        is_alaw: bool, channels in 1..9_u16, rate in 1..384_001_u32, start in 0..1_u64 << 44,
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..4),
        step in 0..4_u8,
    ) {
        let codec = if is_alaw { Codec::Alaw } else { Codec::Ulaw };
        let mut first = start;
        let (mut frames, mut expected) = (Vec::new(), Vec::new());
        for bytes in noise {
            // Noise of all bits, of few bits, and none.
            let mask = 255 >> (2 * step);
            let whole: Vec<_> = bytes.iter().flat_map(|b| vec![0xD5 ^ (b & mask); 8]).collect();
            let whole = &whole[..whole.len() / usize::from(channels) * usize::from(channels)];
            if whole.is_empty() { continue; }
            frames.push(frame(codec, channels, whole, first).unwrap());
            expected.extend(pcm(codec, whole));
            first += whole.len() as u64 / u64::from(channels);
        }
        prop_assert_eq!(decoded(rate, channels, &frames), expected);
    }
}

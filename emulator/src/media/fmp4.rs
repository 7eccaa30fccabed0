//! Fragmented MP4 for HLS and DASH: an init fragment is `ftyp` + `moov`, a media fragment `moof` + `mdat`,
//! one track each (docs/KVS.md 5.7).

use super::boxes::{Boxes, media, movie_header, track_header};
use super::{Footage, Track, rate};
use bytes::Bytes;

/// The init fragment of one track.
pub(crate) fn init(footage: &Footage, track: Track) -> Bytes {
    let mut out = Boxes::default();
    out.boxed(b"ftyp", |out| out.bytes(b"iso5\0\0\0\x01iso5iso6dashmsdh"));
    out.boxed(b"moov", |out| {
        movie_header(out, 0, 0);
        out.boxed(b"trak", |out| {
            track_header(out, footage, track, 1, 0, 0);
            media(out, footage, track, 0, 0, |out| {
                for kind in [b"stts", b"stsc", b"stco"] {
                    out.full(kind, 0, 0, |out| out.u32(0));
                }
                out.full(b"stsz", 0, 0, |out| out.zeros(8));
            });
        });
        out.boxed(b"mvex", |out| {
            out.full(b"trex", 0, 0, |out| {
                for value in [1, 1, 0, 0, 0] {
                    out.u32(value);
                }
            });
        });
    });
    out.finish().into()
}

/// A media fragment of one track.
///
/// `sequence` becomes `mfhd.sequence_number`; `start_millis` is the start of the fragment, from which
/// `tfdt.baseMediaDecodeTime` follows exactly, since a millisecond is a whole number of ticks.
pub(crate) fn fragment(footage: &Footage, track: Track, sequence: u32, start_millis: u64) -> Bytes {
    let samples = footage.samples(track);
    let ticks = u64::from(rate(track, footage.sound) / 1000);
    let first = samples.first().map_or(0, |sample| sample.decoded);
    let mut out = Boxes::default();
    let mut data_offset = 0;
    out.boxed(b"moof", |out| {
        out.full(b"mfhd", 0, 0, |out| out.u32(sequence));
        out.boxed(b"traf", |out| {
            // default-base-is-moof
            out.full(b"tfhd", 0, 0x02_0000, |out| out.u32(1));
            out.full(b"tfdt", 1, 0, |out| out.u64(start_millis * ticks + first));
            let reordered = samples.iter().any(|sample| sample.presented != sample.decoded);
            // Data offset, durations, sizes and flags; with B-frames composition offsets, which are signed.
            let flags = 0x0701 | if reordered { 0x0800 } else { 0 };
            out.full(b"trun", u8::from(reordered), flags, |out| {
                out.u32(samples.len() as u32);
                data_offset = out.len();
                out.u32(0);
                for sample in samples {
                    out.u32(sample.duration);
                    out.u32(sample.data.len() as u32);
                    out.u32(sample_flags(sample.key));
                    if reordered {
                        out.u32((sample.presented as i64 - sample.decoded as i64) as i32 as u32);
                    }
                }
            });
        });
    });
    let length = footage.size(&[track]) as u32 + 8;
    out.patch(data_offset, out.len() as u32 + 8);
    out.u32(length);
    out.bytes(b"mdat");
    samples.iter().for_each(|sample| out.bytes(&sample.data));
    out.finish().into()
}

/// A sync sample that depends on no other, or a sample that depends on others.
fn sample_flags(key: bool) -> u32 {
    if key { 0x0200_0000 } else { 0x0101_0000 }
}

#[cfg(test)]
mod tests {
    use super::super::footage::tests::{FOOTAGE, footage};
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fragment_says_when_it_is_and_holds_its_samples(
            kind in proptest::sample::select(&FOOTAGE[..]), window in 0..1_000_000_u64, sequence: u32,
            start in 0..1_u64 << 50, audio: bool,
        ) {
            let footage = footage(kind, window);
            let track = if audio { Track::Audio } else { Track::Video };
            let bytes = fragment(&footage, track, sequence, start);
            let moof = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let mdat = u32::from_be_bytes(bytes[moof..moof + 4].try_into().unwrap()) as usize;
            prop_assert_eq!(moof + mdat, bytes.len());
            let at = |kind: &[u8; 4]| bytes.windows(4).position(|w| w == kind).unwrap() + 4;
            prop_assert_eq!(&bytes[at(b"mfhd") + 4..at(b"mfhd") + 8], &sequence.to_be_bytes());
            let ticks = u64::from(rate(track, footage.sound) / 1000);
            let first = footage.samples(track)[0].decoded;
            prop_assert_eq!(&bytes[at(b"tfdt") + 4..at(b"tfdt") + 12], &(start * ticks + first).to_be_bytes());
            let offset = u32::from_be_bytes(bytes[at(b"trun") + 8..at(b"trun") + 12].try_into().unwrap());
            prop_assert_eq!(offset as usize, moof + 8);
            let samples: Vec<u8> = footage.samples(track).iter().flat_map(|s| s.data.to_vec()).collect();
            prop_assert_eq!(&bytes[moof + 8..], &samples[..]);
        }
    }
}

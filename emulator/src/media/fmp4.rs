//! Fragmented MP4 for HLS and DASH: an init fragment is `ftyp` + `moov`, a media fragment `moof` + `mdat`,
//! one track each (docs/KVS.md 5.7).

use super::boxes::{Boxes, media, movie_header, track_header};
use super::{FRAME_MILLIS, FRAMES, Recording, TICKS_PER_MILLI, Track};
use bytes::Bytes;

/// The init fragment of one track.
pub(crate) fn init(recording: &Recording, track: Track) -> Bytes {
    let mut out = Boxes::default();
    out.boxed(b"ftyp", |out| out.bytes(b"iso5\0\0\0\x01iso5iso6dashmsdh"));
    out.boxed(b"moov", |out| {
        movie_header(out, 0, 0);
        out.boxed(b"trak", |out| {
            track_header(out, recording, track, 1, 0, 0);
            media(out, recording, track, 0, 0, |out| {
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
/// `sequence` becomes `mfhd.sequence_number`; `start_millis` becomes `tfdt.baseMediaDecodeTime`, exactly,
/// since a millisecond is sixteen ticks.
pub(crate) fn fragment(
    recording: &Recording,
    track: Track,
    index: u64,
    sequence: u32,
    start_millis: u64,
) -> Bytes {
    let samples = recording.samples(track, index);
    let mut out = Boxes::default();
    let mut data_offset = 0;
    out.boxed(b"moof", |out| {
        out.full(b"mfhd", 0, 0, |out| out.u32(sequence));
        out.boxed(b"traf", |out| {
            // default-base-is-moof, default sample duration
            out.full(b"tfhd", 0, 0x02_0008, |out| {
                out.u32(1);
                out.u32((FRAME_MILLIS * TICKS_PER_MILLI) as u32);
            });
            out.full(b"tfdt", 1, 0, |out| out.u64(start_millis * TICKS_PER_MILLI));
            // data offset, sample sizes, sample flags
            out.full(b"trun", 0, 0x601, |out| {
                out.u32(FRAMES as u32);
                data_offset = out.len();
                out.u32(0);
                for (frame, sample) in samples.iter().enumerate() {
                    out.u32(sample.len() as u32);
                    out.u32(sample_flags(track, frame));
                }
            });
        });
    });
    let length = samples.iter().map(Bytes::len).sum::<usize>() as u32 + 8;
    out.patch(data_offset, out.len() as u32 + 8);
    out.u32(length);
    out.bytes(b"mdat");
    samples.iter().for_each(|sample| out.bytes(sample));
    out.finish().into()
}

/// A sync sample that depends on no other, or a sample that depends on others.
fn sample_flags(track: Track, frame: usize) -> u32 {
    if track == Track::Audio || frame == 0 { 0x0200_0000 } else { 0x0101_0000 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_fragment_says_when_it_is_and_holds_its_samples(
            camera in 0..3_usize, index in 0..1_000_000_u64, sequence: u32, start in 0..1_u64 << 50,
            audio: bool,
        ) {
            let (recording, track) = (Recording::of(camera), if audio { Track::Audio } else { Track::Video });
            let bytes = fragment(recording, track, index, sequence, start);
            let moof = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let mdat = u32::from_be_bytes(bytes[moof..moof + 4].try_into().unwrap()) as usize;
            prop_assert_eq!(moof + mdat, bytes.len());
            let at = |kind: &[u8; 4]| bytes.windows(4).position(|w| w == kind).unwrap() + 4;
            prop_assert_eq!(&bytes[at(b"mfhd") + 4..at(b"mfhd") + 8], &sequence.to_be_bytes());
            prop_assert_eq!(&bytes[at(b"tfdt") + 4..at(b"tfdt") + 12], &(start * 16).to_be_bytes());
            let offset = u32::from_be_bytes(bytes[at(b"trun") + 8..at(b"trun") + 12].try_into().unwrap());
            prop_assert_eq!(offset as usize, moof + 8);
            prop_assert_eq!(&bytes[moof + 8..], &recording.samples(track, index).concat()[..]);
        }
    }
}

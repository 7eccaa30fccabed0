//! GetClip's ordinary MP4: `ftyp`, `moov`, then the samples as they are in the recordings (docs/KVS.md 4.4).
//!
//! What KVS does at gaps between fragments is not known. Here the last sample of each track before a gap
//! lasts until the next fragment begins, so that both tracks follow the wall clock.

use super::boxes::{Boxes, media, movie_header, mp4_time, track_header};
use super::{FRAGMENT_MILLIS, FRAME_MILLIS, FRAMES, Producer, Recording, TICKS_PER_MILLI, Track};
use bytes::Bytes;

/// One fragment of a clip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClipFragment {
    /// Which fragment of the endless loop.
    pub(crate) index: u64,
    /// When it begins on the clock of the fragment selector.
    pub(crate) start_millis: u64,
}

/// A clip as chunks: the header, then the samples, fragment by fragment, video before audio.
pub(crate) fn clip(
    recording: &'static Recording,
    producer: Producer,
    fragments: &[ClipFragment],
    created_millis: u64,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let tracks = producer.tracks();
    let header = header(recording, tracks, fragments, mp4_time(created_millis));
    let indices: Vec<u64> = fragments.iter().map(|fragment| fragment.index).collect();
    let samples = indices.into_iter().flat_map(move |index| {
        tracks.iter().map(move |&track| Bytes::from(recording.samples(track, index).concat()))
    });
    std::iter::once(header).chain(samples)
}

fn header(recording: &Recording, tracks: &[Track], fragments: &[ClipFragment], created: u32) -> Bytes {
    let durations = durations(fragments);
    let millis = durations.iter().sum::<u64>();
    let mut offsets = Vec::new();
    let mut out = Boxes::default();
    out.boxed(b"ftyp", |out| out.bytes(b"isom\0\0\x02\0isomiso2avc1mp41"));
    out.boxed(b"moov", |out| {
        movie_header(out, created, millis as u32);
        for &track in tracks {
            out.boxed(b"trak", |out| {
                track_header(out, recording, track, track.number(), created, millis as u32);
                media(out, recording, track, created, (millis * TICKS_PER_MILLI) as u32, |out| {
                    offsets.push((track, tables(out, recording, track, fragments, &durations)));
                });
            });
        }
    });
    let sizes = |track: Track, fragment: &ClipFragment| -> u64 {
        recording.samples(track, fragment.index).iter().map(|s| s.len() as u64).sum()
    };
    // Chunk offsets, which depend on the length of the header: one chunk per fragment and track.
    let mut at = out.len() as u64 + 8;
    for (number, fragment) in fragments.iter().enumerate() {
        for (track, table) in &offsets {
            out.patch(table + 4 * number, at as u32);
            at += sizes(*track, fragment);
        }
    }
    let length = at - out.len() as u64;
    out.u32(length as u32);
    out.bytes(b"mdat");
    out.finish().into()
}

/// How long each fragment is shown: until the next begins, or its own length.
fn durations(fragments: &[ClipFragment]) -> Vec<u64> {
    let nexts = fragments.iter().skip(1).map(|next| Some(next.start_millis)).chain([None]);
    let least = FRAGMENT_MILLIS - FRAME_MILLIS + 1;
    fragments
        .iter()
        .zip(nexts)
        .map(|(fragment, next)| match next {
            Some(next) => next.saturating_sub(fragment.start_millis).max(least),
            None => FRAGMENT_MILLIS,
        })
        .collect()
}

/// Writes the sample tables and gives the position of the chunk offsets.
fn tables(
    out: &mut Boxes,
    recording: &Recording,
    track: Track,
    fragments: &[ClipFragment],
    millis: &[u64],
) -> usize {
    let frame = (FRAME_MILLIS * TICKS_PER_MILLI) as u32;
    out.full(b"stts", 0, 0, |out| {
        // Two runs per fragment: all frames but the last, and the last, which fills the rest of the duration.
        out.u32(2 * fragments.len() as u32);
        for &millis in millis {
            let last = (millis * TICKS_PER_MILLI) as u32 - frame * (FRAMES as u32 - 1);
            for value in [FRAMES as u32 - 1, frame, 1, last] {
                out.u32(value);
            }
        }
    });
    if track == Track::Video {
        out.full(b"stss", 0, 0, |out| {
            out.u32(fragments.len() as u32);
            (0..fragments.len()).for_each(|number| out.u32((number * FRAMES) as u32 + 1));
        });
    }
    out.full(b"stsc", 0, 0, |out| {
        for value in [1, 1, FRAMES as u32, 1] {
            out.u32(value);
        }
    });
    out.full(b"stsz", 0, 0, |out| {
        out.u32(0);
        out.u32((fragments.len() * FRAMES) as u32);
        for fragment in fragments {
            recording.samples(track, fragment.index).iter().for_each(|sample| out.u32(sample.len() as u32));
        }
    });
    let mut offsets = 0;
    out.full(b"stco", 0, 0, |out| {
        out.u32(fragments.len() as u32);
        offsets = out.len();
        out.zeros(4 * fragments.len());
    });
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_clip_made_at_the_same_time_has_the_same_bytes_and_at_another_time_others() {
        let fragments: Vec<ClipFragment> =
            (0..5).map(|n| ClipFragment { index: n + 18, start_millis: n * FRAGMENT_MILLIS }).collect();
        let make = |created| {
            clip(Recording::of(0), Producer::VideoAndAudio, &fragments, created).collect::<Vec<_>>().concat()
        };
        assert_eq!(make(1_700_000_000_000), make(1_700_000_000_999), "whole seconds");
        assert_ne!(make(1_700_000_000_000), make(1_700_000_001_000));
    }

    #[test]
    fn the_header_announces_exactly_what_follows() {
        for count in [1, 2, 200] {
            let fragments: Vec<ClipFragment> = (0..count)
                .map(|n| ClipFragment { index: n, start_millis: n * 2 * FRAGMENT_MILLIS })
                .collect();
            let whole =
                clip(Recording::of(1), Producer::VideoAndAudio, &fragments, 0).collect::<Vec<_>>().concat();
            let mut at = 0;
            let mut kinds = Vec::new();
            while at < whole.len() {
                let size = u32::from_be_bytes(whole[at..at + 4].try_into().unwrap()) as usize;
                kinds.push(whole[at + 4..at + 8].to_vec());
                at += size;
            }
            assert_eq!(at, whole.len());
            assert_eq!(kinds, [b"ftyp", b"moov", b"mdat"]);
        }
    }
}

//! GetClip's ordinary MP4: `ftyp`, `moov`, then the samples as they lie in the recordings (docs/KVS.md 4.4).
//!
//! What KVS does about gaps between fragments is not known; here the last picture before a gap, and the last
//! sound, last until the next fragment begins, so that both tracks keep the wall clock.

use super::boxes::{Boxes, media, movie_header, mp4_time, track_header};
use super::{FRAGMENT_MILLIS, FRAME_MILLIS, FRAMES, Producer, Recording, TICKS_PER_MILLI, Track};
use bytes::Bytes;

/// One fragment of a clip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    /// Which fragment of the endless loop.
    pub(crate) index: u64,
    /// When it begins, on whatever clock the caller selected by.
    pub(crate) start_millis: u64,
}

/// A clip as chunks: the header, then the samples, fragment by fragment, video before audio.
pub(crate) fn clip(
    recording: &'static Recording,
    producer: Producer,
    pieces: &[Piece],
    created_millis: u64,
) -> impl Iterator<Item = Bytes> + Send + 'static {
    let tracks = producer.tracks();
    let header = header(recording, tracks, pieces, mp4_time(created_millis));
    let indices: Vec<u64> = pieces.iter().map(|piece| piece.index).collect();
    let samples = indices.into_iter().flat_map(move |index| {
        tracks.iter().map(move |&track| Bytes::from(recording.samples(track, index).concat()))
    });
    std::iter::once(header).chain(samples)
}

fn header(recording: &Recording, tracks: &[Track], pieces: &[Piece], created: u32) -> Bytes {
    let durations = durations(pieces);
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
                    offsets.push((track, tables(out, recording, track, pieces, &durations)));
                });
            });
        }
    });
    let sizes = |track: Track, piece: &Piece| -> u64 {
        recording.samples(track, piece.index).iter().map(|s| s.len() as u64).sum()
    };
    // Chunk offsets, now that the length of the header is known: one chunk per fragment and track.
    let mut at = out.len() as u64 + 8;
    for (number, piece) in pieces.iter().enumerate() {
        for (track, table) in &offsets {
            out.patch(table + 4 * number, at as u32);
            at += sizes(*track, piece);
        }
    }
    let length = at - out.len() as u64;
    out.u32(length as u32);
    out.bytes(b"mdat");
    out.finish().into()
}

/// How long each piece is shown: until the next begins, or its own length.
fn durations(pieces: &[Piece]) -> Vec<u64> {
    let nexts = pieces.iter().skip(1).map(|next| Some(next.start_millis)).chain([None]);
    let least = FRAGMENT_MILLIS - FRAME_MILLIS + 1;
    pieces
        .iter()
        .zip(nexts)
        .map(|(piece, next)| match next {
            Some(next) => next.saturating_sub(piece.start_millis).max(least),
            None => FRAGMENT_MILLIS,
        })
        .collect()
}

/// The sample tables; tells where the chunk offsets begin.
fn tables(out: &mut Boxes, recording: &Recording, track: Track, pieces: &[Piece], millis: &[u64]) -> usize {
    let frame = (FRAME_MILLIS * TICKS_PER_MILLI) as u32;
    out.full(b"stts", 0, 0, |out| {
        // Two runs per fragment: all frames but the last, and the last, which lasts as long as it must.
        out.u32(2 * pieces.len() as u32);
        for &millis in millis {
            let last = (millis * TICKS_PER_MILLI) as u32 - frame * (FRAMES as u32 - 1);
            for value in [FRAMES as u32 - 1, frame, 1, last] {
                out.u32(value);
            }
        }
    });
    if track == Track::Video {
        out.full(b"stss", 0, 0, |out| {
            out.u32(pieces.len() as u32);
            (0..pieces.len()).for_each(|number| out.u32((number * FRAMES) as u32 + 1));
        });
    }
    out.full(b"stsc", 0, 0, |out| {
        for value in [1, 1, FRAMES as u32, 1] {
            out.u32(value);
        }
    });
    out.full(b"stsz", 0, 0, |out| {
        out.u32(0);
        out.u32((pieces.len() * FRAMES) as u32);
        for piece in pieces {
            recording.samples(track, piece.index).iter().for_each(|sample| out.u32(sample.len() as u32));
        }
    });
    let mut offsets = 0;
    out.full(b"stco", 0, 0, |out| {
        out.u32(pieces.len() as u32);
        offsets = out.len();
        out.zeros(4 * pieces.len());
    });
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_clip_made_at_the_same_time_has_the_same_bytes_and_at_another_time_others() {
        let pieces: Vec<Piece> =
            (0..5).map(|n| Piece { index: n + 18, start_millis: n * FRAGMENT_MILLIS }).collect();
        let make = |created| {
            clip(Recording::of(0), Producer::VideoAndAudio, &pieces, created).collect::<Vec<_>>().concat()
        };
        assert_eq!(make(1_700_000_000_000), make(1_700_000_000_999), "whole seconds");
        assert_ne!(make(1_700_000_000_000), make(1_700_000_001_000));
    }

    #[test]
    fn the_header_announces_exactly_what_follows() {
        for count in [1, 2, 200] {
            let pieces: Vec<Piece> =
                (0..count).map(|n| Piece { index: n, start_millis: n * 2 * FRAGMENT_MILLIS }).collect();
            let whole =
                clip(Recording::of(1), Producer::VideoAndAudio, &pieces, 0).collect::<Vec<_>>().concat();
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

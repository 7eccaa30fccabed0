//! GetClip's ordinary MP4: `ftyp`, `moov`, then the samples as they are in the recordings (docs/KVS.md
//! 4.4).
//!
//! What KVS does at gaps between fragments is not known. Here the last sample of each track before a gap
//! lasts until the next fragment begins, so that both tracks follow the wall clock.

use super::boxes::{Boxes, edit_list, media, movie_header, mp4_time, track_header};
use super::{FRAME_MILLIS, Footage, TICKS_PER_MILLI, Track, rate};
use bytes::Bytes;

/// One fragment of a clip.
pub(crate) struct ClipFragment {
    /// Its samples.
    pub(crate) footage: Footage,
    /// When it begins on the clock of the fragment selector.
    pub(crate) start_millis: u64,
}

/// A clip of at least one fragment as chunks: the header, then the samples, fragment by fragment, video
/// before audio.
pub(crate) fn clip(fragments: Vec<ClipFragment>, created_millis: u64) -> impl Iterator<Item = Bytes> + Send {
    let tracks = fragments.first().map_or(&[][..], |fragment| fragment.footage.tracks());
    let header = header(tracks, &fragments, mp4_time(created_millis));
    let samples = fragments.into_iter().flat_map(move |fragment| {
        tracks
            .iter()
            .map(move |&track| {
                fragment
                    .footage
                    .samples(track)
                    .iter()
                    .flat_map(|sample| sample.data.iter().copied())
                    .collect()
            })
            .collect::<Vec<Bytes>>()
    });
    std::iter::once(header).chain(samples)
}

/// The samples of one track with their times from the start of the clip.
#[derive(Default)]
struct Table {
    /// When each is decoded, in ticks.
    times: Vec<u64>,
    /// The duration of the last.
    last: u32,
    /// From decoding to presentation.
    offsets: Vec<i32>,
    sizes: Vec<u32>,
    /// The numbers of the key frames, from 1.
    keys: Vec<u32>,
    /// For each fragment how many samples it has.
    counts: Vec<u32>,
}

impl Table {
    fn new(track: Track, fragments: &[ClipFragment], starts: &[u64]) -> Self {
        let mut table = Self::default();
        for (fragment, start) in fragments.iter().zip(starts) {
            let start = start * u64::from(rate(track, fragment.footage.sound) / 1000);
            let samples = fragment.footage.samples(track);
            for sample in samples {
                // Where fragments overlap, times still rise.
                let least = table.times.last().map_or(0, |last| last + 1);
                let time = (start + sample.decoded).max(least);
                table.times.push(time);
                table.last = sample.duration;
                table.offsets.push((sample.presented as i64 - sample.decoded as i64) as i32);
                table.sizes.push(sample.data.len() as u32);
                if sample.key {
                    table.keys.push(table.sizes.len() as u32);
                }
            }
            table.counts.push(samples.len() as u32);
        }
        table
    }

    fn durations(&self) -> impl Iterator<Item = u32> {
        let between = self.times.windows(2).map(|pair| (pair[1] - pair[0]) as u32);
        between.chain((!self.times.is_empty()).then_some(self.last))
    }

    /// When the first sample begins, in ticks.
    fn first(&self) -> u64 {
        self.times.first().copied().unwrap_or_default()
    }

    fn ticks(&self) -> u64 {
        self.times.last().map_or(0, |last| last + u64::from(self.last)) - self.first()
    }
}

fn header(tracks: &[Track], fragments: &[ClipFragment], created: u32) -> Bytes {
    let Some(first) = fragments.first().map(|fragment| &fragment.footage) else { return Bytes::new() };
    let (starts, millis) = starts(fragments);
    let mut offsets = Vec::new();
    let mut out = Boxes::default();
    out.boxed(b"ftyp", |out| out.bytes(b"isom\0\0\x02\0isomiso2avc1mp41"));
    out.boxed(b"moov", |out| {
        movie_header(out, created, millis as u32);
        for &track in tracks {
            let table = Table::new(track, fragments, &starts);
            let per_milli = u64::from(rate(track, first.sound) / 1000);
            out.boxed(b"trak", |out| {
                track_header(out, first, track, track.number(), created, millis as u32);
                edit_list(out, (table.first() / per_milli) as u32, millis as u32);
                media(out, first, track, created, table.ticks() as u32, |out| {
                    offsets.push((track, tables(out, track, &table)));
                });
            });
        }
    });
    // Chunk offsets, which depend on the length of the header: one chunk per fragment and track.
    let mut at = out.len() as u64 + 8;
    let mut written = vec![0; offsets.len()];
    for fragment in fragments {
        for ((track, table), written) in offsets.iter().zip(&mut written) {
            if !fragment.footage.samples(*track).is_empty() {
                out.patch(table + 4 * *written, at as u32);
                *written += 1;
            }
            at += fragment.footage.size(&[*track]) as u64;
        }
    }
    let length = at - out.len() as u64;
    out.u32(length as u32);
    out.bytes(b"mdat");
    out.finish().into()
}

/// When each fragment begins in the clip, and when the last one ends, in milliseconds: each lasts until the
/// next begins, but for all its frames.
fn starts(fragments: &[ClipFragment]) -> (Vec<u64>, u64) {
    let mut at = 0;
    let mut starts = Vec::with_capacity(fragments.len());
    for (place, fragment) in fragments.iter().enumerate() {
        starts.push(at);
        let millis = fragment.footage.millis;
        at += match fragments.get(place + 1) {
            Some(next) => {
                let last = fragment.footage.video.last().map_or(0, |sample| sample.decoded);
                let least = last / TICKS_PER_MILLI + FRAME_MILLIS / 2;
                next.start_millis.saturating_sub(fragment.start_millis).max(least)
            }
            None => millis,
        };
    }
    (starts, at)
}

/// Writes the sample tables and gives the position of the chunk offsets.
fn tables(out: &mut Boxes, track: Track, table: &Table) -> usize {
    runs(out, b"stts", 0, table.durations());
    if table.offsets.iter().any(|offset| *offset != 0) {
        runs(out, b"ctts", 1, table.offsets.iter().map(|offset| *offset as u32));
    }
    if track == Track::Video {
        out.full(b"stss", 0, 0, |out| {
            out.u32(table.keys.len() as u32);
            table.keys.iter().for_each(|key| out.u32(*key));
        });
    }
    let counts: Vec<u32> = table.counts.iter().copied().filter(|count| *count > 0).collect();
    out.full(b"stsc", 0, 0, |out| {
        out.u32(counts.len() as u32);
        for (chunk, count) in counts.iter().enumerate() {
            for value in [chunk as u32 + 1, *count, 1] {
                out.u32(value);
            }
        }
    });
    out.full(b"stsz", 0, 0, |out| {
        out.u32(0);
        out.u32(table.sizes.len() as u32);
        table.sizes.iter().for_each(|size| out.u32(*size));
    });
    let mut offsets = 0;
    out.full(b"stco", 0, 0, |out| {
        out.u32(counts.len() as u32);
        offsets = out.len();
        out.zeros(4 * counts.len());
    });
    offsets
}

/// A table of values, each with the number of samples in a row that have it.
fn runs(out: &mut Boxes, kind: &[u8; 4], version: u8, values: impl Iterator<Item = u32>) {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((count, known)) if *known == value => *count += 1,
            _ => runs.push((1, value)),
        }
    }
    out.full(kind, version, 0, |out| {
        out.u32(runs.len() as u32);
        for (count, value) in runs {
            out.u32(count);
            out.u32(value);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::WINDOW_MILLIS;
    use super::super::footage::tests::{FOOTAGE, Kind, footage};
    use super::*;

    fn fragments(kind: Kind, count: u64, distance: u64) -> Vec<ClipFragment> {
        let fragment = |n| ClipFragment { footage: footage(kind, n), start_millis: n * distance };
        (18..18 + count).map(fragment).collect()
    }

    #[test]
    fn the_same_clip_made_at_the_same_time_has_the_same_bytes_and_at_another_time_others() {
        let make =
            |created| clip(fragments(FOOTAGE[0], 5, WINDOW_MILLIS), created).collect::<Vec<_>>().concat();
        assert_eq!(make(1_700_000_000_000), make(1_700_000_000_999), "whole seconds");
        assert_ne!(make(1_700_000_000_000), make(1_700_000_001_000));
    }

    #[test]
    fn the_header_announces_exactly_what_follows() {
        for (kind, count) in FOOTAGE.into_iter().zip([1, 2, 200, 3, 4, 5, 6]) {
            let whole = clip(fragments(kind, count, 2 * WINDOW_MILLIS), 0).collect::<Vec<_>>().concat();
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

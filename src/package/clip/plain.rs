//! Ordinary MP4: `ftyp`, one `mdat` with a slot for each fragment, and `moov` in a place of known size at
//! the end. For programs that know no fragments.

use super::basis::Basis;
use super::slots::span;
use crate::package::mp4::track::{self, Edit, G711};
use crate::package::mp4::writer::{BoxWriter, FREE_HEAD, free};
use crate::package::output::Output;
use crate::package::timing::TrackRun;
use crate::package::{Document, Fragment, Refusal, TrackSettings, mkv};
use bytes::Bytes;

/// The largest ordinary MP4.
const LARGEST: u64 = 4 << 30;
/// `moov` without the tables of any fragment.
const FIXED: u64 = 4096;
/// What a fragment takes in the tables of each track.
const PER_FRAGMENT: u64 = 40;
/// What a frame takes in the tables, at most as many as a quarter more than the first fragment promises.
const PER_FRAME: u64 = 25;

/// The frames of one fragment as `moov` needs them: a pure function of its bytes and place.
#[derive(Clone, Default, Debug)]
pub struct FrameTable(Vec<TrackTable>);

#[derive(Clone, Default, Debug)]
struct TrackTable {
    /// Decode time of the first frame.
    start: u64,
    /// Where the frames begin in the file.
    at: u64,
    sizes: Vec<u32>,
    durations: Vec<u32>,
    offsets: Vec<i32>,
    keys: Vec<bool>,
}

impl FrameTable {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(|track| 128 + track.sizes.len() * 13).sum()
    }
}

/// How much place `moov` gets.
pub(super) fn trailer_length(basis: &Basis, first: &Fragment, slack: u8) -> u64 {
    let tables = basis.rows.len() as u64 * PER_FRAGMENT * basis.tracks.len() as u64;
    let span = span(first).unwrap_or_else(|| basis.timeline.length(0)).max(1);
    let frames = (first.frames.len() as u64).saturating_mul(basis.timeline.total()).div_ceil(span);
    let room = FIXED + tables + frames.saturating_mul(PER_FRAME);
    room.saturating_mul(4_u64.saturating_pow(u32::from(slack)))
}

/// `ftyp` and the head of `mdat`.
pub(super) fn header(sizes: &[u32]) -> Result<Bytes, Refusal> {
    let media: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
    if media > LARGEST {
        return Err(Refusal::TooLarge("bytes for one ordinary MP4"));
    }
    let mut boxes = BoxWriter::default();
    boxes.boxed(b"ftyp", |boxes| boxes.bytes(b"isom\0\0\x02\0isomiso2avc1mp41"));
    // A size of 1: the true one has 64 bits and follows.
    boxes.head(b"mdat", 1);
    boxes.u64(16 + media);
    Ok(boxes.into_bytes().into())
}

fn runs(
    basis: &Basis,
    index: usize,
    document: &Document,
    stored: &Fragment,
) -> Result<Vec<Option<TrackRun>>, Refusal> {
    basis.check_tracks(stored)?;
    basis.plans().map(|plan| TrackRun::of(document, stored, plan, basis.time(index))).collect()
}

/// The frames of one fragment in its slot: those of each track together.
pub(super) fn slot(
    basis: &Basis,
    index: usize,
    document: &Document,
    stored: &Fragment,
    size: usize,
) -> Result<Vec<Bytes>, Refusal> {
    let mut output = Output::default();
    for run in runs(basis, index, document, stored)?.into_iter().flatten() {
        run.write(document, &mut output);
    }
    let padding = size.checked_sub(output.len()).ok_or(Refusal::Overflow)?;
    output.zeros(padding);
    Ok(output.finish())
}

/// The frames of one fragment, whose slot begins here, as the trailer needs them.
pub(super) fn frame_table(
    basis: &Basis,
    index: usize,
    begins: u64,
    document: &Document,
) -> Result<FrameTable, Refusal> {
    let mut at = begins;
    let tables = runs(basis, index, document, &mkv::read(document)?)?.into_iter().map(|run| {
        let Some(run) = run else { return TrackTable::default() };
        let begins = at;
        at += run.payload() as u64;
        let offsets = if run.offsets.is_empty() { vec![0; run.sizes.len()] } else { run.offsets };
        let TrackRun { start, sizes, durations, keys, .. } = run;
        TrackTable { start, at: begins, sizes, durations, offsets, keys }
    });
    Ok(FrameTable(tables.collect()))
}

/// `moov` in its place.
pub(super) fn trailer(basis: &Basis, length: u64, tables: &[FrameTable]) -> Result<Bytes, Refusal> {
    let of_track = |at: usize| {
        let fragments = tables.iter().filter_map(move |table| table.0.get(at));
        Tables::of(fragments.filter(|table| !table.sizes.is_empty()).collect())
    };
    let tracks: Vec<Presented<'_>> = basis
        .tracks
        .iter()
        .enumerate()
        .map(|(at, (_, settings))| Presented::of(basis, settings, of_track(at)))
        .collect();
    let duration = tracks.iter().map(|track| track.empty + track.duration).max().unwrap_or(0);
    let mut boxes = BoxWriter::with_capacity(length as usize);
    boxes.boxed(b"moov", |boxes| {
        track::movie_header(boxes, duration, tracks.len());
        for (id, track) in (1..).zip(&tracks) {
            track.write(boxes, id);
        }
    });
    let padding = (length as usize).checked_sub(boxes.len()).ok_or(Refusal::Overflow)?;
    if padding > 0 {
        if padding < FREE_HEAD {
            return Err(Refusal::Overflow);
        }
        free(&mut boxes, padding);
    }
    Ok(boxes.into_bytes().into())
}

/// The sample tables of one track.
#[derive(Default)]
struct Tables {
    /// Decode time of the first frame.
    start: u64,
    duration: u64,
    /// Runs of frames with one value: how many, and which.
    durations: Vec<(u32, u32)>,
    offsets: Vec<(u32, i32)>,
    keys: Vec<u32>,
    sizes: Vec<u32>,
    /// A chunk for each fragment: where it lies, and how many frames it has.
    chunks: Vec<(u64, u32)>,
}

impl Tables {
    fn of(fragments: Vec<&TrackTable>) -> Self {
        let mut tables =
            Self { start: fragments.first().map_or(0, |fragment| fragment.start), ..Self::default() };
        for (at, fragment) in fragments.iter().enumerate() {
            tables.chunks.push((fragment.at, fragment.sizes.len() as u32));
            let next = fragments.get(at + 1).map(|next| next.start);
            tables.add(fragment, next);
        }
        tables
    }

    /// Adds a fragment; its last frame lasts until the next fragment begins, so a gap stays a gap.
    fn add(&mut self, fragment: &TrackTable, next: Option<u64>) {
        let mut time = fragment.start;
        for (at, size) in fragment.sizes.iter().enumerate() {
            let mut duration = fragment.durations[at];
            if let (Some(next), true) = (next, at + 1 == fragment.sizes.len()) {
                duration = u32::try_from(next.saturating_sub(time).max(1)).unwrap_or(u32::MAX);
            }
            time += u64::from(duration);
            self.duration += u64::from(duration);
            repeat(&mut self.durations, duration);
            repeat(&mut self.offsets, fragment.offsets[at]);
            self.sizes.push(*size);
            if fragment.keys[at] {
                self.keys.push(self.sizes.len() as u32);
            }
        }
    }

    fn write(&self, boxes: &mut BoxWriter, is_video: bool) {
        boxes.full(b"stts", 0, 0, |boxes| {
            boxes.u32(self.durations.len() as u32);
            for (count, duration) in &self.durations {
                boxes.u32(*count);
                boxes.u32(*duration);
            }
        });
        if self.offsets.iter().any(|(_, offset)| *offset != 0) {
            boxes.full(b"ctts", 1, 0, |boxes| {
                boxes.u32(self.offsets.len() as u32);
                for (count, offset) in &self.offsets {
                    boxes.u32(*count);
                    boxes.u32(offset.cast_unsigned());
                }
            });
        }
        if is_video {
            boxes.full(b"stss", 0, 0, |boxes| {
                boxes.u32(self.keys.len() as u32);
                self.keys.iter().for_each(|key| boxes.u32(*key));
            });
        }
        self.write_chunks(boxes);
    }

    fn write_chunks(&self, boxes: &mut BoxWriter) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (chunk, (_, frames)) in (1..).zip(&self.chunks) {
            if runs.last().is_none_or(|(_, before)| before != frames) {
                runs.push((chunk, *frames));
            }
        }
        boxes.full(b"stsc", 0, 0, |boxes| {
            boxes.u32(runs.len() as u32);
            for (chunk, frames) in runs {
                boxes.u32(chunk);
                boxes.u32(frames);
                boxes.u32(1);
            }
        });
        boxes.full(b"stsz", 0, 0, |boxes| {
            boxes.u32(0);
            boxes.u32(self.sizes.len() as u32);
            self.sizes.iter().for_each(|size| boxes.u32(*size));
        });
        boxes.full(b"co64", 0, 0, |boxes| {
            boxes.u32(self.chunks.len() as u32);
            self.chunks.iter().for_each(|(at, _)| boxes.u64(*at));
        });
    }
}

fn repeat<T: PartialEq>(runs: &mut Vec<(u32, T)>, value: T) {
    match runs.last_mut() {
        Some((count, last)) if *last == value => *count += 1,
        _ => runs.push((1, value)),
    }
}

/// A track and what of it is presented; times are milliseconds.
struct Presented<'c> {
    settings: &'c TrackSettings,
    tables: Tables,
    /// Nothing is presented for so long, if the track begins later than the basis.
    empty: u64,
    /// Then this much of its media is.
    duration: u64,
    /// Where in its media that begins, in units of the track.
    media_time: u64,
}

impl<'c> Presented<'c> {
    fn of(basis: &Basis, settings: &'c TrackSettings, tables: Tables) -> Self {
        let timescale = u64::from(settings.timescale);
        let hidden = basis.hidden();
        let begins = tables.start * 1000 / timescale;
        let skipped = hidden.saturating_sub(begins);
        let media = (tables.duration * 1000).div_ceil(timescale);
        Self {
            settings,
            empty: begins.saturating_sub(hidden),
            duration: media.saturating_sub(skipped),
            media_time: u64::from(settings.delay) + skipped * timescale / 1000,
            tables,
        }
    }

    fn write(&self, boxes: &mut BoxWriter, id: u32) {
        let presented = Edit { duration: self.duration, media_time: Some(self.media_time) };
        let edits = [Edit { duration: self.empty, media_time: None }, presented];
        let edits = if self.empty > 0 { &edits[..] } else { &edits[1..] };
        let durations = (self.empty + self.duration, self.tables.duration);
        track::track(boxes, id, self.settings, G711::AsStored, durations, edits, |boxes| {
            self.tables.write(boxes, self.settings.codec.is_video());
        });
    }
}

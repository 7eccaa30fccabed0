//! MP4 in fragments: `ftyp`, `moov`, an index for each track, then a slot for each stored fragment that
//! holds its `moof` and `mdat` and is filled up with `free`.

use super::basis::Basis;
use crate::package::mp4::fragment;
use crate::package::mp4::index::{self, Reference};
use crate::package::mp4::init::{InitOptions, init};
use crate::package::mp4::track::G711;
use crate::package::mp4::writer::{BoxWriter, FREE_HEAD, free};
use crate::package::output::Output;
use crate::package::timing::TrackRun;
use crate::package::{Document, Fragment, Refusal, TrackSettings};
use bytes::Bytes;

/// The index begins at a multiple of this.
const ALIGNED: usize = 1024;
/// Sound is said to begin this much later, in milliseconds: a reader that looks for sound at a key frame
/// then begins one fragment before, and misses none.
const SOUND_LATER: u64 = 250;

/// What stands ahead of the slots.
pub(super) fn header(basis: &Basis, sizes: &[u32]) -> Bytes {
    let tracks: Vec<&TrackSettings> = basis.tracks.iter().map(|(_, settings)| settings).collect();
    let options =
        InitOptions { g711: G711::AsStored, duration: Some(basis.timeline.total()), hidden: basis.hidden() };
    let mut boxes = init(&tracks, options);
    let aligned = (boxes.len() + FREE_HEAD).next_multiple_of(ALIGNED);
    let padding = aligned - boxes.len();
    free(&mut boxes, padding);
    for (at, settings) in tracks.iter().enumerate() {
        let behind = index::length(sizes.len()) * (tracks.len() - 1 - at) as u64;
        write_index(&mut boxes, basis, at as u32 + 1, settings, behind, sizes);
    }
    boxes.into_bytes().into()
}

fn write_index(
    boxes: &mut BoxWriter,
    basis: &Basis,
    track: u32,
    settings: &TrackSettings,
    behind: u64,
    sizes: &[u32],
) {
    let ticks = |millis: u64| millis * u64::from(settings.timescale) / 1000;
    let first = basis.lead + if settings.codec.is_video() { 0 } else { SOUND_LATER };
    let end = basis.lead + basis.timeline.total();
    let mut time = first;
    let references: Vec<Reference> = sizes
        .iter()
        .enumerate()
        .map(|(at, size)| {
            let begins = ticks(time);
            // The last one is shortened by what the first began later.
            time = (time + basis.timeline.length(at)).min(end).max(time);
            let duration = u32::try_from(ticks(time) - begins).unwrap_or(u32::MAX);
            Reference { size: *size, duration }
        })
        .collect();
    index::sidx(boxes, track, settings.timescale, ticks(first), behind, &references);
}

/// One fragment in its slot.
pub(super) fn slot(
    basis: &Basis,
    index: usize,
    document: &Document,
    stored: &Fragment,
    size: usize,
) -> Result<Vec<Bytes>, Refusal> {
    basis.check_tracks(stored)?;
    let mut runs = Vec::with_capacity(basis.tracks.len());
    for plan in basis.plans() {
        runs.extend(TrackRun::of(document, stored, plan, basis.time(index))?);
    }
    let head = fragment::head(&runs, index as u32 + 1);
    let used = head.len() + runs.iter().map(TrackRun::payload).sum::<usize>();
    if used != size && used + FREE_HEAD > size {
        return Err(Refusal::Overflow);
    }
    let mut output = Output::with_capacity(size);
    output.copy(&head);
    for run in runs.into_iter().rev() {
        run.write(document, &mut output);
    }
    pad(&mut output, size);
    Ok(output.finish())
}

/// Fills a slot up with a `free` box, for which there is room or no need.
pub(super) fn pad(output: &mut Output, size: usize) {
    let padding = size - output.len();
    if padding >= FREE_HEAD {
        // A slot has less than 2 GiB.
        output.copy(&(padding as u32).to_be_bytes());
        output.copy(b"free");
        output.zeros(padding - FREE_HEAD);
    }
}

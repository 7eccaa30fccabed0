//! `moof` and the head of `mdat`: the frames of one stored fragment, of all tracks or of one (ISO/IEC
//! 14496-12, 8.8.4 to 8.8.12).
//!
//! One `moof` with one `trun` for each track, and sound before pictures in `mdat`: players read other
//! structures at the wrong place, or need hundreds of requests for a seek.

use super::writer::BoxWriter;
use crate::package::timing::TrackRun;

/// `sample_flags` of a frame at which decoding can begin.
const KEY: u32 = 0x0200_0000;
/// `sample_flags` of a frame that depends on others.
const DEPENDENT: u32 = 0x0101_0000;

/// Flags of `tfhd` and `trun`.
mod flags {
    pub(super) const DEFAULT_BASE_IS_MOOF: u32 = 0x2_0000;
    pub(super) const DEFAULT_DURATION: u32 = 0x8;
    pub(super) const DEFAULT_FLAGS: u32 = 0x20;
    pub(super) const DATA_OFFSET: u32 = 0x1;
    pub(super) const FIRST_FLAGS: u32 = 0x4;
    pub(super) const DURATIONS: u32 = 0x100;
    pub(super) const SIZES: u32 = 0x200;
    pub(super) const FLAGS: u32 = 0x400;
    pub(super) const OFFSETS: u32 = 0x800;
}

/// Writes the head of a fragment; the frames of `runs` follow it, those of the last run first. Runs are in
/// the order of their track numbers, pictures first.
pub(in crate::package) fn head(runs: &[TrackRun], sequence: u32) -> Vec<u8> {
    let frames: usize = runs.iter().map(|run| run.sizes.len()).sum();
    let mut boxes = BoxWriter::with_capacity(64 + 96 * runs.len() + 16 * frames);
    // Where each run's offset into `mdat` stands.
    let mut places = Vec::with_capacity(runs.len());
    boxes.boxed(b"moof", |boxes| {
        boxes.full(b"mfhd", 0, 0, |boxes| boxes.u32(sequence));
        for run in runs {
            boxes.boxed(b"traf", |boxes| places.push(track_fragment(boxes, run)));
        }
    });
    // A fragment has at most 64 MiB.
    let mut offset = (boxes.len() + 8) as u32;
    for (run, place) in runs.iter().zip(places).rev() {
        boxes.set_u32(place, offset);
        offset += run.payload() as u32;
    }
    let payload: usize = runs.iter().map(TrackRun::payload).sum();
    boxes.head(b"mdat", payload as u32 + 8);
    boxes.into_bytes()
}

/// Returns where the offset into `mdat` stands.
fn track_fragment(boxes: &mut BoxWriter, run: &TrackRun) -> usize {
    let constant = run.constant_duration();
    let mut header = flags::DEFAULT_BASE_IS_MOOF | flags::DEFAULT_FLAGS;
    if constant.is_some() {
        header |= flags::DEFAULT_DURATION;
    }
    boxes.full(b"tfhd", 0, header, |boxes| {
        boxes.u32(run.track);
        constant.into_iter().for_each(|duration| boxes.u32(duration));
        boxes.u32(if run.is_video { DEPENDENT } else { KEY });
    });
    boxes.full(b"tfdt", 1, 0, |boxes| boxes.u64(run.start));
    run_of_frames(boxes, run, constant.is_none())
}

fn run_of_frames(boxes: &mut BoxWriter, run: &TrackRun, with_durations: bool) -> usize {
    let with_offsets = !run.offsets.is_empty();
    let only_first_is_key = run.keys.iter().enumerate().all(|(at, key)| *key == (at == 0));
    let mut present = flags::DATA_OFFSET | flags::SIZES;
    if with_durations {
        present |= flags::DURATIONS;
    }
    if with_offsets {
        present |= flags::OFFSETS;
    }
    if run.is_video {
        present |= if only_first_is_key { flags::FIRST_FLAGS } else { flags::FLAGS };
    }
    let mut place = 0;
    boxes.full(b"trun", 1, present, |boxes| {
        boxes.u32(run.sizes.len() as u32);
        place = boxes.len();
        boxes.u32(0);
        if present & flags::FIRST_FLAGS != 0 {
            boxes.u32(KEY);
        }
        for (at, size) in run.sizes.iter().enumerate() {
            if with_durations {
                boxes.u32(run.durations[at]);
            }
            boxes.u32(*size);
            if present & flags::FLAGS != 0 {
                boxes.u32(if run.keys[at] { KEY } else { DEPENDENT });
            }
            if with_offsets {
                boxes.u32(run.offsets[at].cast_unsigned());
            }
        }
    });
    place
}

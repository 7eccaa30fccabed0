//! `sidx`: where each fragment of a clip lies, and how long it lasts (ISO/IEC 14496-12, 8.16.3).

use super::writer::BoxWriter;

/// The most references of an index: their count has 16 bits.
pub const MOST_REFERENCES: usize = u16::MAX as usize;
/// Every reference begins with a key frame: `starts_with_SAP`, `SAP_type` 1.
const BEGINS_WITH_KEY: u32 = 0x9000_0000;
/// The head of the box and its fields ahead of the references.
const FIXED: u64 = 40;
/// One reference.
const REFERENCE: u64 = 12;

/// One reference: a fragment's bytes and its duration in units of the track.
pub(in crate::package) struct Reference {
    pub(in crate::package) size: u32,
    pub(in crate::package) duration: u32,
}

/// How long the box of so many references is.
pub(in crate::package) const fn length(references: usize) -> u64 {
    FIXED + REFERENCE * references as u64
}

/// Appends the index of one track. `behind` is how many bytes stand between its end and the first fragment.
pub(in crate::package) fn sidx(
    boxes: &mut BoxWriter,
    track: u32,
    timescale: u32,
    earliest: u64,
    behind: u64,
    references: &[Reference],
) {
    boxes.full(b"sidx", 1, 0, |boxes| {
        boxes.u32(track);
        boxes.u32(timescale);
        boxes.u64(earliest);
        boxes.u64(behind);
        boxes.u16(0);
        boxes.u16(references.len() as u16);
        for reference in references {
            boxes.u32(reference.size & 0x7fff_ffff);
            boxes.u32(reference.duration);
            boxes.u32(BEGINS_WITH_KEY);
        }
    });
}

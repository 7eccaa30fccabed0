//! Init segments: `ftyp` and a `moov` without samples (ISO/IEC 14496-12, 8.8).

use super::track::{self, Edit, G711};
use super::writer::BoxWriter;
use crate::package::TrackSettings;

/// What an init segment says besides its tracks.
#[derive(Clone, Copy)]
pub(in crate::package) struct InitOptions {
    pub(in crate::package) g711: G711,
    /// Milliseconds of the whole, if it is known.
    pub(in crate::package) duration: Option<u64>,
    /// Milliseconds at the beginning that are not presented.
    pub(in crate::package) hidden: u64,
}

/// Writes an init segment; tracks are numbered from 1.
pub(in crate::package) fn init(tracks: &[&TrackSettings], options: InitOptions) -> BoxWriter {
    let mut boxes = BoxWriter::with_capacity(2048);
    boxes.boxed(b"ftyp", |boxes| boxes.bytes(b"iso6\0\0\0\x01iso6cmfcdashmp41"));
    boxes.boxed(b"moov", |boxes| {
        track::movie_header(boxes, 0, tracks.len());
        for (id, settings) in (1..).zip(tracks) {
            let hidden = options.hidden * u64::from(settings.timescale) / 1000;
            let begins = u64::from(settings.delay) + hidden;
            let edit = Edit { duration: 0, media_time: Some(begins) };
            let edits = if begins > 0 { std::slice::from_ref(&edit) } else { &[] };
            track::track(boxes, id, settings, options.g711, (0, 0), edits, empty_tables);
        }
        boxes.boxed(b"mvex", |boxes| {
            if let Some(duration) = options.duration {
                boxes.full(b"mehd", 1, 0, |boxes| boxes.u64(duration.saturating_sub(options.hidden)));
            }
            for (id, _) in (1_u32..).zip(tracks) {
                boxes.full(b"trex", 0, 0, |boxes| {
                    boxes.u32(id);
                    boxes.u32(1);
                    boxes.zeros(12);
                });
            }
        });
    });
    boxes
}

/// The tables of a track whose frames are all in fragments.
fn empty_tables(boxes: &mut BoxWriter) {
    for kind in [b"stts", b"stsc", b"stco"] {
        boxes.full(kind, 0, 0, |boxes| boxes.u32(0));
    }
    boxes.full(b"stsz", 0, 0, |boxes| boxes.zeros(8));
}

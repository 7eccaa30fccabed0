//! `trak` and its boxes, which fragmented and ordinary MP4 have alike (ISO/IEC 14496-12, 8.3 to 8.5;
//! 14496-14; 14496-15; FLAC in ISOBMFF).

use super::writer::BoxWriter;
use crate::package::flac;
use crate::package::{Codec, TrackSettings};

/// The unity matrix of `mvhd` and `tkhd`.
const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Milliseconds: the units of `mvhd`, `mehd` and edit lists.
pub(in crate::package) const MOVIE_TIMESCALE: u32 = 1000;
/// `und` in the packed letters of `mdhd`.
const UNDETERMINED: u16 = 0x55c4;

/// How G.711 is written. MP4 files keep it as it is; browsers' media sources take FLAC only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum G711 {
    /// `alaw`, `ulaw`.
    AsStored,
    /// `fLaC`, without loss.
    AsFlac,
}

/// One entry of an edit list.
#[derive(Clone, Copy)]
pub(in crate::package) struct Edit {
    /// In milliseconds; 0 in a fragmented file: to the end.
    pub(in crate::package) duration: u64,
    /// In units of the track; none: nothing is presented for `duration`.
    pub(in crate::package) media_time: Option<u64>,
}

/// `mvhd`. `duration` is in milliseconds, 0 in a fragmented file.
pub(in crate::package) fn movie_header(boxes: &mut BoxWriter, duration: u64, tracks: usize) {
    boxes.full(b"mvhd", 1, 0, |boxes| {
        boxes.u64(0);
        boxes.u64(0);
        boxes.u32(MOVIE_TIMESCALE);
        boxes.u64(duration);
        boxes.u32(0x1_0000);
        boxes.u16(0x100);
        boxes.zeros(10);
        MATRIX.iter().for_each(|value| boxes.u32(*value));
        boxes.zeros(24);
        boxes.u32(tracks as u32 + 1);
    });
}

/// `trak`. `duration` is in milliseconds and `media_duration` in units of the track; both are 0 in a
/// fragmented file. `samples` writes the tables behind `stsd`.
pub(in crate::package) fn track(
    boxes: &mut BoxWriter,
    id: u32,
    settings: &TrackSettings,
    g711: G711,
    (duration, media_duration): (u64, u64),
    edits: &[Edit],
    samples: impl FnOnce(&mut BoxWriter),
) {
    boxes.boxed(b"trak", |boxes| {
        track_header(boxes, id, settings, duration);
        edit_list(boxes, edits);
        boxes.boxed(b"mdia", |boxes| {
            boxes.full(b"mdhd", 1, 0, |boxes| {
                boxes.u64(0);
                boxes.u64(0);
                boxes.u32(settings.timescale);
                boxes.u64(media_duration);
                boxes.u16(UNDETERMINED);
                boxes.u16(0);
            });
            boxes.full(b"hdlr", 0, 0, |boxes| {
                boxes.u32(0);
                boxes.bytes(if settings.codec.is_video() { b"vide" } else { b"soun" });
                boxes.zeros(12);
                boxes.bytes(b"kvs-edge\0");
            });
            boxes.boxed(b"minf", |boxes| {
                if settings.codec.is_video() {
                    boxes.full(b"vmhd", 0, 1, |boxes| boxes.zeros(8));
                } else {
                    boxes.full(b"smhd", 0, 0, |boxes| boxes.zeros(4));
                }
                boxes.boxed(b"dinf", |boxes| {
                    boxes.full(b"dref", 0, 0, |boxes| {
                        boxes.u32(1);
                        boxes.full(b"url ", 0, 1, |_| {});
                    });
                });
                boxes.boxed(b"stbl", |boxes| {
                    boxes.full(b"stsd", 0, 0, |boxes| {
                        boxes.u32(1);
                        sample_entry(boxes, settings, g711);
                    });
                    samples(boxes);
                });
            });
        });
    });
}

fn track_header(boxes: &mut BoxWriter, id: u32, settings: &TrackSettings, duration: u64) {
    const ENABLED_IN_MOVIE: u32 = 3;
    boxes.full(b"tkhd", 1, ENABLED_IN_MOVIE, |boxes| {
        boxes.u64(0);
        boxes.u64(0);
        boxes.u32(id);
        boxes.u32(0);
        boxes.u64(duration);
        boxes.zeros(8);
        boxes.u16(0);
        boxes.u16(0);
        boxes.u16(if settings.codec.is_video() { 0 } else { 0x100 });
        boxes.u16(0);
        MATRIX.iter().for_each(|value| boxes.u32(*value));
        boxes.u32(u32::from(settings.width) << 16);
        boxes.u32(u32::from(settings.height) << 16);
    });
}

fn edit_list(boxes: &mut BoxWriter, edits: &[Edit]) {
    if edits.is_empty() {
        return;
    }
    boxes.boxed(b"edts", |boxes| {
        boxes.full(b"elst", 1, 0, |boxes| {
            boxes.u32(edits.len() as u32);
            for edit in edits {
                boxes.u64(edit.duration);
                boxes.u64(edit.media_time.unwrap_or(u64::MAX));
                boxes.u32(0x1_0000);
            }
        });
    });
}

/// What a decoder needs of the track.
fn sample_entry(boxes: &mut BoxWriter, settings: &TrackSettings, g711: G711) {
    match (settings.codec, g711) {
        (Codec::Avc, _) => visual(boxes, settings, b"avc1", b"avcC"),
        (Codec::Hevc, _) => visual(boxes, settings, b"hvc1", b"hvcC"),
        (Codec::Aac, _) => audio(boxes, settings, b"mp4a", |boxes| elementary_stream(boxes, settings)),
        (Codec::Alaw | Codec::Ulaw, G711::AsFlac) => audio(boxes, settings, b"fLaC", |boxes| {
            boxes.full(b"dfLa", 0, 0, |boxes| {
                boxes.bytes(&flac::stream_info(settings.timescale, settings.channels));
            });
        }),
        (Codec::Alaw, G711::AsStored) => audio(boxes, settings, b"alaw", |_| {}),
        (Codec::Ulaw, G711::AsStored) => audio(boxes, settings, b"ulaw", |_| {}),
    }
}

fn visual(boxes: &mut BoxWriter, settings: &TrackSettings, kind: &[u8; 4], configuration: &[u8; 4]) {
    const PIXELS_PER_INCH: u32 = 0x48_0000;
    boxes.boxed(kind, |boxes| {
        boxes.zeros(6);
        boxes.u16(1);
        boxes.zeros(16);
        boxes.u16(settings.width);
        boxes.u16(settings.height);
        boxes.u32(PIXELS_PER_INCH);
        boxes.u32(PIXELS_PER_INCH);
        boxes.u32(0);
        boxes.u16(1);
        boxes.zeros(32);
        boxes.u16(0x18);
        boxes.u16(0xffff);
        boxes.boxed(configuration, |boxes| boxes.bytes(&settings.private));
    });
}

fn audio(
    boxes: &mut BoxWriter,
    settings: &TrackSettings,
    kind: &[u8; 4],
    configuration: impl FnOnce(&mut BoxWriter),
) {
    boxes.boxed(kind, |boxes| {
        boxes.zeros(6);
        boxes.u16(1);
        boxes.zeros(8);
        boxes.u16(settings.channels);
        boxes.u16(16);
        boxes.u32(0);
        // 16.16 has no room for more; decoders take the rate from the configuration.
        boxes.u32(if settings.timescale <= u32::from(u16::MAX) { settings.timescale << 16 } else { 0 });
        configuration(boxes);
    });
}

/// `esds`: AudioSpecificConfig in MPEG-4's descriptors (ISO/IEC 14496-1, 7.2.6).
fn elementary_stream(boxes: &mut BoxWriter, settings: &TrackSettings) {
    let configuration = &settings.private[..settings.private.len().min(64)];
    let length = configuration.len() as u8;
    boxes.full(b"esds", 0, 0, |boxes| {
        boxes.bytes(&[3, 23 + length, 0, 2, 0, 4, 15 + length, 0x40, 0x15, 0, 0, 0]);
        boxes.u32(0);
        boxes.u32(0);
        boxes.bytes(&[5, length]);
        boxes.bytes(configuration);
        boxes.bytes(&[6, 1, 2]);
    });
}

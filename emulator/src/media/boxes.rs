//! ISO base media boxes (ISO/IEC 14496-12): the writer, and what clips and fragmented files have in common.

use super::{Footage, SoundCodec, Track, VideoCodec, rate};

/// An MP4 that is being written.
#[derive(Default)]
pub(super) struct Boxes(Vec<u8>);

impl Boxes {
    /// Writes one box. `content` writes what is in it; its size is filled in afterwards.
    pub(super) fn boxed(&mut self, kind: &[u8; 4], content: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.u32(0);
        self.0.extend_from_slice(kind);
        content(self);
        let size = u32::try_from(self.0.len() - start).expect("headers are small");
        self.0[start..start + 4].copy_from_slice(&size.to_be_bytes());
    }

    /// Writes a full box: version and flags precede its content.
    pub(super) fn full(&mut self, kind: &[u8; 4], version: u8, flags: u32, content: impl FnOnce(&mut Self)) {
        self.boxed(kind, |out| {
            out.u32(u32::from(version) << 24 | flags);
            content(out);
        });
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_be_bytes());
    }

    pub(super) fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    pub(super) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    /// How many bytes have been written.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Overwrites a 32-bit number written earlier.
    pub(super) fn patch(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Seconds from 1904, the epoch of MP4, to 1970.
const EPOCH_1904: u64 = 2_082_844_800;

/// An instant in seconds since 1904.
pub(super) fn mp4_time(millis: u64) -> u32 {
    u32::try_from(millis / 1000 + EPOCH_1904).unwrap_or(u32::MAX)
}

const MATRIX: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];

/// `mvhd`: movie timescale 1000, as clips of KVS have it (docs/KVS.md 4.4).
pub(super) fn movie_header(out: &mut Boxes, created: u32, duration_millis: u32) {
    out.full(b"mvhd", 0, 0, |out| {
        for value in [created, created, 1000, duration_millis, 0x1_0000] {
            out.u32(value);
        }
        out.u16(0x0100);
        out.zeros(10);
        MATRIX.into_iter().for_each(|value| out.u32(value));
        out.zeros(24);
        out.u32(3); // next track ID
    });
}

/// `tkhd`.
pub(super) fn track_header(
    out: &mut Boxes,
    footage: &Footage,
    track: Track,
    id: u32,
    created: u32,
    millis: u32,
) {
    out.full(b"tkhd", 0, 3, |out| {
        for value in [created, created, id, 0, millis, 0, 0, 0] {
            out.u32(value);
        }
        out.u16(if track == Track::Audio { 0x0100 } else { 0 });
        out.u16(0);
        MATRIX.into_iter().for_each(|value| out.u32(value));
        let (width, height) = match track {
            Track::Video => (footage.recording.width(), footage.recording.height()),
            Track::Audio => (0, 0),
        };
        out.u32(u32::from(width) << 16);
        out.u32(u32::from(height) << 16);
    });
}

/// `edts` of a track whose first sample begins `delay` milliseconds after the movie; nothing if it is 0.
pub(super) fn edit_list(out: &mut Boxes, delay: u32, millis: u32) {
    if delay == 0 {
        return;
    }
    out.boxed(b"edts", |out| {
        out.full(b"elst", 0, 0, |out| {
            for value in [2, delay, u32::MAX, 0x1_0000, millis.saturating_sub(delay), 0, 0x1_0000] {
                out.u32(value);
            }
        });
    });
}

/// `mdia`; `tables` writes the sample tables after the sample description.
pub(super) fn media(
    out: &mut Boxes,
    footage: &Footage,
    track: Track,
    created: u32,
    ticks: u32,
    tables: impl FnOnce(&mut Boxes),
) {
    out.boxed(b"mdia", |out| {
        out.full(b"mdhd", 0, 0, |out| {
            for value in [created, created, rate(track, footage.sound), ticks] {
                out.u32(value);
            }
            out.u16(0x55c4); // language: undetermined
            out.u16(0);
        });
        // The handler names are those of KVS's packager [seen, docs/KVS.md 4.4].
        let (handler, name): (&[u8; 4], &[u8]) = match track {
            Track::Video => (b"vide", b"USP Video Handler\0"),
            Track::Audio => (b"soun", b"USP Sound Handler\0"),
        };
        out.full(b"hdlr", 0, 0, |out| {
            out.u32(0);
            out.bytes(handler);
            out.zeros(12);
            out.bytes(name);
        });
        out.boxed(b"minf", |out| {
            match track {
                Track::Video => out.full(b"vmhd", 0, 1, |out| out.zeros(8)),
                Track::Audio => out.full(b"smhd", 0, 0, |out| out.zeros(4)),
            }
            out.boxed(b"dinf", |out| {
                out.full(b"dref", 0, 0, |out| {
                    out.u32(1);
                    out.full(b"url ", 0, 1, |_| {});
                });
            });
            out.boxed(b"stbl", |out| {
                sample_description(out, footage, track);
                tables(out);
            });
        });
    });
}

fn sample_description(out: &mut Boxes, footage: &Footage, track: Track) {
    out.full(b"stsd", 0, 0, |out| {
        out.u32(1);
        match track {
            Track::Video => visual_entry(out, footage),
            Track::Audio => sound_entry(out, footage),
        }
    });
}

fn visual_entry(out: &mut Boxes, footage: &Footage) {
    let recording = footage.recording;
    let (entry, config) =
        if recording.codec == VideoCodec::H265 { (b"hvc1", b"hvcC") } else { (b"avc1", b"avcC") };
    out.boxed(entry, |out| {
        out.zeros(6);
        out.u16(1);
        out.zeros(16);
        out.u16(recording.width());
        out.u16(recording.height());
        out.u32(0x48_0000);
        out.u32(0x48_0000);
        out.u32(0);
        out.u16(1);
        out.zeros(32);
        out.u16(0x18);
        out.u16(0xffff);
        out.boxed(config, |out| out.bytes(recording.private_data()));
    });
}

fn sound_entry(out: &mut Boxes, footage: &Footage) {
    let sound = footage.sound;
    let kind = match sound {
        SoundCodec::None | SoundCodec::Aac | SoundCodec::Aac48k => b"mp4a",
        SoundCodec::Alaw => b"alaw",
        SoundCodec::Mulaw => b"ulaw",
    };
    out.boxed(kind, |out| {
        out.zeros(6);
        out.u16(1);
        out.zeros(8);
        out.u16(1);
        out.u16(16);
        out.u32(0);
        out.u32(sound.rate() << 16);
        if !sound.is_g711() {
            let config = sound.private_data(footage.recording);
            out.full(b"esds", 0, 0, |out| elementary_stream(out, &config));
        }
    });
}

/// The descriptors of ISO/IEC 14496-1: stream 3 holds decoder configuration 4 holds specific information 5.
fn elementary_stream(out: &mut Boxes, asc: &[u8]) {
    let length = u8::try_from(asc.len()).expect("a few bytes");
    out.bytes(&[3, 23 + length, 0, 2, 0]);
    out.bytes(&[4, 15 + length, 0x40, 0x15, 0, 0, 0]);
    out.u32(24_000);
    out.u32(24_000);
    out.bytes(&[5, length]);
    out.bytes(asc);
    out.bytes(&[6, 1, 2]);
}

//! MPEG transport streams (ISO/IEC 13818-1): one fragment with all tracks, for `getTSFragment.ts`.
//!
//! The bytes of KVS are not known (docs/KVS.md 5.5). Here PTS is the fragment's time in the session, and
//! continuity counters go on from fragment to fragment of the endless loop, so that they form one continuous
//! stream.

use super::footage::REORDER_MILLIS;
use super::{Footage, LOOP_FRAMES, Recording, SoundCodec, VideoCodec};
use bytes::Bytes;
use std::ops::Range;

const PACKET: usize = 188;
const PAT_PID: u16 = 0;
const PMT_PID: u16 = 0x1000;
const VIDEO_PID: u16 = 0x100;
const AUDIO_PID: u16 = 0x101;
/// Ticks of the 90 kHz clock in a millisecond.
const TICKS: u64 = 90;
/// From the clock reference to the presentation, in ticks: 700 ms, as in ffmpeg.
const DELAY: u64 = 63_000;
/// An access unit delimiter; Apple's players require it.
const DELIMITER: [u8; 6] = [0, 0, 0, 1, 9, 0xf0];

/// Where a fragment stands in the endless stream, from which its continuity counters follow.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// How many fragments precede it.
    pub(crate) fragments: u64,
    /// How many pictures precede it.
    pub(crate) pictures: u64,
    /// How many frames of sound precede it.
    pub(crate) sounds: u64,
}

/// A fragment of H.264, with AAC or without sound, its first frame at `start_millis` of the session.
pub(crate) fn fragment(footage: &Footage, place: &Place, start_millis: u64) -> Bytes {
    let has_audio = footage.sound != SoundCodec::None;
    let mut out = Stream { packets: Vec::new(), counters: counters(footage, place) };
    out.section(PAT_PID, &pat());
    out.section(PMT_PID, &pmt(has_audio));
    let recording = footage.recording;
    let mut sounds = footage.audio.iter().peekable();
    let ticks = |decoded: u64, rate: u64| start_millis * TICKS + decoded * 1000 * TICKS / rate;
    for picture in &footage.video {
        let clock = ticks(picture.decoded, super::TICKS_PER_MILLI * 1000);
        let shown = ticks(picture.presented, super::TICKS_PER_MILLI * 1000) + DELAY;
        let unit = access_unit(recording, &picture.data, picture.key);
        let decoded = reordered(recording).then(|| clock + DELAY - REORDER_MILLIS * TICKS);
        out.pes(VIDEO_PID, 0xe0, &unit, shown, decoded, Some(clock), picture.key);
        let end = clock + u64::from(picture.duration) * TICKS / super::TICKS_PER_MILLI;
        let rate = u64::from(footage.sound.rate());
        while let Some(sound) = sounds.next_if(|sound| ticks(sound.decoded, rate) < end) {
            let frame = adts(footage.sound, &sound.data);
            out.pes(AUDIO_PID, 0xc0, &frame, ticks(sound.decoded, rate) + DELAY, None, None, true);
        }
    }
    for sound in sounds {
        let at = ticks(sound.decoded, u64::from(footage.sound.rate())) + DELAY;
        out.pes(AUDIO_PID, 0xc0, &adts(footage.sound, &sound.data), at, None, None, true);
    }
    out.packets.into()
}

/// Whether pictures have a time of decoding besides that of their presentation.
fn reordered(recording: &Recording) -> bool {
    recording.codec == VideoCodec::H264BFrames
}

struct Stream {
    packets: Vec<u8>,
    counters: [u8; 4],
}

impl Stream {
    /// The next continuity counter of a PID.
    fn count(&mut self, pid: u16) -> u8 {
        let counter = &mut self.counters[slot(pid)];
        let now = *counter;
        *counter = (now + 1) & 0x0f;
        now
    }

    fn section(&mut self, pid: u16, section: &[u8]) {
        let mut payload = vec![0];
        payload.extend_from_slice(section);
        payload.extend_from_slice(&crc32(section).to_be_bytes());
        payload.resize(PACKET - 4, 0xff);
        let counter = self.count(pid);
        self.packets.extend_from_slice(&[0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10 | counter]);
        self.packets.extend_from_slice(&payload);
    }

    #[allow(clippy::too_many_arguments, reason = "one for each field of a packet")]
    fn pes(
        &mut self,
        pid: u16,
        id: u8,
        data: &[u8],
        pts: u64,
        dts: Option<u64>,
        pcr: Option<u64>,
        key: bool,
    ) {
        let mut pes = vec![0, 0, 1, id];
        let length = if id == 0xe0 { 0 } else { (data.len() + 8) as u16 };
        pes.extend_from_slice(&length.to_be_bytes());
        match dts {
            None => {
                pes.extend_from_slice(&[0x80, 0x80, 5]);
                pes.extend_from_slice(&timestamp(2, pts));
            }
            Some(dts) => {
                pes.extend_from_slice(&[0x80, 0xc0, 10]);
                pes.extend_from_slice(&timestamp(3, pts));
                pes.extend_from_slice(&timestamp(1, dts));
            }
        }
        pes.extend_from_slice(data);
        let mut rest = pes.as_slice();
        let mut first = true;
        while !rest.is_empty() {
            // Adaptation: flags and clock reference in the first packet, stuffing in the last.
            let mut adaptation = Vec::new();
            if first && (pcr.is_some() || key) {
                adaptation.push(if key { 0x40 } else { 0 } | if pcr.is_some() { 0x10 } else { 0 });
                if let Some(pcr) = pcr {
                    let base = pcr & 0x1_ffff_ffff;
                    adaptation.extend_from_slice(&((base >> 1) as u32).to_be_bytes());
                    adaptation.extend_from_slice(&[((base & 1) as u8) << 7 | 0x7e, 0]);
                }
            }
            let room = PACKET - 4 - if adaptation.is_empty() { 0 } else { adaptation.len() + 1 };
            let take = rest.len().min(room);
            let stuffing = room - take;
            let has_adaptation = !adaptation.is_empty() || stuffing > 0;
            let start = if first { 0x40 } else { 0 };
            let flags = if has_adaptation { 0x30 } else { 0x10 } | self.count(pid);
            self.packets.extend_from_slice(&[0x47, start | (pid >> 8) as u8, pid as u8, flags]);
            if has_adaptation {
                let length = PACKET - 4 - take - 1;
                if adaptation.is_empty() && length > 0 {
                    adaptation.push(0);
                }
                adaptation.resize(length, 0xff);
                self.packets.push(length as u8);
                self.packets.extend_from_slice(&adaptation);
            }
            self.packets.extend_from_slice(&rest[..take]);
            rest = &rest[take..];
            first = false;
        }
    }
}

fn slot(pid: u16) -> usize {
    match pid {
        PAT_PID => 0,
        PMT_PID => 1,
        VIDEO_PID => 2,
        _ => 3,
    }
}

/// The continuity counters when a fragment begins, from the packets of everything before it.
fn counters(footage: &Footage, place: &Place) -> [u8; 4] {
    let tables = (place.fragments % 16) as u8;
    let loops = |before: u64, turn: u64, packets: &dyn Fn(Range<u64>) -> u64| {
        let whole = if before >= turn { before / turn % 16 * packets(0..turn) } else { 0 };
        ((whole + packets(0..before % turn)) % 16) as u8
    };
    let recording = footage.recording;
    let pictures = loops(place.pictures, LOOP_FRAMES, &|frames| picture_packets(recording, frames));
    let sounds = if footage.sound == SoundCodec::None {
        0
    } else {
        loops(place.sounds, footage.sound.loop_frames(), &|frames| {
            frames.map(|n| packets(PACKET - 4 - 2, 14 + 7 + footage.sound.frame(recording, n).len())).sum()
        })
    };
    [tables, tables, pictures, sounds]
}

/// How many packets these pictures take.
fn picture_packets(recording: &Recording, frames: Range<u64>) -> u64 {
    let header = if reordered(recording) { 19 } else { 14 };
    let unit = |n| access_unit(recording, &recording.frame(n), recording.is_key(n)).len();
    frames.map(|n| packets(PACKET - 4 - 8, header + unit(n))).sum()
}

/// How many packets a PES packet of `length` bytes takes, of which the first has room for `first` bytes.
fn packets(first: usize, length: usize) -> u64 {
    1 + length.saturating_sub(first).div_ceil(PACKET - 4) as u64
}

/// Annex B: start codes for lengths, the parameter sets before a key frame.
fn access_unit(recording: &Recording, sample: &[u8], key: bool) -> Vec<u8> {
    let mut out = DELIMITER.to_vec();
    let mut nal = |bytes: &[u8]| {
        out.extend_from_slice(&[0, 0, 0, 1]);
        out.extend_from_slice(bytes);
    };
    if key {
        recording.parameter_sets().iter().for_each(|set| nal(set));
    }
    let mut rest = sample;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (unit, next) = after.split_at(u32::from_be_bytes(*length) as usize);
        nal(unit);
        rest = next;
    }
    out
}

/// An AAC frame with its ADTS header: AAC-LC, mono.
fn adts(sound: SoundCodec, frame: &[u8]) -> Vec<u8> {
    let length = (frame.len() + 7) as u16;
    let (rate, channels) = (if sound == SoundCodec::Aac48k { 3 } else { 8 }, 1);
    let mut out = vec![
        0xff,
        0xf1,
        1 << 6 | rate << 2,
        channels << 6 | (length >> 11) as u8,
        (length >> 3) as u8,
        ((length & 7) as u8) << 5 | 0x1f,
        0xfc,
    ];
    out.extend_from_slice(frame);
    out
}

/// A timestamp after the four bits that say which one it is.
fn timestamp(kind: u8, pts: u64) -> [u8; 5] {
    let pts = pts & 0x1_ffff_ffff;
    [
        kind << 4 | 1 | ((pts >> 30) as u8) << 1,
        (pts >> 22) as u8,
        1 | ((pts >> 15) as u8) << 1,
        (pts >> 7) as u8,
        1 | ((pts & 0x7f) as u8) << 1,
    ]
}

/// Program 1 is described at `PMT_PID`.
fn pat() -> Vec<u8> {
    let pid = PMT_PID.to_be_bytes();
    vec![0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | pid[0], pid[1]]
}

/// H.264 is stream type 0x1b, ADTS 0x0f; the clock is the video's.
fn pmt(has_audio: bool) -> Vec<u8> {
    let length = if has_audio { 23 } else { 18 };
    let mut out = vec![2, 0xb0, length, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0];
    if has_audio {
        out.extend_from_slice(&[0x0f, 0xe1, 1, 0xf0, 0]);
    }
    out
}

/// CRC-32 of MPEG-2: polynomial 04C11DB7, not reflected, starts with ones.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::footage::tests::{FOOTAGE, footage};
    use super::super::{WINDOW_FRAMES, WINDOW_MILLIS};
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_that_of_mpeg() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }

    proptest! {
        #[test]
        fn counters_run_on_from_fragment_to_fragment(
            kind in proptest::sample::select(vec![FOOTAGE[0], FOOTAGE[1], FOOTAGE[3], FOOTAGE[4]]),
            window in 0..1_000_000_u64, audio: bool,
        ) {
            let kind = if audio { kind } else { (kind.0, kind.1, SoundCodec::None) };
            let mut last = [None; 4];
            for window in [window, window + 1] {
                let place = Place {
                    fragments: window,
                    pictures: window * WINDOW_FRAMES,
                    sounds: kind.2.first_at(window * WINDOW_MILLIS * u64::from(kind.2.rate() / 1000)),
                };
                let bytes = fragment(&footage(kind, window), &place, window * WINDOW_MILLIS);
                prop_assert_eq!(bytes.len() % PACKET, 0);
                for packet in bytes.chunks(PACKET) {
                    prop_assert_eq!(packet[0], 0x47);
                    let pid = u16::from(packet[1] & 0x1f) << 8 | u16::from(packet[2]);
                    let counter = packet[3] & 0x0f;
                    if let Some(last) = last[slot(pid)].replace(counter) {
                        prop_assert_eq!(counter, (last + 1) & 0x0f, "pid {}", pid);
                    }
                }
            }
        }
    }
}

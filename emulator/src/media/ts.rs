//! MPEG transport streams (ISO/IEC 13818-1): one fragment with all tracks, for `getTSFragment.ts`.
//!
//! The bytes of KVS are not known (docs/KVS.md 5.5). Here PTS is the fragment's time in the session, and
//! continuity counters go on from fragment to fragment of the endless loop, so that they form one continuous
//! stream.

use super::{FRAGMENTS, FRAME_MILLIS, FRAMES, Producer, Recording, Track};
use bytes::Bytes;

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

/// Fragment `index` of the endless loop, its first frame at `start_millis` of the session.
pub(crate) fn fragment(recording: &Recording, producer: Producer, index: u64, start_millis: u64) -> Bytes {
    let mut out = Stream { packets: Vec::new(), counters: counters(recording, producer, index) };
    out.section(PAT_PID, &pat());
    out.section(PMT_PID, &pmt(producer));
    for frame in 0..FRAMES {
        let ticks = (start_millis + frame as u64 * FRAME_MILLIS) * TICKS;
        let key = frame == 0;
        let picture = access_unit(recording, &recording.samples(Track::Video, index)[frame], key);
        out.pes(VIDEO_PID, 0xe0, &picture, ticks + DELAY, Some(ticks), key);
        if producer.has_audio() {
            let sound = adts(&recording.samples(Track::Audio, index)[frame]);
            out.pes(AUDIO_PID, 0xc0, &sound, ticks + DELAY, None, true);
        }
    }
    out.packets.into()
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

    fn pes(&mut self, pid: u16, id: u8, data: &[u8], pts: u64, pcr: Option<u64>, key: bool) {
        let mut pes = vec![0, 0, 1, id];
        let length = if id == 0xe0 { 0 } else { (data.len() + 8) as u16 };
        pes.extend_from_slice(&length.to_be_bytes());
        pes.extend_from_slice(&[0x80, 0x80, 5]);
        pes.extend_from_slice(&timestamp(pts));
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

/// The continuity counters when fragment `index` begins: the sum over all fragments of the loop before it.
fn counters(recording: &Recording, producer: Producer, index: u64) -> [u8; 4] {
    let packets = |from: u64, to: u64, pid: u16| (from..to).map(|i| packets(recording, i, pid)).sum::<u64>();
    let before = |pid| {
        let loops = index / FRAGMENTS;
        let count = loops % 16 * packets(0, FRAGMENTS, pid) + packets(0, index % FRAGMENTS, pid);
        (count % 16) as u8
    };
    let audio = if producer.has_audio() { before(AUDIO_PID) } else { 0 };
    [before(PAT_PID), before(PMT_PID), before(VIDEO_PID), audio]
}

/// How many packets of a PID fragment `index` takes.
fn packets(recording: &Recording, index: u64, pid: u16) -> u64 {
    let header = 14;
    let count =
        |first_room: usize, pes: usize| 1 + pes.saturating_sub(first_room).div_ceil(PACKET - 4) as u64;
    match pid {
        VIDEO_PID => (recording.samples(Track::Video, index).iter().enumerate())
            .map(|(frame, sample)| {
                let unit = header + access_unit(recording, sample, frame == 0).len();
                count(PACKET - 4 - 8, unit)
            })
            .sum(),
        AUDIO_PID => (recording.samples(Track::Audio, index).iter())
            .map(|sample| count(PACKET - 4 - 2, header + 7 + sample.len()))
            .sum(),
        _ => 1,
    }
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

/// An AAC frame with its ADTS header: AAC-LC, 16 kHz, mono.
fn adts(frame: &[u8]) -> Vec<u8> {
    let length = (frame.len() + 7) as u16;
    let (rate, channels) = (8, 1);
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

fn timestamp(pts: u64) -> [u8; 5] {
    let pts = pts & 0x1_ffff_ffff;
    [
        0x21 | ((pts >> 30) as u8) << 1,
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
fn pmt(producer: Producer) -> Vec<u8> {
    let length = if producer.has_audio() { 23 } else { 18 };
    let mut out = vec![2, 0xb0, length, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0];
    if producer.has_audio() {
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
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_checksum_is_that_of_mpeg() {
        assert_eq!(crc32(b"123456789"), 0x0376_e6e7);
    }

    proptest! {
        #[test]
        fn counters_run_on_from_fragment_to_fragment(
            camera in 0..3_usize, index in 0..1_000_000_u64, audio: bool,
        ) {
            let mut last = [None; 4];
            let producer = if audio { Producer::VideoAndAudio } else { Producer::VideoOnly };
            for index in [index, index + 1] {
                let bytes = fragment(Recording::of(camera), producer, index, index * 2048);
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

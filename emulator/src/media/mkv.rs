//! GetMediaForFragmentList's chunks: each fragment a small Matroska document of its own, tagged by AWS
//! (docs/KVS.md 9.2, RFC 8794, RFC 9559).

use super::{FRAME_MILLIS, Producer, Recording, SAMPLE_RATE, Track};
use bytes::Bytes;

/// The Segment's size: unknown, in eight bytes.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// One complete chunk.
pub(crate) fn chunk(
    recording: &Recording,
    producer: Producer,
    index: u64,
    number: &str,
    server_millis: u64,
    producer_millis: u64,
) -> Bytes {
    let mut out = opening();
    element(&mut out, &[0x15, 0x49, 0xa9, 0x66], &information());
    element(&mut out, &[0x16, 0x54, 0xae, 0x6b], &tracks(recording, producer));
    tags(
        &mut out,
        &[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", &seconds(server_millis)),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", &seconds(producer_millis)),
        ],
    );
    element(&mut out, &[0x1f, 0x43, 0xb6, 0x75], &cluster(recording, producer, index, producer_millis));
    out.into()
}

/// The chunk that replaces a fragment that KVS does not have [seen, docs/KVS.md 9.2].
pub(crate) fn error_chunk(number: &str, code: &str, id: &str) -> Bytes {
    let mut out = opening();
    tags(
        &mut out,
        &[
            ("AWS_KINESISVIDEO_ERROR_CODE", code),
            ("AWS_KINESISVIDEO_ERROR_ID", id),
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
        ],
    );
    out.into()
}

/// EBML header and the start of a Segment of unknown size.
fn opening() -> Vec<u8> {
    let mut header = Vec::new();
    for (id, value) in [(0x4286_u16, 1), (0x42f7, 1), (0x42f2, 4), (0x42f3, 8)] {
        element(&mut header, &id.to_be_bytes(), &[value]);
    }
    element(&mut header, &[0x42, 0x82], b"matroska");
    element(&mut header, &[0x42, 0x87], &[4]);
    element(&mut header, &[0x42, 0x85], &[2]);
    let mut out = Vec::new();
    element(&mut out, &[0x1a, 0x45, 0xdf, 0xa3], &header);
    out.extend_from_slice(&[0x18, 0x53, 0x80, 0x67]);
    out.extend_from_slice(&UNKNOWN);
    out
}

fn information() -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, &[0x73, 0xa4], b"kvs-edge camera!"); // SegmentUID, 16 bytes
    element(&mut out, &[0x2a, 0xd7, 0xb1], &1_000_000_u32.to_be_bytes()[1..]);
    element(&mut out, &[0x4d, 0x80], b"kvs-edge emulator");
    element(&mut out, &[0x57, 0x41], b"kvs-edge emulator");
    out
}

fn tracks(recording: &Recording, producer: Producer) -> Vec<u8> {
    let mut video = Vec::new();
    entry(&mut video, 1, 1, b"V_MPEG4/ISO/AVC", &recording.avcc);
    let mut picture = Vec::new();
    element(&mut picture, &[0xb0], &recording.width.to_be_bytes());
    element(&mut picture, &[0xba], &recording.height.to_be_bytes());
    element(&mut video, &[0xe0], &picture);
    let mut out = Vec::new();
    element(&mut out, &[0xae], &video);
    if producer.has_audio() {
        let mut sound = Vec::new();
        entry(&mut sound, 2, 2, b"A_AAC", &recording.asc);
        let mut sampling = Vec::new();
        element(&mut sampling, &[0xb5], &f64::from(SAMPLE_RATE).to_be_bytes());
        element(&mut sampling, &[0x9f], &[1]);
        element(&mut sound, &[0xe1], &sampling);
        element(&mut out, &[0xae], &sound);
    }
    out
}

fn entry(out: &mut Vec<u8>, number: u8, kind: u8, codec: &[u8], private: &[u8]) {
    element(out, &[0xd7], &[number]);
    element(out, &[0x73, 0xc5], &[number]);
    element(out, &[0x83], &[kind]);
    element(out, &[0x9c], &[0]);
    element(out, &[0x23, 0xe3, 0x83], &((FRAME_MILLIS * 1_000_000) as u32).to_be_bytes());
    element(out, &[0x86], codec);
    element(out, &[0x63, 0xa2], private);
}

/// Absolute time, then the frames of all tracks in the order of their times.
fn cluster(recording: &Recording, producer: Producer, index: u64, producer_millis: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(recording.size(index, producer.tracks()) + 1024);
    element(&mut out, &[0xe7], &producer_millis.to_be_bytes());
    for frame in 0..super::FRAMES {
        for &track in producer.tracks() {
            let sample = &recording.samples(track, index)[frame];
            let offset = (frame as u64 * FRAME_MILLIS) as i16;
            let key = if track == Track::Audio || frame == 0 { 0x80 } else { 0 };
            out.push(0xa3);
            size(&mut out, sample.len() + 4);
            out.push(0x80 | track.number() as u8);
            out.extend_from_slice(&offset.to_be_bytes());
            out.push(key);
            out.extend_from_slice(sample);
        }
    }
    out
}

/// AWS's Tags: one Tag, no Targets, sizes in four bytes.
fn tags(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    let mut tag = Vec::new();
    for (name, value) in pairs {
        let mut simple = Vec::new();
        wide(&mut simple, &[0x45, 0xa3], name.as_bytes());
        wide(&mut simple, &[0x44, 0x87], value.as_bytes());
        wide(&mut tag, &[0x67, 0xc8], &simple);
    }
    let mut tags = Vec::new();
    wide(&mut tags, &[0x73, 0x73], &tag);
    wide(out, &[0x12, 0x54, 0xc3, 0x67], &tags);
}

/// `1511852109.126`: seconds with three decimals.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn element(out: &mut Vec<u8>, id: &[u8], content: &[u8]) {
    out.extend_from_slice(id);
    size(out, content.len());
    out.extend_from_slice(content);
}

/// An element whose size takes four bytes, however small.
fn wide(out: &mut Vec<u8>, id: &[u8], content: &[u8]) {
    out.extend_from_slice(id);
    out.extend_from_slice(&(0x1000_0000 | content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
}

/// A size in one byte where it fits (127 would mean unknown), else in four.
fn size(out: &mut Vec<u8>, length: usize) {
    if length < 127 {
        out.push(0x80 | length as u8);
    } else {
        out.extend_from_slice(&(0x1000_0000 | length as u32).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tags_are_those_of_the_capture_to_the_byte() {
        // docs/KVS.md 9.2: 1254C367 100000EB 7373 100000E5 67C8 1000005B 45A3 10000020 … 4487 1000002F, 243
        // bytes.
        let number = "91343852333181432412489103253840132852129169963";
        let chunk =
            chunk(Recording::of(0), Producer::VideoAndAudio, 3, number, 1_511_852_109_126, 1_511_852_108_513);
        let at = chunk.windows(4).position(|w| w == [0x12, 0x54, 0xc3, 0x67]).unwrap();
        assert_eq!(
            chunk[at..at + 18],
            [0x12, 0x54, 0xc3, 0x67, 0x10, 0, 0, 0xeb, 0x73, 0x73, 0x10, 0, 0, 0xe5, 0x67, 0xc8, 0x10, 0]
        );
        assert_eq!(
            chunk[at + 243..at + 247],
            [0x1f, 0x43, 0xb6, 0x75],
            "the cluster follows after 243 bytes"
        );
        let text = String::from_utf8_lossy(&chunk[at..at + 243]).into_owned();
        assert!(text.contains(number) && text.contains("1511852109.126") && text.contains("1511852108.513"));
    }

    #[test]
    fn an_error_chunk_has_no_cluster() {
        let chunk = error_chunk("1", "FRAGMENT_NOT_FOUND", "3000");
        assert!(!chunk.windows(4).any(|w| w == [0x1f, 0x43, 0xb6, 0x75]));
        assert!(chunk.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]));
    }
}

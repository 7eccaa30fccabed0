//! GetMediaForFragmentList's chunks: each fragment a small Matroska document of its own, as its producer
//! sent it, tagged by AWS (docs/KVS.md 9.2, RFC 8794, RFC 9559).

use super::footage::Sample;
use super::{Container, FRAME_MILLIS, Footage, SoundCodec, Track, VideoCodec};
use bytes::Bytes;

/// A size that says that it is unknown, in eight bytes and in one.
const UNKNOWN: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
const UNKNOWN_SHORT: u8 = 0xff;
/// The content of the Void of an uploaded file: 4 KB with its header, where a muxer reserved place for
/// Cues.
const VOID: usize = 4096 - 6;
/// How long the texts of AWS's Producer SDK are, padded with NULs.
const SDK_TEXT: usize = 32;

mod id {
    pub(super) const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];
    pub(super) const CUES: &[u8] = &[0x1c, 0x53, 0xbb, 0x6b];
    pub(super) const INFO: &[u8] = &[0x15, 0x49, 0xa9, 0x66];
    pub(super) const SEEK_HEAD: &[u8] = &[0x11, 0x4d, 0x9b, 0x74];
    pub(super) const SEGMENT: &[u8] = &[0x18, 0x53, 0x80, 0x67];
    pub(super) const SIMPLE_BLOCK: &[u8] = &[0xa3];
    pub(super) const TAGS: &[u8] = &[0x12, 0x54, 0xc3, 0x67];
    pub(super) const TRACKS: &[u8] = &[0x16, 0x54, 0xae, 0x6b];
    pub(super) const VOID: &[u8] = &[0xec];
}

/// What a chunk says about its fragment.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    /// The fragment number.
    pub(crate) number: String,
    /// The server timestamp, in milliseconds since 1970.
    pub(crate) server_millis: u64,
    /// The producer timestamp, in milliseconds since 1970.
    pub(crate) producer_millis: u64,
    /// The timecode of the Cluster.
    pub(crate) timecode: u64,
}

/// One complete chunk.
pub(crate) fn chunk(footage: &Footage, container: Container, label: &Label) -> Bytes {
    let blocks = blocks(footage);
    let mut out = before_blocks(footage, container, label, &blocks);
    for block in &blocks {
        block.write(&mut out, container);
    }
    out.extend_from_slice(&after_cluster(container, label));
    out.into()
}

/// The length of a chunk in bytes.
pub(crate) fn chunk_length(footage: &Footage, container: Container, label: &Label) -> usize {
    let blocks = blocks(footage);
    let media: usize = blocks.iter().map(|block| block.length(container)).sum();
    before_blocks(footage, container, label, &blocks).len() + media + after_cluster(container, label).len()
}

/// The chunk that replaces a fragment that KVS does not have [seen, docs/KVS.md 9.2].
pub(crate) fn error_chunk(number: &str, code: &str, id: &str) -> Bytes {
    let mut out = opening(Container::File);
    aws_tags(
        &mut out,
        &[
            ("AWS_KINESISVIDEO_ERROR_CODE", code),
            ("AWS_KINESISVIDEO_ERROR_ID", id),
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
        ],
    );
    out.into()
}

/// One SimpleBlock.
struct Block<'a> {
    track: Track,
    /// Milliseconds from the timecode of the Cluster.
    offset: i16,
    sample: &'a Sample,
}

impl Block<'_> {
    fn content(&self) -> usize {
        self.sample.data.len() + 4
    }

    fn length(&self, container: Container) -> usize {
        id::SIMPLE_BLOCK.len() + size(container, self.content()).len() + self.content()
    }

    fn write(&self, out: &mut Vec<u8>, container: Container) {
        out.extend_from_slice(id::SIMPLE_BLOCK);
        out.extend_from_slice(&size(container, self.content()));
        out.push(0x80 | self.track.number() as u8);
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.push(if self.sample.key { 0x80 } else { 0 });
        out.extend_from_slice(&self.sample.data);
    }
}

/// The frames of all tracks in the order in which they are decoded, video first.
fn blocks(footage: &Footage) -> Vec<Block<'_>> {
    let mut blocks: Vec<(u64, Block<'_>)> = Vec::with_capacity(footage.video.len() + footage.audio.len());
    for &track in footage.tracks() {
        let rate = u64::from(super::rate(track, footage.sound));
        blocks.extend(footage.samples(track).iter().map(|sample| {
            let offset = footage.millis_of(track, sample).min(i16::MAX as u64) as i16;
            (sample.decoded * 1000 / rate, Block { track, offset, sample })
        }));
    }
    blocks.sort_by_key(|(decoded, block)| (*decoded, block.track.number()));
    blocks.into_iter().map(|(_, block)| block).collect()
}

/// Everything ahead of the first block.
fn before_blocks(footage: &Footage, container: Container, label: &Label, blocks: &[Block<'_>]) -> Vec<u8> {
    let mut out = opening(container);
    match container {
        Container::File => {
            element(&mut out, id::SEEK_HEAD, &seek_head());
            element(&mut out, id::VOID, &[0; VOID]);
            element(&mut out, id::INFO, &file_information());
            element(&mut out, id::TRACKS, &tracks(footage, container));
            producer_tags(&mut out, container, "ENCODER", "kvs-edge emulator");
        }
        Container::Sdk => {
            // The capture of the SDK has several Tags in this place.
            producer_tags(&mut out, container, "site", "loopback");
            producer_tags(&mut out, container, "firmware", "1.0.7");
            element(&mut out, id::INFO, &sdk_information());
            wide(&mut out, id::TRACKS, &tracks(footage, container));
            producer_tags(&mut out, container, "lens", "wide");
        }
    }
    aws_tags(
        &mut out,
        &[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", &label.number),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", &seconds(label.server_millis)),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", &seconds(label.producer_millis)),
        ],
    );
    let mut head = Vec::new();
    element(&mut head, &[0xe7], &label.timecode.to_be_bytes());
    out.extend_from_slice(id::CLUSTER);
    match container {
        Container::File => {
            let media: usize = blocks.iter().map(|block| block.length(container)).sum();
            out.extend_from_slice(&long_size(head.len() + media));
        }
        Container::Sdk => {
            out.push(UNKNOWN_SHORT);
            element(&mut head, &[0xa7], &[0]);
        }
    }
    out.extend_from_slice(&head);
    out
}

/// The SDK sends fragment metadata after the frames: here with every fourth fragment, and a Void.
fn after_cluster(container: Container, label: &Label) -> Vec<u8> {
    let mut out = Vec::new();
    if container == Container::Sdk && (label.timecode / FRAME_MILLIS).is_multiple_of(4) {
        producer_tags(&mut out, container, "motion", "left to right");
        element(&mut out, id::VOID, &[0; 200]);
    }
    out
}

/// EBML header and the start of a Segment of unknown size.
fn opening(container: Container) -> Vec<u8> {
    let mut header = Vec::new();
    for (id, value) in [(0x4286_u16, 1), (0x42f7, 1), (0x42f2, 4), (0x42f3, 8)] {
        element(&mut header, &id.to_be_bytes(), &[value]);
    }
    let (kind, version): (&[u8], u8) = match container {
        Container::File => (b"matroska", 4),
        Container::Sdk => (b"matroska\0", 2),
    };
    element(&mut header, &[0x42, 0x82], kind);
    element(&mut header, &[0x42, 0x87], &[version]);
    element(&mut header, &[0x42, 0x85], &[2]);
    let mut out = Vec::new();
    element(&mut out, &[0x1a, 0x45, 0xdf, 0xa3], &header);
    out.extend_from_slice(id::SEGMENT);
    out.extend_from_slice(&UNKNOWN);
    out
}

/// The index of the file that was uploaded: Info, Tracks and Cues, where they were in it. KVS keeps it.
fn seek_head() -> Vec<u8> {
    let mut out = Vec::new();
    for (id, position) in [(id::INFO, 4_161_u32), (id::TRACKS, 4_230), (id::CUES, 11_927_453)] {
        let mut seek = Vec::new();
        element(&mut seek, &[0x53, 0xab], id);
        element(&mut seek, &[0x53, 0xac], &position.to_be_bytes());
        element(&mut out, &[0x4d, 0xbb], &seek);
    }
    out
}

fn file_information() -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, &[0x73, 0xa4], b"kvs-edge camera!"); // SegmentUID, 16 bytes
    element(&mut out, &[0x2a, 0xd7, 0xb1], &1_000_000_u32.to_be_bytes()[1..]);
    element(&mut out, &[0x4d, 0x80], b"kvs-edge emulator");
    element(&mut out, &[0x57, 0x41], b"kvs-edge emulator");
    out
}

fn sdk_information() -> Vec<u8> {
    let mut out = Vec::new();
    element(&mut out, &[0x73, 0xa4], b"kvs-edge camera?");
    element(&mut out, &[0x2a, 0xd7, 0xb1], &1_000_000_u64.to_be_bytes());
    for id in [&[0x7b, 0xa9], &[0x4d, 0x80], &[0x57, 0x41]] {
        element(&mut out, id, b"kvs-edge emulator\0");
    }
    out
}

fn tracks(footage: &Footage, container: Container) -> Vec<u8> {
    let recording = footage.recording;
    let mut out = Vec::new();
    let codec: &[u8] = match recording.codec {
        VideoCodec::H264 | VideoCodec::H264BFrames => b"V_MPEG4/ISO/AVC",
        VideoCodec::H265 => b"V_MPEGH/ISO/HEVC",
    };
    let mut picture = Vec::new();
    element(&mut picture, &[0xb0], &recording.width().to_be_bytes());
    element(&mut picture, &[0xba], &recording.height().to_be_bytes());
    let mut video = entry(container, Track::Video, codec, recording.private_data());
    element(&mut video, &[0x23, 0xe3, 0x83], &((FRAME_MILLIS * 1_000_000) as u32).to_be_bytes());
    element(&mut video, &[0xe0], &picture);
    element(&mut out, &[0xae], &video);
    let sound = footage.sound;
    if sound != SoundCodec::None {
        let codec: &[u8] = if sound.is_g711() { b"A_MS/ACM" } else { b"A_AAC" };
        let mut sampling = Vec::new();
        element(&mut sampling, &[0xb5], &f64::from(sound.rate()).to_be_bytes());
        element(&mut sampling, &[0x9f], &[1]);
        if sound.is_g711() {
            element(&mut sampling, &[0x62, 0x64], &[8]);
        }
        let mut audio = entry(container, Track::Audio, codec, &sound.private_data(recording));
        element(&mut audio, &[0xe1], &sampling);
        element(&mut out, &[0xae], &audio);
    }
    out
}

fn entry(container: Container, track: Track, codec: &[u8], private: &[u8]) -> Vec<u8> {
    let number = track.number() as u8;
    let mut out = Vec::new();
    element(&mut out, &[0xd7], &[number]);
    match container {
        Container::File => {
            element(&mut out, &[0x73, 0xc5], &[number]);
            element(&mut out, &[0x83], &[number]);
            element(&mut out, &[0x9c], &[0]);
            element(&mut out, &[0x86], codec);
        }
        Container::Sdk => {
            element(&mut out, &[0x73, 0xc5], &(0x0205_f7d9_cfe9_b2f0 | u64::from(number)).to_be_bytes());
            element(&mut out, &[0x83], &[number]);
            element(&mut out, &[0x53, 0x6e], &padded(b"camera"));
            element(&mut out, &[0x86], &padded(codec));
        }
    }
    element(&mut out, &[0x63, 0xa2], private);
    out
}

fn padded(text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    text.resize(SDK_TEXT, 0);
    text
}

/// Tags of the producer: one Tag with one SimpleTag, sizes of eight bytes from the SDK.
fn producer_tags(out: &mut Vec<u8>, container: Container, name: &str, value: &str) {
    let write = |out: &mut Vec<u8>, id: &[u8], content: &[u8]| {
        out.extend_from_slice(id);
        out.extend_from_slice(&size(container, content.len()));
        out.extend_from_slice(content);
    };
    let (mut simple, mut tag, mut tags) = (Vec::new(), Vec::new(), Vec::new());
    write(&mut simple, &[0x45, 0xa3], name.as_bytes());
    write(&mut simple, &[0x44, 0x87], value.as_bytes());
    write(&mut tag, &[0x67, 0xc8], &simple);
    write(&mut tags, &[0x73, 0x73], &tag);
    write(out, id::TAGS, &tags);
}

/// AWS's Tags: one Tag, no Targets, sizes in four bytes.
fn aws_tags(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    let mut tag = Vec::new();
    for (name, value) in pairs {
        let mut simple = Vec::new();
        wide(&mut simple, &[0x45, 0xa3], name.as_bytes());
        wide(&mut simple, &[0x44, 0x87], value.as_bytes());
        wide(&mut tag, &[0x67, 0xc8], &simple);
    }
    let mut tags = Vec::new();
    wide(&mut tags, &[0x73, 0x73], &tag);
    wide(out, id::TAGS, &tags);
}

/// `1511852109.126`: seconds with three decimals.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

fn element(out: &mut Vec<u8>, id: &[u8], content: &[u8]) {
    out.extend_from_slice(id);
    out.extend_from_slice(&size(Container::File, content.len()));
    out.extend_from_slice(content);
}

/// An element whose size takes four bytes, however small.
fn wide(out: &mut Vec<u8>, id: &[u8], content: &[u8]) {
    out.extend_from_slice(id);
    out.extend_from_slice(&(0x1000_0000 | content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
}

/// The size of a block or of a producer's tag: from the SDK in eight bytes; from a file in one byte where
/// it fits (127 would mean unknown), else in four.
fn size(container: Container, length: usize) -> Vec<u8> {
    match container {
        Container::Sdk => long_size(length).to_vec(),
        Container::File if length < 127 => vec![0x80 | length as u8],
        Container::File => (0x1000_0000 | length as u32).to_be_bytes().to_vec(),
    }
}

fn long_size(length: usize) -> [u8; 8] {
    (1 << 56 | length as u64).to_be_bytes()
}

#[cfg(test)]
#[path = "../tests/mkv.rs"]
mod tests;

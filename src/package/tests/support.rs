//! Writes fragments as KVS gives them, for tests. A writer of its own: it shares no code with the reader.

use bytes::Bytes;

/// A document to be written; the fields are its options.
#[derive(Clone)]
pub(crate) struct WrittenDocument {
    pub tracks: Vec<WrittenTrack>,
    pub blocks: Vec<WrittenBlock>,
    /// In ticks.
    pub cluster_time: u64,
    /// TimestampScale.
    pub tick: u64,
    /// As AWS's Producer SDK writes it: unknown size, and block sizes of 8 bytes.
    pub sdk_shape: bool,
    /// As KVS gives it: unknown size.
    pub open_segment: bool,
    /// Elements before Info, after the tags of AWS, and after the Cluster.
    pub before: Vec<u8>,
    pub between: Vec<u8>,
    pub after: Vec<u8>,
    /// Elements in the Cluster, before its first block and after its last.
    pub in_cluster: Vec<u8>,
    pub tags: Vec<(String, String)>,
}

#[derive(Clone, Default)]
pub(crate) struct WrittenTrack {
    pub number: u64,
    pub kind: u64,
    pub codec_id: &'static str,
    pub private: Option<Vec<u8>>,
    pub size: Option<(u64, u64)>,
    /// Hz, channels.
    pub audio: Option<(f64, u64)>,
    pub default_duration: Option<u64>,
    /// More children of its entry.
    pub more: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct WrittenBlock {
    pub track: u64,
    /// After the Cluster's time, in ticks.
    pub time: i16,
    pub key: bool,
    /// What follows the head of the block: a frame, or a lace.
    pub payload: Vec<u8>,
    /// Of the flags: 0, 2 (Xiph), 4 (fixed size) or 6 (EBML).
    pub lacing: u8,
    /// In a BlockGroup.
    pub grouped: bool,
}

/// 2024-06-01T12:00:00Z.
pub(crate) const START: u64 = 1_717_243_200_000;
/// Of H.264, High, 640x360, with B-frames.
pub(crate) const AVCC: &[u8] = &[
    0x01, 0x64, 0x00, 0x1e, 0xff, 0xe1, 0x00, 0x19, 0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f,
    0xf9, 0x61, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x8f, 0x16, 0x2d, 0x96, 0x01,
    0x00, 0x06, 0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0,
];
/// Of H.264, Constrained Baseline, 320x240: other parameter sets.
pub(crate) const OTHER_AVCC: &[u8] = &[
    0x01, 0x42, 0xc0, 0x15, 0xff, 0xe1, 0x00, 0x16, 0x67, 0x42, 0xc0, 0x15, 0xda, 0x05, 0x07, 0xe8, 0x40,
    0x00, 0x00, 0x03, 0x00, 0x40, 0x00, 0x00, 0x0c, 0x83, 0xc5, 0x8b, 0x84, 0x60, 0x01, 0x00, 0x04, 0x68,
    0xce, 0x3c, 0x80,
];
/// Of H.265, Main, 320x180, with an SEI message besides VPS, SPS and PPS.
pub(crate) const HVCC: &[u8] = &[
    0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x3c, 0xf0, 0x00, 0xfc, 0xfd,
    0xf8, 0xf8, 0x00, 0x00, 0x0f, 0x04, 0x20, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0c, 0x01, 0xff, 0xff,
    0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x95, 0x90,
    0x09, 0x21, 0x00, 0x01, 0x00, 0x2b, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c, 0xa0, 0x0a, 0x08, 0x0b, 0x9f, 0x79, 0x65, 0x64, 0x92, 0x4c,
    0xaf, 0x01, 0x68, 0x08, 0x00, 0x00, 0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40, 0x22, 0x00,
    0x01, 0x00, 0x07, 0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40, 0x27, 0x00, 0x01, 0x00, 0x04, 0x4e, 0x01,
    0x05, 0x80,
];
/// Of AAC LC, 48 kHz, stereo.
pub(crate) const ASC: &[u8] = &[0x11, 0x90];

impl Default for WrittenDocument {
    fn default() -> Self {
        Self {
            tracks: Vec::new(),
            blocks: Vec::new(),
            cluster_time: START,
            tick: 1_000_000,
            sdk_shape: true,
            open_segment: true,
            before: Vec::new(),
            between: Vec::new(),
            after: Vec::new(),
            in_cluster: Vec::new(),
            tags: aws_tags(START),
        }
    }
}

/// H.264 at 25 frames per second that begins at this time, in milliseconds. Key frame first; each frame has
/// another length.
pub(crate) fn avc(frames: usize, start: u64) -> WrittenDocument {
    let blocks = (0..frames).map(|index| picture(1, (index * 40) as i16, index == 0, index));
    begun(start, vec![avc_track(AVCC)], blocks.collect())
}

/// The same with other parameter sets.
pub(crate) fn avc_other_sets(frames: usize, start: u64) -> WrittenDocument {
    WrittenDocument { tracks: vec![avc_track(OTHER_AVCC)], ..avc(frames, start) }
}

/// H.264 with two B-frames between the others: I P B B P B B …, so 40 ms of delay.
pub(crate) fn avc_b_frames(frames: usize, start: u64) -> WrittenDocument {
    let place = |index: usize| match index {
        0 => 0,
        _ if index % 3 == 1 => (index + 2).min(frames - 1),
        _ => index - 1,
    };
    let blocks = (0..frames).map(|index| picture(1, (place(index) * 40) as i16, index == 0, index));
    begun(start, vec![avc_track(AVCC)], blocks.collect())
}

/// H.265 at 25 frames per second.
pub(crate) fn hevc(frames: usize, start: u64) -> WrittenDocument {
    let track =
        WrittenTrack { codec_id: "V_MPEGH/ISO/HEVC", private: Some(HVCC.to_vec()), ..avc_track(AVCC) };
    WrittenDocument { tracks: vec![track], ..avc(frames, start) }
}

/// H.264 as of [`avc`], and AAC of the same length, interleaved by time.
pub(crate) fn avc_aac(pictures: usize, start: u64) -> WrittenDocument {
    let mut document = avc(pictures, start);
    document.tracks.push(aac_track());
    for index in 0_usize.. {
        let time = (index * 1024 + 24) / 48;
        if time >= pictures * 40 {
            break;
        }
        document.blocks.push(sound(2, time as i16, 90 + index % 7));
    }
    document.blocks.sort_by_key(|block| block.time);
    document
}

/// H.264 as of [`avc`], and G.711 A-law in frames of 40 ms.
pub(crate) fn avc_alaw(pictures: usize, start: u64) -> WrittenDocument {
    let mut document = avc(pictures, start);
    document.tracks.push(g711_track(2, 6));
    document.blocks.extend((0..pictures).map(|index| sound(2, (index * 40) as i16, 320)));
    document.blocks.sort_by_key(|block| block.time);
    document
}

/// G.711 µ-law alone, in frames of 20 ms.
pub(crate) fn ulaw(frames: usize, start: u64) -> WrittenDocument {
    let blocks = (0..frames).map(|index| sound(1, (index * 20) as i16, 160));
    begun(start, vec![g711_track(1, 7)], blocks.collect())
}

fn begun(start: u64, tracks: Vec<WrittenTrack>, blocks: Vec<WrittenBlock>) -> WrittenDocument {
    WrittenDocument { tracks, blocks, cluster_time: start, tags: aws_tags(start), ..Default::default() }
}

pub(crate) fn avc_track(private: &[u8]) -> WrittenTrack {
    WrittenTrack {
        number: 1,
        kind: 1,
        codec_id: "V_MPEG4/ISO/AVC",
        private: Some(private.to_vec()),
        size: Some((640, 360)),
        ..Default::default()
    }
}

pub(crate) fn aac_track() -> WrittenTrack {
    WrittenTrack {
        number: 2,
        kind: 2,
        codec_id: "A_AAC",
        private: Some(ASC.to_vec()),
        audio: Some((48_000.0, 2)),
        ..Default::default()
    }
}

/// `format`: 6 for A-law, 7 for µ-law. Mono at 8 kHz.
pub(crate) fn g711_track(number: u64, format: u8) -> WrittenTrack {
    let private = vec![format, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0];
    let audio = Some((8000.0, 1));
    WrittenTrack {
        number,
        kind: 2,
        codec_id: "A_MS/ACM",
        private: Some(private),
        audio,
        ..Default::default()
    }
}

/// Subtitles.
pub(crate) fn text_track(number: u64) -> WrittenTrack {
    WrittenTrack { number, kind: 17, codec_id: "S_TEXT/UTF8", ..Default::default() }
}

/// One NAL unit behind its length, larger for key frames.
pub(crate) fn picture(track: u64, time: i16, key: bool, index: usize) -> WrittenBlock {
    let length = if key { 900 } else { 100 + index % 50 };
    let mut payload = (length as u32).to_be_bytes().to_vec();
    payload.push(if key { 0x65 } else { 0x41 });
    payload.extend((1..length).map(|at| (at + index) as u8));
    WrittenBlock { track, time, key, payload, lacing: 0, grouped: false }
}

pub(crate) fn sound(track: u64, time: i16, length: usize) -> WrittenBlock {
    let payload = (0..length).map(|at| (at * 7 + time.unsigned_abs() as usize) as u8).collect();
    WrittenBlock { track, time, key: true, payload, lacing: 0, grouped: false }
}

fn aws_tags(start: u64) -> Vec<(String, String)> {
    let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let tag = |name: &str, value: String| (format!("AWS_KINESISVIDEO_{name}"), value);
    vec![
        tag("FRAGMENT_NUMBER", format!("9134385233318505{start:031}")),
        tag("SERVER_TIMESTAMP", seconds(start + 500)),
        tag("PRODUCER_TIMESTAMP", seconds(start)),
    ]
}

impl WrittenDocument {
    pub(crate) fn bytes(&self) -> Bytes {
        let info = element(0x1549_A966, &number(0x2A_D7B1, self.tick));
        let tracks: Vec<u8> = self.tracks.iter().flat_map(WrittenTrack::bytes).collect();
        let tags = if self.tags.is_empty() { Vec::new() } else { tags(&self.tags) };
        let content = [
            &self.before[..],
            &info,
            &element(0x1654_AE6B, &tracks),
            &tags,
            &self.between,
            &self.cluster(),
            &self.after,
        ]
        .concat();
        let segment =
            if self.open_segment { open(0x1853_8067, &content) } else { element(0x1853_8067, &content) };
        [header(), segment].concat().into()
    }

    fn cluster(&self) -> Vec<u8> {
        let mut content = wide(0xE7, &self.cluster_time.to_be_bytes(), 1);
        content.extend(&self.in_cluster);
        let width = if self.sdk_shape { 8 } else { 4 };
        for block in &self.blocks {
            content.extend(block.bytes(width));
        }
        content.extend(&self.in_cluster);
        if self.sdk_shape {
            [&[0x1F, 0x43, 0xB6, 0x75, 0xFF], &content[..]].concat()
        } else {
            element(0x1F43_B675, &content)
        }
    }
}

impl WrittenTrack {
    fn bytes(&self) -> Vec<u8> {
        let mut content = [number(0xD7, self.number), number(0x83, self.kind)].concat();
        content.extend(element(0x86, self.codec_id.as_bytes()));
        if let Some(private) = &self.private {
            content.extend(element(0x63A2, private));
        }
        if let Some(duration) = self.default_duration {
            content.extend(number(0x23_E383, duration));
        }
        if let Some((width, height)) = self.size {
            content.extend(element(0xE0, &[number(0xB0, width), number(0xBA, height)].concat()));
        }
        if let Some((rate, channels)) = self.audio {
            content.extend(element(
                0xE1,
                &[element(0xB5, &rate.to_be_bytes()), number(0x9F, channels)].concat(),
            ));
        }
        content.extend(&self.more);
        element(0xAE, &content)
    }
}

impl WrittenBlock {
    fn bytes(&self, width: u32) -> Vec<u8> {
        let flags = self.lacing | if self.key && !self.grouped { 0x80 } else { 0 };
        let [high, low] = self.time.to_be_bytes();
        let content = [&[0x80 | self.track as u8, high, low, flags], &self.payload[..]].concat();
        if !self.grouped {
            return wide(0xA3, &content, width);
        }
        let reference = if self.key { Vec::new() } else { number(0xFB, 40) };
        element(0xA0, &[wide(0xA1, &content, width), reference].concat())
    }
}

pub(crate) fn header() -> Vec<u8> {
    element(0x1A45_DFA3, &[element(0x4282, b"matroska\0"), number(0x4287, 2)].concat())
}

pub(crate) fn tags(pairs: &[(String, String)]) -> Vec<u8> {
    let simple = pairs.iter().flat_map(|(name, value)| {
        let name = wide(0x45A3, name.as_bytes(), 4);
        wide(0x67C8, &[name, wide(0x4487, value.as_bytes(), 4)].concat(), 4)
    });
    let simple: Vec<u8> = simple.collect();
    wide(0x1254_C367, &wide(0x7373, &simple, 4), 4)
}

/// An element whose size takes 4 bytes.
pub(crate) fn element(id: u32, content: &[u8]) -> Vec<u8> {
    wide(id, content, 4)
}

/// An element whose size takes `width` bytes.
pub(crate) fn wide(id: u32, content: &[u8], width: u32) -> Vec<u8> {
    let size = content.len() as u64 | 1 << (7 * width);
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    [&id, &size.to_be_bytes()[8 - width as usize..], content].concat()
}

/// An element of unknown size.
pub(crate) fn open(id: u32, content: &[u8]) -> Vec<u8> {
    [&id.to_be_bytes()[..], &[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], content].concat()
}

/// An unsigned integer.
pub(crate) fn number(id: u32, value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

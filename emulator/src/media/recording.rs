//! Reads the committed recordings: samples, codec private data, pictures.
//!
//! The reader supports only the files that `make.sh` makes: no edit lists, no composition offsets. A test
//! fails for any other file.

use super::{FRAGMENTS, FRAMES};
use bytes::Bytes;
use std::sync::LazyLock;

/// One camera's loop.
pub(crate) struct Recording {
    /// H.264 access units, AVC-formatted (4-byte lengths).
    video: Vec<Bytes>,
    /// Raw AAC frames.
    audio: Vec<Bytes>,
    /// One JPEG per fragment.
    images: Vec<Bytes>,
    /// The content of `avcC`.
    pub(crate) avcc: Bytes,
    /// The AudioSpecificConfig.
    pub(crate) asc: Bytes,
    /// Pixels across.
    pub(crate) width: u16,
    /// Pixels down.
    pub(crate) height: u16,
}

/// The two tracks of a recording, numbered as at KVS: 1 is video, 2 is audio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Track {
    /// Track 1.
    Video,
    /// Track 2.
    Audio,
}

impl Track {
    /// 1 or 2.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Video => 1,
            Self::Audio => 2,
        }
    }
}

static RECORDINGS: LazyLock<[Recording; Recording::COUNT]> = LazyLock::new(|| {
    [
        Recording::read(
            include_bytes!("../../media/camera-1.mp4"),
            include_bytes!("../../media/camera-1.mjpeg"),
        ),
        Recording::read(
            include_bytes!("../../media/camera-2.mp4"),
            include_bytes!("../../media/camera-2.mjpeg"),
        ),
        Recording::read(
            include_bytes!("../../media/camera-3.mp4"),
            include_bytes!("../../media/camera-3.mjpeg"),
        ),
    ]
});

impl Recording {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;

    /// Recording `index` modulo `COUNT`.
    pub(crate) fn of(index: usize) -> &'static Self {
        &RECORDINGS[index % RECORDINGS.len()]
    }

    /// The samples of one track of fragment `index` of the endless loop.
    pub(crate) fn samples(&self, track: Track, index: u64) -> &[Bytes] {
        let first = loop_index(index) * FRAMES;
        match track {
            Track::Video => &self.video[first..first + FRAMES],
            Track::Audio => &self.audio[first..first + FRAMES],
        }
    }

    /// Bytes of the samples of fragment `index`, in these tracks.
    pub(crate) fn size(&self, index: u64, tracks: &[Track]) -> usize {
        tracks.iter().flat_map(|track| self.samples(*track, index)).map(Bytes::len).sum()
    }

    /// The first picture of fragment `index`, as JPEG.
    pub(crate) fn image(&self, index: u64) -> Bytes {
        self.images[loop_index(index)].clone()
    }

    /// `avc1.42c016` and the like.
    pub(crate) fn video_codec(&self) -> String {
        format!("avc1.{:02x}{:02x}{:02x}", self.avcc[1], self.avcc[2], self.avcc[3])
    }

    /// The sequence and picture parameter sets, in this order.
    pub(crate) fn parameter_sets(&self) -> Vec<Bytes> {
        let mut sets = Vec::new();
        let mut at = 5;
        for mask in [0x1f, 0xff] {
            let count = self.avcc[at] & mask;
            at += 1;
            for _ in 0..count {
                let length = usize::from(self.avcc[at]) << 8 | usize::from(self.avcc[at + 1]);
                sets.push(self.avcc.slice(at + 2..at + 2 + length));
                at += 2 + length;
            }
        }
        sets
    }

    fn read(mp4: &'static [u8], mjpeg: &'static [u8]) -> Self {
        let file = Bytes::from_static(mp4);
        let moov = find(&file, b"moov").expect("make.sh writes moov");
        let mut tracks = Vec::new();
        let mut rest = moov;
        while let Some(trak) = find(&rest, b"trak") {
            tracks.push(path(&trak, &[b"mdia", b"minf", b"stbl"]));
            let used = trak.as_ptr() as usize - rest.as_ptr() as usize + trak.len();
            rest = rest.slice(used..);
        }
        let [video, audio] = tracks.as_slice() else { panic!("make.sh writes two tracks") };
        let entry = path(video, &[b"stsd"]).slice(8..);
        // A visual sample entry is 8 bytes of box header and 78 of fields before its boxes.
        let avcc = find(&entry.slice(86..), b"avcC").expect("make.sh writes avcC");
        let size = |at: usize| u16::from_be_bytes([entry[at], entry[at + 1]]);
        // An audio sample entry is 8 + 28. The AudioSpecificConfig is descriptor 5 of esds, lengths in four
        // bytes.
        let esds = find(&path(audio, &[b"stsd"]).slice(8 + 36..), b"esds").expect("make.sh writes esds");
        let config = esds.windows(4).position(|w| w == [5, 0x80, 0x80, 0x80]).expect("ffmpeg writes it so");
        let length = usize::from(esds[config + 4]);
        Self {
            video: samples(&file, video),
            audio: samples(&file, audio),
            images: pictures(mjpeg),
            width: size(8 + 24),
            height: size(8 + 26),
            asc: esds.slice(config + 5..config + 5 + length),
            avcc,
        }
    }
}

/// Where fragment `index` of the endless loop lies in the recording.
fn loop_index(index: u64) -> usize {
    usize::try_from(index % FRAGMENTS).expect("less than 20")
}

/// The content of the first box of this kind among the boxes in `bytes`.
fn find(bytes: &Bytes, kind: &[u8; 4]) -> Option<Bytes> {
    let mut at = 0;
    while at + 8 <= bytes.len() {
        let size = number(bytes, at);
        if &bytes[at + 4..at + 8] == kind {
            return Some(bytes.slice(at + 8..at + size));
        }
        at += size;
    }
    None
}

fn path(bytes: &Bytes, kinds: &[&[u8; 4]]) -> Bytes {
    kinds.iter().fold(bytes.clone(), |inner, kind| find(&inner, kind).expect("make.sh writes every table"))
}

/// A 32-bit number.
fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

/// The samples of a track, by its sample table.
fn samples(file: &Bytes, table: &Bytes) -> Vec<Bytes> {
    let (sizes, chunks, runs) = (path(table, &[b"stsz"]), path(table, &[b"stco"]), path(table, &[b"stsc"]));
    let run = |n: usize| (number(&runs, 8 + 12 * n), number(&runs, 12 + 12 * n));
    let mut samples = Vec::new();
    let mut current = 0;
    for chunk in 0..number(&chunks, 4) {
        if current + 1 < number(&runs, 4) && run(current + 1).0 == chunk + 1 {
            current += 1;
        }
        let mut at = number(&chunks, 8 + 4 * chunk);
        for _ in 0..run(current).1 {
            let size = number(&sizes, 12 + 4 * samples.len());
            samples.push(file.slice(at..at + size));
            at += size;
        }
    }
    samples
}

/// Cuts a file of JPEGs, one after the other, where each begins. The marker cannot occur inside one: in the
/// coded picture 0xff is always followed by 0 or a restart marker, and ffmpeg writes no thumbnails.
fn pictures(file: &'static [u8]) -> Vec<Bytes> {
    let starts: Vec<usize> =
        file.windows(3).enumerate().filter(|(_, w)| *w == [0xff, 0xd8, 0xff]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([file.len()]);
    starts.iter().zip(ends).map(|(&start, end)| Bytes::from_static(&file[start..end])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recording_is_twenty_fragments_that_begin_with_a_key_frame() {
        for index in 0..3 {
            let it = Recording::of(index);
            assert_eq!((it.video.len(), it.audio.len(), it.images.len()), (640, 640, 20));
            assert_eq!(it.asc.as_ref(), [0x14, 0x08], "AAC-LC, 16 kHz, mono");
            assert_eq!(it.parameter_sets().len(), 2);
            for fragment in 0..FRAGMENTS {
                for (frame, sample) in it.samples(Track::Video, fragment).iter().enumerate() {
                    // An IDR picture is NAL type 5.
                    let key = nals(sample).iter().any(|nal| nal[0] & 0x1f == 5);
                    assert_eq!(key, frame == 0, "recording {index} fragment {fragment} frame {frame}");
                }
            }
        }
    }

    #[test]
    fn neighbouring_key_frames_differ_in_their_identity_over_the_join_of_the_loop() {
        // H.264 7.4.3: two consecutive IDR pictures shall differ in idr_pic_id.
        for index in 0..3 {
            let it = Recording::of(index);
            let first = |fragment| {
                let nal = nals(&it.samples(Track::Video, fragment)[0]).pop().expect("a picture");
                nal[..8].to_vec()
            };
            assert_ne!(first(19), first(20), "recording {index}");
        }
    }

    #[test]
    fn recordings_differ_in_their_codec_private_data() {
        assert_ne!(Recording::of(0).avcc, Recording::of(1).avcc);
        assert_ne!(Recording::of(1).avcc, Recording::of(2).avcc);
    }

    fn nals(sample: &Bytes) -> Vec<Bytes> {
        let mut nals = Vec::new();
        let mut at = 0;
        while at < sample.len() {
            let length = number(sample, at);
            nals.push(sample.slice(at + 4..at + 4 + length));
            at += 4 + length;
        }
        nals
    }
}

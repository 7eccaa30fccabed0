//! The committed recordings: what each camera shows, as frames of one codec, and its pictures as JPEG.

use super::mp4_source::{self, Track as SourceTrack};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

/// The video codec.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoCodec {
    /// H.264 without B-frames.
    H264,
    /// H.264 with B-frames.
    H264BFrames,
    /// H.265.
    H265,
}

/// One camera's loop of 640 pictures, in one codec.
pub(crate) struct Recording {
    video: SourceTrack,
    /// Raw AAC frames of 16 kHz.
    pub(super) aac: Vec<Bytes>,
    /// The AudioSpecificConfig of `aac`.
    pub(super) asc: Bytes,
    /// Which camera it shows.
    pub(crate) camera: usize,
    /// The codec of its pictures.
    pub(crate) codec: VideoCodec,
}

/// The two tracks of a stream, numbered as at KVS: 1 is video, 2 is audio.
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

macro_rules! media {
    ($name:literal) => {
        include_bytes!(concat!("../../media/", $name))
    };
}

static PLAIN: LazyLock<[Recording; 3]> = LazyLock::new(|| {
    let files: [&[u8]; 3] = [media!("camera-1.mp4"), media!("camera-2.mp4"), media!("camera-3.mp4")];
    std::array::from_fn(|camera| Recording::read(files[camera], camera, VideoCodec::H264))
});
static WITH_B_FRAMES: LazyLock<[Recording; 2]> = LazyLock::new(|| {
    let files: [&[u8]; 2] = [media!("camera-2-b.mp4"), media!("camera-3-b.mp4")];
    std::array::from_fn(|n| Recording::read(files[n], n + 1, VideoCodec::H264BFrames))
});
static H265: LazyLock<[Recording; 2]> = LazyLock::new(|| {
    let files: [&[u8]; 2] = [media!("camera-2-h265.mp4"), media!("camera-3-h265.mp4")];
    std::array::from_fn(|n| Recording::read(files[n], n + 1, VideoCodec::H265))
});
/// One JPEG per window of each camera.
static IMAGES: LazyLock<[Vec<Bytes>; 3]> = LazyLock::new(|| {
    let files: [&'static [u8]; 3] =
        [media!("camera-1.mjpeg"), media!("camera-2.mjpeg"), media!("camera-3.mjpeg")];
    files.map(pictures)
});

impl Recording {
    /// Recording `index` of a codec, modulo their number.
    pub(crate) fn of(codec: VideoCodec, index: usize) -> &'static Self {
        match codec {
            VideoCodec::H264 => &PLAIN[index % PLAIN.len()],
            VideoCodec::H264BFrames => &WITH_B_FRAMES[index % WITH_B_FRAMES.len()],
            VideoCodec::H265 => &H265[index % H265.len()],
        }
    }

    /// Frame `number` of the endless loop, in decode order.
    pub(crate) fn frame(&self, number: u64) -> Bytes {
        self.video.frames[place(number)].clone()
    }

    /// The place in presentation order of frame `number` of the endless loop.
    pub(crate) fn presented(&self, number: u64) -> u64 {
        let at = place(number);
        number - at as u64 + self.video.places[at] as u64
    }

    /// Whether frame `number` of the endless loop is a key frame.
    pub(crate) fn is_key(&self, number: u64) -> bool {
        self.video.keys[place(number)]
    }

    /// The frames of one loop that are key frames.
    pub(crate) fn key_frames(&self) -> Vec<u64> {
        (0..self.video.keys.len() as u64).filter(|number| self.is_key(*number)).collect()
    }

    /// The content of avcC or hvcC.
    pub(crate) fn private_data(&self) -> &Bytes {
        &self.video.config
    }

    /// Pixels across.
    pub(crate) fn width(&self) -> u16 {
        self.video.width
    }

    /// Pixels down.
    pub(crate) fn height(&self) -> u16 {
        self.video.height
    }

    /// The picture at the start of window `window` of the endless loop of a camera, as JPEG.
    pub(crate) fn image(camera: usize, window: u64) -> Bytes {
        let images = &IMAGES[camera];
        images[(window % images.len() as u64) as usize].clone()
    }

    /// `avc1.42c016` and the like; `hvc1.1.6.L63.90` of H.265 (ISO/IEC 14496-15 E.3).
    pub(crate) fn codec_name(&self) -> String {
        let config = self.private_data();
        if self.codec != VideoCodec::H265 {
            return format!("avc1.{:02x}{:02x}{:02x}", config[1], config[2], config[3]);
        }
        let tier = if config[1] & 0x20 == 0 { 'L' } else { 'H' };
        let flags = u32::from_be_bytes([config[2], config[3], config[4], config[5]]).reverse_bits();
        let constraints: Vec<String> = config[6..12].iter().map(|byte| format!("{byte:x}")).collect();
        let used = 6 - config[6..12].iter().rev().take_while(|byte| **byte == 0).count();
        let mut name = format!("hvc1.{}.{flags:x}.{tier}{}", config[1] & 0x1f, config[12]);
        constraints[..used].iter().for_each(|constraint| {
            name.push('.');
            name.push_str(constraint);
        });
        name
    }

    /// The sequence and picture parameter sets of H.264, in this order.
    pub(crate) fn parameter_sets(&self) -> Vec<Bytes> {
        let config = self.private_data();
        let mut sets = Vec::new();
        let mut at = 5;
        for mask in [0x1f, 0xff] {
            let count = config[at] & mask;
            at += 1;
            for _ in 0..count {
                let length = usize::from(config[at]) << 8 | usize::from(config[at + 1]);
                sets.push(config.slice(at + 2..at + 2 + length));
                at += 2 + length;
            }
        }
        sets
    }

    fn read(mp4: &'static [u8], camera: usize, codec: VideoCodec) -> Self {
        let mut tracks = mp4_source::tracks(&Bytes::from_static(mp4)).into_iter();
        let video = tracks.next().expect("make.sh writes a track of video");
        let (aac, asc) = match tracks.next() {
            Some(sound) => (sound.frames, sound.config),
            // The other codecs of a camera have the sound of its first file.
            None => (PLAIN[camera].aac.clone(), PLAIN[camera].asc.clone()),
        };
        Self { video, aac, asc, camera, codec }
    }
}

/// Where frame `number` of the endless loop lies in the recording.
fn place(number: u64) -> usize {
    (number % super::LOOP_FRAMES) as usize
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
    use super::super::mp4_source::number;
    use super::super::{LOOP_FRAMES, WINDOW_FRAMES};
    use super::*;

    fn all() -> impl Iterator<Item = &'static Recording> {
        let of = |codec, count| (0..count).map(move |index| Recording::of(codec, index));
        of(VideoCodec::H264, 3).chain(of(VideoCodec::H264BFrames, 2)).chain(of(VideoCodec::H265, 2))
    }

    #[test]
    fn every_recording_has_the_same_key_frames_and_one_begins_each_window() {
        let keys = Recording::of(VideoCodec::H264, 0).key_frames();
        assert!((0..LOOP_FRAMES).step_by(WINDOW_FRAMES as usize).all(|frame| keys.contains(&frame)));
        for it in all() {
            assert_eq!((it.video.frames.len() as u64, it.aac.len()), (LOOP_FRAMES, 640));
            assert_eq!(it.asc.as_ref(), [0x14, 0x08], "AAC-LC, 16 kHz, mono");
            assert_eq!(it.key_frames(), keys);
            assert_eq!(IMAGES[it.camera].len() as u64, LOOP_FRAMES / WINDOW_FRAMES);
            for frame in 0..LOOP_FRAMES {
                // An IDR picture is NAL type 5, of H.265 19 or 20.
                let key = nals(&it.frame(frame)).iter().any(|nal| match it.codec {
                    VideoCodec::H265 => [19, 20].contains(&(nal[0] >> 1 & 0x3f)),
                    _ => nal[0] & 0x1f == 5,
                });
                assert_eq!(key, it.is_key(frame), "{:?} {} frame {frame}", it.codec, it.camera);
            }
        }
    }

    #[test]
    fn groups_of_pictures_are_closed_and_only_b_frames_change_the_order() {
        for it in all() {
            let keys = it.key_frames();
            let ends = keys.iter().skip(1).copied().chain([LOOP_FRAMES]);
            for (&start, end) in keys.iter().zip(ends) {
                let mut places: Vec<u64> = (start..end).map(|frame| it.presented(frame)).collect();
                let sorted = places.is_sorted();
                places.sort_unstable();
                assert!(places.into_iter().eq(start..end), "group at {start}");
                assert!(sorted || it.codec == VideoCodec::H264BFrames);
            }
        }
        let b = Recording::of(VideoCodec::H264BFrames, 0);
        assert!((0..LOOP_FRAMES).any(|frame| b.presented(frame) != frame));
    }

    #[test]
    fn neighbouring_key_frames_differ_in_their_identity_over_the_join_of_the_loop() {
        // H.264 7.4.3: two consecutive IDR pictures shall differ in idr_pic_id.
        for it in all().filter(|it| it.codec != VideoCodec::H265) {
            let keys = it.key_frames();
            let first = |frame| {
                let nal = nals(&it.frame(frame)).pop().expect("a picture");
                nal[..8].to_vec()
            };
            assert_ne!(first(keys[keys.len() - 1]), first(LOOP_FRAMES), "{:?} {}", it.codec, it.camera);
        }
    }

    #[test]
    fn recordings_of_a_codec_differ_in_their_codec_private_data() {
        let data = |codec, index| Recording::of(codec, index).private_data();
        for codec in [VideoCodec::H264, VideoCodec::H264BFrames, VideoCodec::H265] {
            assert_ne!(data(codec, 0), data(codec, 1));
        }
        assert_ne!(data(VideoCodec::H264, 1), data(VideoCodec::H264, 2));
    }

    #[test]
    fn codecs_have_the_names_of_their_parameters() {
        assert!(Recording::of(VideoCodec::H264, 0).codec_name().starts_with("avc1.42"));
        assert!(Recording::of(VideoCodec::H265, 0).codec_name().starts_with("hvc1.1.6.L"));
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

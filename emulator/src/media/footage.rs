//! The samples of one fragment with their times: what every container is written from.

use super::{FRAME_MILLIS, Recording, SoundCodec, TICKS_PER_MILLI, Track, VideoCodec};
use bytes::Bytes;
use std::ops::Range;

/// One frame of a fragment. Times are ticks of the track from the start of the fragment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) data: Bytes,
    /// When it is decoded. Less than `presented` by no more than `REORDER_TICKS`, or greater by as much.
    pub(crate) decoded: u64,
    /// When it is shown or heard.
    pub(crate) presented: u64,
    /// Until the next one of the track is decoded.
    pub(crate) duration: u32,
    /// Whether it depends on no other.
    pub(crate) key: bool,
}

/// Which frames a fragment has, and when. Instants are milliseconds since 1970 on the clock of the camera.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// The start of the fragment.
    pub(crate) start: u64,
    /// The start of the next fragment.
    pub(crate) end: u64,
    /// The frames of the endless loop.
    pub(crate) frames: Range<u64>,
    /// When each of `frames` is shown, in presentation order.
    pub(crate) shown: Vec<u64>,
    /// The frame of sound that is heard at instant 0 would have number 0; the sound is late by this.
    pub(crate) sound_delay: u64,
    /// Added to an instant to find the place of the sound in its endless loop.
    pub(crate) loop_shift: u64,
}

impl Span {
    /// The place of an instant in the endless loop of a sound, in ticks.
    fn sound_ticks(&self, sound: SoundCodec, instant: u64) -> u64 {
        (instant + self.loop_shift - self.sound_delay) * u64::from(sound.rate() / 1000)
    }

    /// The number of the first frame of sound in the fragment. Frames run on their own grid, through all
    /// fragments.
    pub(crate) fn first_sound(&self, sound: SoundCodec) -> u64 {
        sound.first_at(self.sound_ticks(sound, self.start))
    }
}

/// The samples of one fragment.
pub(crate) struct Footage {
    pub(crate) recording: &'static Recording,
    pub(crate) sound: SoundCodec,
    pub(crate) video: Vec<Sample>,
    pub(crate) audio: Vec<Sample>,
    /// How long the fragment lasts, in milliseconds.
    pub(crate) millis: u64,
}

impl Footage {
    /// Collects the samples of a span.
    pub(crate) fn new(recording: &'static Recording, sound: SoundCodec, span: &Span) -> Self {
        let video = video(recording, span);
        let audio = if sound == SoundCodec::None { Vec::new() } else { audio(recording, sound, span) };
        Self { recording, sound, video, audio, millis: span.end - span.start }
    }

    /// Adds filler data of so many bytes to each picture, as a NAL unit with its length ahead (ITU-T H.264,
    /// 7.3.2.7; H.265, 7.3.2.8).
    pub(crate) fn fill(&mut self, bytes: u32) {
        const TRAILING: u8 = 0x80;
        let header: &[u8] = match self.recording.codec {
            VideoCodec::H264 | VideoCodec::H264BFrames => &[12],
            VideoCodec::H265 => &[38 << 1, 1],
        };
        let mut unit = (header.len() as u32 + bytes + 1).to_be_bytes().to_vec();
        unit.extend_from_slice(header);
        unit.resize(unit.len() + bytes as usize, 0xff);
        unit.push(TRAILING);
        for sample in &mut self.video {
            sample.data = [&sample.data[..], &unit].concat().into();
        }
    }

    /// The tracks, in the order of their numbers. A track of sound is there even if it has no frame here.
    pub(crate) fn tracks(&self) -> &'static [Track] {
        if self.sound == SoundCodec::None { &[Track::Video] } else { &[Track::Video, Track::Audio] }
    }

    /// The samples of one track.
    pub(crate) fn samples(&self, track: Track) -> &[Sample] {
        match track {
            Track::Video => &self.video,
            Track::Audio => &self.audio,
        }
    }

    /// Bytes of the samples of these tracks.
    pub(crate) fn size(&self, tracks: &[Track]) -> usize {
        tracks.iter().flat_map(|track| self.samples(*track)).map(|sample| sample.data.len()).sum()
    }

    /// When a sample is shown or heard, in milliseconds from the start of the fragment.
    pub(crate) fn millis_of(&self, track: Track, sample: &Sample) -> u64 {
        let rate = u64::from(rate(track, self.sound));
        (sample.presented * 1000 + rate / 2) / rate
    }

    /// From the first to the last frame, in milliseconds: FragmentLengthInMilliseconds (docs/KVS.md 4.2).
    pub(crate) fn length(&self) -> u64 {
        let times = self
            .tracks()
            .iter()
            .flat_map(|&track| self.samples(track).iter().map(move |sample| self.millis_of(track, sample)));
        let (least, most) =
            times.fold((u64::MAX, 0), |(least, most), time| (least.min(time), most.max(time)));
        most.saturating_sub(least)
    }
}

/// Ticks of a track in a second.
pub(crate) fn rate(track: Track, sound: SoundCodec) -> u32 {
    match track {
        Track::Video => (TICKS_PER_MILLI * 1000) as u32,
        Track::Audio => sound.rate(),
    }
}

fn video(recording: &Recording, span: &Span) -> Vec<Sample> {
    let ticks = |at: usize| (span.shown[at] - span.start) * TICKS_PER_MILLI;
    let end = (span.end - span.start) * TICKS_PER_MILLI;
    let count = span.shown.len();
    let frames = span.frames.clone().enumerate();
    frames
        .map(|(at, frame)| {
            let decoded = ticks(at);
            let next = if at + 1 < count { ticks(at + 1) } else { end.max(decoded + 1) };
            Sample {
                data: recording.frame(frame),
                decoded,
                presented: ticks((recording.presented(frame) - span.frames.start) as usize),
                duration: (next - decoded) as u32,
                key: recording.is_key(frame),
            }
        })
        .collect()
}

/// The frames of sound that begin within the fragment.
fn audio(recording: &Recording, sound: SoundCodec, span: &Span) -> Vec<Sample> {
    let length = u64::from(sound.frame_samples());
    let start = span.sound_ticks(sound, span.start);
    (span.first_sound(sound)..sound.first_at(span.sound_ticks(sound, span.end)))
        .map(|number| Sample {
            data: sound.frame(recording, number),
            decoded: number * length - start,
            presented: number * length - start,
            duration: sound.frame_samples(),
            key: true,
        })
        .collect()
}

/// How much earlier than their presentation pictures with B-frames must be decoded at most: two frames,
/// which also covers frames that are late.
pub(crate) const REORDER_MILLIS: u64 = 2 * FRAME_MILLIS;

#[cfg(test)]
pub(super) mod tests {
    use super::super::{WINDOW_FRAMES, WINDOW_MILLIS};
    use super::*;
    use proptest::prelude::*;

    /// A codec and number of a recording, and a sound.
    pub(crate) type Kind = (VideoCodec, usize, SoundCodec);

    /// Every codec.
    pub(crate) const FOOTAGE: [Kind; 7] = [
        (VideoCodec::H264, 0, SoundCodec::Aac),
        (VideoCodec::H264, 1, SoundCodec::Aac48k),
        (VideoCodec::H264, 2, SoundCodec::Alaw),
        (VideoCodec::H264BFrames, 0, SoundCodec::Aac),
        (VideoCodec::H264BFrames, 1, SoundCodec::Aac48k),
        (VideoCodec::H265, 0, SoundCodec::Mulaw),
        (VideoCodec::H265, 1, SoundCodec::Aac),
    ];

    /// One window of the endless loop.
    pub(crate) fn footage((codec, index, sound): Kind, window: u64) -> Footage {
        let frames = window * WINDOW_FRAMES..(window + 1) * WINDOW_FRAMES;
        let start = window * WINDOW_MILLIS;
        let shown = frames.clone().map(|frame| frame * FRAME_MILLIS).collect();
        let span = Span { start, end: start + WINDOW_MILLIS, frames, shown, sound_delay: 0, loop_shift: 0 };
        Footage::new(Recording::of(codec, index), sound, &span)
    }

    #[test]
    fn filler_is_one_more_whole_unit_of_each_picture() {
        for kind in FOOTAGE {
            let plain = footage(kind, 3);
            let mut filled = footage(kind, 3);
            filled.fill(1000);
            let header = if kind.0 == VideoCodec::H265 { 2 } else { 1 };
            for (before, after) in plain.video.iter().zip(&filled.video) {
                assert_eq!(after.data.len(), before.data.len() + 4 + header + 1000 + 1);
                let mut rest = &after.data[..];
                while let Some((length, unit)) = rest.split_first_chunk::<4>() {
                    rest = &unit[u32::from_be_bytes(*length) as usize..];
                }
                assert!(rest.is_empty());
            }
            assert_eq!(plain.size(&[Track::Audio]), filled.size(&[Track::Audio]));
        }
    }

    proptest! {
        #[test]
        fn tracks_run_on_from_fragment_to_fragment(
            kind in proptest::sample::select(&FOOTAGE[..]), window in 0..1_u64 << 30,
        ) {
            let (this, next) = (footage(kind, window), footage(kind, window + 1));
            for track in [Track::Video, Track::Audio] {
                let ticks = WINDOW_MILLIS * u64::from(rate(track, kind.2) / 1000);
                let (last, first) = (this.samples(track).last().unwrap(), &next.samples(track)[0]);
                prop_assert_eq!(last.decoded + u64::from(last.duration), ticks + first.decoded);
                let reordered = this.samples(track).windows(2).any(|w| w[1].presented < w[0].presented);
                prop_assert_eq!(reordered, track == Track::Video && kind.0 == VideoCodec::H264BFrames);
            }
            prop_assert!(this.video[0].key);
            prop_assert!(this.length() < WINDOW_MILLIS);
        }
    }
}

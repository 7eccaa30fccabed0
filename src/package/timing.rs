//! When each frame of a fragment is decoded and presented.
//!
//! Matroska has presentation times only, in milliseconds. Decode times are the sorted presentation times;
//! sound is put back on the grid of its samples.

use super::fragment::scaled;
use super::mp4::track::G711;
use super::output::Output;
use super::{Codec, Document, Fragment, Frame, Refusal, TrackSettings, flac};
use bytes::Bytes;

/// The frames of one track of one fragment, ready to be written.
pub(super) struct TrackRun {
    /// `track_ID`.
    pub(super) track: u32,
    pub(super) is_video: bool,
    /// Decode time of the first frame, in units of the track.
    pub(super) start: u64,
    /// Of each frame, in units of the track.
    pub(super) durations: Vec<u32>,
    /// By how much each frame is presented after it is decoded; empty if all are 0.
    pub(super) offsets: Vec<i32>,
    /// Of each frame, as it is written.
    pub(super) sizes: Vec<u32>,
    pub(super) keys: Vec<bool>,
    media: Vec<Media>,
    payload: usize,
}

/// Where the bytes of a frame, or of a part of it, come from.
enum Media {
    Stored(Frame),
    Made(Bytes),
}

/// How a track is written.
#[derive(Clone, Copy)]
pub(super) struct TrackPlan<'s> {
    /// Index into [`Fragment::tracks`].
    pub(super) index: usize,
    /// `track_ID`.
    pub(super) id: u32,
    pub(super) settings: &'s TrackSettings,
    pub(super) g711: G711,
}

/// A fragment's times are beyond what MP4 can say.
const OUT_OF_RANGE: Refusal = Refusal::Malformed("a time is out of range");
/// Nanoseconds.
const MILLISECOND: u64 = 1_000_000;
/// How far a frame may be from the time of its fragment, in units of its track: more than blocks can say
/// (16 bits of ticks of a second), and so little that no sum of times overflows.
const FARTHEST: u64 = 1 << 40;
/// G.711 may be this much, in parts of a second, off the times of its blocks.
const G711_TOLERANCE: i64 = 20;
/// The first sample of a FLAC frame is counted in so many bits: ffmpeg reads no longer numbers. The count
/// starts over, which no decoder minds.
const FLAC_COUNT: u64 = (1 << 31) - 1;
/// Frames per second where a fragment of one frame does not say how long that lasts.
const USUAL_RATE: i64 = 25;

/// The frames of a track, by its index in [`Fragment::tracks`].
pub(super) fn frames_of(fragment: &Fragment, index: usize) -> impl Iterator<Item = &Frame> {
    fragment.frames.iter().filter(move |frame| usize::from(frame.track) == index)
}

impl TrackRun {
    /// No frames, `at` milliseconds on the timeline that is written.
    pub(super) fn empty(track: u32, settings: &TrackSettings, at: u64) -> Self {
        Self {
            track,
            is_video: settings.codec.is_video(),
            // To the nearest; the product has room for 100 million years.
            start: (at * u64::from(settings.timescale) + 500) / 1000,
            durations: Vec::new(),
            offsets: Vec::new(),
            sizes: Vec::new(),
            keys: Vec::new(),
            media: Vec::new(),
            payload: 0,
        }
    }

    /// The frames of a track in a fragment that begins `at` milliseconds on the timeline that is written;
    /// none if it has none.
    ///
    /// # Errors
    /// The fragment's track is not the one that `plan` was made for, or its times cannot be written.
    pub(super) fn of(
        document: &Document,
        fragment: &Fragment,
        plan: TrackPlan<'_>,
        at: u64,
    ) -> Result<Option<Self>, Refusal> {
        let settings = plan.settings;
        let frames: Vec<Frame> = frames_of(fragment, plan.index).copied().collect();
        if frames.is_empty() {
            return Ok(None);
        }
        let parameter_sets = parameter_sets(fragment, plan)?;
        let presented = presentation_times(fragment, &frames, settings, at)?;
        let times = decode_times(fragment, plan.index, &frames, &presented, settings)?;
        let start = u64::try_from(times.decoded[0]).map_err(|_| OUT_OF_RANGE)?;
        let offsets = offsets(&presented, &times.decoded, settings)?;
        let mut run = Self {
            track: plan.id,
            is_video: settings.codec.is_video(),
            start,
            durations: times.durations()?,
            offsets,
            sizes: Vec::with_capacity(frames.len()),
            keys: frames.iter().map(|frame| frame.key).collect(),
            media: Vec::with_capacity(frames.len() + 1),
            payload: 0,
        };
        for (frame, decoded) in frames.into_iter().zip(&times.decoded) {
            run.add(document, frame, *decoded, plan, &parameter_sets)?;
        }
        Ok(Some(run))
    }

    fn add(
        &mut self,
        document: &Document,
        frame: Frame,
        decoded: i64,
        plan: TrackPlan<'_>,
        sets: &Bytes,
    ) -> Result<(), Refusal> {
        let codec = plan.settings.codec;
        let (mut size, first) = (frame.length as usize, self.sizes.is_empty());
        if plan.g711 == G711::AsFlac && matches!(codec, Codec::Alaw | Codec::Ulaw) {
            let sound = document.copy(frame.place());
            let channels = plan.settings.channels;
            let made =
                Bytes::from(flac::frame(codec, channels, &sound, decoded.cast_unsigned() & FLAC_COUNT)?);
            size = made.len();
            self.media.push(Media::Made(made));
        } else {
            if first && !sets.is_empty() {
                size += sets.len();
                self.media.push(Media::Made(sets.clone()));
            }
            self.media.push(Media::Stored(frame));
        }
        self.payload += size;
        // A fragment has at most 64 MiB.
        self.sizes.push(size as u32);
        Ok(())
    }

    /// How many bytes its frames have.
    pub(super) fn payload(&self) -> usize {
        self.payload
    }

    /// The duration of every frame, if they are all the same.
    pub(super) fn constant_duration(&self) -> Option<u32> {
        let first = *self.durations.first()?;
        self.durations.iter().all(|duration| *duration == first).then_some(first)
    }

    /// Appends its frames.
    pub(super) fn write(self, document: &Document, output: &mut Output) {
        for media in self.media {
            match media {
                Media::Stored(frame) => output.stored(document, frame.place()),
                Media::Made(bytes) => output.shared(bytes),
            }
        }
    }
}

/// The parameter sets that go into the first key frame, so that a fragment with other settings than the
/// first one is decoded too. Empty for sound.
///
/// # Errors
/// The settings changed in a way that the stream cannot carry.
fn parameter_sets(fragment: &Fragment, plan: TrackPlan<'_>) -> Result<Bytes, Refusal> {
    let track = fragment.tracks.get(plan.index).ok_or(Refusal::Unsupported("a track is missing"))?;
    if track.codec != Some(plan.settings.codec) {
        return Err(Refusal::Unsupported("the codec changes inside the range"));
    }
    let same = track.private == plan.settings.private;
    match plan.settings.codec {
        Codec::Aac | Codec::Alaw | Codec::Ulaw if same => Ok(Bytes::new()),
        Codec::Alaw | Codec::Ulaw if TrackSettings::of(track)?.same_sound(plan.settings) => Ok(Bytes::new()),
        Codec::Aac | Codec::Alaw | Codec::Ulaw => {
            Err(Refusal::Unsupported("the settings of sound change inside the range"))
        }
        Codec::Avc | Codec::Hevc => {
            let other = if same { None } else { Some(TrackSettings::of(track)?) };
            let (prefix, sets) = other.as_ref().unwrap_or(plan.settings).parameter_sets()?;
            if prefix != plan.settings.parameter_sets()?.0 {
                return Err(Refusal::Unsupported("the length of NAL unit lengths changes inside the range"));
            }
            let mut bytes = Vec::with_capacity(128);
            for set in sets {
                let length = (set.len() as u32).to_be_bytes();
                bytes.extend_from_slice(length.get(4 - prefix..).unwrap_or_default());
                bytes.extend_from_slice(set);
            }
            Ok(bytes.into())
        }
    }
}

fn presentation_times(
    fragment: &Fragment,
    frames: &[Frame],
    settings: &TrackSettings,
    at: u64,
) -> Result<Vec<i64>, Refusal> {
    let at = i64::try_from(at).map_err(|_| OUT_OF_RANGE)?;
    let base = scaled(i128::from(at), MILLISECOND, settings.timescale);
    frames
        .iter()
        .map(|frame| {
            let after = fragment.after_cluster(frame.time, settings.timescale);
            if after.unsigned_abs() > FARTHEST {
                return Err(OUT_OF_RANGE);
            }
            base.checked_add(after).ok_or(OUT_OF_RANGE)
        })
        .collect()
}

/// Decode times, and how long the last frame lasts.
struct Times {
    decoded: Vec<i64>,
    last: i64,
}

impl Times {
    fn durations(&self) -> Result<Vec<u32>, Refusal> {
        let between = self.decoded.windows(2).map(|pair| pair[1] - pair[0]);
        between.chain([self.last]).map(|duration| u32::try_from(duration).map_err(|_| OUT_OF_RANGE)).collect()
    }
}

fn decode_times(
    fragment: &Fragment,
    index: usize,
    frames: &[Frame],
    presented: &[i64],
    settings: &TrackSettings,
) -> Result<Times, Refusal> {
    match settings.codec {
        Codec::Avc | Codec::Hevc => {
            let mut decoded = presented.to_vec();
            decoded.sort_unstable();
            rise(&mut decoded);
            let last = match decoded[..] {
                [.., before, last] => last - before,
                _ => single_frame(fragment.tracks[index].default_duration, settings.timescale)?,
            };
            Ok(Times { decoded, last })
        }
        Codec::Aac => Ok(on_grid(presented, i64::from(settings.frame))),
        Codec::Alaw | Codec::Ulaw => {
            let samples =
                |frame: &Frame| (i64::from(frame.length) / i64::from(settings.channels.max(1))).max(1);
            let mut next = presented[0];
            let mut decoded = Vec::with_capacity(frames.len());
            for (frame, presented) in frames.iter().zip(presented) {
                if (presented - next).abs() > i64::from(settings.timescale) / G711_TOLERANCE {
                    next = next.max(*presented);
                }
                decoded.push(next);
                next = next.checked_add(samples(frame)).ok_or(OUT_OF_RANGE)?;
            }
            Ok(Times { decoded, last: frames.last().map_or(1, samples) })
        }
    }
}

/// How long the only frame of a fragment lasts.
fn single_frame(default_duration: Option<u64>, timescale: u32) -> Result<i64, Refusal> {
    match default_duration.and_then(|duration| i64::try_from(duration).ok()) {
        Some(duration) => Ok(scaled(i128::from(duration), 1, timescale).max(1)),
        None => Ok((i64::from(timescale) / USUAL_RATE).max(1)),
    }
}

/// Frames of `frame` samples each: without rounding if their times allow it.
fn on_grid(presented: &[i64], frame: i64) -> Times {
    let grid: Vec<i64> = (0..).zip(presented).map(|(at, _)| presented[0] + at * frame).collect();
    if grid.iter().zip(presented).all(|(grid, presented)| (grid - presented).abs() <= frame / 2) {
        return Times { decoded: grid, last: frame };
    }
    let mut decoded = presented.to_vec();
    rise(&mut decoded);
    Times { decoded, last: frame }
}

/// Makes each time later than the one before it.
fn rise(times: &mut [i64]) {
    for at in 1..times.len() {
        times[at] = times[at].max(times[at - 1] + 1);
    }
}

/// By how much each frame is presented after it is decoded.
fn offsets(presented: &[i64], decoded: &[i64], settings: &TrackSettings) -> Result<Vec<i32>, Refusal> {
    if !settings.codec.is_video() {
        return Ok(Vec::new());
    }
    let delay = i64::from(settings.delay);
    let offsets = presented
        .iter()
        .zip(decoded)
        .map(|(presented, decoded)| i32::try_from(presented - decoded + delay).map_err(|_| OUT_OF_RANGE));
    let offsets: Vec<i32> = offsets.collect::<Result<_, _>>()?;
    Ok(if offsets.iter().all(|offset| *offset == 0) { Vec::new() } else { offsets })
}

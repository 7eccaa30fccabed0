//! What must be known of a few fragments before a playlist can be made, and of which ones.

use crate::kvs::ListedFragment;
use crate::package::{Document, Fragment, Refusal, TrackSettings, mkv, run_starts, timing};

/// The most fragments that are looked into for one presentation. A producer that starts anew more often is
/// looked into at even distances.
pub const MOST_OBSERVED: usize = 256;

/// What one fragment says of those that follow it.
#[derive(Clone, Debug)]
pub struct Observation {
    pub(super) video: Option<TrackSettings>,
    pub(super) audio: Option<TrackSettings>,
    /// How long a frame lasts, in milliseconds.
    pub(super) frame: u64,
    /// Bytes of sound a second.
    pub(super) audio_rate: u64,
}

/// The longest frame that is believed, in milliseconds.
const LONGEST_FRAME: u64 = 5_000;
/// The frame of a fragment that has only one.
const USUAL_FRAME: u64 = 40;

impl Observation {
    /// Looks into a fragment.
    ///
    /// # Errors
    /// It cannot be packaged, or has several tracks of one kind.
    pub fn of(document: &Document) -> Result<Self, Refusal> {
        let fragment = mkv::read(document)?;
        let (mut video, mut audio) = (None, None);
        for (index, settings) in TrackSettings::of_fragment(&fragment)? {
            let slot = if settings.codec.is_video() { &mut video } else { &mut audio };
            if slot.replace((index, settings)).is_some() {
                return Err(Refusal::Unsupported("it has several tracks of pictures, or of sound"));
            }
        }
        let Some((leading, _)) = video.as_ref().or(audio.as_ref()) else {
            return Err(Refusal::Unsupported("it has neither pictures nor sound"));
        };
        let frame = frame_length(&fragment, *leading);
        let audio_rate = audio.as_ref().map_or(0, |(index, settings)| {
            let bytes = timing::frames_of(&fragment, *index).map(|frame| u64::from(frame.length));
            let (bytes, frames) = bytes.fold((0, 0), |(sum, count), length| (sum + length, count + 1));
            bytes * 1000 / (frames * sound_frame(&fragment, *index, settings)).max(1)
        });
        let settings = |track: Option<(usize, TrackSettings)>| track.map(|(_, settings)| settings);
        Ok(Self { video: settings(video), audio: settings(audio), frame, audio_rate })
    }
}

/// How long a frame of a track lasts, in milliseconds: the mean of the fragment.
fn frame_length(fragment: &Fragment, index: usize) -> u64 {
    let times = timing::frames_of(fragment, index).map(|frame| frame.time);
    let (mut first, mut last, mut count) = (i64::MAX, i64::MIN, 0_u64);
    for time in times {
        (first, last, count) = (first.min(time), last.max(time), count + 1);
    }
    if count < 2 {
        return USUAL_FRAME;
    }
    let ticks = u128::from(last.abs_diff(first)) * u128::from(fragment.tick);
    let mean = ticks / 1_000_000 / u128::from(count - 1);
    u64::try_from(mean).unwrap_or(LONGEST_FRAME).clamp(1, LONGEST_FRAME)
}

fn sound_frame(fragment: &Fragment, index: usize, settings: &TrackSettings) -> u64 {
    match u64::from(settings.frame) * 1000 / u64::from(settings.timescale.max(1)) {
        0 => frame_length(fragment, index),
        millis => millis,
    }
}

/// The fragments that must be looked into: the first one, and those where a producer may have begun anew
/// with other settings.
///
/// Numbers of another structure do not tell. What is not found here is found when a fragment is packaged,
/// and refused.
#[must_use]
pub fn to_observe(rows: &[ListedFragment]) -> Vec<usize> {
    let first = if rows.is_empty() { None } else { Some(0) };
    let mut found: Vec<usize> = first.into_iter().chain(run_starts(rows)).collect();
    if found.len() > MOST_OBSERVED {
        let all = found.len();
        found = (0..MOST_OBSERVED).map(|place| found[place * all / MOST_OBSERVED]).collect();
    }
    found
}

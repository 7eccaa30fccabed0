//! What the rows and the first fragment say of a clip, whatever file it becomes.

use crate::kvs::ListedFragment;
use crate::package::mp4::track::G711;
use crate::package::timeline::ClipTimeline;
use crate::package::timing::TrackPlan;
use crate::package::{Fragment, Frame, Refusal, TrackKind, TrackSettings};
use std::sync::Arc;
use std::time::Duration;

/// The fragments of a clip in time, and the settings of its tracks.
pub(super) struct Basis {
    pub(super) rows: Arc<[ListedFragment]>,
    pub(super) timeline: ClipTimeline,
    /// Pictures first; each with its index in the tracks of a fragment.
    pub(super) tracks: Vec<(usize, TrackSettings)>,
    /// Milliseconds by which frames of the first fragment stand ahead of its own time.
    pub(super) lead: u64,
    /// Nanoseconds per tick of the first fragment.
    pub(super) tick: u64,
    hidden: Duration,
}

impl Basis {
    /// Of these rows, the first of which is `first`; so much of the beginning is not presented.
    ///
    /// # Errors
    /// A track of the first fragment cannot be packaged.
    pub(super) fn new(
        rows: Arc<[ListedFragment]>,
        first: &Fragment,
        hidden: Duration,
    ) -> Result<Self, Refusal> {
        let tracks = TrackSettings::of_fragment(first)?;
        let timeline = ClipTimeline::of(&rows);
        Ok(Self { timeline, tracks, lead: lead(first), tick: first.tick, rows, hidden })
    }

    /// Tracks as they are written: pictures first, numbered from 1.
    pub(super) fn plans(&self) -> impl Iterator<Item = TrackPlan<'_>> {
        (1..).zip(&self.tracks).map(|(id, (index, settings))| TrackPlan {
            index: *index,
            id,
            settings,
            g711: G711::AsStored,
        })
    }

    /// Sound and pictures that the first fragment does not have cannot be written: nothing is left out
    /// silently.
    pub(super) fn check_tracks(&self, fragment: &Fragment) -> Result<(), Refusal> {
        let packaged = |index| self.tracks.iter().any(|(packaged, _)| *packaged == index);
        let left_out = |frame: &Frame| {
            let index = usize::from(frame.track);
            !packaged(index) && fragment.tracks.get(index).is_none_or(|track| track.kind != TrackKind::Other)
        };
        if fragment.frames.iter().any(left_out) {
            return Err(Refusal::Unsupported("sound or pictures begin inside the range"));
        }
        Ok(())
    }

    /// When a fragment's own time comes, in milliseconds.
    pub(super) fn time(&self, index: usize) -> u64 {
        self.timeline.start(index) + self.lead
    }

    /// Milliseconds of media that an edit list hides: what is ahead of the first picture is hidden with it.
    pub(super) fn hidden(&self) -> u64 {
        let hidden = u64::try_from(self.hidden.as_millis()).unwrap_or(u64::MAX).min(self.timeline.total());
        if hidden == 0 { 0 } else { hidden + self.lead }
    }
}

/// How far frames stand ahead of the fragment's own time, in milliseconds: sound often does by a frame.
fn lead(fragment: &Fragment) -> u64 {
    let ahead = fragment.frames.iter().map(|frame| fragment.cluster_time.saturating_sub(frame.time));
    let ticks = u128::try_from(ahead.max().unwrap_or(0)).unwrap_or(0);
    u64::try_from((ticks * u128::from(fragment.tick)).div_ceil(1_000_000)).unwrap_or(u64::MAX).min(60_000)
}

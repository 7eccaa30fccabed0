//! Fragments for which one init segment of each track suffices.

use super::observation::Observation;
use crate::kvs::MediaKind;
use crate::package::{Codec, TrackSettings};

/// Fragments that follow each other with the same tracks and settings.
#[derive(Debug)]
pub(super) struct Group {
    /// The index of its first fragment.
    pub(super) first: usize,
    pub(super) video: Option<TrackSettings>,
    pub(super) audio: Option<TrackSettings>,
    /// How long a frame lasts, in milliseconds: KVS lists fragments shorter by that.
    pub(super) frame: u64,
    /// Bytes of sound a second in its first fragment.
    pub(super) audio_rate: u64,
}

impl Group {
    pub(super) fn track(&self, kind: MediaKind) -> Option<&TrackSettings> {
        match kind {
            MediaKind::Video => self.video.as_ref(),
            MediaKind::Audio => self.audio.as_ref(),
        }
    }

    /// Takes a later fragment in, if it needs no other init segment. Pictures are delayed by as much as those
    /// need that wait longest, so that no frame is presented ahead of its decoding.
    fn join(&mut self, later: &Observation) -> bool {
        let joins = same_pictures(self.video.as_ref(), later.video.as_ref())
            && same_sound(self.audio.as_ref(), later.audio.as_ref());
        if joins && let (Some(video), Some(later)) = (&mut self.video, &later.video) {
            video.delay = video.delay.max(later.delay);
        }
        joins
    }
}

/// The groups of the observed fragments, in order.
pub(super) fn groups(observed: impl IntoIterator<Item = (usize, Observation)>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (first, observation) in observed {
        if !groups.last_mut().is_some_and(|group| group.join(&observation)) {
            let Observation { video, audio, frame, audio_rate } = observation;
            groups.push(Group { first, video, audio, frame, audio_rate });
        }
    }
    groups
}

/// Whether the same init segment does. Parameter sets stand in each segment too, but Chromium's decoder fails
/// where they differ from those of the init segment.
fn same_pictures(one: Option<&TrackSettings>, other: Option<&TrackSettings>) -> bool {
    let settings = |track: &TrackSettings| (track.codec, track.width, track.height, track.private.clone());
    one.map(settings) == other.map(settings)
}

fn same_sound(one: Option<&TrackSettings>, other: Option<&TrackSettings>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) if one.codec == Codec::Aac => {
            other.codec == Codec::Aac && one.private == other.private
        }
        (Some(one), Some(other)) => one.same_sound(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

//! A range of footage as players read it: HLS playlists, a DASH manifest, init segments, and one segment for
//! each stored fragment and track.
//!
//! Times are the producer's, in milliseconds since 1970, and so are the addresses of segments. The rows that
//! KVS lists and the settings of a few fragments decide everything but the media, so every replica makes the
//! same bytes. A new [`Group`] begins only where a player needs a new init segment: where tracks come or go,
//! and where codec settings change.

mod dash;
mod group;
mod hls;
mod observation;
mod rate;
mod segment;

pub use dash::DashOptions;
pub use hls::{Discontinuities, HlsOptions};
pub use observation::{MOST_OBSERVED, Observation, to_observe};
pub use segment::Segment;

use super::Refusal;
use super::timeline::{ClipTimeline, LONGEST_FRAGMENT, millis};
use crate::kvs::{ListedFragment, MediaKind, Timestamp};
use group::Group;
use std::sync::Arc;

/// A range of footage as players read it.
#[derive(Debug)]
pub struct Presentation {
    rows: Arc<[ListedFragment]>,
    timeline: ClipTimeline,
    /// When the first fragment begins, in milliseconds since 1970.
    begins: u64,
    /// Never empty; the first one begins with the first row.
    groups: Vec<Group>,
}

/// What of the distance to the next fragment is no gap, besides two frames: producers' clocks waver.
const JITTER: u64 = 200;

impl Presentation {
    /// The presentation of these fragments, in the order in which they are presented. `observed` are the
    /// fragments that [`to_observe`] names, each with its index.
    ///
    /// # Errors
    /// There are no fragments, the first one was not observed, or an observed one has tracks that cannot be
    /// packaged; then with its index.
    pub fn new(
        rows: Arc<[ListedFragment]>,
        observed: impl IntoIterator<Item = (usize, Observation)>,
    ) -> Result<Self, Refusal> {
        let groups = group::groups(observed);
        let (Some(first), Some(0)) = (rows.first(), groups.first().map(|group| group.first)) else {
            return Err(Refusal::Unsupported("the first fragment was not observed"));
        };
        let begins = first.producer.millis();
        Ok(Self { timeline: ClipTimeline::of(&rows), begins, groups, rows })
    }

    /// The fragments, in the order in which they are presented.
    #[must_use]
    pub fn rows(&self) -> &Arc<[ListedFragment]> {
        &self.rows
    }

    /// How many bytes of memory it takes, without what is made of it.
    #[must_use]
    pub fn weight(&self) -> usize {
        /// A row, and its place on the timeline.
        const ROW: usize = ListedFragment::WEIGHT + size_of::<u64>();
        size_of::<Self>() + self.rows.len() * ROW + self.groups.len() * 512
    }

    /// The fragment that an address stands for.
    #[must_use]
    pub fn index(&self, time: Timestamp) -> Option<usize> {
        self.timeline.find(time.millis().checked_sub(self.begins)?)
    }

    /// When a fragment is presented, in milliseconds since 1970: the time of its address.
    fn time(&self, index: usize) -> u64 {
        self.begins + self.timeline.start(index)
    }

    /// For how long a fragment is presented, and whether there is a gap behind it. Without one it lasts until
    /// the next one begins.
    fn duration(&self, index: usize, group: &Group) -> (u64, bool) {
        let distance = self.timeline.length(index);
        let own = match millis(&self.rows[index]) {
            0 => distance.min(LONGEST_FRAGMENT),
            length => length + group.frame,
        };
        if distance > own + 2 * group.frame + JITTER { (own.max(1), true) } else { (distance, false) }
    }

    /// All fragments with what is said of each in playlists and manifests.
    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut groups = self.groups.iter().peekable();
        let mut group = &self.groups[0];
        let mut after_gap = false;
        (0..self.rows.len()).map(move |index| {
            let mut begins_group = false;
            while let Some(next) = groups.next_if(|next| next.first <= index) {
                (group, begins_group) = (next, true);
            }
            let (duration, gap) = self.duration(index, group);
            let after_gap = std::mem::replace(&mut after_gap, gap);
            Entry { index, group, begins_group, after_gap, time: self.time(index), duration }
        })
    }

    fn group_of(&self, index: usize) -> &Group {
        // The first group begins with the first row.
        let place = self.groups.partition_point(|group| group.first <= index);
        &self.groups[place.saturating_sub(1)]
    }

    /// The kinds of media in it: pictures first.
    fn kinds(&self) -> impl Iterator<Item = MediaKind> + '_ {
        let has = |kind: &MediaKind| self.groups.iter().any(|group| group.track(*kind).is_some());
        [MediaKind::Video, MediaKind::Audio].into_iter().filter(has)
    }

    /// The kind of media that KVS's number of a track stands for: 1 is pictures, or the only track; 2 is
    /// sound besides pictures.
    #[must_use]
    pub fn kind(&self, track: u8) -> Option<MediaKind> {
        self.kinds().nth(usize::from(track).checked_sub(1)?)
    }
}

/// What is said of one fragment.
struct Entry<'p> {
    index: usize,
    group: &'p Group,
    /// It is the first one of its group.
    begins_group: bool,
    after_gap: bool,
    /// Milliseconds since 1970.
    time: u64,
    /// Milliseconds.
    duration: u64,
}

#[cfg(test)]
mod tests;

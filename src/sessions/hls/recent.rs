//! What other replicas need to continue a timeline, and how they take it over: unlike what a restart saves,
//! it is the timeline itself, but for what is long past.

use super::timeline::Timeline;

/// Fragments remembered beyond those listed, for requests under way.
const BEYOND: usize = 24;
/// Init segments.
const INITS: usize = 16;

impl Timeline {
    /// The timeline without what is long past.
    pub(in crate::sessions) fn recent(&self) -> Self {
        let mut recent = self.clone();
        let listed = self.tracks.values().map(|track| track.listed.len()).max().unwrap_or(0);
        let most = listed.max(self.window) + BEYOND;
        while recent.marks.len() > most {
            recent.marks.pop_first();
        }
        recent.media_times.keep_newest(most);
        recent.init_segments.keep_newest(INITS);
        for track in recent.tracks.values_mut() {
            while track.resumed.len() > most {
                track.resumed.pop_first();
            }
        }
        recent
    }

    /// Goes on with what another replica has published. What only this one remembers stays.
    pub(in crate::sessions) fn take_over(&mut self, newer: Self) {
        let before = std::mem::replace(self, newer);
        let oldest = self.marks.keys().next().cloned();
        for (position, mark) in before.marks {
            if oldest.as_ref().is_none_or(|oldest| position < *oldest) {
                self.marks.insert(position, mark);
            }
        }
        self.media_times.add_older(before.media_times);
        self.init_segments.add_older(before.init_segments);
        self.shifted.extend(before.shifted);
        self.forget();
    }
}

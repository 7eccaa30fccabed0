//! What a live list shows, and the gap ahead of it.

use super::offered::{Offered, absence, after_last_absence, began};
use super::timeline::Timeline;
use crate::kvs::Timestamp;
use crate::sessions::live_window::LiveWindow;
use std::time::Duration;

impl Timeline {
    /// What is listed, as pages show it.
    pub(in crate::sessions) fn window_shown(&self, now: Timestamp) -> Option<LiveWindow> {
        let listed = &self.tracks.values().find(|track| !track.listed.is_empty())?.listed;
        let (first, last) = (listed.front()?, listed.back()?);
        let from = began(&first.position, &first.segment)?;
        let to = began(&last.position, &last.segment)?.plus(Duration::from_millis(last.segment.millis));
        let silent = to.age(now).as_millis() > absence(self.target.seconds());
        Some(LiveWindow { from, to, gap: self.gap, silent })
    }

    /// Notes the last gap among what a session lists.
    pub(super) fn note_gap(&mut self, offered: &[Offered<'_>]) {
        let after = after_last_absence(offered, self.target.seconds());
        let Some([before, after]) = after.checked_sub(1).and_then(|before| offered.get(before..=after))
        else {
            return;
        };
        let end = began(&before.position, before.segment)
            .map(|began| began.plus(Duration::from_millis(before.segment.millis)));
        let gap = end.zip(began(&after.position, after.segment));
        // A new session may list less than the one before.
        self.gap = self.gap.max(gap);
    }
}

//! What other replicas need to continue a manifest, and how they take it over: the timeline itself, but for
//! what is long past.

use super::timeline::Timeline;

/// Fragments remembered beyond those listed, for requests under way.
const BEYOND: usize = 24;
/// Init segments.
const INITS: usize = 16;

impl Timeline {
    /// The timeline without what is long past.
    pub(in crate::sessions) fn recent(&self) -> Self {
        let mut recent = self.clone();
        let fragments = &mut recent.fragments;
        fragments.drain(..fragments.len().saturating_sub(self.window + BEYOND));
        let inits = &mut recent.init_segments;
        inits.drain(..inits.len().saturating_sub(INITS));
        if let Some(oldest) = recent.fragments.front().map(|fragment| fragment.period) {
            recent.periods.retain(|period| period.order >= oldest);
        }
        recent
    }

    /// Goes on with what another replica has published. What only this one remembers stays, as far as its
    /// period is listed.
    pub(in crate::sessions) fn take_over(&mut self, newer: Self) {
        let mut before = std::mem::replace(self, newer);
        let Some(oldest) = self.fragments.front().map(|fragment| (fragment.start, fragment.period)) else {
            return;
        };
        let known = |order: u64| self.periods.iter().any(|period| period.order == order);
        before.fragments.retain(|fragment| fragment.start < oldest.0 && known(fragment.period));
        before.fragments.append(&mut self.fragments);
        self.fragments = before.fragments;
        for init in before.init_segments.into_iter().rev() {
            let known = |other: &super::timeline::KnownInit| {
                other.generation == init.generation && other.upstream == init.upstream
            };
            if !self.init_segments.iter().any(known) {
                self.init_segments.push_front(init);
            }
        }
        self.forget();
    }
}

//! Decides whether a discontinuity stands ahead of a fragment, and counts it, from the fragments around.

use super::mark::Mark;
use crate::sessions::numbering;

/// The count where each fragment has a discontinuity ahead of it. Fragments that were missed count too.
pub(super) fn count_each(uncounted: Mark, before: Option<Mark>, after: Option<Mark>) -> Mark {
    let here = |mark: &Mark| mark.generation == uncounted.generation;
    let index = match (before, after) {
        (Some(before), _) if here(&before) => {
            before.index + uncounted.upstream.saturating_sub(before.upstream).max(1)
        }
        (_, Some(after)) if here(&after) => {
            after.index.saturating_sub(after.upstream.saturating_sub(uncounted.upstream).max(1))
        }
        (Some(before), _) => before.index + 1,
        (None, Some(after)) => after.index.saturating_sub(1),
        (None, None) => numbering::first_discontinuity(uncounted.sequence, true) + 1,
    };
    Mark { index, ..uncounted }
}

/// What separates a fragment from the one before it on a track.
pub(super) struct Break {
    /// Nothing was recorded for more than two target durations.
    pub(super) gap: bool,
    /// The init segment differs. That matters if the session differs too.
    pub(super) init: bool,
}

/// The count where discontinuities are rare.
pub(super) fn count_rare(uncounted: Mark, before: Option<Mark>, after: Option<Mark>, breaks: Break) -> Mark {
    match (before, after) {
        // Another track has continued without this fragment. The count of that track stands.
        (Some(before), Some(_)) => Mark { tagged: false, index: before.index, ..uncounted },
        (None, Some(after)) => {
            Mark { tagged: false, index: after.index.saturating_sub(u64::from(after.tagged)), ..uncounted }
        }
        (None, None) => {
            let first = numbering::first_discontinuity(uncounted.sequence, false);
            Mark { index: first + u64::from(uncounted.tagged), ..uncounted }
        }
        (Some(before), None) => {
            let continues = before.generation == uncounted.generation
                || (before.shifted && uncounted.shifted && !breaks.init);
            let tagged = uncounted.tagged || breaks.gap || !continues;
            Mark { tagged, index: before.index + u64::from(tagged), ..uncounted }
        }
    }
}

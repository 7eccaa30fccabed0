//! What stands ahead of a fragment, and how many discontinuities that makes: decided from its neighbours.

use super::timeline::Mark;
use crate::sessions::numbering;

/// The count where each fragment has a discontinuity ahead of it: those that slid past unseen had theirs too.
pub(in crate::sessions) fn every(place: Mark, before: Option<Mark>, after: Option<Mark>) -> Mark {
    let here = |mark: &Mark| mark.generation == place.generation;
    let index = match (before, after) {
        (Some(before), _) if here(&before) => {
            before.index + place.upstream.saturating_sub(before.upstream).max(1)
        }
        (_, Some(after)) if here(&after) => {
            after.index.saturating_sub(after.upstream.saturating_sub(place.upstream).max(1))
        }
        (Some(before), _) => before.index + 1,
        (None, Some(after)) => after.index.saturating_sub(1),
        (None, None) => numbering::first_discontinuity(place.sequence, true) + 1,
    };
    Mark { index, ..place }
}

/// What a track sees ahead of a fragment.
pub(in crate::sessions) struct Break {
    /// Nothing was recorded for long.
    pub gap: bool,
    /// Another init segment than before, should the session be another one too.
    pub session: bool,
}

/// The count where discontinuities are rare.
pub(in crate::sessions) fn now_and_then(
    place: Mark,
    before: Option<Mark>,
    after: Option<Mark>,
    breaks: Break,
) -> Mark {
    match (before, after) {
        // Another track went on without this fragment. What that one counted stands.
        (Some(before), Some(_)) => Mark { tagged: false, index: before.index, ..place },
        (None, Some(after)) => {
            Mark { tagged: false, index: after.index.saturating_sub(u64::from(after.tagged)), ..place }
        }
        (None, None) => {
            let first = numbering::first_discontinuity(place.sequence, false);
            Mark { index: first + u64::from(place.tagged), ..place }
        }
        (Some(before), None) => {
            let goes_on =
                before.generation == place.generation || (before.moved && place.moved && !breaks.session);
            let tagged = place.tagged || breaks.gap || !goes_on;
            Mark { tagged, index: before.index + u64::from(tagged), ..place }
        }
    }
}

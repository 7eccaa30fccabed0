//! Counts the discontinuities ahead of a fragment, for one track.
//!
//! EXT-X-DISCONTINUITY-SEQUENCE plus the tags that a playlist lists up to a fragment are its count. A count
//! may not change while the fragment is listed, and from one fragment to the next of a track it rises by the
//! tags between them alone (RFC 8216, 4.3.3.3): hls.js refuses a playlist in which a known fragment has a
//! higher count. Tracks should agree on the count of a fragment, because players find the times of a track by
//! that of another.
//!
//! Tracks lack fragments, so the tags of one are not those of another. A track that lacks a fragment with a
//! discontinuity has one more tag ahead of its next fragment. A track that has a tag which another track,
//! loaded earlier, did not have keeps it, and is ahead of the other until that one's next new fragment.

use super::mark::Mark;
use crate::sessions::numbering;
use serde::{Deserialize, Serialize};

/// The discontinuities of a fragment on one track.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Count {
    /// Those up to and including the ones ahead of it.
    pub(super) index: u64,
    /// Tags that stand ahead of it.
    pub(super) tags: u64,
}

/// What is known around a fragment that a track lists for the first time.
pub(super) struct Around {
    /// The fragment itself, if another track has it.
    pub(super) known: Option<Mark>,
    /// The nearest fragments before and after it on any track.
    pub(super) before: Option<Mark>,
    pub(super) after: Option<Mark>,
}

/// Tags that may stand ahead of one fragment. Whoever lacks more starts anew behind a jump of MEDIA-SEQUENCE.
pub(super) const MOST_TAGS: u64 = 4;

/// The count of a fragment that follows `last` on its track, whose index that is. `own`: this track itself
/// has a discontinuity here. `distinct`: the other tracks have it here too, because nothing was recorded
/// ahead of it or each fragment has one, so it is another one than those that this track lacks.
pub(super) fn following(last: u64, own: bool, distinct: bool, around: &Around) -> Count {
    let wanted = match (around.known, around.before) {
        (Some(known), _) => known.index,
        (None, Some(before)) if distinct => before.index + u64::from(own),
        (None, Some(before)) => before.index,
        (None, None) => 0,
    };
    let index = wanted.max(last + u64::from(own));
    Count { index, tags: index - last }
}

/// The count of a fragment at which a track begins, or begins anew behind a jump of MEDIA-SEQUENCE. `least`
/// is the index of what it listed before. `uncounted` is the mark without its count.
pub(super) fn beginning(least: u64, uncounted: Mark, always: bool, around: &Around) -> Count {
    let own = uncounted.tagged;
    let (index, tagged) = match (around.known, around.before, around.after) {
        (Some(known), ..) => (known.index, known.tagged),
        (None, before, after) if always && own => (count_each(uncounted, before, after), true),
        (None, Some(before), _) => (before.index + u64::from(own), own),
        (None, None, Some(after)) => (after.index.saturating_sub(u64::from(after.tagged)), own),
        (None, None, None) => {
            (numbering::first_discontinuity(uncounted.sequence, always && own) + u64::from(own), own)
        }
    };
    let tags = u64::from(own || tagged);
    Count { index: index.max(least + u64::from(own)).max(tags), tags }
}

/// The index where each fragment has a discontinuity ahead of it. Fragments that were missed count too.
fn count_each(uncounted: Mark, before: Option<Mark>, after: Option<Mark>) -> u64 {
    let here = |mark: &Mark| mark.generation == uncounted.generation;
    match (before, after) {
        (Some(before), _) if here(&before) => {
            before.index + uncounted.upstream.saturating_sub(before.upstream).max(1)
        }
        (_, Some(after)) if here(&after) => {
            after.index.saturating_sub(after.upstream.saturating_sub(uncounted.upstream).max(1))
        }
        (Some(before), _) => before.index + 1,
        (None, Some(after)) => after.index.saturating_sub(1),
        (None, None) => numbering::first_discontinuity(uncounted.sequence, true) + 1,
    }
}

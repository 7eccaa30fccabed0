//! Whether an answer may be kept, and for how long: the table of docs/BEHAVIOUR.md 7, decided without I/O.
//!
//! Each arm of [`keep`] quotes the line of the table that it obeys. Statuses other than 200 are never kept:
//! "any 4xx/5xx, the 90-byte 200 of 3.6: never" (docs/KVS.md 8.1). Whether a 200 is a real one is for the
//! reader of the answer to find out.

use super::config::Config;
use super::entry::Keep;
use crate::kvs::{SelectorType, TimeRange, Timestamp};
use http::StatusCode;
use std::time::Duration;

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An init segment or a media segment of a playback session.
    Media {
        /// When the upstream session ends.
        session_ends: Timestamp,
    },
    /// One fragment as Matroska.
    Mkv,
    /// A clip.
    Clip {
        /// Its range.
        range: TimeRange,
    },
    /// A picture at an instant.
    Image {
        /// The instant.
        at: Timestamp,
        /// There was a picture; otherwise KVS said `NO_MEDIA` or `MEDIA_ERROR`.
        found: bool,
    },
    /// A page of the pictures of a range, as KVS answered.
    Images {
        /// The range.
        range: TimeRange,
        /// Each row is a picture; otherwise KVS said `NO_MEDIA` or `MEDIA_ERROR` somewhere.
        complete: bool,
    },
    /// The newest picture of a camera.
    LatestImage {
        /// There was a picture.
        found: bool,
        /// How long it is kept.
        interval: Duration,
    },
    /// The fragments of a range.
    FragmentList {
        /// The clock that selects.
        selector: SelectorType,
        /// The range.
        range: TimeRange,
    },
    /// All fragments of one clock hour. It lists what has been retained at that time; rows that have passed
    /// their retention since are for its reader to leave out.
    HourIndex {
        /// The clock that selects.
        selector: SelectorType,
        /// The end of the hour.
        end: Timestamp,
    },
}

/// What else the decision depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// `cache.settle`.
    pub settle: Duration,
    /// `cache.max_age`.
    pub max_age: Duration,
    /// The stream's retention, where it is known.
    pub retention: Option<Duration>,
}

impl Rules {
    /// The settings' rules for a stream.
    #[must_use]
    pub fn new(config: &Config, retention: Option<Duration>) -> Self {
        Self { settle: config.settle.0, max_age: config.max_age.0, retention }
    }
}

/// Decides for an answer that came at `now`.
#[must_use]
pub fn keep(kind: Kind, status: StatusCode, now: Timestamp, rules: &Rules) -> Keep {
    if status != StatusCode::OK {
        return Keep::No;
    }
    let keep = match kind {
        // "init, MP4/TS/DASH media | immutable, until session end + 5 min, or the size bound"
        Kind::Media { session_ends } => until(session_ends.plus(AFTER_SESSION), now),
        // "one MKV fragment | immutable; cache.max_age"
        Kind::Mkv => Keep::For(rules.max_age),
        // "clip | immutable once `end` is older than cache.settle (60 s); else not kept"
        Kind::Clip { range } if settled(range.end, now, rules) => Keep::For(rules.max_age),
        Kind::Clip { .. } => Keep::No,
        // "image | immutable if an image and settled; NO_MEDIA 2 s". An image that is not settled may be
        // replaced by a late upload, so it is kept as briefly.
        Kind::Image { at, found: true } if settled(Some(at), now, rules) => Keep::For(rules.max_age),
        Kind::Images { range, complete: true } if settled(range.end, now, rules) => Keep::For(rules.max_age),
        Kind::Image { .. } | Kind::Images { .. } | Kind::LatestImage { found: false, .. } => {
            Keep::For(BRIEFLY)
        }
        // How old a picture may be when it is shown is decided by who serves it.
        Kind::LatestImage { found: true, interval } => Keep::For(interval),
        // "fragment list | settled server range: 5 min; producer range: 10 s"
        Kind::FragmentList { selector: SelectorType::Producer, .. } => Keep::For(PRODUCER_LIST),
        Kind::FragmentList { selector: SelectorType::Server, range } if settled(range.end, now, rules) => {
            Keep::For(SERVER_LIST)
        }
        Kind::FragmentList { .. } => Keep::No,
        // "hour index | settled server hours immutable but for retention; producer hours 10 s to 1 min".
        // Until a server hour has settled it is kept for seconds: concurrent readers share one list, and new
        // fragments soon appear in it.
        Kind::HourIndex { selector: SelectorType::Server, end } if settled(Some(end), now, rules) => {
            Keep::For(rules.max_age)
        }
        Kind::HourIndex { selector: SelectorType::Server, .. } => Keep::For(BRIEFLY),
        // Footage of any producer hour may still be uploaded, of a recent one more probably.
        Kind::HourIndex { selector: SelectorType::Producer, end } if end.plus(RECENT_HOURS) < now => {
            Keep::For(OLD_PRODUCER_HOUR)
        }
        Kind::HourIndex { selector: SelectorType::Producer, .. } => Keep::For(PRODUCER_LIST),
    };
    // "Nothing is kept longer than cache.max_age, or than the stream's retention where it is known."
    let keep = shorter(keep, rules.max_age);
    match rules.retention {
        Some(retention) => shorter(keep, left_of_retention(kind, now, retention)),
        None => keep,
    }
}

/// Players request the last fragments a little after their session has ended.
const AFTER_SESSION: Duration = Duration::from_secs(5 * 60);
const BRIEFLY: Duration = Duration::from_secs(2);
const PRODUCER_LIST: Duration = Duration::from_secs(10);
const SERVER_LIST: Duration = Duration::from_secs(5 * 60);
/// For so long after its end a producer hour counts as recent.
const RECENT_HOURS: Duration = Duration::from_secs(3600);
const OLD_PRODUCER_HOUR: Duration = Duration::from_secs(60);

/// Whether footage up to `end` has stopped changing. Footage without an end has not.
fn settled(end: Option<Timestamp>, now: Timestamp, rules: &Rules) -> bool {
    end.is_some_and(|end| end.plus(rules.settle) < now)
}

fn until(end: Timestamp, now: Timestamp) -> Keep {
    shorter(Keep::For(Duration::MAX), ahead(end, now))
}

/// At most `bound`.
fn shorter(keep: Keep, bound: Duration) -> Keep {
    match keep {
        _ if bound.is_zero() => Keep::No,
        Keep::For(span) => Keep::For(span.min(bound)),
        Keep::No => Keep::No,
    }
}

/// How much longer the oldest footage in the answer is retained; where its time is not known it may be as
/// new as now.
fn left_of_retention(kind: Kind, now: Timestamp, retention: Duration) -> Duration {
    let oldest = match kind {
        Kind::Clip { range } | Kind::FragmentList { range, .. } | Kind::Images { range, .. } => range.start,
        Kind::Image { at, .. } => at,
        // Its newest row decides: until that is gone, the rest of the hour is of use.
        Kind::HourIndex { selector: SelectorType::Server, end } => end.min(now),
        // Producers may upload long after they recorded.
        Kind::HourIndex { selector: SelectorType::Producer, .. } => now,
        Kind::Media { .. } | Kind::Mkv | Kind::LatestImage { .. } => now,
    };
    ahead(oldest.plus(retention), now)
}

/// How far ahead of `now` an instant is; zero if it is past.
fn ahead(of: Timestamp, now: Timestamp) -> Duration {
    now.age(of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: Duration = Duration::from_secs(86_400);
    const RULES: Rules = Rules { settle: Duration::from_secs(60), max_age: DAY, retention: None };
    const NOW: Timestamp = Timestamp::from_millis(10 * 86_400_000);

    fn ago(seconds: u64) -> Timestamp {
        NOW.minus(Duration::from_secs(seconds))
    }

    fn later(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn span(from: u64, to: u64) -> TimeRange {
        TimeRange { start: ago(from), end: Some(ago(to)) }
    }

    const fn secs(seconds: u64) -> Keep {
        Keep::For(Duration::from_secs(seconds))
    }

    #[test]
    fn the_table() {
        use SelectorType::{Producer, Server};
        let list = |selector, range| Kind::FragmentList { selector, range };
        let hour = |selector, end| Kind::HourIndex { selector, end };
        for (kind, expected) in [
            (Kind::Media { session_ends: later(60) }, secs(360)),
            (Kind::Media { session_ends: ago(299) }, secs(1)),
            (Kind::Media { session_ends: ago(300) }, Keep::No),
            (Kind::Mkv, Keep::For(DAY)),
            (Kind::Clip { range: span(100, 61) }, Keep::For(DAY)),
            (Kind::Clip { range: span(100, 60) }, Keep::No),
            (Kind::Clip { range: TimeRange { start: ago(100), end: None } }, Keep::No),
            (Kind::Image { at: ago(61), found: true }, Keep::For(DAY)),
            (Kind::Image { at: ago(5), found: true }, secs(2)),
            (Kind::Image { at: ago(999), found: false }, secs(2)),
            (Kind::Images { range: span(100, 61), complete: true }, Keep::For(DAY)),
            (Kind::Images { range: span(100, 61), complete: false }, secs(2)),
            (Kind::Images { range: span(100, 9), complete: true }, secs(2)),
            (Kind::LatestImage { found: false, interval: DAY }, secs(2)),
            (list(Server, span(1000, 61)), secs(300)),
            (list(Server, span(1000, 10)), Keep::No),
            (list(Producer, span(1000, 61)), secs(10)),
            (hour(Server, ago(61)), Keep::For(DAY)),
            (hour(Server, ago(60)), secs(2)),
            (hour(Server, later(1800)), secs(2)),
            (hour(Producer, later(1800)), secs(10)),
            (hour(Producer, ago(3600)), secs(10)),
            (hour(Producer, ago(3601)), secs(60)),
        ] {
            assert_eq!(keep(kind, StatusCode::OK, NOW, &RULES), expected, "{kind:?}");
            for status in [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::BAD_GATEWAY] {
                assert_eq!(keep(kind, status, NOW, &RULES), Keep::No, "{kind:?} {status}");
            }
        }
    }

    #[test]
    fn footage_is_not_kept_past_its_retention() {
        let rules = Rules { retention: Some(Duration::from_secs(3600)), ..RULES };
        let of = |kind| keep(kind, StatusCode::OK, NOW, &rules);
        assert_eq!(of(Kind::Clip { range: span(3000, 100) }), secs(600));
        assert_eq!(of(Kind::Clip { range: span(3600, 100) }), Keep::No);
        assert_eq!(of(Kind::Image { at: ago(3500), found: true }), secs(100));
        assert_eq!(of(Kind::Mkv), secs(3600));
        let hour = |end| of(Kind::HourIndex { selector: SelectorType::Server, end });
        assert_eq!(hour(ago(600)), secs(3000), "until its newest row is gone");
        assert_eq!(hour(ago(3600)), Keep::No);
    }

    proptest! {
        #[test]
        fn nothing_is_ever_kept_longer_than_the_bounds(
            kind in 0..6_usize, at in 0..20_000_u64, length in 0..5000_u64,
            retention in proptest::option::of(0..5000_u64),
            max_age in 1..100_000_u64,
        ) {
            let range = span(at + length, at);
            let kind = [
                Kind::Mkv,
                Kind::Clip { range },
                Kind::Image { at: ago(at), found: true },
                Kind::FragmentList { selector: SelectorType::Server, range },
                Kind::LatestImage { found: true, interval: Duration::from_secs(length) },
                Kind::HourIndex { selector: SelectorType::Server, end: ago(at) },
            ][kind];
            let rules = Rules {
                settle: Duration::from_secs(60),
                max_age: Duration::from_secs(max_age),
                retention: retention.map(Duration::from_secs),
            };
            let whole = match keep(kind, StatusCode::OK, NOW, &rules) {
                Keep::For(span) => span,
                Keep::No => Duration::ZERO,
            };
            prop_assert!(whole <= rules.max_age);
            prop_assert!(rules.retention.is_none_or(|retention| whole <= retention));
        }
    }
}

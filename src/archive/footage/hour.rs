//! One clock hour of a stream's fragment list: what is kept, and how it is fetched.
//!
//! Hours begin on the hour of the epoch, so that all ranges share them.

use super::encoding::{FORMAT, encode};
use crate::archive::listing::drain;
use crate::archive::{Object, Source, Stream};
use crate::base::clock;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Head, Key};
use crate::kvs::bounds::{FRAGMENTS_PAGE, FRAGMENTS_PAGE_DEFAULT};
use crate::kvs::operations::FragmentSelector;
use crate::kvs::{SelectorType, TimeRange, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Located};
use http::HeaderValue;
use std::time::Duration;

/// The length of an index.
const HOUR: Duration = Duration::from_secs(3600);
const HOUR_MILLIS: u64 = 3_600_000;

/// The length of a part of an hour.
const PART: Duration = Duration::from_secs(300);
const PARTS: u8 = 12;

/// The list of all fragments that begin in one clock hour, or in a part of it: until an hour has settled its
/// parts are listed apart, so that what has settled of it is not listed again.
#[derive(Clone)]
pub(in crate::archive) struct HourIndex {
    pub(super) stream: Stream,
    pub(super) clock: SelectorType,
    /// Hours since 1970.
    pub(super) hour: u64,
    /// Which five minutes of the hour; all of it if there is none.
    pub(super) part: Option<u8>,
}

impl HourIndex {
    /// The hour that an instant lies in.
    pub(super) fn of(stream: &Stream, clock: SelectorType, instant: Timestamp) -> Self {
        Self { stream: stream.clone(), clock, hour: instant.millis() / HOUR_MILLIS, part: None }
    }

    pub(super) fn start(&self) -> Timestamp {
        let hour = Timestamp::from_millis(self.hour.saturating_mul(HOUR_MILLIS));
        hour.plus(PART * u32::from(self.part.unwrap_or(0)))
    }

    /// One past the last instant.
    pub(super) fn end(&self) -> Timestamp {
        self.start().plus(if self.part.is_some() { PART } else { HOUR })
    }

    pub(super) fn before(&self) -> Option<Self> {
        Some(Self { hour: self.hour.checked_sub(1)?, ..self.clone() })
    }

    pub(super) fn after(&self) -> Self {
        Self { hour: self.hour + 1, ..self.clone() }
    }

    /// Its parts, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = Self> + '_ {
        (0..PARTS).map(|part| Self { part: Some(part), ..self.clone() })
    }

    /// Whether nothing of it changes any more. Producers may upload footage long after they recorded it.
    pub(super) fn has_settled(&self, now: Timestamp, settle: Duration) -> bool {
        self.clock == SelectorType::Server && self.end().plus(settle) < now
    }

    /// Whether it can have fragments: it has begun, and not all of it is older than the retention. Producers
    /// may upload footage long after they recorded it, so their hours are judged by their beginning alone.
    pub(super) fn can_have_rows(&self, now: Timestamp) -> bool {
        let is_retained = || self.end() > now.minus(self.stream.retention());
        self.start() < now && (self.clock == SelectorType::Producer || is_retained())
    }
}

impl Object for HourIndex {
    fn located(&self) -> &Located {
        self.stream.located()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.stream.retention())
    }

    fn key(&self) -> Key {
        Key::hour_index(self.stream.arn(), self.clock, (self.hour, self.part), FORMAT)
    }

    async fn fetch(self, from: Source) -> Result<Fetched, upstream::Error> {
        // Before the call: what has not settled when it is listed may be incomplete.
        let now = Timestamp::from(clock::now());
        // KVS includes both ends of a range.
        let end = self.end().minus(Duration::from_millis(1)).min(now).max(self.start());
        let range = TimeRange { start: self.start(), end: Some(end) };
        let selector = FragmentSelector { kind: self.clock, range };
        let rows = drain(&from, selector, page(self.start().age(end))).await?;
        let rows =
            rows.ok_or_else(|| upstream::Error::BrokenAnswer("an hour has too many fragments".into()))?;
        let body = encode(&rows);
        let head =
            Head::new(HeaderValue::from_static("application/octet-stream"), Some(body.len() as u64), now);
        let keep = from.keep(Kind::HourIndex { selector: self.clock, end: self.end() }, now);
        Ok(Fetched { head, keep, body: whole(body.into()) })
    }
}

/// How many rows a page may have. ListFragments costs that many metadata points however few it returns, and
/// pages of one list wait for each other, so a whole hour is asked for in the largest pages: two seconds a
/// fragment, which is usual, are two pages. An hour that has just begun, which is asked for again and again,
/// is asked for as many rows as it has with one fragment a second. If it has more, there is a second page.
fn page(span: Duration) -> u16 {
    let one_a_second = u16::try_from(span.as_secs()).unwrap_or(u16::MAX);
    one_a_second.clamp(FRAGMENTS_PAGE_DEFAULT, FRAGMENTS_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_that_has_just_begun_costs_less() {
        let pages = [0, 60, 400, 1500, 3600].map(|seconds| page(Duration::from_secs(seconds)));
        assert_eq!(pages, [100, 100, 400, 1000, 1000]);
    }
}

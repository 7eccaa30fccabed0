//! A fragment as an upstream session lists it, and its time.

use crate::kvs::Timestamp;
use crate::sessions::dash::manifest::{self, Template, TimelineSegment};
use crate::sessions::numbering::{self, Generation};

/// A fragment as an upstream session lists it.
pub(super) struct Offer<'a> {
    pub generation: Generation,
    /// Which period of that session.
    pub period_index: usize,
    pub available: Timestamp,
    pub period: &'a manifest::Period,
    /// On the leading track.
    pub segment: &'a TimelineSegment,
}

impl Offer<'_> {
    pub(super) fn leading(&self) -> &Template {
        &self.period.templates[0]
    }

    /// Its time in the session, milliseconds.
    pub(super) fn millis(&self) -> u64 {
        self.leading().millis(self.segment.time)
    }

    /// Its time by the clock of the session, milliseconds since 1970.
    pub(super) fn wall(&self) -> u64 {
        let into = self.leading().millis(self.segment.time.saturating_sub(self.leading().offset));
        self.available.millis() + self.period.start + into
    }

    /// Its time by the clock of the server, if its number holds that; else by that of the session.
    pub(super) fn clock(&self, live: bool) -> u64 {
        let number = self.segment.fragment.as_ref().filter(|_| live);
        number.and_then(numbering::server_time).map_or_else(|| self.wall(), Timestamp::millis)
    }

    /// Its end by that clock.
    pub(super) fn clock_end(&self, live: bool) -> u64 {
        self.clock(live).saturating_add(self.leading().millis(self.segment.duration))
    }

    /// Its segment on each track.
    pub(super) fn segments(&self) -> Vec<Option<TimelineSegment>> {
        let find = |template: &Template| {
            template.segments.iter().find(|segment| segment.number == self.segment.number).cloned()
        };
        self.period.templates.iter().map(find).collect()
    }

    /// By how much the times of a track must be shifted for this fragment to begin at `start`, in
    /// milliseconds. It is the same on all tracks, except for their offsets.
    pub(super) fn shift(&self, template: &Template, start: u64) -> u64 {
        let leading = start.saturating_sub(self.millis());
        let offset = self.leading().millis(self.leading().offset);
        (leading + offset).saturating_sub(template.millis(template.offset))
    }
}

/// The time of a fragment by its `kvs:ts`: milliseconds since 1970, or a date (docs/KVS.md 5.6: the unit is
/// not known).
pub(super) fn kvs_time(segment: &TimelineSegment) -> Option<Timestamp> {
    let (_, text) = segment.attributes.iter().find(|(name, _)| name.rsplit(':').next() == Some("ts"))?;
    match text.parse::<u64>() {
        Ok(millis) if millis > 100_000_000_000 => Some(Timestamp::from_millis(millis)),
        _ => Timestamp::parse(text).ok(),
    }
}

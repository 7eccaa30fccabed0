//! The query of a plain GET.

use super::error::Error;
use crate::base::percent;
use crate::kvs::{Container, Protocol, SelectorType, TimeRange, Timestamp};
use http::request::Parts;
use std::borrow::Cow;
use std::time::Duration;

/// The query of a plain GET, as names and values that are still encoded.
pub struct Query<'a>(Vec<(&'a str, &'a str)>);

impl<'a> From<&'a str> for Query<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect())
    }
}

impl<'a> Query<'a> {
    /// Of this request.
    pub fn of(parts: &'a Parts) -> Self {
        Self::from(parts.uri.query().unwrap_or_default())
    }

    /// The names of all parameters.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }

    /// A parameter, percent-decoded.
    ///
    /// # Errors
    /// It is there twice, or its encoding is broken.
    pub fn text(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, Error> {
        let mut values = self.0.iter().filter(|(key, _)| *key == name);
        let Some((_, value)) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Error::Query { name, problem: "is given twice".into() });
        }
        let wrong = || Error::Query { name, problem: "is not percent-encoded text".into() };
        // `+` stays, since RFC 3339 offsets have it.
        percent::decode(value).map(Some).ok_or_else(wrong)
    }

    /// Whether a parameter is there whose only value is `value`.
    ///
    /// # Errors
    /// It has another value.
    pub fn only(&self, name: &'static str, value: &'static str) -> Result<bool, Error> {
        match self.text(name)?.as_deref() {
            None => Ok(false),
            Some(given) if given == value => Ok(true),
            Some(_) => Err(Error::Query { name, problem: format!("must be {value}, or left out") }),
        }
    }

    /// A time: RFC 3339, also with a space for the `T`, or epoch seconds.
    ///
    /// # Errors
    /// Neither of the two.
    pub fn time(&self, name: &'static str) -> Result<Option<Timestamp>, Error> {
        let Some(mut text) = self.text(name)? else { return Ok(None) };
        // A form writes a space as `+`. Between date and time it is no sign.
        if text.as_bytes().get(10) == Some(&b'+') {
            text = text.replacen('+', " ", 1).into();
        }
        Timestamp::parse(&text).map(Some).map_err(|problem| Error::Query { name, problem: problem.into() })
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    /// Something else.
    pub fn number(&self, name: &'static str, min: u16, max: u16) -> Result<Option<u16>, Error> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        number.map(Some).ok_or_else(|| Error::Query { name, problem: format!("must be from {min} to {max}") })
    }

    /// How old a picture may be that is asked for without an instant.
    ///
    /// # Errors
    /// Not a number of seconds up to an hour.
    pub fn max_age(&self) -> Result<Option<Duration>, Error> {
        Ok(self.number("max_age", 0, 3600)?.map(|seconds| Duration::from_secs(seconds.into())))
    }

    /// The range: `start`, and `end` or now.
    ///
    /// # Errors
    /// It is missing, cannot be read, or ends before it begins.
    pub fn range(&self, now: Timestamp) -> Result<TimeRange, Error> {
        let missing =
            |name| Error::Query { name, problem: "is required: RFC 3339 or seconds since 1970".into() };
        let start = self.time("start")?.ok_or_else(|| missing("start"))?;
        let end = self.time("end")?.unwrap_or(now);
        if end <= start {
            return Err(Error::Query { name: "end", problem: "must be after start".into() });
        }
        Ok(TimeRange { start, end: Some(end) })
    }

    /// `container`: fMP4 if it is not given; MPEG-TS is for HLS only (docs/KVS.md 4.5).
    ///
    /// # Errors
    /// Another word, or MPEG-TS over DASH.
    pub fn container(&self, protocol: Protocol) -> Result<Container, Error> {
        let refused = |problem: &str| Err(Error::Query { name: "container", problem: problem.into() });
        match (self.text("container")?.as_deref(), protocol) {
            (None | Some("fmp4"), _) => Ok(Container::FragmentedMp4),
            (Some("ts"), Protocol::Hls) => Ok(Container::MpegTs),
            (Some("ts"), Protocol::Dash) => refused("must be fmp4 for DASH; .m3u8 has ts"),
            (Some(_), _) => refused("must be fmp4 or ts"),
        }
    }

    /// Checks that none of these parameters is given: what they say is fixed.
    ///
    /// # Errors
    /// One is.
    pub fn check_absent(&self, names: &[&'static str]) -> Result<(), Error> {
        match names.iter().find(|name| self.0.iter().any(|(key, _)| key == *name)) {
            None => Ok(()),
            Some(name) => Err(Error::Query { name, problem: "is fixed by this link; make another".into() }),
        }
    }

    /// The query with these parameters only, as they came.
    #[must_use]
    pub fn only_these(&self, names: &[&str]) -> String {
        let kept = self.0.iter().filter(|(key, _)| names.contains(key));
        kept.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&")
    }

    /// `clock`: the server's if it is not given.
    ///
    /// # Errors
    /// Another word.
    pub fn selector(&self) -> Result<SelectorType, Error> {
        match self.text("clock")?.as_deref() {
            None | Some("server") => Ok(SelectorType::Server),
            Some("producer") => Ok(SelectorType::Producer),
            Some(_) => Err(Error::Query { name: "clock", problem: "must be server or producer".into() }),
        }
    }
}

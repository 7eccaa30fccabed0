//! What the queries of plain GETs say of footage: times, ranges, clocks, containers.

use crate::kvs::{Container, Protocol, SelectorType, TimeRange, Timestamp};
use crate::net::query::{Invalid, Query};
use std::time::Duration;

/// A time: RFC 3339, also with a space for the `T`, or epoch seconds.
///
/// # Errors
/// Neither of the two.
pub(super) fn time(query: &Query<'_>, name: &'static str) -> Result<Option<Timestamp>, Invalid> {
    let Some(mut text) = query.text(name)? else { return Ok(None) };
    // A form writes a space as `+`. Between date and time it is no sign.
    if text.as_bytes().get(10) == Some(&b'+') {
        text = text.replacen('+', " ", 1).into();
    }
    Timestamp::parse(&text).map(Some).map_err(|problem| Invalid::new(name, problem))
}

/// How old a picture may be that is asked for without an instant.
///
/// # Errors
/// Not a number of seconds up to an hour.
pub(super) fn max_age(query: &Query<'_>) -> Result<Option<Duration>, Invalid> {
    Ok(query.number("max_age", 0, 3600)?.map(|seconds| Duration::from_secs(seconds.into())))
}

/// The range: `start`, and `end` or now.
///
/// # Errors
/// It is missing, cannot be read, or ends before it begins.
pub(super) fn range(query: &Query<'_>, now: Timestamp) -> Result<TimeRange, Invalid> {
    let missing = || Invalid::new("start", "is required: RFC 3339 or seconds since 1970");
    let start = time(query, "start")?.ok_or_else(missing)?;
    let end = time(query, "end")?.unwrap_or(now);
    if end <= start {
        return Err(Invalid::new("end", "must be after start"));
    }
    Ok(TimeRange { start, end: Some(end) })
}

/// `container`: fMP4 if it is not given; MPEG-TS is for HLS only (docs/KVS.md 4.5).
///
/// # Errors
/// Another word, or MPEG-TS over DASH.
pub(super) fn container(query: &Query<'_>, protocol: Protocol) -> Result<Container, Invalid> {
    match (query.text("container")?.as_deref(), protocol) {
        (None | Some("fmp4"), _) => Ok(Container::FragmentedMp4),
        (Some("ts"), Protocol::Hls) => Ok(Container::MpegTs),
        (Some("ts"), Protocol::Dash) => Err(Invalid::new("container", "must be fmp4 for DASH; .m3u8 has ts")),
        (Some(_), _) => Err(Invalid::new("container", "must be fmp4 or ts")),
    }
}

/// `clock`: the server's if it is not given.
///
/// # Errors
/// Another word.
pub(super) fn selector(query: &Query<'_>) -> Result<SelectorType, Invalid> {
    match query.text("clock")?.as_deref() {
        None | Some("server") => Ok(SelectorType::Server),
        Some("producer") => Ok(SelectorType::Producer),
        Some(_) => Err(Invalid::new("clock", "must be server or producer")),
    }
}

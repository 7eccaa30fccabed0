//! The text that a signature covers: method, path, query and signed headers in one agreed form.

use super::error::Error;
use crate::base::percent;
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, Request, Uri, header};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::SystemTime;

/// Length of a day in [`time`]'s text.
pub(super) const DAY: usize = 8;

/// How a service wants the path.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathStyle {
    /// Without dot segments and empty segments, and encoded once more than in the request.
    Normalised,
    /// As it stands in the request: S3.
    AsItIs,
}

/// A request in its agreed form.
pub(super) struct Canonical {
    pub(super) text: String,
    /// The names of the signed headers.
    pub(super) signed: String,
}

impl Canonical {
    /// `hash`: of the body, as hexadecimal digits.
    pub(super) fn of<B>(request: &Request<B>, hash: &str, style: PathStyle) -> Result<Self, Error> {
        let uri = request.uri();
        let host = host(uri).ok_or(Error::NoHost)?;
        let mut headers = vec![(header::HOST.as_str(), Cow::Borrowed(host))];
        for name in request.headers().keys().filter(|name| is_signed(name)) {
            headers.push((name.as_str(), joined(request.headers(), name)?));
        }
        headers.sort_unstable_by_key(|(name, _)| *name);
        let path = match style {
            PathStyle::Normalised => normalised(uri.path()),
            PathStyle::AsItIs => uri.path().into(),
        };
        let query = query(uri.query().unwrap_or_default())?;
        let mut text = format!("{}\n{path}\n{query}\n", request.method());
        let mut signed = String::new();
        for (name, value) in &headers {
            let separator = if signed.is_empty() { "" } else { ";" };
            // Writing to a `String` does not fail.
            let _ = writeln!(text, "{name}:{value}");
            let _ = write!(signed, "{separator}{name}");
        }
        let _ = write!(text, "\n{signed}\n{hash}");
        Ok(Self { text, signed })
    }
}

/// A time as `20150830T123600Z`; `None` beyond the years 1970 to 9999.
pub(super) fn time(now: SystemTime) -> Option<String> {
    let at = jiff::Timestamp::try_from(now).ok().filter(|at| at.as_second() >= 0)?;
    let at = jiff::tz::Offset::UTC.to_datetime(at);
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), date.month(), date.day());
    Some(format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", time.hour(), time.minute(), time.second()))
}

/// What hyper sends as `Host`: without the port that the scheme stands for.
fn host(uri: &Uri) -> Option<&str> {
    let authority = uri.authority()?;
    let usual = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Some(443),
        Some(scheme) if *scheme == Scheme::HTTP => Some(80),
        _ => None,
    };
    let is_usual = authority.port_u16().is_some() && authority.port_u16() == usual;
    Some(if is_usual { authority.host() } else { authority.as_str() })
}

fn is_signed(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE || name.as_str().starts_with("x-amz-")
}

/// The values of a header: trimmed, each run of spaces as one, with commas between them.
fn joined<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Result<Cow<'r, str>, Error> {
    let mut values = headers.get_all(name).iter().map(|value| {
        let value = value.to_str().map_err(|_| Error::Header(name.clone()))?;
        Ok(single_spaced(value))
    });
    let first = values.next().unwrap_or(Ok(Cow::Borrowed("")))?;
    values.try_fold(first, |joined, value| Ok(format!("{joined},{}", value?).into()))
}

fn single_spaced(value: &str) -> Cow<'_, str> {
    let value = value.trim_matches(' ');
    if !value.contains("  ") {
        return value.into();
    }
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ").into()
}

/// RFC 3986, 5.2.4, also without empty segments; what is already encoded is encoded once more.
fn normalised(path: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~/".contains(&byte);
    if path.starts_with('/') && path.bytes().all(is_plain) && !path.contains("//") {
        return path.into();
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            segment => segments.push(segment),
        }
    }
    let mut normalised = String::with_capacity(path.len() + 8);
    for segment in &segments {
        normalised.push('/');
        normalised.push_str(&percent::encode(segment));
    }
    let names_a_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    if normalised.is_empty() || names_a_folder {
        normalised.push('/');
    }
    normalised.into()
}

/// Each name and value encoded anew, sorted by their encoded form.
fn query(query: &str) -> Result<String, Error> {
    if query.is_empty() {
        return Ok(String::new());
    }
    let encoded = |part: &str| {
        let part = part.replace('+', " ");
        percent::decode(&part).map(|part| percent::encode(&part)).ok_or(Error::Query)
    };
    let mut pairs = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((encoded(name)?, encoded(value)?));
    }
    pairs.sort_unstable();
    Ok(pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&"))
}

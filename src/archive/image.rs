//! Pictures: of an instant, and the newest one of a camera, for any number of callers.
//!
//! KVS bills each picture that it makes (docs/KVS.md 7), and shows nothing of a fragment that began ahead of
//! the range of a call. So the fragment that holds the instant is listed first, and GetImages is called for
//! one picture of it.

use super::listing::drain;
use super::{Archive, Error, Object, Source, Stream};
use crate::base::clock;
use crate::base::task::spawn_self_ending;
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, Picture, Sharing};
use crate::kvs::operations::{FragmentSelector, GetImages, ImageFormat};
use crate::kvs::{Call, ListedFragment, MediaFormat, TimeRange, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Located, OnBehalfOf};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use std::time::Duration;

/// How far back a picture is looked for at most: a fragment may last 20 s (docs/KVS.md 4.1), and until the
/// newest one is complete the one ahead of it has the newest picture; both arrive some seconds late.
pub const LONG_PICTURE_SPAN: Duration = Duration::from_secs(44);
/// How far back a picture is looked for at first: of footage that is complete, one fragment; of the newest,
/// two of 10 s.
pub const PICTURE_SPAN: Duration = Duration::from_secs(24);
/// The greatest age of a newest picture that is shown while a newer one is fetched, unless the caller names
/// one.
pub const STALEST_PICTURE: Duration = Duration::from_secs(6);
/// The age at which the newest picture is refreshed.
const INTERVAL: Duration = Duration::from_secs(2);
/// How many intervals a picture is kept for at least.
const INTERVALS_KEPT: u32 = 3;
/// The longest answer of GetImages for a snapshot.
const LONGEST_ANSWER: usize = 100 << 20;
/// Rows in a page of the list of fragments that an instant is looked for in. Nearly always all are in the
/// first one.
const LISTED: u16 = 30;
/// Of how many fragments a picture is tried: the newest may have sound alone.
const TRIED: usize = 2;
/// The longest fragment, for those whose length KVS does not know (docs/KVS.md 4.1).
const LONGEST_FRAGMENT: Duration = Duration::from_secs(20);
/// The least time between two pictures of a call, in milliseconds (docs/KVS.md 4.5).
const LEAST_INTERVAL: u64 = 200;
/// Where fragments may not be listed, so many pictures are looked through, this many milliseconds apart.
const LOOKED_THROUGH: u8 = 12;
const LOOK_INTERVAL: u32 = 4000;

/// The last picture of a range, at or before its end.
#[derive(Clone)]
pub struct Image {
    /// Of which stream.
    pub stream: Stream,
    /// The call; its range is what was permitted.
    pub call: GetImages,
    /// The instant that the picture is kept under.
    pub at: Timestamp,
    freshness: Freshness,
}

/// What decides how long the picture is kept.
#[derive(Clone, Copy)]
enum Freshness {
    /// The instant: footage that has settled does not change.
    OfInstant,
    /// The interval in which it is the newest one.
    Newest(Duration),
}

impl Image {
    /// The picture at or before the end of the call's range.
    #[must_use]
    pub fn at_end(stream: &Stream, call: &GetImages, now: Timestamp) -> Self {
        let at = call.range.end.unwrap_or(now);
        Self { stream: stream.clone(), call: call.clone(), at, freshness: Freshness::OfInstant }
    }

    fn newest_at(mut self, at: Timestamp, interval: Duration) -> Self {
        self.at = at;
        self.freshness = Freshness::Newest(interval);
        self
    }

    fn picture(&self) -> Picture {
        Picture {
            selector: self.call.selector,
            at: self.at,
            format: self.call.format,
            quality: self.call.quality,
            width: self.call.width,
            height: self.call.height,
        }
    }

    fn keep(&self, from: &Source, found: bool, now: Timestamp) -> Keep {
        match self.freshness {
            Freshness::OfInstant => from.keep(Kind::Image { at: self.at, found }, now),
            Freshness::Newest(interval) => from.keep(Kind::LatestImage { found, interval }, now),
        }
    }
}

impl Object for Image {
    fn located(&self) -> &Located {
        self.stream.located()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.stream.retention())
    }

    fn key(&self) -> Key {
        Key::image(self.stream.arn(), &self.picture())
    }

    async fn fetch(self, from: Source) -> Result<Fetched, upstream::Error> {
        let now = Timestamp::from(clock::now());
        let end = self.call.range.end.unwrap_or(self.at);
        let found = match self.fragments(&from, end).await {
            Ok(rows) => self.picture_of(&from, &rows, end).await?,
            Err(error) if error.is_access_denied() => self.look_through(&from, end).await?,
            Err(error) => return Err(error),
        };
        let keep = self.keep(&from, found.is_some(), now);
        let none = (self.looks_from(), Bytes::new());
        let (instant, bytes) = found.unwrap_or(none);
        let mut head =
            Head::new(HeaderValue::from_static(self.format().content_type()), Some(bytes.len() as u64), now);
        head.note = Some(instant.millis().to_string().into());
        Ok(Fetched { head, keep, body: whole(bytes) })
    }
}

impl Image {
    /// The beginning of what is looked through, as far as the range was permitted.
    fn looks_from(&self) -> Timestamp {
        self.call.range.start.max(self.at.minus(LONG_PICTURE_SPAN))
    }

    /// True if this may be shown to whoever asks for `self`: what was permitted begins there, so nothing
    /// older is shown, whichever request had it fetched. That there is none holds for whoever may not look
    /// further back than the request that found none did.
    fn may_show(&self, found: &Found) -> bool {
        match instant_shown(found) {
            Some(shows) => shows >= self.call.range.start,
            None => noted(found).is_none_or(|from| from <= self.looks_from().plus(STALEST_PICTURE)),
        }
    }

    /// The format of the picture.
    #[must_use]
    pub fn format(&self) -> MediaFormat {
        match self.call.format {
            ImageFormat::Jpeg => MediaFormat::Jpeg,
            ImageFormat::Png => MediaFormat::Png,
        }
    }

    /// The fragments that may hold `end`, or the last picture ahead of it.
    async fn fragments(&self, from: &Source, end: Timestamp) -> Result<Vec<ListedFragment>, upstream::Error> {
        let range = TimeRange { start: self.looks_from(), end: Some(end) };
        let selector = FragmentSelector { kind: self.call.selector, range };
        Ok(drain(from, selector, LISTED).await?.unwrap_or_default())
    }

    /// The picture of the last fragment that has one, at or before `end`.
    async fn picture_of(
        &self,
        from: &Source,
        rows: &[ListedFragment],
        end: Timestamp,
    ) -> Result<Option<(Timestamp, Bytes)>, upstream::Error> {
        for row in rows.iter().rev().take(TRIED) {
            let found = self.read(from, self.of_fragment(row, end)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The call for one picture of a fragment, the last at or before `end`. It begins just ahead of the
    /// fragment, where KVS shows nothing, so that the second of its two instants is the only picture.
    fn of_fragment(&self, row: &ListedFragment, end: Timestamp) -> GetImages {
        let start = row.start(self.call.selector);
        let length = if row.length.is_zero() { LONGEST_FRAGMENT } else { row.length };
        let last = end.min(start.plus(length).minus(Duration::from_millis(1))).max(start);
        let ahead = start.minus(Duration::from_millis(1)).max(self.call.range.start.min(start));
        let interval = last.millis().saturating_sub(ahead.millis());
        let mut call = self.call.clone();
        if interval < LEAST_INTERVAL {
            call.range = TimeRange { start, end: Some(start) };
            (call.sampling_interval, call.max_results) = (Some(LEAST_INTERVAL as u32), Some(1));
        } else {
            call.range = TimeRange { start: ahead, end: Some(last) };
            (call.sampling_interval, call.max_results) = (u32::try_from(interval).ok(), Some(2));
        }
        call
    }

    /// The last picture of many, where IAM does not let fragments be listed.
    async fn look_through(
        &self,
        from: &Source,
        end: Timestamp,
    ) -> Result<Option<(Timestamp, Bytes)>, upstream::Error> {
        let mut call = self.call.clone();
        call.range.start = self.looks_from();
        (call.sampling_interval, call.max_results) = (Some(LOOK_INTERVAL), Some(LOOKED_THROUGH));
        call.range.end = Some(end);
        self.read(from, call).await
    }

    /// The last picture of an answer.
    async fn read(
        &self,
        from: &Source,
        call: GetImages,
    ) -> Result<Option<(Timestamp, Bytes)>, upstream::Error> {
        let body = from.read(&Call::GetImages(call), LONGEST_ANSWER).await?;
        let (pictures, last) = last_picture(&body, self.call.range.end, self.format())?;
        from.upstream.received_images(pictures);
        Ok(last)
    }
}

impl Archive {
    /// The newest picture of a camera, fetched no longer ago than `max_age`.
    ///
    /// Time is cut into intervals, and each has one picture, fetched by the first request in it for all. A
    /// request that accepts an older one gets that at once; it is refreshed before it reaches the age that
    /// was accepted.
    ///
    /// # Errors
    /// As [`Archive::get`].
    pub async fn newest_image<E: From<Error>>(
        &self,
        asked: &Image,
        max_age: Option<Duration>,
        now: Timestamp,
        on_behalf_of: impl Fn() -> Result<OnBehalfOf, E>,
    ) -> Result<Found, E> {
        let stalest = max_age.unwrap_or(STALEST_PICTURE);
        let interval = stalest.clamp(Duration::from_secs(1), INTERVAL);
        // How stale a picture may be is decided here, so it is kept for as long as it may be shown.
        let kept = stalest.max(interval * INTERVALS_KEPT);
        let tick = start_of_interval(now, interval);
        let wanted = asked.clone().newest_at(tick, kept);
        let is_permitted = |found: &Found| asked.may_show(found);
        if let Some(found) = self.0.cache.get(&wanted.key()).filter(is_permitted) {
            return Ok(found);
        }
        let camera = Key::latest_image(asked.stream.arn(), &wanted.picture());
        let newest = self.0.newest_images.0.get(&camera);
        let held = newest
            .and_then(|newest| self.0.cache.get(&wanted.clone().newest_at(newest, kept).key()))
            .filter(|held| held.entry.length() != Some(0) && held.entry.age(now) <= stalest)
            .filter(is_permitted);
        // Refreshed before it is too old, so that no request waits.
        let refresh_at = max_age.map_or(interval, |max_age| max_age.saturating_sub(INTERVAL));
        if let Some(mut held) = held {
            if held.entry.age(now) >= refresh_at {
                self.refresh(wanted, camera, on_behalf_of()?);
                held.outcome = Outcome::Stale;
            }
            return Ok(held);
        }
        let found = self.get(&wanted, &on_behalf_of).await?;
        if found.entry.length() != Some(0) {
            self.0.newest_images.insert(camera, tick);
        }
        if is_permitted(&found) { Ok(found) } else { self.get(asked, on_behalf_of).await }
    }

    /// Fetches the picture of this interval in a task of its own.
    fn refresh(&self, wanted: Image, camera: Key, on_behalf_of: OnBehalfOf) {
        let archive = self.clone();
        spawn_self_ending(async move {
            let (key, source) = (wanted.key(), archive.source(&wanted, on_behalf_of));
            let at = wanted.at;
            let fetch = move || wanted.clone().fetch(source.clone());
            // Where there is no newer one, the one before stands as long as it may.
            if archive.0.cache.warm(key, Sharing::Always, fetch).await.is_ok_and(|bytes| bytes > 0) {
                archive.0.newest_images.insert(camera, at);
            }
        });
    }
}

/// The instant that a picture shows; `None` for "there is none".
#[must_use]
pub fn instant_shown(found: &Found) -> Option<Timestamp> {
    noted(found).filter(|_| found.entry.length() != Some(0))
}

/// The instant that a picture shows; of "there is none", since when.
fn noted(found: &Found) -> Option<Timestamp> {
    let millis = found.entry.head().note.as_deref().and_then(|note| note.parse().ok());
    millis.map(Timestamp::from_millis)
}

/// The beginning of the interval that an instant lies in.
fn start_of_interval(now: Timestamp, interval: Duration) -> Timestamp {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Timestamp::from_millis(now.millis() / interval * interval)
}

#[derive(Deserialize)]
struct Images<'a> {
    #[serde(borrow, rename = "Images", default)]
    rows: Option<Vec<ImageRow<'a>>>,
}

#[derive(Deserialize)]
struct ImageRow<'a> {
    #[serde(borrow, rename = "ImageContent", default)]
    content: Option<std::borrow::Cow<'a, str>>,
    #[serde(rename = "TimeStamp", default)]
    time: Option<f64>,
}

/// How many rows are pictures, and the last of them at or before `end`; `None` if KVS has none.
fn last_picture(
    answer: &Bytes,
    end: Option<Timestamp>,
    format: MediaFormat,
) -> Result<(usize, Option<(Timestamp, Bytes)>), upstream::Error> {
    let images: Images<'_> = serde_json::from_slice(answer)
        .map_err(|_| upstream::Error::BrokenAnswer("GetImages did not answer with JSON".into()))?;
    let rows = images.rows.unwrap_or_default();
    let last = rows.iter().rev().find_map(|row| {
        let at = Timestamp::from_seconds(row.time?).ok()?;
        let content = STANDARD.decode(row.content.as_deref()?).ok()?;
        end.is_none_or(|end| at <= end).then(|| (at, Bytes::from(content)))
    });
    match last {
        Some((_, picture)) if !format.begins(&picture) => {
            let what = format.content_type();
            Err(upstream::Error::BrokenAnswer(format!("GetImages answered with something that is no {what}")))
        }
        last => Ok((rows.iter().filter(|row| row.content.is_some()).count(), last)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_that_is_a_picture_counts() {
        let picture = |letter: u8| [b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01", &[letter][..]].concat();
        let row = |time: f64, letter| serde_json::json!({"TimeStamp": time, "ImageContent": STANDARD.encode(picture(letter))});
        let none = serde_json::json!({"TimeStamp": 3, "Error": "NO_MEDIA", "ImageContent": null});
        let rows = [row(1.0, b'a'), row(2.0, b'b'), none, row(9.0, b'z')];
        let answer = Bytes::from(serde_json::json!({ "Images": rows }).to_string());
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        let last = |end| last_picture(&answer, Some(at(end)), MediaFormat::Jpeg).unwrap().1;
        assert_eq!(last(5), Some((at(2), picture(b'b').into())));
        assert_eq!(last(9), Some((at(9), picture(b'z').into())));
        assert_eq!(last(0), None);
        for bad in [&b"<html>"[..], br#"{"Images":[{"TimeStamp":1,"ImageContent":"aGk="}]}"#] {
            assert!(last_picture(&Bytes::from_static(bad), None, MediaFormat::Jpeg).is_err());
        }
    }
}

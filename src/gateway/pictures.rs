//! Answers pictures: of an instant, and the newest one of a camera, for as many as look.

use super::error::Error;
use super::media::keep;
use super::read::{PICTURE_SPAN, STALEST};
use super::{Ask, Gateway};
use crate::cache::freshness::Kind;
use crate::cache::{Fetched, Found, Head, Keep, Key, Outcome, Picture};
use crate::kvs::operations::GetImages;
use crate::kvs::{Call, Timestamp};
use crate::net::body::whole;
use crate::upstream::{self, Located, Upstream};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use std::pin::Pin;
use std::time::Duration;

/// How old the newest picture may be before it is refreshed.
const PICTURE_INTERVAL: Duration = Duration::from_secs(2);
/// How many intervals a picture is kept for, or as long as its asker puts up with.
const PICTURES_BACK: u32 = 3;
/// Cameras, and sizes of their pictures, of which the newest one is known.
const CAMERAS: u64 = 10_000;
/// The longest answer of GetImages for a snapshot.
const LONGEST_IMAGES: usize = 100 << 20;

/// When the newest picture of each camera that is looked at was asked for.
#[derive(Clone)]
pub struct NewestPictures(moka::sync::Cache<Key, Timestamp>);

impl Default for NewestPictures {
    fn default() -> Self {
        Self(moka::sync::Cache::new(CAMERAS))
    }
}

impl NewestPictures {
    fn get(&self, camera: &Key) -> Option<Timestamp> {
        self.0.get(camera)
    }

    /// Two may come in at once: the later instant stays.
    fn insert(&self, camera: Key, at: Timestamp) {
        self.0.entry(camera).and_upsert_with(|known| known.map_or(at, |known| known.into_value().max(at)));
    }
}

impl Gateway {
    /// The picture nearest to the end of the asked range, at or before it.
    pub(super) async fn picture(&self, ask: &Ask<'_>, images: &GetImages) -> Result<Found, Error> {
        let located = ask.located()?;
        let about = self.upstream.describe(located).await?;
        let at = images.range.end.unwrap_or(ask.now);
        let key = Key::image(&about.arn, &picture(images, at));
        if let Some(found) = self.cache.get(&key) {
            return Ok(found);
        }
        let rules = self.rules(Some(about.retention_hours));
        let keep = move |found, now| keep(Kind::Image { at, found }, now, &rules);
        let fetch = self.fetch_picture(ask, located, images, at, keep)?;
        Ok(ask.steps.time("cache", self.cache.get_or_fill(key, fetch)).await?)
    }

    /// The newest picture of a camera, asked of KVS no longer ago than `max_age`.
    ///
    /// Time is cut into intervals, and each has one picture, which whoever asks first in it has fetched for all. Who
    /// puts up with an older one gets it at once, and it is not refreshed before it comes near the age he named.
    pub(super) async fn latest_picture(
        &self,
        ask: &Ask<'_>,
        images: &GetImages,
        max_age: Option<Duration>,
    ) -> Result<Found, Error> {
        let located = ask.located()?;
        let about = self.upstream.describe(located).await?;
        let stalest = max_age.unwrap_or(STALEST);
        let interval = stalest.clamp(Duration::from_secs(1), PICTURE_INTERVAL);
        let tick = tick(ask.now, interval);
        let key = |tick| Key::image(&about.arn, &picture(images, tick));
        // What was permitted begins there, so nothing older is shown, whoever fetched it.
        let permitted = |found: &Found| instant(found).is_none_or(|shows| shows >= images.range.start);
        if let Some(found) = self.cache.get(&key(tick)).filter(permitted) {
            return Ok(found);
        }
        let camera = Key::latest_image(&about.arn, &picture(images, tick));
        let newest = self.newest_pictures.get(&camera);
        let held = newest
            .and_then(|newest| self.cache.get(&key(newest)))
            .filter(|held| held.entry.length() != Some(0) && held.entry.age(ask.now) <= stalest)
            .filter(permitted);
        // Refreshed in good time before it is too old, so that nobody waits.
        let refresh = max_age.map_or(interval, |max_age| max_age.saturating_sub(PICTURE_INTERVAL));
        let held = match held {
            Some(held) if held.entry.age(ask.now) < refresh => return Ok(held),
            held => held,
        };
        let rules = self.rules(Some(about.retention_hours));
        // How stale it may be is looked at here, by its age.
        let kept = stalest.max(interval * PICTURES_BACK);
        let keep = move |found, now| match keep(Kind::LatestImage { found, interval: kept }, now, &rules) {
            Keep::Refresh { fresh, .. } => Keep::For(fresh),
            keep => keep,
        };
        let fetch = self.fetch_picture(ask, located, images, tick, keep)?;
        let (pictures, cache, key) = (self.newest_pictures.clone(), self.cache.clone(), key(tick));
        if let Some(mut found) = held {
            tokio::spawn(async move {
                // Where there is none, the one before stands as long as it may.
                if cache.warm(key, fetch).await.is_ok_and(|bytes| bytes > 0) {
                    pictures.insert(camera, tick);
                }
            });
            found.outcome = Outcome::Stale;
            return Ok(found);
        }
        let found = ask.steps.time("cache", cache.get_or_fill(key, fetch)).await?;
        if found.entry.length() != Some(0) {
            pictures.insert(camera, tick);
        }
        if permitted(&found) { Ok(found) } else { self.picture(ask, images).await }
    }

    /// How the picture at or before `at` is fetched.
    fn fetch_picture(
        &self,
        ask: &Ask<'_>,
        located: &Located,
        images: &GetImages,
        at: Timestamp,
        keep: impl Fn(bool, Timestamp) -> Keep + Copy + Send + Sync + 'static,
    ) -> Result<
        impl Fn() -> Pin<Box<dyn Future<Output = Result<Fetched, upstream::Error>> + Send>>
        + Send
        + Sync
        + 'static,
        Error,
    > {
        let (upstream, located, mut images) = (self.upstream.clone(), located.clone(), images.clone());
        // Of what was permitted, as much as has one picture.
        images.range.start = images.range.start.max(images.range.end.unwrap_or(at).minus(PICTURE_SPAN));
        let (principal, payer) = (ask.caller().principal(), ask.payer()?);
        Ok(move || {
            let (upstream, located, principal) = (upstream.clone(), located.clone(), principal.clone());
            let (images, payer) = (images.clone(), payer.clone());
            let future: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(async move {
                let points = upstream::points(&Call::GetImages(images.clone()));
                let asking = newest_picture(&upstream, &located, &images, &principal);
                let found = payer.ask(points, asking).await?;
                let now = Timestamp::now();
                let keep = keep(found.is_some(), now);
                let (instant, bytes) = found.unwrap_or((at, Bytes::new()));
                let mut head =
                    Head::new(HeaderValue::from_static("image/jpeg"), Some(bytes.len() as u64), now);
                head.note = Some(instant.millis().to_string().into());
                Ok(Fetched { head, keep, body: whole(bytes) })
            });
            future
        })
    }
}

/// The instant that a picture shows; none for "there is none".
pub(super) fn instant(found: &Found) -> Option<Timestamp> {
    let shows = found.entry.head().note.as_deref().and_then(|note| note.parse().ok());
    shows.filter(|_| found.entry.length() != Some(0)).map(Timestamp::from_millis)
}

/// One picture as it is asked for.
fn picture(images: &GetImages, at: Timestamp) -> Picture {
    Picture {
        selector: images.selector,
        at,
        format: images.format,
        quality: images.quality,
        width: images.width,
        height: images.height,
    }
}

/// The beginning of the interval that an instant lies in.
fn tick(now: Timestamp, interval: Duration) -> Timestamp {
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Timestamp::from_millis(now.millis() / interval * interval)
}

/// Asks for the pictures of a range and takes the last one that is one.
async fn newest_picture(
    upstream: &Upstream,
    located: &Located,
    images: &GetImages,
    principal: &str,
) -> Result<Option<(Timestamp, Bytes)>, upstream::Error> {
    let answer = upstream.call(located, &Call::GetImages(images.clone()), principal).await?;
    let body = answer
        .bytes(LONGEST_IMAGES)
        .await
        .map_err(|broken| upstream::Error::BrokenAnswer(broken.to_string()))?;
    let json: Value = serde_json::from_slice(&body)
        .map_err(|_| upstream::Error::BrokenAnswer("GetImages did not answer with JSON".into()))?;
    let rows = json.get("Images").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown = rows.iter().rev().find_map(|row| {
        let content = row.get("ImageContent")?.as_str()?;
        let at = Timestamp::from_seconds(row.get("TimeStamp")?.as_f64()?).ok()?;
        if images.range.end.is_some_and(|end| at > end) {
            return None;
        }
        Some((at, Bytes::from(STANDARD.decode(content).ok()?)))
    });
    Ok(shown)
}

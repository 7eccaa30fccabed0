//! Answers the plain GETs under `/streams`.

use super::clips::Clips;
use super::error::Error;
use super::footage_query;
use super::links;
use super::permitted::Permitted;
use super::playback_url::PlaybackUrls;
use super::read::PAGE_EXPIRES;
use super::reply::{self, ClientCache, MediaTerms, Reply};
use super::route::Page;
use super::streams::{self, Streams};
use crate::accounting::Record;
use crate::archive::{Archive, FragmentList, Image, LONG_PICTURE_SPAN, PICTURE_SPAN, instant_shown};
use crate::cache::Found;
use crate::kvs::operations::{GetImages, ListFragments, ListStreams};
use crate::kvs::{Call, Request, StreamName};
use crate::net::range;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The instant that a picture shows, in RFC 3339: rarely exactly the one that was asked for.
const PICTURE_TIME: HeaderName = HeaderName::from_static("kvs-edge-image-time");

/// No picture of GetImages is as long as this: 3,840 × 2,160 pixels of three bytes.
const LONGEST_PICTURE: u64 = 3840 * 2160 * 3;

/// Answers pages.
pub(super) struct Pages {
    pub(super) archive: Archive,
    pub(super) streams: Streams,
    pub(super) playback_urls: Arc<PlaybackUrls>,
    pub(super) clips: Clips,
}

impl Pages {
    /// The answer to a page.
    ///
    /// # Errors
    /// KVS's, or ours.
    pub(super) async fn answer(
        &self,
        page: Page,
        permitted: &Permitted,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        match (page, permitted.call()?) {
            (Page::Streams, Call::ListStreams(list)) => self.list(permitted, list).await,
            (Page::Stream(name), _) => {
                let reference = permitted.stream_reference(&self.archive).await?;
                let live = self.playback_urls.live_window(permitted, &reference)?;
                let stream = self.streams.describe_one(permitted, &name, live).await?;
                Ok(Reply::json(&stream))
            }
            (Page::Fragments(_), Call::ListFragments(list)) => self.fragments(permitted, list, record).await,
            (Page::Clip(name, file), Call::GetClip(clip)) => {
                self.clips.answer(permitted, (&name, file), clip, record).await
            }
            (Page::Snapshot(name, _), Call::GetImages(images)) => {
                self.snapshot(permitted, &name, images, record).await
            }
            (Page::Play { .. }, call) => self.play(permitted, call, record).await,
            (Page::Link(name), call) => {
                links::answer(&self.playback_urls, &name, permitted, call, record).await
            }
            _ => Err(Error::Bug("a page and the call that it stands for do not fit")),
        }
    }

    async fn list(&self, permitted: &Permitted, list: &ListStreams) -> Result<Reply, Error> {
        let size = list.max_results.map_or(streams::PAGE, usize::from);
        let page = self.streams.page(permitted, list, size).await.map_err(|error| match error {
            Error::PageToken(_) => {
                Error::Parameter("next is no token that a page of /streams ended with".into())
            }
            other => other,
        })?;
        let mut shown = Vec::with_capacity(page.streams.len());
        for (stream, facts) in page.streams {
            shown.push(self.streams.describe(permitted, facts, &stream.members()));
            // Each takes some decisions: other requests get a turn in between.
            tokio::task::yield_now().await;
        }
        streams::page_of("streams", shown.iter(), &json!({ "next": page.next, "notes": page.notes })).await
    }

    async fn fragments(
        &self,
        permitted: &Permitted,
        list: &ListFragments,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let selector = list.selector.ok_or(Error::Bug("a page of fragments without a range"))?;
        let stream = permitted.stream(&self.archive).await?.clone();
        let (archive, end) = (self.archive.clone(), selector.range.end.unwrap_or(permitted.now));
        let list = FragmentList { archive, stream, selector, end };
        let getting = self.archive.get(&list, || permitted.on_behalf_of(record));
        let found = permitted.steps.time("cache", getting).await?;
        // A long list is sent while it is listed, so that its first answer has no entity tag.
        media(found, permitted, ("application/json", false), record).await
    }

    async fn snapshot(
        &self,
        permitted: &Permitted,
        name: &StreamName,
        images: &GetImages,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let query = permitted.query();
        let (newest, max_age) = (query.text("at")?.is_none(), footage_query::max_age(&query)?);
        let (images, span) = self.pictures(permitted, images);
        let image = Image::at_end(permitted.stream(&self.archive).await?, &images, permitted.now);
        if range::is_beyond(&permitted.parts.method, &permitted.parts.headers, LONGEST_PICTURE) {
            return Ok(reply::out_of_range());
        }
        let on_behalf_of = || permitted.on_behalf_of(record);
        let found = if newest {
            let getting = self.archive.newest_image(&image, max_age, permitted.now, on_behalf_of);
            permitted.steps.time("cache", getting).await?
        } else {
            permitted.steps.time("cache", self.archive.get(&image, on_behalf_of)).await?
        };
        if found.entry.length() == Some(0) {
            record.cache = found.outcome.as_str();
            let old = permitted.stream(&self.archive).await?.too_old("at", image.at, permitted.now);
            let old = old.map_or_else(String::new, |old| format!(": {old}"));
            return Err(Error::NoPicture(format!(
                "{name} in the {} s up to {}{old}; /streams/{name}/fragments lists what there is",
                span.as_secs(),
                image.at,
            )));
        }
        let instant = instant_shown(&found);
        let picture = (image.format().content_type(), true);
        let mut reply = media(found, permitted, picture, record).await?;
        if let Some(instant) = instant
            && let Ok(value) = HeaderValue::from_str(&instant.to_string())
        {
            reply.headers.insert(PICTURE_TIME, value);
        }
        Ok(reply)
    }

    /// The pictures of a snapshot, and how far back one is looked for: of a camera with long fragments the
    /// newest one is further back than was permitted, and is shown to whoever may see that, too.
    fn pictures(&self, permitted: &Permitted, images: &GetImages) -> (GetImages, Duration) {
        let mut longer = images.clone();
        let end = images.range.end.unwrap_or(permitted.now);
        if end.age(permitted.now) < LONG_PICTURE_SPAN {
            longer.range.start = longer.range.start.minus(LONG_PICTURE_SPAN - PICTURE_SPAN);
            let request = Request::Call(Call::GetImages(longer.clone()));
            if self.streams.policy.permit(permitted.caller().clone(), request, &permitted.context).is_ok() {
                return (longer, LONG_PICTURE_SPAN);
            }
        }
        (images.clone(), PICTURE_SPAN)
    }

    /// A stable address leads to a fresh playback URL, or names it to a client that asks for JSON.
    async fn play(&self, permitted: &Permitted, call: &Call, record: &Record) -> Result<Reply, Error> {
        let session = call.session().ok_or(Error::Bug("a page of playback without a session"))?;
        let url = self.playback_urls.open(permitted, session, PAGE_EXPIRES, record).await?;
        if takes_json(&permitted.parts.headers) {
            return Ok(self.playback_urls.json(&url));
        }
        let mut reply = Reply::empty(StatusCode::FOUND);
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let location = self.playback_urls.absolute(&url.path);
        if let Ok(location) = HeaderValue::from_str(&location) {
            reply.headers.insert(header::LOCATION, location);
        }
        Ok(self.playback_urls.with_cookie(reply, &url))
    }
}

/// Whether a client names JSON as what it takes (RFC 9110 12.5.1). One that takes anything is redirected.
fn takes_json(asked: &HeaderMap) -> bool {
    let lines = asked.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
        let refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|q| q.bytes().all(|b| matches!(b, b'0' | b'.')))
        };
        is_json && !parts.any(refused)
    })
}

/// A reply of media that the cache found, for the range and the conditions of the request.
async fn media(
    found: Found,
    permitted: &Permitted,
    (content_type, tagged): (&'static str, bool),
    record: &mut Record,
) -> Result<Reply, Error> {
    let terms = MediaTerms { content_type, keep: ClientCache::Revalidated, tagged };
    record.cache = found.outcome.as_str();
    let (method, headers) = (&permitted.parts.method, &permitted.parts.headers);
    Ok(reply::media(found, method, headers, terms, permitted.now).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_name_it() {
        let asked = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (header::ACCEPT, HeaderValue::from_static(line)));
            takes_json(&lines.collect())
        };
        for lines in [
            &["application/json"][..],
            &["text/html, Application/JSON;q=0.5"],
            &["*/*", "application/json; charset=utf-8"],
        ] {
            assert!(asked(lines), "{lines:?}");
        }
        for lines in
            [&[][..], &["*/*"], &["application/*"], &["application/json;q=0"], &["application/json5"]]
        {
            assert!(!asked(lines), "{lines:?}");
        }
    }
}

//! Clips of any length, packaged from stored fragments: `clip.mp4` and `clip.mkv`.
//!
//! Length, entity tag and index are known before the media is fetched, and every replica makes the same
//! bytes, so any range, resume and conditional request of RFC 9110 holds across restarts and replicas.

use super::clip_options::{ClipMaker, ClipOptions};
use super::error::Error;
use super::permitted::Permitted;
use super::playback_url::PlaybackUrls;
use super::reply::{self, CACHE_STATUS, ClientCache, MediaTerms, Reply, cache_status_of_parts};
use super::route::ClipFile;
use crate::accounting::{BodySource, Record};
use crate::archive::{Archive, Clip, Nearest, PackagedClip, Stream};
use crate::kvs::bounds::CLIP_BYTES;
use crate::kvs::operations::{FragmentSelector, GetClip};
use crate::kvs::{
    Call, ListedFragment, MediaFormat, Request, SelectorType, StreamName, TimeRange, Timestamp,
};
use crate::net::query::Invalid;
use crate::net::range;
use crate::package::clip::{Format, MOST_FRAGMENTS};
use crate::policy::{Denied, Permit, Policy};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::sync::Arc;
use std::time::Duration;

/// The true range of a clip, `start/end` in RFC 3339: that of whole fragments, since frames between key
/// frames cannot be decoded alone.
const TRUE_RANGE: HeaderName = HeaderName::from_static("kvs-edge-range");

/// KVS stops a clip at its 100th megabyte (docs/KVS.md 4.4), at the end of a fragment.
const LONGEST_KVS_CLIP: u64 = 2 * CLIP_BYTES;

/// Answers clips.
pub(super) struct Clips {
    pub(super) archive: Archive,
    pub(super) policy: Arc<Policy>,
    /// For our own addresses.
    pub(super) playback_urls: Arc<PlaybackUrls>,
}

impl Clips {
    /// A clip, or a part of it.
    ///
    /// # Errors
    /// KVS's, or ours.
    pub(super) async fn answer(
        &self,
        permitted: &Permitted,
        (name, file): (&StreamName, ClipFile),
        call: &GetClip,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let options = ClipOptions::read(&permitted.query(), file)?;
        match options.maker {
            ClipMaker::Kvs => self.kvs_clip(permitted, name, call, record).await,
            ClipMaker::Packaged(_) if !options.has_end => self.with_end(permitted),
            ClipMaker::Packaged(format) => {
                let stream = permitted.stream(&self.archive).await?;
                let packaging = self.package(permitted, stream, call, (format, options.exact), record);
                let (clip, range) = permitted.steps.time("cache", packaging).await?;
                record.range = Some(range);
                let mut reply = self.select(permitted, &clip, format, record)?;
                let headers = &mut reply.headers;
                headers.insert(header::CONTENT_DISPOSITION, file_name(name, range, format));
                headers.insert(TRUE_RANGE, shown(range));
                Ok(reply)
            }
        }
    }

    /// KVS's GetClip, with its bounds.
    async fn kvs_clip(
        &self,
        permitted: &Permitted,
        name: &StreamName,
        call: &GetClip,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let clip = Clip { stream: permitted.stream(&self.archive).await?.clone(), call: call.clone() };
        let (method, headers) = (&permitted.parts.method, &permitted.parts.headers);
        if !self.archive.holds(&clip) {
            if range::is_beyond(method, headers, LONGEST_KVS_CLIP) {
                return Ok(reply::out_of_range());
            }
            if method == Method::HEAD {
                return self.unseen_kvs_clip(permitted, &clip, name, record).await;
            }
        }
        let getting = self.archive.get(&clip, || permitted.on_behalf_of(record));
        let found = permitted.steps.time("cache", getting).await?;
        let cutting = self.archive.truncation(&clip, permitted.now, || permitted.on_behalf_of(record));
        let truncation = cutting.await;
        record.cache = found.outcome.as_str();
        let content_type = MediaFormat::Mp4.content_type();
        let terms = MediaTerms { content_type, keep: ClientCache::Revalidated, tagged: false };
        let reply = reply::media(found, method, headers, terms, permitted.now).await?;
        let name = file_name(name, call.selector.range, Format::Plain);
        Ok(reply.with(header::CONTENT_DISPOSITION, name).truncated(truncation.as_ref(), record))
    }

    /// The head of a clip that is not held. Its length is known to KVS alone, and only once it has made the
    /// clip (RFC 9110 9.3.2: such headers may be left out).
    async fn unseen_kvs_clip(
        &self,
        permitted: &Permitted,
        clip: &Clip,
        name: &StreamName,
        record: &Record,
    ) -> Result<Reply, Error> {
        let FragmentSelector { kind: clock, range } = clip.call.selector;
        let end = range.end.unwrap_or(permitted.now);
        let on_behalf_of = || permitted.on_behalf_of(record);
        let listing =
            self.archive.footage(&clip.stream, clock, range.start..end, permitted.now, on_behalf_of);
        if listing.await?.rows.is_empty() {
            let near = Nearest { before: None, after: None };
            return Err(Error::NoFootage(nothing(
                &clip.stream,
                clock,
                range.start..end,
                &near,
                permitted.now,
            )));
        }
        let mut reply = Reply::empty(StatusCode::OK);
        let content_type = HeaderValue::from_static(MediaFormat::Mp4.content_type());
        reply.headers.insert(header::CONTENT_TYPE, content_type);
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        Ok(reply.with(header::CONTENT_DISPOSITION, file_name(name, range, Format::Plain)))
    }

    /// The same address with `end` filled in, so that ranges and resumes stay on one rendering.
    fn with_end(&self, permitted: &Permitted) -> Result<Reply, Error> {
        if permitted.capability.is_some() {
            return Err(Error::Bug("a link to a clip without an end"));
        }
        let uri = &permitted.parts.uri;
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let location = self.playback_urls.absolute(&format!("{path}?{query}&end={}", permitted.now));
        let location = HeaderValue::from_str(&location);
        let location = location.map_err(|_| Error::Bug("a query that came in a header and fits in none"))?;
        let mut reply = Reply::empty(StatusCode::FOUND);
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply.headers.insert(header::LOCATION, location);
        Ok(reply)
    }

    /// The clip of what is recorded and permitted, and its true range on the clock of the request.
    async fn package(
        &self,
        permitted: &Permitted,
        stream: &Stream,
        call: &GetClip,
        (format, exact): (Format, bool),
        record: &Record,
    ) -> Result<(PackagedClip, TimeRange), Error> {
        let FragmentSelector { kind: clock, range } = call.selector;
        let end = range.end.unwrap_or(permitted.now);
        let on_behalf_of = || permitted.on_behalf_of(record);
        let listing = self.archive.footage(stream, clock, range.start..end, permitted.now, on_behalf_of);
        let footage = listing.await?;
        if footage.rows.is_empty() {
            let finding = self
                .archive
                .nearest(stream, clock, range.start, permitted.now, || permitted.on_behalf_of(record));
            let Nearest { before, after } = finding.await;
            // Footage that policy does not permit is not named either.
            let may = |row: &ListedFragment| self.may_have(permitted, call, std::slice::from_ref(row));
            let near = Nearest { before: before.filter(may), after: after.filter(may) };
            return Err(Error::NoFootage(nothing(stream, clock, range.start..end, &near, permitted.now)));
        }
        if let Some(beyond) = footage.rows.get(MOST_FRAGMENTS) {
            return Err(Invalid::new("end", too_many(footage.rows.len(), beyond, clock)).into());
        }
        let (rows, delivered) = self.permitted_part(permitted, call, footage.rows)?;
        let hidden = match rows.first() {
            Some(first) if exact => first.start(clock).age(range.start),
            _ => Duration::ZERO,
        };
        let packaging =
            self.archive.package_clip(stream, rows, (format, hidden), || permitted.on_behalf_of(record));
        let clip = packaging.await.map_err(with_way_out)?;
        Ok((clip, delivered))
    }

    /// What may be delivered of these fragments. The first may begin ahead of the range that was judged, and
    /// the last may end behind it: policy judges what is delivered, and a fragment that it does not permit is
    /// left out.
    fn permitted_part(
        &self,
        permitted: &Permitted,
        call: &GetClip,
        rows: Arc<[ListedFragment]>,
    ) -> Result<(Arc<[ListedFragment]>, TimeRange), Error> {
        let mut denied = None;
        for (from, to) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            let Some(part) = rows.get(from..rows.len().saturating_sub(to)) else { continue };
            let Some(range) = true_range(part, call.selector.kind) else { continue };
            match self.judge(permitted, call, range) {
                Ok(_) if part.len() == rows.len() => return Ok((rows, range)),
                Ok(_) => return Ok((part.into(), range)),
                Err(refused) => denied = Some(refused),
            }
        }
        Err(denied.map_or(Error::Bug("a clip without fragments"), Error::from))
    }

    /// Whether policy permits these fragments as a clip.
    fn may_have(&self, permitted: &Permitted, call: &GetClip, rows: &[ListedFragment]) -> bool {
        true_range(rows, call.selector.kind).is_some_and(|range| self.judge(permitted, call, range).is_ok())
    }

    fn judge(&self, permitted: &Permitted, call: &GetClip, range: TimeRange) -> Result<Permit, Denied> {
        let selector = FragmentSelector { kind: call.selector.kind, range };
        let request = Request::Call(Call::GetClip(GetClip { stream: call.stream.clone(), selector }));
        self.policy.permit(permitted.caller().clone(), request, &permitted.context)
    }

    /// The part of the clip that the request selects.
    fn select(
        &self,
        permitted: &Permitted,
        clip: &PackagedClip,
        format: Format,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let (method, asked) = (&permitted.parts.method, &permitted.parts.headers);
        let mut reply = Reply::empty(StatusCode::OK);
        reply.headers.insert(header::CONTENT_TYPE, content_type(format));
        // The address is no credential: each use is judged anew.
        reply.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        let part = reply::select_part(&mut reply, (method, asked), clip.etag(), clip.length());
        let Some(part) = part else { return Ok(reply) };
        let outcome = self.archive.clip_outcome(clip, part.clone());
        record.cache = outcome.as_str();
        reply.headers.insert(CACHE_STATUS, cache_status_of_parts(outcome));
        if method != Method::HEAD {
            let on_behalf_of = permitted.on_behalf_of(record)?;
            reply.source = BodySource::Passing(self.archive.clip_body(clip, part, on_behalf_of));
        }
        Ok(reply)
    }
}

fn content_type(format: Format) -> HeaderValue {
    HeaderValue::from_static(match format {
        Format::Fragmented | Format::Plain => "video/mp4",
        Format::Matroska => "video/x-matroska",
    })
}

/// `attachment; filename="cam-1_2026-01-01T00-00-00.000Z_2026-01-01T01-00-00.000Z.mp4"`: a name's characters
/// need no quoting.
fn file_name(stream: &StreamName, range: TimeRange, format: Format) -> HeaderValue {
    let extension = if format == Format::Matroska { "mkv" } else { "mp4" };
    let end = range.end.map_or_else(String::new, |end| format!("_{end}"));
    let text = format!("attachment; filename=\"{stream}_{}{end}.{extension}\"", range.start);
    // A stream's name has no colon, so only the times' are replaced: some file systems take none.
    HeaderValue::from_str(&text.replace(':', "-")).unwrap_or(HeaderValue::from_static("attachment"))
}

/// What a clip of these fragments shows.
fn true_range(rows: &[ListedFragment], clock: SelectorType) -> Option<TimeRange> {
    let last = rows.last()?;
    let end = last.start(clock).plus(last.length.max(Duration::from_millis(1)));
    Some(TimeRange { start: rows.first()?.start(clock), end: Some(end) })
}

fn shown(range: TimeRange) -> HeaderValue {
    let text = format!("{}/{}", range.start, range.end.unwrap_or(range.start));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

/// KVS may make a clip of what cannot be packaged here.
fn with_way_out(error: Error) -> Error {
    match error {
        Error::Package(place, refusal) => {
            Error::Package(format!("{place}; clip.mp4 with source=kvs asks KVS for it"), refusal)
        }
        other => other,
    }
}

/// That a range has more fragments than a clip can have, and where one could end.
fn too_many(count: usize, beyond: &ListedFragment, clock: SelectorType) -> String {
    format!(
        "is too far from start: the range has {count} fragments, and a clip at most {MOST_FRAGMENTS}, which \
         end at {}",
        beyond.start(clock)
    )
}

/// That nothing is recorded, and what is nearest.
fn nothing(
    stream: &Stream,
    clock: SelectorType,
    range: std::ops::Range<Timestamp>,
    near: &Nearest,
    now: Timestamp,
) -> String {
    let name = stream.arn().name();
    let mut text = format!("nothing is recorded of {name} from {} to {}", range.start, range.end);
    text.extend(stream.too_old("start", range.start, now).map(|old| format!(": {old}")));
    let before = near.before.as_ref().map(|row| format!("ends at {}", row.start(clock).plus(row.length)));
    let after = near.after.as_ref().map(|row| format!("begins at {}", row.start(clock)));
    match (before, after) {
        (Some(before), Some(after)) => text += &format!("; the nearest footage {before} and {after}"),
        (Some(near), None) | (None, Some(near)) => text += &format!("; the nearest footage {near}"),
        (None, None) => text += &format!("; /streams/{name}/fragments lists what there is"),
    }
    text
}

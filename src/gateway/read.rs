//! What is asked: a route, a body and a query become one [`Request`].
//!
//! A plain GET is the same request as the call it stands for, so policy, caches and counters know only nine
//! calls.

use super::authenticated::Authenticated;
use super::clip_options::ClipOptions;
use super::error::Error;
use super::footage_query;
use super::link_target::target;
use super::parameters;
use super::route::{ClipFile, NoRoute, Page, Route};
use crate::accounting::Record;
use crate::archive::{PICTURE_SPAN, STALEST_PICTURE, page_token};
use crate::kvs::operations::{
    DescribeStream, FragmentSelector, GetClip, GetDashStreamingSessionUrl, GetHlsStreamingSessionUrl,
    GetImages, ImageFormat, ListFragments, ListStreams,
};
use crate::kvs::{
    Call, DiscontinuityMode, PlaybackMode, Protocol, Request, Resource, SessionParameters, StreamName,
    StreamRef, TimeRange, Timestamp,
};
use crate::net::listener::Limits;
use crate::net::query::Query;
use crate::net::request_body;
use crate::playback::{Keys, Link, LinkFile, Opens};
use crate::sessions;
use crate::upstream::Upstream;
use http::request::Parts;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// Expires of a session behind a stable address: as long as KVS allows; `playback.max_ttl` and the token
/// bound it.
pub(super) const PAGE_EXPIRES: u32 = crate::kvs::bounds::SESSION_SECONDS_MAX;
/// The most streams that a page of `/streams` holds.
pub const MOST_STREAMS: u16 = 1_000;

/// Turns bodies and queries into requests.
pub(super) struct Reader {
    /// Bounds on bodies.
    pub(super) limits: Limits,
    /// Opens page tokens.
    pub(super) keys: Arc<Keys>,
    pub(super) upstream: Upstream,
}

impl Reader {
    /// What a route asks for.
    ///
    /// # Errors
    /// The body or the query is not one that KVS, or we, would take.
    pub(super) async fn read(
        &self,
        route: &Route<'_>,
        caller: &Authenticated,
        parts: &Parts,
        body: hyper::body::Incoming,
        record: &mut Record,
    ) -> Result<Box<Request>, Error> {
        let now = record.at;
        let request = match (route, caller) {
            (Route::Api(operation), _) => {
                let body = Box::pin(request_body::read(body, &self.limits)).await?;
                let call = Call::read(*operation, &body, now)?;
                Request::Call(page_token::open(&self.keys, call, |stream| self.upstream.locate(stream))?)
            }
            (Route::Playback { protocol, file, .. }, Authenticated::Capability(capability)) => {
                let query = parts.uri.query().unwrap_or_default();
                let Opens::Session(session) = &capability.opens else { return Err(NoRoute::Unknown.into()) };
                let resource = Resource::parse(*protocol, file, query)
                    .filter(|_| *protocol == session.protocol)
                    .ok_or(NoRoute::Unknown)?;
                Request::Playback { stream: capability.stream.clone(), session: session.clone(), resource }
            }
            (Route::Link { file, .. }, Authenticated::Capability(capability)) => {
                let Opens::Link(link) = &capability.opens else { return Err(NoRoute::Unknown.into()) };
                if link.file != *file {
                    return Err(NoRoute::Unknown.into());
                }
                let query = Query::from(parts.uri.query().unwrap_or_default());
                query.check_absent(&parameters::CLIP, FIXED)?;
                query.check_absent(&parameters::SNAPSHOT, FIXED)?;
                Request::Call(read_link(&capability.stream, link, now)?)
            }
            (Route::Page(page), _) => {
                let query = Query::from(parts.uri.query().unwrap_or_default());
                match page {
                    Page::Link(name) => parameters::check_linked(&target(name, &query)?, &query)?,
                    page => parameters::check(page, &query)?,
                }
                Request::Call(read_page(page, &query, now)?)
            }
            (Route::Playback { .. } | Route::Link { .. } | Route::Console(_) | Route::SignIn(_), _) => {
                return Err(Error::Bug("a route and a credential that do not fit"));
            }
        };
        record.asked(&request);
        record.step("read");
        // In a box: it is handed on from step to step.
        Ok(Box::new(request))
    }
}

/// The call that a page stands for.
pub(super) fn read_page(page: &Page, query: &Query<'_>, now: Timestamp) -> Result<Call, Error> {
    let named = |name: &StreamName| StreamRef::Name(name.clone());
    Ok(match page {
        Page::Streams => Call::ListStreams(ListStreams {
            max_results: query.number("limit", 1, MOST_STREAMS)?,
            next_token: query.text("next")?.map(Cow::into_owned),
            prefix: None,
        }),
        Page::Stream(name) => Call::DescribeStream(DescribeStream { stream: named(name) }),
        Page::Fragments(name) => {
            let selector = Some(FragmentSelector {
                kind: footage_query::selector(query)?,
                range: footage_query::range(query, now)?,
            });
            Call::ListFragments(ListFragments {
                stream: named(name),
                selector,
                max_results: Some(crate::kvs::bounds::FRAGMENTS_PAGE),
                next_token: None,
            })
        }
        Page::Clip(name, file) => Call::GetClip(clip(named(name), *file, query, now)?),
        Page::Snapshot(name, format) => Call::GetImages(snapshot(named(name), *format, query, now)?),
        Page::Play { stream, protocol, live } => play(named(stream), *protocol, *live, query, now)?,
        // A link needs what it leads to.
        Page::Link(name) => match target(name, query)? {
            Page::Link(_) => return Err(Error::Bug("a link to a link")),
            target => read_page(&target, query, now)?,
        },
    })
}

/// Why a link takes none of the parameters of its plain address.
const FIXED: &str = "is fixed by this link; make another";

/// The call behind a link.
pub(super) fn read_link(stream: &StreamRef, link: &Link, now: Timestamp) -> Result<Call, Error> {
    let query = Query::from(link.query.as_str());
    Ok(match link.file {
        LinkFile::Mp4Clip => Call::GetClip(clip(stream.clone(), ClipFile::Mp4, &query, now)?),
        LinkFile::MatroskaClip => Call::GetClip(clip(stream.clone(), ClipFile::Matroska, &query, now)?),
        LinkFile::Snapshot => Call::GetImages(snapshot(stream.clone(), ImageFormat::Jpeg, &query, now)?),
        LinkFile::PngSnapshot => Call::GetImages(snapshot(stream.clone(), ImageFormat::Png, &query, now)?),
    })
}

fn clip(stream: StreamRef, file: ClipFile, query: &Query<'_>, now: Timestamp) -> Result<GetClip, Error> {
    let options = ClipOptions::read(query, file)?;
    let selector =
        FragmentSelector { kind: footage_query::selector(query)?, range: footage_query::range(query, now)? };
    let clip = GetClip { stream, selector };
    options.check(selector.range, now)?;
    clip.check(now).map_err(parameters::in_own_words)?;
    Ok(clip)
}

/// The pictures around an instant; the answer picks the nearest one at or before it. Without an instant, a
/// picture that was fetched a moment ago may be shown, so the judged range reaches as far back as that
/// picture may be.
fn snapshot(
    stream: StreamRef,
    format: ImageFormat,
    query: &Query<'_>,
    now: Timestamp,
) -> Result<GetImages, Error> {
    let asked = footage_query::time(query, "at")?;
    let max_age = footage_query::max_age(query)?;
    let at = asked.unwrap_or(now);
    let shown_lately =
        if asked.is_none() { max_age.unwrap_or_default().max(STALEST_PICTURE) } else { Duration::ZERO };
    let mut call = GetImages {
        stream,
        selector: footage_query::selector(query)?,
        range: TimeRange { start: at.minus(PICTURE_SPAN), end: Some(at) },
        // Which instants KVS is asked for follows from the fragment that holds the picture.
        sampling_interval: None,
        format,
        quality: None,
        width: query.number("width", 1, 3840)?,
        height: query.number("height", 1, 2160)?,
        max_results: Some(1),
        next_token: None,
    };
    call.check().map_err(parameters::in_own_words)?;
    // KVS is asked for the last part of this only.
    call.range.start = call.range.start.minus(shown_lately);
    Ok(call)
}

fn play(
    stream: StreamRef,
    protocol: Protocol,
    live: bool,
    query: &Query<'_>,
    now: Timestamp,
) -> Result<Call, Error> {
    let range = if live { None } else { Some(footage_query::range(query, now)?) };
    let session = SessionParameters {
        protocol,
        mode: if live { PlaybackMode::Live } else { PlaybackMode::OnDemand },
        selector: footage_query::selector(query)?,
        start: range.map(|range| range.start),
        end: range.and_then(|range| range.end),
        container: footage_query::container(query, protocol)?,
        // Calmer for players than KVS's default of ALWAYS (`docs/KVS.md` trap 22).
        discontinuity: if protocol == Protocol::Hls {
            DiscontinuityMode::OnDiscontinuity
        } else {
            DiscontinuityMode::Never
        },
        show_timestamps: true,
        show_numbers: false,
        // All of the range. HLS joins it from as many sessions as it takes; DASH refuses what is longer than
        // one.
        max_fragments: match (live, protocol) {
            (true, _) => 5,
            (false, _) => sessions::WHOLE_RANGE,
        },
        ends_when_silent: live && protocol == Protocol::Hls && query.only("silence", "end")?,
    };
    let expires = PAGE_EXPIRES;
    Ok(match protocol {
        Protocol::Hls => {
            Call::GetHlsStreamingSessionUrl(GetHlsStreamingSessionUrl { stream, session, expires })
        }
        Protocol::Dash => {
            Call::GetDashStreamingSessionUrl(GetDashStreamingSessionUrl { stream, session, expires })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_660_000);

    #[test]
    fn a_page_is_the_call_that_it_stands_for() {
        let cam = StreamName::parse("cam-1").unwrap();
        let query = Query::from("start=2026-01-01T00:00:00Z&end=1767225630.5");
        let Call::GetClip(clip) = read_page(&Page::Clip(cam.clone(), ClipFile::Mp4), &query, NOW).unwrap()
        else {
            panic!()
        };
        assert_eq!(clip.selector.range.start.millis(), 1_767_225_600_000);
        assert_eq!(clip.selector.range.end.unwrap().millis(), 1_767_225_630_500);
        let query = Query::from("at=2026-01-01T01%3A00%3A00%2B01:00&width=320&height=180");
        let Call::GetImages(images) = read_page(&Page::Snapshot(cam, ImageFormat::Png), &query, NOW).unwrap()
        else {
            panic!()
        };
        assert_eq!(images.range.end.unwrap().millis(), 1_767_225_600_000);
    }

    #[test]
    fn a_wrong_query_names_the_parameter() {
        let cam = StreamName::parse("cam-1").unwrap();
        for (page, query, expected) in [
            (Page::Clip(cam.clone(), ClipFile::Mp4), "", "start is required"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=yesterday", "start must be RFC 3339"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&end=5", "end must be after start"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&start=11", "start is given twice"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&end=100000", "at most 24 hours"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&end=20&format=avi", "format must be plain"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&end=20&trim=yes", "trim must be exact"),
            (Page::Clip(cam.clone(), ClipFile::Mp4), "start=10&end=20&source=s3", "source must be kvs"),
            (Page::Clip(cam.clone(), ClipFile::Matroska), "start=10&end=20&trim=exact", "clip.mp4"),
            (
                Page::Clip(cam.clone(), ClipFile::Mp4),
                "start=2026-01-01T00:00:00Z&end=2026-01-01T00:01:01Z",
                "end is in the future: it is 2026-01-01T00:01:00.000Z now",
            ),
            (
                Page::Snapshot(cam.clone(), ImageFormat::Jpeg),
                "width=0&height=5",
                "width must be from 1 to 3840",
            ),
            (Page::Fragments(cam), "start=10&clock=moon", "clock must be server or producer"),
        ] {
            let error = read_page(&page, &Query::from(query), NOW).unwrap_err().to_string();
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_query_is_read_or_refused_without_panic(query in "\\PC{0,60}") {
            let cam = StreamName::parse("cam-1").unwrap();
            let clip = Page::Clip(cam.clone(), ClipFile::Mp4);
            for page in [clip, Page::Snapshot(cam.clone(), ImageFormat::Jpeg), Page::Fragments(cam.clone())] {
                let _ = read_page(&page, &Query::from(query.as_str()), NOW);
            }
            let _ = read_page(&Page::Clip(cam, ClipFile::Mp4), &Query::from(format!("start={query}").as_str()), NOW);
        }
    }
}

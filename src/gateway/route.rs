//! What a method and a path mean.
//!
//! Pure: a path is read once, here, and everything after speaks of the [`Route`]. Paths are compared exactly
//! as they arrive; nothing is decoded or normalised, since every path that means something is plain ASCII,
//! and a second reading of the same path is how proxies are tricked (docs/THREATS.md, "Lessons of other
//! proxies").

use crate::kvs::operations::ImageFormat;
use crate::kvs::{Operation, Protocol, StreamName};
use crate::net::cors::Access;
use crate::playback::LinkFile;
use crate::sign_in;
use http::Method;

/// Where a request leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route<'a> {
    /// One of the nine calls.
    Api(Operation),
    /// A resource of a playback session.
    Playback {
        /// HLS or DASH.
        protocol: Protocol,
        /// The sealed capability with the tag of its stream, still shut.
        capability: &'a str,
        /// The file name of the resource.
        file: &'a str,
    },
    /// A file behind a link.
    Link {
        /// Which file.
        file: LinkFile,
        /// The sealed capability with the tag of its stream, still shut.
        capability: &'a str,
    },
    /// A plain GET for pages and people.
    Page(Page),
    /// The console and its files.
    Console(&'a str),
    /// A step of signing in or out.
    SignIn(SignInStep),
}

/// The steps of signing in and out (docs/BEHAVIOUR.md 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignInStep {
    /// To the identity provider.
    Begin,
    /// Back from it.
    Arrive,
    /// New tokens for a session.
    Renew,
    /// The end of a session.
    End,
}

impl SignInStep {
    const ALL: [Self; 4] = [Self::Begin, Self::Arrive, Self::Renew, Self::End];

    /// Its path, and the only method that it takes: nothing fetches ahead what changes something.
    fn address(self) -> (&'static str, Method) {
        match self {
            Self::Begin => (sign_in::BEGIN, Method::GET),
            Self::Arrive => (sign_in::CALLBACK, Method::GET),
            Self::Renew => ("/console/renew", Method::POST),
            Self::End => ("/console/sign-out", Method::POST),
        }
    }
}

/// The plain GETs of docs/BEHAVIOUR.md 3.3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Page {
    /// The caller's streams.
    Streams,
    /// One stream's description.
    Stream(StreamName),
    /// What is archived.
    Fragments(StreamName),
    /// A time range as one file.
    Clip(StreamName, ClipFile),
    /// One picture.
    Snapshot(StreamName, ImageFormat),
    /// The way to a fresh playback URL.
    Play {
        /// Which stream.
        stream: StreamName,
        /// HLS or DASH.
        protocol: Protocol,
        /// Live, or a range.
        live: bool,
    },
    /// A link to one of the others, for what takes nothing but a URL.
    Link(StreamName),
}

impl Page {
    /// The page behind a link.
    #[must_use]
    pub fn of_link(stream: StreamName, file: LinkFile) -> Self {
        match file {
            LinkFile::Mp4Clip => Self::Clip(stream, ClipFile::Mp4),
            LinkFile::MatroskaClip => Self::Clip(stream, ClipFile::Matroska),
            LinkFile::Snapshot => Self::Snapshot(stream, ImageFormat::Jpeg),
            LinkFile::PngSnapshot => Self::Snapshot(stream, ImageFormat::Png),
        }
    }
}

/// The files that a time range is served as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClipFile {
    /// `clip.mp4`.
    Mp4,
    /// `clip.mkv`.
    Matroska,
}

/// Why a request leads nowhere.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRoute {
    /// Nothing is here.
    #[error("there is nothing at this path; the calls are {}", calls())]
    Unknown,
    /// Nothing is here below `/streams`.
    #[error(
        "there is nothing at this path; GET has /streams, /streams/{{name}}, and below /streams/{{name}}: \
         {}", FILES.join(", ")
    )]
    UnknownPage,
    /// The path of a call in another letter case, which KVS would answer with an empty success (docs/KVS.md
    /// 3.6).
    #[error("paths are case-sensitive: this call's path is {right}")]
    LetterCase {
        /// The path to use.
        right: &'static str,
    },
    /// Something is here, but not for this method.
    #[error("this path takes {allow}")]
    Method {
        /// What to use, as the `Allow` header says it.
        allow: &'static str,
    },
    /// A path under `/streams/` whose name no stream can have.
    #[error("{0:?} is no stream name: it {1}")]
    StreamName(String, &'static str),
}

fn calls() -> String {
    Operation::ALL.map(Operation::path).join(", ")
}

const READ: &str = "GET, HEAD";
const HLS: &str = "/hls/v1/";
const DASH: &str = "/dash/v1/";

impl<'a> Route<'a> {
    /// Reads a method and a path.
    ///
    /// # Errors
    /// Nothing is there, or not for this method.
    pub fn find(method: &Method, path: &'a str) -> Result<Self, NoRoute> {
        if let Some(operation) = Operation::from_path(path) {
            return if method == Method::POST {
                Ok(Self::Api(operation))
            } else {
                Err(NoRoute::Method { allow: "POST" })
            };
        }
        if let Some(step) = SignInStep::ALL.into_iter().find(|step| step.address().0 == path) {
            return match step.address() {
                (_, taken) if taken == *method => Ok(Self::SignIn(step)),
                (_, Method::POST) => Err(NoRoute::Method { allow: "POST" }),
                _ => Err(NoRoute::Method { allow: "GET" }),
            };
        }
        let route = Self::readable(path)?;
        if matches!(*method, Method::GET | Method::HEAD) {
            Ok(route)
        } else {
            Err(NoRoute::Method { allow: READ })
        }
    }

    /// Whether a path has a capability in it, which alone decides on the request.
    #[must_use]
    pub fn is_by_capability(path: &str) -> bool {
        path.starts_with(HLS) || path.starts_with(DASH) || Self::is_link(path)
    }

    /// Whether a path is a link's, which any page may embed.
    #[must_use]
    pub fn is_link(path: &str) -> bool {
        LinkFile::ALL.iter().any(|file| path.starts_with(file.folder()))
    }

    /// What a path needs, as far as pages of other origins matter.
    #[must_use]
    pub fn access(path: &str) -> Access {
        match (Self::is_by_capability(path), Self::is_link(path)) {
            (_, true) => Access::Link,
            (true, false) => Access::PlaybackUrl,
            (false, false) => Access::Token,
        }
    }

    fn readable(path: &'a str) -> Result<Self, NoRoute> {
        if let Some(rest) = path.strip_prefix(HLS) {
            return playback(Protocol::Hls, rest);
        }
        if let Some(rest) = path.strip_prefix(DASH) {
            return playback(Protocol::Dash, rest);
        }
        if Self::is_link(path) {
            return link(path);
        }
        if path == "/streams" || path == "/streams/" {
            return Ok(Self::Page(Page::Streams));
        }
        if let Some(rest) = path.strip_prefix("/streams/") {
            return page(rest).map(Self::Page);
        }
        if path == "/" || path.starts_with("/console/") || path == "/favicon.ico" {
            return Ok(Self::Console(path));
        }
        let right =
            Operation::ALL.map(Operation::path).into_iter().find(|right| right.eq_ignore_ascii_case(path));
        Err(right.map_or(NoRoute::Unknown, |right| NoRoute::LetterCase { right }))
    }
}

fn playback(protocol: Protocol, rest: &str) -> Result<Route<'_>, NoRoute> {
    let (capability, file) = rest.split_once('/').ok_or(NoRoute::Unknown)?;
    if capability.is_empty() || file.is_empty() || file.contains('/') {
        return Err(NoRoute::Unknown);
    }
    Ok(Route::Playback { protocol, capability, file })
}

fn link(path: &str) -> Result<Route<'_>, NoRoute> {
    let of = |file: LinkFile| {
        let (capability, name) = path.strip_prefix(file.folder())?.split_once('/')?;
        (name == file.name() && !capability.is_empty()).then_some(Route::Link { file, capability })
    };
    LinkFile::ALL.into_iter().find_map(of).ok_or(NoRoute::Unknown)
}

fn page(rest: &str) -> Result<Page, NoRoute> {
    let (name, tail) = rest.split_once('/').unwrap_or((rest, ""));
    let stream = StreamName::parse(name).map_err(|problem| NoRoute::StreamName(name.to_owned(), problem))?;
    let play = |protocol, live| Page::Play { stream: stream.clone(), protocol, live };
    Ok(match tail {
        "" if !rest.ends_with('/') => Page::Stream(stream),
        "fragments" => Page::Fragments(stream),
        "clip.mp4" => Page::Clip(stream, ClipFile::Mp4),
        "clip.mkv" => Page::Clip(stream, ClipFile::Matroska),
        "snapshot.jpg" => Page::Snapshot(stream, ImageFormat::Jpeg),
        "snapshot.png" => Page::Snapshot(stream, ImageFormat::Png),
        "live.m3u8" => play(Protocol::Hls, true),
        "vod.m3u8" => play(Protocol::Hls, false),
        "live.mpd" => play(Protocol::Dash, true),
        "vod.mpd" => play(Protocol::Dash, false),
        "link" => Page::Link(stream),
        _ => return Err(NoRoute::UnknownPage),
    })
}

/// What `page` takes behind a stream's name.
const FILES: [&str; 10] = [
    "fragments",
    "clip.mp4",
    "clip.mkv",
    "snapshot.jpg",
    "snapshot.png",
    "live.m3u8",
    "vod.m3u8",
    "live.mpd",
    "vod.mpd",
    "link",
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_path_of_the_contract_leads_somewhere() {
        for operation in Operation::ALL {
            assert_eq!(Route::find(&Method::POST, operation.path()), Ok(Route::Api(operation)));
        }
        let cam = StreamName::parse("cam-1").unwrap();
        for (path, page) in [
            ("/streams", Page::Streams),
            ("/streams/cam-1", Page::Stream(cam.clone())),
            ("/streams/cam-1/fragments", Page::Fragments(cam.clone())),
            ("/streams/cam-1/clip.mp4", Page::Clip(cam.clone(), ClipFile::Mp4)),
            ("/streams/cam-1/clip.mkv", Page::Clip(cam.clone(), ClipFile::Matroska)),
            ("/streams/cam-1/snapshot.jpg", Page::Snapshot(cam.clone(), ImageFormat::Jpeg)),
            ("/streams/cam-1/snapshot.png", Page::Snapshot(cam.clone(), ImageFormat::Png)),
            ("/streams/cam-1/link", Page::Link(cam.clone())),
            (
                "/streams/cam-1/live.m3u8",
                Page::Play { stream: cam.clone(), protocol: Protocol::Hls, live: true },
            ),
            (
                "/streams/cam-1/vod.mpd",
                Page::Play { stream: cam.clone(), protocol: Protocol::Dash, live: false },
            ),
        ] {
            assert_eq!(Route::find(&Method::GET, path), Ok(Route::Page(page)), "{path}");
        }
        let expected =
            Route::Playback { protocol: Protocol::Hls, capability: "c4p", file: "getHLSMasterPlaylist.m3u8" };
        assert_eq!(Route::find(&Method::GET, "/hls/v1/c4p/getHLSMasterPlaylist.m3u8"), Ok(expected));
        for (path, file) in [
            ("/clip/v1/c4p/clip.mp4", LinkFile::Mp4Clip),
            ("/clip/v1/c4p/clip.mkv", LinkFile::MatroskaClip),
            ("/image/v1/c4p/snapshot.jpg", LinkFile::Snapshot),
            ("/image/v1/c4p/snapshot.png", LinkFile::PngSnapshot),
        ] {
            assert_eq!(Route::find(&Method::GET, path), Ok(Route::Link { file, capability: "c4p" }));
            assert_eq!(Route::find(&Method::POST, path), Err(NoRoute::Method { allow: READ }));
        }
    }

    #[test]
    fn steps_of_signing_in_take_one_method() {
        for step in SignInStep::ALL {
            let (path, taken) = step.address();
            for method in [Method::GET, Method::POST, Method::HEAD, Method::DELETE] {
                let found = Route::find(&method, path);
                assert_eq!(found == Ok(Route::SignIn(step)), method == taken, "{method} {path}");
            }
        }
    }

    #[test]
    fn what_leads_nowhere_says_what_to_do() {
        let lost = |method: Method, path: &str| Route::find(&method, path).unwrap_err();
        assert_eq!(lost(Method::POST, "/GetClip"), NoRoute::LetterCase { right: "/getClip" });
        assert_eq!(
            lost(Method::GET, "/gethlsstreamingsessionurl"),
            NoRoute::LetterCase { right: "/getHLSStreamingSessionURL" }
        );
        assert_eq!(lost(Method::GET, "/getClip"), NoRoute::Method { allow: "POST" });
        assert_eq!(lost(Method::POST, "/streams"), NoRoute::Method { allow: "GET, HEAD" });
        assert!(lost(Method::POST, "/putMedia").to_string().contains("/getMediaForFragmentList"));
        assert!(lost(Method::GET, "/streams/a%20b").to_string().contains("no stream name"));
        for path in [
            "/hls/v1/x",
            "/hls/v1//f",
            "/hls/v1/a/b/c",
            "/clip/v1/c4p/snapshot.jpg",
            "/image/v1/c4p/clip.mp4",
            "/clip/v1//clip.mp4",
            "/clip/v1/c4p/x/clip.mp4",
            "/clip/v1/clip.mp4",
            "",
            "/getClip/",
        ] {
            assert_eq!(lost(Method::GET, path), NoRoute::Unknown, "{path}");
        }
        for path in ["/streams/cam-1/", "/streams/cam-1/x", "/streams/cam-1/clip.mp4/"] {
            assert_eq!(lost(Method::GET, path), NoRoute::UnknownPage, "{path}");
        }
        for file in FILES {
            let path = format!("/streams/cam-1/{file}");
            assert!(Route::find(&Method::GET, &path).is_ok(), "{file}");
            assert!(NoRoute::UnknownPage.to_string().contains(file));
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused_without_panic(path in "/\\PC{0,60}") {
            let _ = Route::find(&Method::GET, &path);
        }
    }
}

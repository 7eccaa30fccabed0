//! What a link is to lead to: the `to` of `/streams/{name}/link`.

use super::error::Error;
use super::route::{ClipFile, Page};
use crate::kvs::operations::ImageFormat;
use crate::kvs::{Protocol, StreamName};
use crate::net::query::{Invalid, Query};

/// What `to` can be.
const TARGETS: &str = "must be clip, clip.mkv, snapshot, snapshot.png, live, vod, live.mpd or vod.mpd";

/// The page that a link is to lead to.
///
/// # Errors
/// `to` is missing or unknown.
pub(super) fn target(stream: &StreamName, query: &Query<'_>) -> Result<Page, Error> {
    let stream = stream.clone();
    let refused = |problem: &str| Err(Invalid::new("to", problem).into());
    let play = |stream, protocol, live| Ok(Page::Play { stream, protocol, live });
    match query.text("to")?.as_deref() {
        Some("clip" | "clip.mp4") => Ok(Page::Clip(stream, ClipFile::Mp4)),
        Some("clip.mkv") => Ok(Page::Clip(stream, ClipFile::Matroska)),
        Some("snapshot" | "snapshot.jpg") => Ok(Page::Snapshot(stream, ImageFormat::Jpeg)),
        Some("snapshot.png") => Ok(Page::Snapshot(stream, ImageFormat::Png)),
        Some("live" | "live.m3u8") => play(stream, Protocol::Hls, true),
        Some("vod" | "vod.m3u8") => play(stream, Protocol::Hls, false),
        Some("live.mpd") => play(stream, Protocol::Dash, true),
        Some("vod.mpd") => play(stream, Protocol::Dash, false),
        _ => refused(TARGETS),
    }
}

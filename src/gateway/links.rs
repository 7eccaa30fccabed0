//! Links: addresses that are credentials by themselves, for what takes nothing but a URL (`<img>`, `<video>`,
//! VLC, a ticket).
//!
//! A link to playback is a playback URL. A link to a clip or a picture is its plain address, sealed with its
//! query: each use is the same request, judged anew with the claims of the caller that the link was made for.

use super::error::Error;
use super::link_target::target;
use super::parameters;
use super::permitted::Permitted;
use super::playback_url::PlaybackUrls;
use super::read::PAGE_EXPIRES;
use super::reply::Reply;
use super::route::{ClipFile, Page};
use crate::accounting::Record;
use crate::kvs::operations::ImageFormat;
use crate::kvs::{Call, StreamName};
use crate::playback::{Link, LinkFile};

/// `{url, expires}`: a link to what the query names.
///
/// # Errors
/// There is nothing to play, or the caller's claims do not fit into a URL.
pub(super) async fn answer(
    urls: &PlaybackUrls,
    stream: &StreamName,
    permitted: &Permitted,
    call: &Call,
    record: &Record,
) -> Result<Reply, Error> {
    let query = permitted.query();
    let expires = query.number("expires", 1, PAGE_EXPIRES as u16)?.map_or(PAGE_EXPIRES, u32::from);
    let file = match target(stream, &query)? {
        Page::Clip(_, ClipFile::Mp4) => LinkFile::Mp4Clip,
        Page::Clip(_, ClipFile::Matroska) => LinkFile::MatroskaClip,
        Page::Snapshot(_, ImageFormat::Jpeg) => LinkFile::Snapshot,
        Page::Snapshot(_, ImageFormat::Png) => LinkFile::PngSnapshot,
        _ => {
            let session = call.session().ok_or(Error::Bug("a link to playback without a session"))?;
            let url = urls.open(permitted, session, expires, record).await?;
            return Ok(urls.json(&url));
        }
    };
    let query = match file {
        LinkFile::Snapshot | LinkFile::PngSnapshot => query.only_these(&parameters::SNAPSHOT),
        LinkFile::Mp4Clip | LinkFile::MatroskaClip if query.text("end")?.is_some() => {
            query.only_these(&parameters::CLIP)
        }
        // A link is to the same footage whenever it is used.
        LinkFile::Mp4Clip | LinkFile::MatroskaClip => {
            format!("{}&end={}", query.only_these(&parameters::CLIP), permitted.now)
        }
    };
    let url = urls.link(permitted, Link { file, query }, expires, record).await?;
    Ok(urls.json(&url))
}

//! Takes the session token and everything foreign out of a playlist, line by line, and builds its model on
//! the way.
//!
//! URIs become token-free and relative, and everything else stays byte for byte: unknown tags, odd spaces,
//! number formats and line ends of KVS survive, since players were tested against those. Comments and unknown
//! tags are left out where they hold a word that could be a host, a token or a key. Which lines and
//! attributes hold URIs is RFC 8216. Some players read more leniently (unquoted values, other letter case),
//! so what could be taken for a URI and is not one of ours is refused.

use super::attributes::{attributes, is_uri, names_uri};
use super::model::{ModelBuilder, Playlist};
use crate::kvs::{Protocol, Resource, leak};
use crate::playback::error::Error;
use crate::playback::uri::{self, LONGEST_TEXT};

/// A master playlist: it may point to media playlists.
pub(in crate::playback) fn clean_master(text: &str) -> Result<Playlist, Error> {
    clean(text, |to| matches!(to, Resource::MediaPlaylist { .. }))
}

/// A media playlist: it may point to media, and to the media playlists of other tracks.
pub(in crate::playback) fn clean_media(text: &str) -> Result<Playlist, Error> {
    clean(text, |to| !matches!(to, Resource::MasterPlaylist | Resource::Manifest))
}

fn clean(text: &str, allowed: fn(&Resource) -> bool) -> Result<Playlist, Error> {
    if text.len() > LONGEST_TEXT {
        return Err(Error::Malformed("the playlist is longer than 8 MiB"));
    }
    if text.lines().next() != Some("#EXTM3U") {
        return Err(Error::Malformed("the playlist does not begin with #EXTM3U"));
    }
    let mut cleaner = Cleaner { allowed, out: String::with_capacity(text.len()), named: Vec::new() };
    let mut builder = ModelBuilder::new(text.contains("\r\n"));
    for line in text.split_inclusive('\n') {
        let body = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        let start = cleaner.out.len();
        cleaner.line(body)?;
        if is_remark(body) && leak::sentence(body, &[]).is_none() {
            cleaner.out.truncate(start);
            cleaner.named.clear();
            continue;
        }
        if start > 0 {
            builder.line(&cleaner.out[start..], cleaner.named.drain(..));
        }
        cleaner.out.push_str(&line[body.len()..]);
    }
    Ok(builder.finish(cleaner.out))
}

/// A comment, or a tag that is not among those of RFC 8216 4.3 and of its second edition.
fn is_remark(line: &str) -> bool {
    let Some(rest) = line.strip_prefix('#') else { return false };
    let name = rest.split_once(':').map_or(rest, |(name, _)| name);
    let is_known = matches!(name, "EXTM3U" | "EXTINF")
        || name.strip_prefix("EXT-X-").is_some_and(|name| TAGS.contains(&name));
    !is_known
}

/// The tags that begin with `EXT-X-`.
const TAGS: [&str; 27] = [
    "BITRATE",
    "BYTERANGE",
    "DATERANGE",
    "DISCONTINUITY",
    "DISCONTINUITY-SEQUENCE",
    "ENDLIST",
    "GAP",
    "I-FRAME-STREAM-INF",
    "I-FRAMES-ONLY",
    "INDEPENDENT-SEGMENTS",
    "KEY",
    "MAP",
    "MEDIA",
    "MEDIA-SEQUENCE",
    "PART",
    "PART-INF",
    "PLAYLIST-TYPE",
    "PRELOAD-HINT",
    "PROGRAM-DATE-TIME",
    "RENDITION-REPORT",
    "SERVER-CONTROL",
    "SESSION-DATA",
    "SESSION-KEY",
    "START",
    "STREAM-INF",
    "TARGETDURATION",
    "VERSION",
];

struct Cleaner {
    allowed: fn(&Resource) -> bool,
    out: String,
    /// The resources that the current line names.
    named: Vec<Resource>,
}

impl Cleaner {
    fn line(&mut self, line: &str) -> Result<(), Error> {
        // Some players break lines at more than \n, and would see a line that has not been checked.
        let breaks =
            |c: char| c.is_control() && c != '\t' || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if line.chars().any(breaks) {
            return Err(Error::Foreign("control characters"));
        }
        if line.starts_with("#EXT") {
            self.tag(line)
        } else if line.is_empty() || line.starts_with('#') {
            self.out.push_str(line);
            Ok(())
        } else {
            self.uri(line)
        }
    }

    fn uri(&mut self, found: &str) -> Result<(), Error> {
        let resource = uri::resource(Protocol::Hls, found)?;
        if !(self.allowed)(&resource) {
            return Err(Error::Foreign("it has no business in this playlist"));
        }
        self.out.push_str(&resource.to_string());
        self.named.push(resource);
        Ok(())
    }

    fn tag(&mut self, line: &str) -> Result<(), Error> {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // It would let a player put other text into what has been checked.
        if name == "#EXT-X-DEFINE" {
            return Err(Error::Foreign("variables"));
        }
        if uri::leads_away(value) {
            return Err(Error::Foreign("an absolute one"));
        }
        let Some(attributes) = attributes(value) else {
            if names_uri(value) {
                return Err(Error::Foreign("an attribute that cannot be read"));
            }
            self.out.push_str(line);
            return Ok(());
        };
        let mut done = 0;
        let start = line.len() - value.len();
        for attribute in attributes {
            let found = &value[attribute.value.clone()];
            if uri::leads_away(found) {
                return Err(Error::Foreign("an absolute one"));
            }
            if !is_uri(&value[attribute.name]) {
                continue;
            }
            let Some(quoted) = found.strip_prefix('"').and_then(|found| found.strip_suffix('"')) else {
                return Err(Error::Foreign("without quotation marks"));
            };
            self.out.push_str(&line[done..=start + attribute.value.start]);
            self.uri(quoted)?;
            done = start + attribute.value.end - 1;
        }
        self.out.push_str(&line[done..]);
        Ok(())
    }
}

#[cfg(test)]
impl super::model::MediaPlaylist {
    /// Reads a playlist that need not hold a token.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let playlist =
            clean_media(text).map_err(|_| "KVS answered with something that is not a media playlist")?;
        playlist.media
    }
}

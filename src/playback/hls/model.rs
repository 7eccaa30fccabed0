//! A playlist in parts: what it names, and of a media playlist everything that keeps successive ones
//! continuous.
//!
//! Tags that are not understood stay byte for byte with the segment that they precede.

use crate::kvs::{Resource, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt::Write as _;

/// A playlist of KVS without secrets.
#[derive(Clone, PartialEq, Debug)]
pub struct Playlist {
    /// Everything but the URIs is as KVS wrote it.
    pub text: String,
    /// Every resource that it names, each once, in order.
    pub resources: Vec<Resource>,
    /// A media playlist in parts, or why it cannot be kept continuous.
    pub media: Result<MediaPlaylist, &'static str>,
}

/// A playlist of one track.
#[derive(Clone, PartialEq, Debug)]
pub struct MediaPlaylist {
    crlf: bool,
    /// Lines ahead of the first segment, as written; `TARGETDURATION` and the sequence numbers are apart.
    header: Vec<String>,
    /// `EXT-X-TARGETDURATION`, seconds.
    pub target: u64,
    /// `EXT-X-MEDIA-SEQUENCE`.
    pub sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`.
    pub discontinuities: u64,
    /// What it lists.
    pub segments: Vec<Segment>,
    /// `EXT-X-ENDLIST`.
    pub ended: bool,
}

/// One segment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// How many `EXT-X-DISCONTINUITY` precede it. Each counts (RFC 8216, 4.3.3.3).
    pub discontinuities: u64,
    /// The init segment in effect, whether or not its tag stands here.
    pub map: Option<Map>,
    /// `EXT-X-PROGRAM-DATE-TIME`.
    pub date: Option<Timestamp>,
    /// `EXTINF`, milliseconds.
    pub millis: u64,
    /// `EXTINF` and what is not understood, as written.
    lines: Vec<String>,
    /// What to fetch.
    pub resource: Resource,
}

/// `EXT-X-MAP`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Map {
    /// Attributes ahead of and behind the URI, as written.
    around: (String, String),
    /// What to fetch.
    pub resource: Resource,
}

/// The text is no media playlist that could be kept continuous.
const NOT_ONE: &str = "KVS answered with something that is not a media playlist";

impl Segment {
    /// The same with an EXTINF of `most` milliseconds, if it is longer.
    #[must_use]
    pub fn lasting(&self, most: u64) -> Self {
        let mut segment = self.clone();
        if segment.millis > most {
            segment.millis = most;
            let line = segment.lines.iter_mut().find(|line| line.starts_with("#EXTINF:"));
            if let Some(line) = line {
                let title = line.split_once(',').map_or("", |(_, title)| title);
                *line = format!("#EXTINF:{}.{:03},{title}", most / 1000, most % 1000);
            }
        }
        segment
    }
}

impl MediaPlaylist {
    /// Every resource that it names, each once, in order.
    pub fn resources(&self) -> Vec<Resource> {
        let mut seen = HashSet::new();
        let named = self.segments.iter().flat_map(|segment| {
            segment.map.iter().map(|map| &map.resource).chain(std::iter::once(&segment.resource))
        });
        named.filter(|resource| seen.insert((*resource).clone())).cloned().collect()
    }

    /// The same header with other content.
    pub fn with(&self, target: u64, sequence: u64, discontinuities: u64, segments: Vec<Segment>) -> Self {
        Self { target, sequence, discontinuities, segments, header: self.header.clone(), ..*self }
    }

    /// Writes it. `dates` says whether PROGRAM-DATE-TIME is shown.
    pub fn render(&self, dates: bool) -> String {
        let end = if self.crlf { "\r\n" } else { "\n" };
        let mut out = String::with_capacity(256 + self.segments.len() * 200);
        let mut line = |text: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _ = out.write_fmt(text);
            out.push_str(end);
        };
        line(format_args!("#EXTM3U"));
        // Version and playlist type first, as KVS has it; then the numbers; then the rest.
        let early =
            |tag: &&String| tag.starts_with("#EXT-X-VERSION") || tag.starts_with("#EXT-X-PLAYLIST-TYPE");
        for tag in self.header.iter().filter(early) {
            line(format_args!("{tag}"));
        }
        line(format_args!("#EXT-X-TARGETDURATION:{}", self.target));
        line(format_args!("#EXT-X-MEDIA-SEQUENCE:{}", self.sequence));
        if self.discontinuities > 0 || self.segments.iter().any(|segment| segment.discontinuities > 0) {
            line(format_args!("#EXT-X-DISCONTINUITY-SEQUENCE:{}", self.discontinuities));
        }
        for tag in self.header.iter().filter(|tag| !early(tag)) {
            line(format_args!("{tag}"));
        }
        let mut map = None;
        for segment in &self.segments {
            for _ in 0..segment.discontinuities {
                line(format_args!("#EXT-X-DISCONTINUITY"));
            }
            if segment.map.as_ref() != map {
                map = segment.map.as_ref();
                if let Some(Map { around, resource }) = map {
                    line(format_args!("#EXT-X-MAP:{}URI=\"{resource}\"{}", around.0, around.1));
                }
            }
            if let Some(date) = segment.date.filter(|_| dates) {
                line(format_args!("#EXT-X-PROGRAM-DATE-TIME:{date}"));
            }
            for other in &segment.lines {
                line(format_args!("{other}"));
            }
            line(format_args!("{}", segment.resource));
        }
        if self.ended {
            line(format_args!("#EXT-X-ENDLIST"));
        }
        out
    }
}

/// Builds the model from clean lines.
pub(super) struct ModelBuilder {
    resources: Vec<Resource>,
    seen: HashSet<Resource>,
    playlist: MediaPlaylist,
    next: Pending,
    failure: Option<&'static str>,
}

impl ModelBuilder {
    pub(super) fn new(crlf: bool) -> Self {
        let playlist = MediaPlaylist {
            crlf,
            header: Vec::new(),
            target: 0,
            sequence: 0,
            discontinuities: 0,
            segments: Vec::new(),
            ended: false,
        };
        let (next, failure) = (Pending::default(), None);
        Self { resources: Vec::new(), seen: HashSet::new(), playlist, next, failure }
    }

    /// Reads a line after the first, without its end. It names these resources.
    pub(super) fn line(&mut self, line: &str, named: impl Iterator<Item = Resource>) {
        let mut first = None;
        for resource in named {
            if self.seen.insert(resource.clone()) {
                self.resources.push(resource.clone());
            }
            first = first.or(Some(resource));
        }
        if self.failure.is_none() {
            self.failure = self.media_line(line, first).err();
        }
    }

    pub(super) fn finish(self, text: String) -> Playlist {
        let failure = self.failure.or((self.playlist.target == 0).then_some(NOT_ONE));
        let media = failure.map_or(Ok(self.playlist), Err);
        Playlist { text, resources: self.resources, media }
    }

    fn media_line(&mut self, line: &str, resource: Option<Resource>) -> Result<(), &'static str> {
        let (playlist, next) = (&mut self.playlist, &mut self.next);
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        // Beyond 2^48 lies no playlist, and sums stay in range.
        let number = || value.trim().parse().ok().filter(|number: &u64| *number < 1 << 48).ok_or(NOT_ONE);
        match name {
            "#EXT-X-TARGETDURATION" => playlist.target = number()?,
            "#EXT-X-MEDIA-SEQUENCE" => playlist.sequence = number()?,
            "#EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuities = number()?,
            "#EXT-X-ENDLIST" => playlist.ended = true,
            "#EXT-X-DISCONTINUITY" => next.discontinuities += 1,
            "#EXT-X-MAP" => next.map = Some(Map::of(value, resource).ok_or(NOT_ONE)?),
            "#EXT-X-PROGRAM-DATE-TIME" if Timestamp::parse(value).is_ok() => {
                next.date = Timestamp::parse(value).ok();
            }
            "#EXTINF" => {
                next.millis = Some(millis(value).ok_or(NOT_ONE)?);
                next.lines.push(line.to_owned());
            }
            // A tag of the header, as long as nothing of a segment has been read.
            _ if line.starts_with('#') && playlist.segments.is_empty() && next.is_empty() => {
                playlist.header.push(line.to_owned());
            }
            _ if line.is_empty() || line.starts_with('#') => next.lines.push(line.to_owned()),
            _ => {
                let pending = std::mem::take(next);
                next.map.clone_from(&pending.map);
                playlist.segments.push(Segment {
                    discontinuities: pending.discontinuities,
                    map: pending.map,
                    date: pending.date,
                    millis: pending.millis.ok_or(NOT_ONE)?,
                    lines: pending.lines,
                    resource: resource.ok_or(NOT_ONE)?,
                });
            }
        }
        Ok(())
    }
}

/// What has been read of the segment to come.
#[derive(Default)]
struct Pending {
    discontinuities: u64,
    map: Option<Map>,
    date: Option<Timestamp>,
    millis: Option<u64>,
    lines: Vec<String>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.discontinuities == 0 && self.map.is_none() && self.date.is_none() && self.lines.is_empty()
    }
}

impl Map {
    /// The same tag with another address.
    #[must_use]
    pub fn at(self, resource: Resource) -> Self {
        Self { resource, ..self }
    }

    fn of(attributes: &str, resource: Option<Resource>) -> Option<Self> {
        let (before, rest) = attributes.split_once("URI=\"")?;
        let (_, after) = rest.split_once('"')?;
        Some(Self { around: (before.to_owned(), after.to_owned()), resource: resource? })
    }
}

/// `1.857,title` in milliseconds, rounded; at most a day, so that sums do not overflow.
fn millis(extinf: &str) -> Option<u64> {
    let seconds: f64 = extinf.split(',').next()?.trim().parse().ok()?;
    (0.0..86_400.0).contains(&seconds).then(|| (seconds * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vector(name: &str) -> String {
        let path = format!("{}/tests/vectors/playlists/{name}/after.m3u8", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn playlists_of_kvs_come_back_as_they_were() {
        for name in ["media_on_demand_never", "media_live_mpeg_ts", "media_live_always"] {
            let text = vector(name);
            // Ours has the tag that KVS leaves out.
            let shown = MediaPlaylist::parse(&text).unwrap().render(true);
            assert_eq!(shown.replace("#EXT-X-DISCONTINUITY-SEQUENCE:0\n", ""), text, "{name}");
        }
    }

    #[test]
    fn the_parts_are_found() {
        let playlist = MediaPlaylist::parse(&vector("media_on_demand_never")).unwrap();
        assert_eq!((playlist.target, playlist.sequence, playlist.ended), (2, 1, true));
        let second = &playlist.segments[1];
        assert_eq!(second.millis, 1857);
        let mut shorter = playlist.clone();
        shorter.segments = playlist.segments.iter().map(|segment| segment.lasting(1499)).collect();
        assert!(shorter.render(true).contains("#EXTINF:1.499,") && !shorter.render(true).contains("1.857"));
        assert_eq!(second.lasting(1857), *second);
        assert_eq!(second.date.unwrap().to_string(), "2022-01-28T07:00:37.787Z");
        assert_eq!(second.map, playlist.segments[0].map, "an init segment stays in effect");
        assert!(!playlist.render(false).contains("DATE-TIME"));
    }

    #[test]
    fn what_is_no_playlist_is_refused() {
        for bad in [
            "",
            "<html>",
            "#EXTM3U\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:x",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\nhttps://evil.example/",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\ngetTSFragment.ts?FragmentNumber=1",
            "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:inf,\ngetTSFragment.ts?FragmentNumber=1",
        ] {
            assert!(MediaPlaylist::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,60}", lines in "(#EXT-X-[A-Z]{3}:[0-9A-Z=\".]{0,9}\n){0,5}") {
            let _ = MediaPlaylist::parse(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{lines}{text}"));
        }

        #[test]
        fn shown_and_read_again_is_the_same(lines in proptest::collection::vec(
            prop_oneof![
                Just("#EXT-X-DISCONTINUITY".to_owned()),
                Just("#EXT-X-VENDOR:1".to_owned()),
                (0..9_u32).prop_map(|n| format!("#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?TrackNumber=1&SequenceNumber={n}\"")),
                (0..9000_u32, 0..99_u32).prop_map(|(ms, n)| format!("#EXTINF:{},\ngetTSFragment.ts?FragmentNumber={n}", f64::from(ms) / 1000.0)),
            ], 0..12)
        ) {
            let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:9\n{}\n", lines.join("\n"));
            if let Ok(playlist) = MediaPlaylist::parse(&text) {
                let again = MediaPlaylist::parse(&playlist.render(true)).unwrap();
                prop_assert_eq!(&again.segments, &playlist.segments);
                prop_assert_eq!(again.render(true), playlist.render(true));
            }
        }
    }
}

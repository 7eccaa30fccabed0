//! HLS playlists (RFC 8216, RFC 8216bis), from the list alone.

use super::group::Group;
use super::{Entry, Presentation};
use crate::kvs::{MediaKind, Resource, SegmentAddress, Timestamp};
use crate::package::{Codec, TrackSettings};
use std::collections::BTreeSet;
use std::fmt::Write;

/// What of a media playlist the session's parameters select.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HlsOptions {
    /// Where discontinuities are announced.
    pub discontinuities: Discontinuities,
    /// Whether each segment has its date, and not only the first one and those behind a discontinuity.
    pub dates: bool,
}

/// Where discontinuities are announced, besides ahead of a new init segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Discontinuities {
    /// Ahead of every segment.
    Everywhere,
    /// Behind gaps.
    BehindGaps,
    /// Nowhere else.
    Nowhere,
}

/// Bytes of a row, for the first allocation.
const ROW: usize = 40;

impl Presentation {
    /// The master playlist.
    #[must_use]
    pub fn master_playlist(&self) -> String {
        let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        let rates = self.rates();
        let with_sound = self.kind(2).is_some();
        if with_sound {
            let uri = Resource::MediaPlaylist { track: 2 };
            _ = writeln!(
                text,
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"audio\",DEFAULT=YES,AUTOSELECT=YES,\
                 URI=\"{uri}\""
            );
        }
        _ = write!(text, "#EXT-X-STREAM-INF:BANDWIDTH={}", rates.peak);
        _ = write!(text, ",AVERAGE-BANDWIDTH={},CODECS=\"{}\"", rates.mean, self.codecs());
        if let Some((group, video)) = self.first_pictures() {
            if video.width > 0 && video.height > 0 {
                _ = write!(text, ",RESOLUTION={}x{}", video.width, video.height);
            }
            _ = write!(text, ",FRAME-RATE={}.{:03}", 1000 / group.frame, 1_000_000 / group.frame % 1000);
        }
        if with_sound {
            text.push_str(",AUDIO=\"audio\"");
        }
        _ = writeln!(text, "\n{}", Resource::MediaPlaylist { track: 1 });
        text
    }

    /// The media playlist of one kind of media. What a group has none of is marked as a gap.
    #[must_use]
    pub fn media_playlist(&self, kind: MediaKind, options: HlsOptions) -> String {
        let mut text = String::with_capacity(256 + ROW * self.rows.len());
        _ = write!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:{}\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:{}\n\
             #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-INDEPENDENT-SEGMENTS\n",
            if self.lacks(kind) { 8 } else { 7 },
            self.target(),
        );
        for entry in self.entries() {
            segment(&mut text, kind, &entry, options);
        }
        text.push_str("#EXT-X-ENDLIST\n");
        text
    }

    /// Whether a group has no such media.
    fn lacks(&self, kind: MediaKind) -> bool {
        self.groups.iter().any(|group| group.track(kind).is_none())
    }

    /// Every codec of the presentation, those of pictures first.
    fn codecs(&self) -> String {
        let mut seen = BTreeSet::new();
        let tracks = [MediaKind::Video, MediaKind::Audio]
            .into_iter()
            .flat_map(|kind| self.groups.iter().filter_map(move |group| group.track(kind)));
        let names = tracks.map(codec_name).filter(|name| seen.insert(name.clone()));
        names.collect::<Vec<_>>().join(",")
    }

    fn first_pictures(&self) -> Option<(&Group, &TrackSettings)> {
        self.groups.iter().find_map(|group| Some((group, group.video.as_ref()?)))
    }
}

/// The codec as it goes out: G.711 as FLAC.
pub(super) fn codec_name(track: &TrackSettings) -> String {
    match track.codec {
        Codec::Alaw | Codec::Ulaw => "fLaC".to_owned(),
        _ => track.codec_string(false),
    }
}

/// Tags in KVS's order (docs/KVS.md 5.3).
fn segment(text: &mut String, kind: MediaKind, entry: &Entry<'_>, options: HlsOptions) {
    let breaks = match options.discontinuities {
        Discontinuities::Everywhere => true,
        Discontinuities::BehindGaps => entry.after_gap,
        Discontinuities::Nowhere => false,
    };
    let breaks = breaks || (entry.begins_group && entry.index > 0);
    if breaks {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    let has_track = entry.group.track(kind).is_some();
    let address = SegmentAddress { kind, time: Timestamp::from_millis(entry.time) };
    if entry.begins_group && has_track {
        _ = writeln!(text, "#EXT-X-MAP:URI=\"{}.mp4\"", address);
    }
    if breaks || entry.index == 0 || options.dates {
        _ = writeln!(text, "#EXT-X-PROGRAM-DATE-TIME:{}", address.time);
    }
    if !has_track {
        text.push_str("#EXT-X-GAP\n");
    }
    _ = writeln!(text, "#EXTINF:{}.{:03},", entry.duration / 1000, entry.duration % 1000);
    _ = writeln!(text, "{address}.m4s");
}

//! The playback resources: what a player fetches once it has a session (docs/KVS.md 5).
//!
//! Paths and queries are parsed, never matched as text: KVS orders the query differently per resource. A
//! resource is rebuilt from its meaning, so that nothing else of a client's query reaches KVS or a cache
//! key.

use super::fragment::FragmentNumber;
use super::media_format::MediaFormat;
use super::packaged::{PackagedPart, PackagedResource};
use super::session::Protocol;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One thing to fetch inside a playback session.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Resource {
    /// The HLS master playlist.
    MasterPlaylist,
    /// The HLS media playlist of a track.
    MediaPlaylist {
        /// 1 = video or the only track, 2 = audio.
        track: u8,
    },
    /// The DASH manifest.
    Manifest,
    /// `ftyp` + `moov` of a track.
    InitSegment {
        /// HLS or DASH: the two have folders of their own.
        protocol: Protocol,
        /// 1 = video or the only track, 2 = audio.
        track: u8,
        /// Which codec-private-data epoch, where KVS gives one.
        sequence: Option<u32>,
    },
    /// `moof` + `mdat` of one fragment and track.
    Mp4Fragment {
        /// HLS or DASH: the two have folders of their own.
        protocol: Protocol,
        /// The fragment; in DASH its position in the session.
        number: FragmentNumber,
        /// 1 = video or the only track, 2 = audio.
        track: u8,
    },
    /// One fragment as MPEG-TS, tracks muxed.
    TsFragment {
        /// The fragment.
        number: FragmentNumber,
    },
    /// A segment that KVS does not know: it is packaged here of stored fragments.
    #[serde(skip)]
    Packaged(PackagedResource),
}

impl Resource {
    /// Reads file name and query of a playback URL, capability already taken off; an unknown name, a
    /// missing or malformed parameter gives `None`. `SessionToken` and anything else in the query is
    /// ignored.
    #[must_use]
    pub fn parse(protocol: Protocol, file: &str, query: &str) -> Option<Self> {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, v)| v)
        };
        let track = || value("TrackNumber").map_or(Some(1), small).filter(|track| (1..=3).contains(track));
        let number = || value("FragmentNumber").and_then(|digits| FragmentNumber::parse(digits).ok());
        Some(match (protocol, file) {
            (Protocol::Hls, "getHLSMasterPlaylist.m3u8") => Self::MasterPlaylist,
            (Protocol::Hls, "getHLSMediaPlaylist.m3u8") => Self::MediaPlaylist { track: track()? },
            (Protocol::Dash, "getDASHManifest.mpd") => Self::Manifest,
            (_, "getMP4InitFragment.mp4") => {
                let sequence = match value("SequenceNumber") {
                    None => None,
                    Some(digits) => Some(small(digits)?),
                };
                Self::InitSegment { protocol, track: track()?, sequence }
            }
            (_, "getMP4MediaFragment.mp4") => {
                Self::Mp4Fragment { protocol, number: number()?, track: track()? }
            }
            (Protocol::Hls, "getTSFragment.ts") => Self::TsFragment { number: number()? },
            _ => Self::Packaged(PackagedResource::parse(protocol, file)?),
        })
    }

    /// HLS or DASH.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::MasterPlaylist | Self::MediaPlaylist { .. } | Self::TsFragment { .. } => Protocol::Hls,
            Self::Manifest => Protocol::Dash,
            Self::InitSegment { protocol, .. } | Self::Mp4Fragment { protocol, .. } => *protocol,
            Self::Packaged(packaged) => packaged.protocol,
        }
    }

    /// CloudWatch's name for fetching it, our `api` label.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MasterPlaylist => "GetHLSMasterPlaylist",
            Self::MediaPlaylist { .. } => "GetHLSMediaPlaylist",
            Self::Manifest => "GetDASHManifest",
            Self::InitSegment { .. } => "GetMP4InitFragment",
            Self::Mp4Fragment { .. } => "GetMP4MediaFragment",
            Self::TsFragment { .. } => "GetTSFragment",
            Self::Packaged(packaged) => match packaged.part {
                PackagedPart::Init => "GetMP4InitFragment",
                PackagedPart::Media => "GetMP4MediaFragment",
            },
        }
    }

    /// All names that [`Resource::name`] can give.
    pub const NAMES: [&'static str; 6] = [
        "GetHLSMasterPlaylist",
        "GetHLSMediaPlaylist",
        "GetDASHManifest",
        "GetMP4InitFragment",
        "GetMP4MediaFragment",
        "GetTSFragment",
    ];

    /// True for playlists and manifests, false for media.
    #[must_use]
    pub fn is_playlist(&self) -> bool {
        matches!(self, Self::MasterPlaylist | Self::MediaPlaylist { .. } | Self::Manifest)
    }

    /// The kind of media that it is; `None` for playlists and manifests.
    #[must_use]
    pub fn media(&self) -> Option<MediaFormat> {
        match self {
            Self::MasterPlaylist | Self::MediaPlaylist { .. } | Self::Manifest => None,
            Self::TsFragment { .. } => Some(MediaFormat::MpegTs),
            Self::InitSegment { .. } | Self::Mp4Fragment { .. } | Self::Packaged(_) => Some(MediaFormat::Mp4),
        }
    }

    /// The content type that players get, whatever KVS says. Players choose their parser by it.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        match self.media() {
            Some(media) => media.content_type(),
            None if self.protocol() == Protocol::Dash => "application/dash+xml",
            None => "application/vnd.apple.mpegurl",
        }
    }

    /// The number of a fragment; `None` for all else.
    #[must_use]
    pub fn fragment_number(&self) -> Option<&FragmentNumber> {
        match self {
            Self::Mp4Fragment { number, .. } | Self::TsFragment { number } => Some(number),
            _ => None,
        }
    }

    /// The file name at KVS, without a folder; `None` for what KVS does not know.
    fn file(&self) -> Option<&'static str> {
        Some(match self {
            Self::MasterPlaylist => "getHLSMasterPlaylist.m3u8",
            Self::MediaPlaylist { .. } => "getHLSMediaPlaylist.m3u8",
            Self::Manifest => "getDASHManifest.mpd",
            Self::InitSegment { .. } => "getMP4InitFragment.mp4",
            Self::Mp4Fragment { .. } => "getMP4MediaFragment.mp4",
            Self::TsFragment { .. } => "getTSFragment.ts",
            Self::Packaged(_) => return None,
        })
    }

    /// Path and query of a request to KVS for it, with the session's token, in KVS's own order; `None` for
    /// what KVS does not know. HLS and DASH have folders of their own (docs/KVS.md 5).
    #[must_use]
    pub fn upstream_path(&self, token: &str) -> Option<String> {
        let query = match self {
            Self::MasterPlaylist | Self::Manifest => format!("SessionToken={token}"),
            Self::MediaPlaylist { track } => format!("SessionToken={token}&TrackNumber={track}"),
            Self::InitSegment { track, sequence: None, .. } => {
                format!("SessionToken={token}&TrackNumber={track}")
            }
            Self::InitSegment { track, sequence: Some(sequence), .. } => {
                format!("SessionToken={token}&TrackNumber={track}&SequenceNumber={sequence}")
            }
            Self::Mp4Fragment { number, track, .. } => {
                format!("FragmentNumber={number}&SessionToken={token}&TrackNumber={track}")
            }
            Self::TsFragment { number } => format!("FragmentNumber={number}&SessionToken={token}"),
            Self::Packaged(_) => return None,
        };
        Some(format!("/{}/v1/{}?{query}", self.protocol().as_str(), self.file()?))
    }
}

/// File name and token-free query: what a rewritten playlist shows, and one half of a cache key.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file().unwrap_or_default())?;
        match self {
            Self::MasterPlaylist | Self::Manifest => Ok(()),
            Self::MediaPlaylist { track } | Self::InitSegment { track, sequence: None, .. } => {
                write!(f, "?TrackNumber={track}")
            }
            Self::InitSegment { track, sequence: Some(sequence), .. } => {
                write!(f, "?TrackNumber={track}&SequenceNumber={sequence}")
            }
            Self::Mp4Fragment { number, track, .. } => {
                write!(f, "?FragmentNumber={number}&TrackNumber={track}")
            }
            Self::TsFragment { number } => write!(f, "?FragmentNumber={number}"),
            Self::Packaged(packaged) => packaged.fmt(f),
        }
    }
}

/// A short decimal number without sign or leading zeros, so that one resource has one spelling.
fn small<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let plain = !digits.is_empty()
        && digits.len() <= 9
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    plain.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_resource() -> impl Strategy<Value = Resource> {
        let protocol = prop_oneof![Just(Protocol::Hls), Just(Protocol::Dash)];
        let number = "[0-9]{1,60}".prop_map(|digits| FragmentNumber::parse(&digits).unwrap());
        prop_oneof![
            Just(Resource::MasterPlaylist),
            Just(Resource::Manifest),
            (1..=3_u8).prop_map(|track| Resource::MediaPlaylist { track }),
            (protocol.clone(), 1..=3_u8, proptest::option::of(0..1000_u32))
                .prop_map(|(protocol, track, sequence)| Resource::InitSegment { protocol, track, sequence }),
            (protocol, number.clone(), 1..=3_u8)
                .prop_map(|(protocol, number, track)| Resource::Mp4Fragment { protocol, number, track }),
            number.prop_map(|number| Resource::TsFragment { number }),
        ]
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(resource in any_resource(), token in "[A-Za-z0-9_-]{10}~") {
            let shown = resource.to_string();
            let (file, query) = shown.split_once('?').unwrap_or((&shown, ""));
            prop_assert_eq!(Resource::parse(resource.protocol(), file, query), Some(resource.clone()));
            let asked = resource.upstream_path(&token).unwrap();
            let (path, query) = asked.split_once('?').unwrap();
            let expected = format!("/{}/v1/{file}", resource.protocol().as_str());
            prop_assert_eq!(path, &expected);
            prop_assert_eq!(Resource::parse(resource.protocol(), file, query), Some(resource));
        }

        #[test]
        fn any_query_is_read_or_refused_without_panic(file in "[a-zA-Z0-9.]{0,30}", query in "\\PC{0,60}") {
            let _ = Resource::parse(Protocol::Hls, &file, &query);
            let _ = Resource::parse(Protocol::Hls, "getMP4InitFragment.mp4", &query);
        }
    }

    #[test]
    fn hostile_parameters_are_refused() {
        for query in ["TrackNumber=0", "TrackNumber=01", "TrackNumber=+1", "TrackNumber=4", "TrackNumber="] {
            assert_eq!(Resource::parse(Protocol::Hls, "getHLSMediaPlaylist.m3u8", query), None, "{query}");
        }
        assert_eq!(Resource::parse(Protocol::Hls, "getTSFragment.ts", "FragmentNumber=1%32"), None);
        assert_eq!(Resource::parse(Protocol::Dash, "getTSFragment.ts", "FragmentNumber=1"), None);
        assert_eq!(Resource::parse(Protocol::Hls, "../getClip", ""), None);
    }
}

//! The requests that the emulator supports, by method and case-sensitive path (docs/KVS.md 2,
//! 4, 5).

use super::session::Protocol;
use http::Method;

/// The host that answers a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Plane {
    Control,
    Data,
    /// Both, if the emulator has only one address.
    Both,
}

/// The operations, with the names of CloudWatch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    GetDataEndpoint,
    DescribeStream,
    ListStreams,
    ListTagsForStream,
    ListFragments,
    GetMediaForFragmentList,
    GetClip,
    GetImages,
    GetHLSStreamingSessionURL,
    GetDASHStreamingSessionURL,
    GetHLSMasterPlaylist,
    GetHLSMediaPlaylist,
    GetDASHManifest,
    GetMP4InitFragment(Protocol),
    GetMP4MediaFragment(Protocol),
    GetTSFragment,
}

use Operation::*;

const TABLE: [(Operation, Plane, &str, &str); 18] = [
    (GetDataEndpoint, Plane::Control, "GetDataEndpoint", "/getDataEndpoint"),
    (DescribeStream, Plane::Control, "DescribeStream", "/describeStream"),
    (ListStreams, Plane::Control, "ListStreams", "/listStreams"),
    (ListTagsForStream, Plane::Control, "ListTagsForStream", "/listTagsForStream"),
    (ListFragments, Plane::Data, "ListFragments", "/listFragments"),
    (GetMediaForFragmentList, Plane::Data, "GetMediaForFragmentList", "/getMediaForFragmentList"),
    (GetClip, Plane::Data, "GetClip", "/getClip"),
    (GetImages, Plane::Data, "GetImages", "/getImages"),
    (GetHLSStreamingSessionURL, Plane::Data, "GetHLSStreamingSessionURL", "/getHLSStreamingSessionURL"),
    (GetDASHStreamingSessionURL, Plane::Data, "GetDASHStreamingSessionURL", "/getDASHStreamingSessionURL"),
    (GetHLSMasterPlaylist, Plane::Data, "GetHLSMasterPlaylist", "/hls/v1/getHLSMasterPlaylist.m3u8"),
    (GetHLSMediaPlaylist, Plane::Data, "GetHLSMediaPlaylist", "/hls/v1/getHLSMediaPlaylist.m3u8"),
    (GetMP4InitFragment(Protocol::Hls), Plane::Data, "GetMP4InitFragment", "/hls/v1/getMP4InitFragment.mp4"),
    (
        GetMP4MediaFragment(Protocol::Hls),
        Plane::Data,
        "GetMP4MediaFragment",
        "/hls/v1/getMP4MediaFragment.mp4",
    ),
    (GetTSFragment, Plane::Data, "GetTSFragment", "/hls/v1/getTSFragment.ts"),
    (GetDASHManifest, Plane::Data, "GetDASHManifest", "/dash/v1/getDASHManifest.mpd"),
    (
        GetMP4InitFragment(Protocol::Dash),
        Plane::Data,
        "GetMP4InitFragment",
        "/dash/v1/getMP4InitFragment.mp4",
    ),
    (
        GetMP4MediaFragment(Protocol::Dash),
        Plane::Data,
        "GetMP4MediaFragment",
        "/dash/v1/getMP4MediaFragment.mp4",
    ),
];

impl Operation {
    /// Finds an operation at a host of this plane; `None` for the 90-byte answer.
    pub(super) fn find(plane: Plane, method: &Method, path: &str) -> Option<Self> {
        let (operation, home, ..) = TABLE.iter().find(|(.., known)| *known == path)?;
        let here = plane == Plane::Both || plane == *home;
        let wanted = if operation.is_playback() { Method::GET } else { Method::POST };
        (here && *method == wanted).then_some(*operation)
    }

    /// Whether this is an unsigned GET of a player.
    pub(super) fn is_playback(self) -> bool {
        matches!(
            self,
            GetHLSMasterPlaylist
                | GetHLSMediaPlaylist
                | GetDASHManifest
                | GetMP4InitFragment(_)
                | GetMP4MediaFragment(_)
                | GetTSFragment
        )
    }

    /// CloudWatch's name.
    pub(super) fn name(self) -> &'static str {
        TABLE.iter().find(|(operation, ..)| *operation == self).map_or("", |(_, _, name, _)| name)
    }

    /// Whether any operation has this name.
    pub(super) fn is_name(name: &str) -> bool {
        TABLE.iter().any(|(_, _, known, _)| *known == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_letter_case_method_or_host_is_unknown() {
        let find = |plane, method, path| Operation::find(plane, &method, path);
        assert_eq!(find(Plane::Both, Method::POST, "/getClip"), Some(GetClip));
        assert_eq!(find(Plane::Both, Method::POST, "/GetClip"), None);
        assert_eq!(find(Plane::Both, Method::GET, "/getClip"), None);
        assert_eq!(find(Plane::Control, Method::POST, "/getClip"), None);
        assert_eq!(find(Plane::Data, Method::POST, "/getDataEndpoint"), None);
        assert_eq!(find(Plane::Data, Method::POST, "/getClip/"), None);
    }
}

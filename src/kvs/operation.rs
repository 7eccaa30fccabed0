//! The nine operations and their names: on the wire, in policies, in metrics.

use super::session::Protocol;
use std::fmt;

/// An API operation that kvs-edge answers (docs/KVS.md 2 and 4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Operation {
    /// Which host serves an API for a stream; answered by kvs-edge itself.
    GetDataEndpoint,
    /// One stream's description.
    DescribeStream,
    /// All streams of the account and region.
    ListStreams,
    /// What is archived in a time range.
    ListFragments,
    /// Fragments as Matroska.
    GetMediaForFragmentList,
    /// A time range as one MP4.
    GetClip,
    /// Still pictures.
    GetImages,
    /// A playback session over HLS.
    GetHlsStreamingSessionUrl,
    /// A playback session over DASH.
    GetDashStreamingSessionUrl,
}

impl Operation {
    /// All nine, in the order of documentation.
    pub const ALL: [Self; 9] = [
        Self::GetDataEndpoint,
        Self::DescribeStream,
        Self::ListStreams,
        Self::ListFragments,
        Self::GetMediaForFragmentList,
        Self::GetClip,
        Self::GetImages,
        Self::GetHlsStreamingSessionUrl,
        Self::GetDashStreamingSessionUrl,
    ];

    /// The call that opens sessions of a protocol.
    #[must_use]
    pub const fn of_session(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Hls => Self::GetHlsStreamingSessionUrl,
            Protocol::Dash => Self::GetDashStreamingSessionUrl,
        }
    }

    /// AWS's name: IAM action, Cedar action, CloudWatch metric, our `api` label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetDataEndpoint => "GetDataEndpoint",
            Self::DescribeStream => "DescribeStream",
            Self::ListStreams => "ListStreams",
            Self::ListFragments => "ListFragments",
            Self::GetMediaForFragmentList => "GetMediaForFragmentList",
            Self::GetClip => "GetClip",
            Self::GetImages => "GetImages",
            Self::GetHlsStreamingSessionUrl => "GetHLSStreamingSessionURL",
            Self::GetDashStreamingSessionUrl => "GetDASHStreamingSessionURL",
        }
    }

    /// The path, exact: another letter case yields an empty success on KVS (docs/KVS.md 3.6).
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::GetDataEndpoint => "/getDataEndpoint",
            Self::DescribeStream => "/describeStream",
            Self::ListStreams => "/listStreams",
            Self::ListFragments => "/listFragments",
            Self::GetMediaForFragmentList => "/getMediaForFragmentList",
            Self::GetClip => "/getClip",
            Self::GetImages => "/getImages",
            Self::GetHlsStreamingSessionUrl => "/getHLSStreamingSessionURL",
            Self::GetDashStreamingSessionUrl => "/getDASHStreamingSessionURL",
        }
    }

    /// The operation at exactly this path.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.path() == path)
    }

    /// The operation of this AWS name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// The `APIName` under which GetDataEndpoint finds the host for it; `None` for the control plane, whose
    /// host is fixed per region.
    #[must_use]
    pub const fn api_name(self) -> Option<ApiName> {
        match self {
            Self::GetDataEndpoint | Self::DescribeStream | Self::ListStreams => None,
            Self::ListFragments => Some(ApiName::ListFragments),
            Self::GetMediaForFragmentList => Some(ApiName::GetMediaForFragmentList),
            Self::GetClip => Some(ApiName::GetClip),
            Self::GetImages => Some(ApiName::GetImages),
            Self::GetHlsStreamingSessionUrl => Some(ApiName::GetHlsStreamingSessionUrl),
            Self::GetDashStreamingSessionUrl => Some(ApiName::GetDashStreamingSessionUrl),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The values of GetDataEndpoint's `APIName` (docs/KVS.md 2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[allow(missing_docs)] // the names are AWS's and say all there is
pub enum ApiName {
    PutMedia,
    GetMedia,
    ListFragments,
    GetMediaForFragmentList,
    GetHlsStreamingSessionUrl,
    GetDashStreamingSessionUrl,
    GetClip,
    GetImages,
}

impl ApiName {
    /// All values.
    pub const ALL: [Self; 8] = [
        Self::PutMedia,
        Self::GetMedia,
        Self::ListFragments,
        Self::GetMediaForFragmentList,
        Self::GetHlsStreamingSessionUrl,
        Self::GetDashStreamingSessionUrl,
        Self::GetClip,
        Self::GetImages,
    ];

    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PutMedia => "PUT_MEDIA",
            Self::GetMedia => "GET_MEDIA",
            Self::ListFragments => "LIST_FRAGMENTS",
            Self::GetMediaForFragmentList => "GET_MEDIA_FOR_FRAGMENT_LIST",
            Self::GetHlsStreamingSessionUrl => "GET_HLS_STREAMING_SESSION_URL",
            Self::GetDashStreamingSessionUrl => "GET_DASH_STREAMING_SESSION_URL",
            Self::GetClip => "GET_CLIP",
            Self::GetImages => "GET_IMAGES",
        }
    }
}

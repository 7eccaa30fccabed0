//! Requests to KVS: one of the nine calls, or a resource of a playback session.

use super::json::{Invalid, Members};
use super::operation::Operation;
use super::operations::{
    DescribeStream, GetClip, GetDashStreamingSessionUrl, GetDataEndpoint, GetHlsStreamingSessionUrl,
    GetImages, GetMediaForFragmentList, ListFragments, ListStreams,
};
use super::range::{PlaybackMode, TimeRange};
use super::resource::Resource;
use super::session::SessionParameters;
use super::stream::StreamRef;
use super::timestamp::Timestamp;
use bytes::Bytes;
use std::sync::Arc;

/// What a request asks for, whatever its outer form. Policy judges this value, and this value is what is
/// served.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Request {
    /// One of the nine calls.
    Call(Call),
    /// A resource of a playback session, through a capability.
    Playback {
        /// Which stream.
        stream: StreamRef,
        /// Which session.
        session: Arc<SessionParameters>,
        /// Which resource of it.
        resource: Resource,
    },
}

impl Request {
    /// The operation whose permission it needs. Playback needs what opening its session needs.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Call(call) => call.operation(),
            Self::Playback { session, .. } => Operation::of_session(session.protocol),
        }
    }

    /// CloudWatch's name for it, our `api` label.
    #[must_use]
    pub fn api(&self) -> &'static str {
        match self {
            Self::Call(call) => call.operation().name(),
            Self::Playback { resource, .. } => resource.name(),
        }
    }

    /// Whether it is answered with footage, or with what leads straight to it in a playback session.
    #[must_use]
    pub fn is_footage(&self) -> bool {
        match self {
            Self::Call(call) => matches!(
                call.operation(),
                Operation::GetClip | Operation::GetImages | Operation::GetMediaForFragmentList
            ),
            Self::Playback { .. } => true,
        }
    }

    /// Which stream; `None` for ListStreams.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamRef> {
        match self {
            Self::Call(call) => call.stream(),
            Self::Playback { stream, .. } => Some(stream),
        }
    }

    /// The playback mode, for session calls and playback.
    #[must_use]
    pub fn mode(&self) -> Option<PlaybackMode> {
        match self {
            Self::Call(call) => call.session().map(|session| session.mode),
            Self::Playback { session, .. } => Some(session.mode),
        }
    }

    /// The footage it shows, where it says so.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        match self {
            Self::Call(call) => call.range(),
            Self::Playback { session, .. } => session.range(),
        }
    }
}

/// One of the nine calls, read and checked.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the names are AWS's; each type says the rest
pub enum Call {
    GetDataEndpoint(GetDataEndpoint),
    DescribeStream(DescribeStream),
    ListStreams(ListStreams),
    ListFragments(ListFragments),
    GetMediaForFragmentList(GetMediaForFragmentList),
    GetClip(GetClip),
    GetImages(GetImages),
    GetHlsStreamingSessionUrl(GetHlsStreamingSessionUrl),
    GetDashStreamingSessionUrl(GetDashStreamingSessionUrl),
}

impl Call {
    /// Reads the body of a call. `now` decides what lies in the past.
    ///
    /// # Errors
    /// Names the member that KVS would refuse, its problem and its bound.
    pub fn read(operation: Operation, body: &[u8], now: Timestamp) -> Result<Self, Invalid> {
        let map = Members::parse(body)?;
        let from = &Members::of(&map);
        Ok(match operation {
            Operation::GetDataEndpoint => Self::GetDataEndpoint(GetDataEndpoint::read(from)?),
            Operation::DescribeStream => Self::DescribeStream(DescribeStream::read(from)?),
            Operation::ListStreams => Self::ListStreams(ListStreams::read(from)?),
            Operation::ListFragments => Self::ListFragments(ListFragments::read(from)?),
            Operation::GetMediaForFragmentList => {
                Self::GetMediaForFragmentList(GetMediaForFragmentList::read(from)?)
            }
            Operation::GetClip => Self::GetClip(GetClip::read(from, now)?),
            Operation::GetImages => Self::GetImages(GetImages::read(from)?),
            Operation::GetHlsStreamingSessionUrl => {
                Self::GetHlsStreamingSessionUrl(GetHlsStreamingSessionUrl::read(from, now)?)
            }
            Operation::GetDashStreamingSessionUrl => {
                Self::GetDashStreamingSessionUrl(GetDashStreamingSessionUrl::read(from, now)?)
            }
        })
    }

    /// The canonical body: what was understood, and nothing else.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let map = match self {
            Self::GetDataEndpoint(call) => call.write(),
            Self::DescribeStream(call) => call.write(),
            Self::ListStreams(call) => call.write(),
            Self::ListFragments(call) => call.write(),
            Self::GetMediaForFragmentList(call) => call.write(),
            Self::GetClip(call) => call.write(),
            Self::GetImages(call) => call.write(),
            Self::GetHlsStreamingSessionUrl(call) => call.write(),
            Self::GetDashStreamingSessionUrl(call) => call.write(),
        };
        serde_json::Value::Object(map).to_string().into()
    }

    /// Which of the nine.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::GetDataEndpoint(_) => Operation::GetDataEndpoint,
            Self::DescribeStream(_) => Operation::DescribeStream,
            Self::ListStreams(_) => Operation::ListStreams,
            Self::ListFragments(_) => Operation::ListFragments,
            Self::GetMediaForFragmentList(_) => Operation::GetMediaForFragmentList,
            Self::GetClip(_) => Operation::GetClip,
            Self::GetImages(_) => Operation::GetImages,
            Self::GetHlsStreamingSessionUrl(_) => Operation::GetHlsStreamingSessionUrl,
            Self::GetDashStreamingSessionUrl(_) => Operation::GetDashStreamingSessionUrl,
        }
    }

    /// Which stream; `None` for ListStreams.
    #[must_use]
    pub fn stream(&self) -> Option<&StreamRef> {
        match self {
            Self::GetDataEndpoint(call) => Some(&call.stream),
            Self::DescribeStream(call) => Some(&call.stream),
            Self::ListStreams(_) => None,
            Self::ListFragments(call) => Some(&call.stream),
            Self::GetMediaForFragmentList(call) => Some(&call.stream),
            Self::GetClip(call) => Some(&call.stream),
            Self::GetImages(call) => Some(&call.stream),
            Self::GetHlsStreamingSessionUrl(call) => Some(&call.stream),
            Self::GetDashStreamingSessionUrl(call) => Some(&call.stream),
        }
    }

    /// The session that a session call asks for.
    #[must_use]
    pub fn session(&self) -> Option<&SessionParameters> {
        match self {
            Self::GetHlsStreamingSessionUrl(call) => Some(&call.session),
            Self::GetDashStreamingSessionUrl(call) => Some(&call.session),
            _ => None,
        }
    }

    /// The footage it asks for, where it says so.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        match self {
            Self::ListFragments(call) => call.selector.map(|selector| selector.range),
            Self::GetClip(call) => Some(call.selector.range),
            Self::GetImages(call) => Some(call.range),
            _ => self.session().and_then(SessionParameters::range),
        }
    }
}

#[cfg(test)]
#[path = "tests/request.rs"]
mod tests;

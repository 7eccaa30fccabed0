//! What each call and each playback resource is charged (docs/KVS.md 6).

use crate::kvs::bounds::{CLIP_FRAGMENTS, FRAGMENTS_PAGE_DEFAULT, IMAGES_PAGE};
use crate::kvs::operations::GetClip;
use crate::kvs::{Call, Resource};
use std::sync::Arc;

/// The charge of one request.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(in crate::upstream) struct Cost {
    /// Metadata points of the stream.
    pub(in crate::upstream) metadata: u32,
    /// Media points of the stream.
    pub(in crate::upstream) media: u32,
    /// Whether the points are an upper bound, because the real cost is known only afterwards.
    pub(super) assumed: bool,
    /// One of so many requests a second, of stream or account.
    pub(super) rate: Option<RequestRate>,
    /// One of the stream's connections, for as long as the answer is being received.
    pub(super) connection: bool,
    /// One of so many requests a second of a playback session.
    pub(super) session: Option<(Arc<str>, SessionRate)>,
}

/// What is counted in requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum RequestRate {
    Endpoint,
    Describe,
    Tags,
    HlsUrl,
    DashUrl,
    ListStreams,
}

/// What is counted in requests per session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SessionRate {
    Master,
    Playlist,
    Init,
    Media,
}

/// What a call of GetImages costs beside its pictures.
const IMAGES_BASE: u32 = 400;
/// KVS takes in no fragment shorter than this.
const SHORTEST_FRAGMENT_MILLIS: u64 = 1000;

impl Cost {
    /// The charge of a call.
    pub(in crate::upstream) fn of_call(call: &Call) -> Self {
        let rate = |rate| Self { rate: Some(rate), ..Self::default() };
        match call {
            Call::GetDataEndpoint(_) => rate(RequestRate::Endpoint),
            Call::DescribeStream(_) => rate(RequestRate::Describe),
            Call::ListStreams(_) => rate(RequestRate::ListStreams),
            Call::GetHlsStreamingSessionUrl(_) => rate(RequestRate::HlsUrl),
            Call::GetDashStreamingSessionUrl(_) => rate(RequestRate::DashUrl),
            Call::ListFragments(list) => Self {
                metadata: list.max_results.unwrap_or(FRAGMENTS_PAGE_DEFAULT).into(),
                ..Self::default()
            },
            Call::GetImages(images) => {
                let pictures = u32::from(images.max_results.unwrap_or(IMAGES_PAGE));
                Self { metadata: IMAGES_BASE + pictures, media: pictures, ..Self::default() }
            }
            Call::GetClip(clip) => {
                let fragments = Self::clip_fragments(clip);
                Self { metadata: fragments, media: fragments, assumed: true, ..Self::default() }
            }
            Call::GetMediaForFragmentList(list) => Self {
                media: u32::try_from(list.fragments.len()).unwrap_or(u32::MAX),
                connection: true,
                ..Self::default()
            },
        }
    }

    /// How many fragments a clip is assumed to have: as many as can start in its range.
    pub(in crate::upstream) fn clip_fragments(clip: &GetClip) -> u32 {
        let range = clip.selector.range;
        let millis = range.end.unwrap_or(range.start).millis().saturating_sub(range.start.millis());
        u32::try_from(millis / SHORTEST_FRAGMENT_MILLIS + 1).unwrap_or(u32::MAX).min(CLIP_FRAGMENTS)
    }

    /// The charge of ListTagsForStream.
    pub(in crate::upstream) fn of_tags() -> Self {
        Self { rate: Some(RequestRate::Tags), ..Self::default() }
    }

    /// The charge of a playback resource; a playlist costs its session's maximum, whatever it lists.
    pub(in crate::upstream) fn of_resource(
        resource: &Resource,
        max_fragments: u16,
        session: &Arc<str>,
    ) -> Self {
        let (metadata, media, rate) = match resource {
            Resource::MasterPlaylist => (0, 0, SessionRate::Master),
            Resource::MediaPlaylist { .. } | Resource::Manifest => {
                (max_fragments.max(1).into(), 0, SessionRate::Playlist)
            }
            Resource::InitSegment { .. } => (0, 0, SessionRate::Init),
            Resource::Mp4Fragment { .. } | Resource::TsFragment { .. } | Resource::Packaged(_) => {
                (0, 1, SessionRate::Media)
            }
        };
        Self { metadata, media, session: Some((session.clone(), rate)), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvs::{FragmentNumber, Operation, Protocol, Timestamp};

    fn of(operation: Operation, members: &str) -> (u32, u32, bool) {
        let body = format!(r#"{{"StreamName":"cam-1"{members}}}"#);
        let call =
            Call::read(operation, body.as_bytes(), Timestamp::from(crate::base::clock::now())).unwrap();
        let cost = Cost::of_call(&call);
        (cost.metadata, cost.media, cost.connection)
    }

    #[test]
    fn calls_cost_what_the_quota_page_says() {
        let range = r#""TimestampRange":{"StartTimestamp":1700000000,"EndTimestamp":1700000060}"#;
        let selector = format!(r#"{{"FragmentSelectorType":"SERVER_TIMESTAMP",{range}}}"#);
        let list = format!(r#","FragmentSelector":{selector}"#);
        assert_eq!(of(Operation::ListFragments, &list), (100, 0, false));
        assert_eq!(of(Operation::ListFragments, &format!(r#"{list},"MaxResults":1000"#)), (1000, 0, false));
        assert_eq!(
            of(Operation::GetClip, &format!(r#","ClipFragmentSelector":{selector}"#)),
            (61, 61, false)
        );
        let images = r#","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1700000000,
            "EndTimestamp":1700000060,"Format":"JPEG""#;
        assert_eq!(of(Operation::GetImages, images), (425, 25, false));
        assert_eq!(of(Operation::GetImages, &format!(r#"{images},"MaxResults":1"#)), (401, 1, false));
        assert_eq!(of(Operation::GetMediaForFragmentList, r#","Fragments":["1","2","3"]"#), (0, 3, true));
        assert_eq!(of(Operation::GetHlsStreamingSessionUrl, ""), (0, 0, false));
    }

    #[test]
    fn a_long_clip_is_charged_for_what_kvs_gives_at_most() {
        let selector = r#"{"FragmentSelectorType":"SERVER_TIMESTAMP",
            "TimestampRange":{"StartTimestamp":1700000000,"EndTimestamp":1700080000}}"#;
        assert_eq!(
            of(Operation::GetClip, &format!(r#","ClipFragmentSelector":{selector}"#)),
            (200, 200, false)
        );
    }

    #[test]
    fn resources_cost_by_kind_and_by_session() {
        let id: Arc<str> = "s".into();
        let points = |resource: &Resource| {
            let cost = Cost::of_resource(resource, 5, &id);
            (cost.metadata, cost.media)
        };
        let number = FragmentNumber::parse("1").unwrap();
        let fragment = Resource::Mp4Fragment { protocol: Protocol::Dash, number: number.clone(), track: 1 };
        assert_eq!(points(&Resource::MasterPlaylist), (0, 0));
        assert_eq!(points(&Resource::MediaPlaylist { track: 2 }), (5, 0));
        assert_eq!(points(&Resource::Manifest), (5, 0));
        assert_eq!(points(&fragment), (0, 1));
        assert_eq!(points(&Resource::TsFragment { number }), (0, 1));
    }
}

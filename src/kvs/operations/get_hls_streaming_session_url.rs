//! GetHLSStreamingSessionURL (docs/KVS.md 4.6).

use super::shared_members::{write_range, write_stream};
use crate::kvs::bounds::PLAYLIST_FRAGMENTS;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::range::SelectorType;
use crate::kvs::session::{Container, DiscontinuityMode, Footage, Protocol, SessionParameters, expires};
use crate::kvs::stream::StreamRef;
use crate::kvs::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// Requests a playback session over HLS.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetHlsStreamingSessionUrl {
    /// Which stream.
    pub stream: StreamRef,
    /// Which session.
    pub session: SessionParameters,
    /// For how many seconds, 300..43200.
    pub expires: u32,
}

impl GetHlsStreamingSessionUrl {
    pub(in crate::kvs) fn read(from: &Members<'_>, now: Timestamp) -> Result<Self, Invalid> {
        let footage = Footage::read(from, "HLSFragmentSelector", now)?;
        let containers =
            [Container::FragmentedMp4, Container::MpegTs].map(|container| (container.as_str(), container));
        let modes = [DiscontinuityMode::Always, DiscontinuityMode::Never, DiscontinuityMode::OnDiscontinuity]
            .map(|mode| (mode.as_str(), mode));
        let default_mode = match footage.selector {
            SelectorType::Server => DiscontinuityMode::Always,
            SelectorType::Producer => DiscontinuityMode::Never,
        };
        let shown = from.choice("DisplayFragmentTimestamp", &[("ALWAYS", true), ("NEVER", false)])?;
        let max =
            from.integer("MaxMediaPlaylistFragmentResults", 1, PLAYLIST_FRAGMENTS.into())?.map(|n| n as u16);
        let session = SessionParameters {
            protocol: Protocol::Hls,
            container: from.choice("ContainerFormat", &containers)?.unwrap_or(Container::FragmentedMp4),
            discontinuity: from.choice("DiscontinuityMode", &modes)?.unwrap_or(default_mode),
            show_timestamps: shown.unwrap_or(false),
            show_numbers: false,
            max_fragments: max.unwrap_or(footage.default_results()),
            ends_when_silent: false,
            mode: footage.mode,
            selector: footage.selector,
            start: footage.start,
            end: footage.end,
        };
        Ok(Self { stream: from.required_stream()?, session, expires: expires(from)? })
    }

    pub(in crate::kvs) fn write(&self) -> Map<String, Value> {
        let mut to = Map::new();
        write_stream(&mut to, &self.stream);
        let session = &self.session;
        let mut selector = json!({"FragmentSelectorType": session.selector.as_str()});
        if let Some(start) = session.start {
            selector["TimestampRange"] = write_range(start, session.end);
        }
        to.insert("PlaybackMode".into(), session.mode.as_str().into());
        to.insert("HLSFragmentSelector".into(), selector);
        to.insert("ContainerFormat".into(), session.container.as_str().into());
        to.insert("DiscontinuityMode".into(), session.discontinuity.as_str().into());
        let shown = if session.show_timestamps { "ALWAYS" } else { "NEVER" };
        to.insert("DisplayFragmentTimestamp".into(), shown.into());
        to.insert("Expires".into(), self.expires.into());
        to.insert("MaxMediaPlaylistFragmentResults".into(), session.max_fragments.into());
        to
    }
}

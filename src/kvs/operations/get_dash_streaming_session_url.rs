//! GetDASHStreamingSessionURL (docs/KVS.md 4.7).

use super::shared_members::{write_range, write_stream};
use crate::kvs::bounds::PLAYLIST_FRAGMENTS;
use crate::kvs::json::{Invalid, Members};
use crate::kvs::session::{Container, DiscontinuityMode, Footage, Protocol, SessionParameters, expires};
use crate::kvs::stream::StreamRef;
use crate::kvs::timestamp::Timestamp;
use serde_json::{Map, Value, json};

/// Requests a playback session over DASH.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GetDashStreamingSessionUrl {
    /// Which stream.
    pub stream: StreamRef,
    /// Which session.
    pub session: SessionParameters,
    /// For how many seconds, 300..43200.
    pub expires: u32,
}

impl GetDashStreamingSessionUrl {
    pub(in crate::kvs) fn read(from: &Members<'_>, now: Timestamp) -> Result<Self, Invalid> {
        let footage = Footage::read(from, "DASHFragmentSelector", now)?;
        let switch = [("ALWAYS", true), ("NEVER", false)];
        let max = from.integer("MaxManifestFragmentResults", 1, PLAYLIST_FRAGMENTS.into())?.map(|n| n as u16);
        let session = SessionParameters {
            protocol: Protocol::Dash,
            container: Container::FragmentedMp4,
            discontinuity: DiscontinuityMode::Never,
            show_timestamps: from.choice("DisplayFragmentTimestamp", &switch)?.unwrap_or(false),
            show_numbers: from.choice("DisplayFragmentNumber", &switch)?.unwrap_or(false),
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
        let word = |shown: bool| if shown { "ALWAYS" } else { "NEVER" };
        to.insert("PlaybackMode".into(), session.mode.as_str().into());
        to.insert("DASHFragmentSelector".into(), selector);
        to.insert("DisplayFragmentTimestamp".into(), word(session.show_timestamps).into());
        to.insert("DisplayFragmentNumber".into(), word(session.show_numbers).into());
        to.insert("Expires".into(), self.expires.into());
        to.insert("MaxManifestFragmentResults".into(), session.max_fragments.into());
        to
    }
}

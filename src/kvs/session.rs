//! The parameters that distinguish one playback session from another, without `Expires` and without a
//! token.
//!
//! They are the key under which viewers share an upstream session, and what a capability seals. All
//! defaults of docs/KVS.md 4.6 and 4.7 are filled in when they are made, so that equal requests are equal
//! values.

use super::bounds::{
    CLOCK_TOLERANCE, LIVE_FRAGMENTS_DEFAULT, LONGEST_RANGE, ON_DEMAND_FRAGMENTS_DEFAULT, SESSION_SECONDS_MAX,
    SESSION_SECONDS_MIN,
};
use super::json::{Invalid, Members};
use super::range::{PlaybackMode, SelectorType, TimeRange};
use super::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// HLS or DASH.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Protocol {
    /// HTTP Live Streaming.
    #[serde(rename = "h")]
    Hls,
    /// MPEG-DASH.
    #[serde(rename = "d")]
    Dash,
}

impl Protocol {
    /// `hls` or `dash`, as in paths and metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hls => "hls",
            Self::Dash => "dash",
        }
    }
}

/// How HLS media is packed. DASH is always fragmented MP4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Container {
    /// `FRAGMENTED_MP4`, one track per resource.
    #[serde(rename = "m")]
    FragmentedMp4,
    /// `MPEG_TS`, tracks muxed.
    #[serde(rename = "t")]
    MpegTs,
}

impl Container {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FragmentedMp4 => "FRAGMENTED_MP4",
            Self::MpegTs => "MPEG_TS",
        }
    }
}

/// Where HLS playlists announce discontinuities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum DiscontinuityMode {
    /// Ahead of every fragment.
    #[serde(rename = "a")]
    Always,
    /// Nowhere.
    #[serde(rename = "n")]
    Never,
    /// At gaps and overlaps of more than 50 ms.
    #[serde(rename = "o")]
    OnDiscontinuity,
}

impl DiscontinuityMode {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "ALWAYS",
            Self::Never => "NEVER",
            Self::OnDiscontinuity => "ON_DISCONTINUITY",
        }
    }
}

/// The parameters of a playback session, defaults filled in. Field names are short in the sealed form,
/// which is part of every playback URL.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SessionParameters {
    /// HLS or DASH.
    #[serde(rename = "p")]
    pub protocol: Protocol,
    /// LIVE, LIVE_REPLAY or ON_DEMAND.
    #[serde(rename = "m")]
    pub mode: PlaybackMode,
    /// The clock that orders the fragments.
    #[serde(rename = "s")]
    pub selector: SelectorType,
    /// First instant; absent for LIVE.
    #[serde(rename = "b", skip_serializing_if = "Option::is_none", default)]
    pub start: Option<Timestamp>,
    /// Last instant; absent for LIVE, optional for LIVE_REPLAY.
    #[serde(rename = "e", skip_serializing_if = "Option::is_none", default)]
    pub end: Option<Timestamp>,
    /// fMP4 or TS; fMP4 for DASH.
    #[serde(rename = "c")]
    pub container: Container,
    /// HLS only; `Never` for DASH.
    #[serde(rename = "d")]
    pub discontinuity: DiscontinuityMode,
    /// PROGRAM-DATE-TIME in HLS, `kvs:ts` in DASH.
    #[serde(rename = "t")]
    pub show_timestamps: bool,
    /// `kvs:fn` in DASH; HLS always shows the number in its URLs.
    #[serde(rename = "f")]
    pub show_numbers: bool,
    /// Fragments per playlist or manifest, 1..5000.
    #[serde(rename = "n")]
    pub max_fragments: u16,
    /// Live HLS of kvs-edge only: a playlist ends (EXT-X-ENDLIST) while the camera is silent. KVS knows no
    /// such thing.
    #[serde(rename = "x", default)]
    pub ends_when_silent: bool,
}

impl SessionParameters {
    /// The footage it shows; `None` for LIVE.
    #[must_use]
    pub fn range(&self) -> Option<TimeRange> {
        self.start.map(|start| TimeRange { start, end: self.end })
    }
}

/// The footage of a session request: mode, clock and range, with the rules of docs/KVS.md 4.1 and 4.6 that
/// HLS and DASH share.
pub(super) struct Footage {
    pub(super) mode: PlaybackMode,
    pub(super) selector: SelectorType,
    pub(super) start: Option<Timestamp>,
    pub(super) end: Option<Timestamp>,
}

impl Footage {
    pub(super) fn read(from: &Members<'_>, member: &str, now: Timestamp) -> Result<Self, Invalid> {
        let modes = [PlaybackMode::Live, PlaybackMode::LiveReplay, PlaybackMode::OnDemand];
        let mode = from.choice("PlaybackMode", &modes.map(|mode| (mode.as_str(), mode)))?;
        let mode = mode.unwrap_or(PlaybackMode::Live);
        let selector = from.object(member)?;
        let kind = match &selector {
            Some(selector) => selector.selector_type("FragmentSelectorType")?,
            None => None,
        };
        let mut footage =
            Self { mode, selector: kind.unwrap_or(SelectorType::Server), start: None, end: None };
        match (mode, selector) {
            (PlaybackMode::Live, Some(selector)) if selector.has("TimestampRange") => Err(Invalid::member(
                selector.path("TimestampRange"),
                "must be absent when PlaybackMode is LIVE",
            )),
            (PlaybackMode::Live, _) => Ok(footage),
            (_, None) => {
                Err(Invalid::member(member, format!("is required when PlaybackMode is {}", mode.as_str())))
            }
            (_, Some(selector)) => {
                selector.required("FragmentSelectorType", kind)?;
                footage.read_range(&selector, now)?;
                Ok(footage)
            }
        }
    }

    fn read_range(&mut self, selector: &Members<'_>, now: Timestamp) -> Result<(), Invalid> {
        let range = selector.required("TimestampRange", selector.object("TimestampRange")?)?;
        let start = range.required("StartTimestamp", range.timestamp("StartTimestamp")?)?;
        let mut end = range.timestamp("EndTimestamp")?;
        if self.mode == PlaybackMode::OnDemand {
            end = Some(range.required("EndTimestamp", end)?);
        }
        if let Some(end) = end {
            let refuse = |problem| Err(Invalid::member(range.path("EndTimestamp"), problem));
            if end <= start {
                return refuse("must be after StartTimestamp");
            }
            if end > start.plus(LONGEST_RANGE) {
                return refuse("must be at most 24 hours after StartTimestamp");
            }
            if self.selector == SelectorType::Server && end > now.plus(CLOCK_TOLERANCE) {
                return refuse("must be in the past when selecting by SERVER_TIMESTAMP");
            }
        }
        if self.selector == SelectorType::Server && start > now.plus(CLOCK_TOLERANCE) {
            return Err(Invalid::member(range.path("StartTimestamp"), "must be in the past"));
        }
        (self.start, self.end) = (Some(start), end);
        Ok(())
    }

    /// How many fragments a playlist or manifest shows if the request does not say.
    pub(super) fn default_results(&self) -> u16 {
        match self.mode {
            PlaybackMode::OnDemand => ON_DEMAND_FRAGMENTS_DEFAULT,
            PlaybackMode::Live | PlaybackMode::LiveReplay => LIVE_FRAGMENTS_DEFAULT,
        }
    }
}

/// `Expires` in seconds.
pub(super) fn expires(from: &Members<'_>) -> Result<u32, Invalid> {
    let seconds = from.integer("Expires", SESSION_SECONDS_MIN.into(), SESSION_SECONDS_MAX.into())?;
    Ok(seconds.map_or(SESSION_SECONDS_MIN, |seconds| seconds as u32))
}

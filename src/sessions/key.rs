//! The key by which viewers share a session, and the id that distinguishes viewers.

use crate::kvs::bounds::{LIVE_WINDOW_MIN, PLAYLIST_FRAGMENTS};
use crate::kvs::{PlaybackMode, Protocol, SessionParameters, StreamRef, Timestamp};
use aws_lc_rs::digest;
use std::sync::Arc;

/// As `max_fragments` of ON_DEMAND: the whole range. HLS joins a long range from several upstream sessions.
/// DASH shows as much as one session lists, and a longer range is refused rather than cut.
pub const WHOLE_RANGE: u16 = u16::MAX;

/// Fragments of a live playlist if the caller does not say (docs/KVS.md 4.6).
pub(super) const LIVE_FRAGMENTS: u16 = 5;

/// Viewers with equal keys share an upstream session. No user is part of it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionKey {
    /// Which `[[aws]]` entry.
    pub entry: Arc<str>,
    /// The stream.
    pub stream: StreamRef,
    /// Mode, range, container and the rest; LIVE windows clamped.
    pub parameters: SessionParameters,
    /// LIVE_REPLAY only: when it began to play, in whole seconds. A replay runs by the clock, so viewers
    /// share one only if they began together.
    pub began: Option<Timestamp>,
}

impl SessionKey {
    /// The key for a capability `issued` then. LIVE lists 3 to `live_window` fragments.
    #[must_use]
    pub fn new(
        entry: Arc<str>,
        stream: StreamRef,
        mut parameters: SessionParameters,
        issued: Timestamp,
        live_window: u16,
    ) -> Self {
        if parameters.mode == PlaybackMode::Live {
            parameters.max_fragments =
                parameters.max_fragments.clamp(LIVE_WINDOW_MIN, live_window.max(LIVE_WINDOW_MIN));
        }
        let began = (parameters.mode == PlaybackMode::LiveReplay)
            .then(|| Timestamp::from_millis(issued.millis() / 1000 * 1000));
        Self { entry, stream, parameters, began }
    }

    /// The stream's name or ARN, for logs and the admin listener.
    pub(super) fn stream_text(&self) -> &str {
        match &self.stream {
            StreamRef::Name(name) => name.as_str(),
            StreamRef::Arn(arn) => arn.as_str(),
        }
    }

    /// The range of a key that may take more than one upstream session.
    pub(super) fn long_range(&self) -> Option<(Timestamp, Timestamp)> {
        let parameters = &self.parameters;
        let whole = parameters.max_fragments == WHOLE_RANGE
            && parameters.mode == PlaybackMode::OnDemand
            && parameters.protocol == Protocol::Hls;
        if whole { parameters.start.zip(parameters.end) } else { None }
    }

    /// The key of one part of it.
    pub(super) fn part(&self, (start, end): (Timestamp, Timestamp)) -> Self {
        let (start, end) = (Some(start), Some(end));
        // The next part begins by the time of the last fragment.
        let parameters = SessionParameters {
            start,
            end,
            max_fragments: PLAYLIST_FRAGMENTS,
            show_timestamps: true,
            ..self.parameters.clone()
        };
        Self { parameters, ..self.clone() }
    }

    /// Most fragments that one upstream session lists.
    #[must_use]
    pub fn most(&self) -> u16 {
        self.parameters.max_fragments.min(PLAYLIST_FRAGMENTS)
    }

    /// Whether a manifest must hold the whole range.
    pub(super) fn is_whole_manifest(&self) -> bool {
        self.parameters.max_fragments == WHOLE_RANGE && self.parameters.protocol == Protocol::Dash
    }

    /// True for LIVE and LIVE_REPLAY, whose playlists change.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.parameters.mode != PlaybackMode::OnDemand
    }

    /// The parameters to open an upstream session with. KVS is asked for more than viewers see: times and
    /// numbers of fragments are needed to keep one session after another continuous. `reached` is where a
    /// replay has come to.
    pub(super) fn upstream(&self, reached: Option<Timestamp>, now: Timestamp) -> SessionParameters {
        let mut parameters = self.parameters.clone();
        parameters.max_fragments = self.most();
        if self.is_live() {
            parameters.show_timestamps = true;
            parameters.show_numbers = parameters.protocol == Protocol::Dash;
        }
        if let (Some(began), Some(start)) = (self.began, parameters.start) {
            let reached = reached.unwrap_or_else(|| start.plus(began.age(now)));
            let last = parameters.end.map_or(reached, |end| reached.min(end.minus(LAST)));
            parameters.start = Some(last.max(start));
        }
        parameters
    }
}

/// A replay that has come to its end is reopened at its last fragments: 20 s hold at least one.
const LAST: std::time::Duration = std::time::Duration::from_secs(20);

/// Distinguishes viewers without identifying them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ViewerId(u64);

impl From<u64> for ViewerId {
    /// From a number that only this viewer has.
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl ViewerId {
    /// The id of a viewer, from text that only this viewer has: its capability, or issuer and subject.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let digest = digest::digest(&digest::SHA256, text.as_bytes());
        Self(digest.as_ref()[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::kvs::{Container, DiscontinuityMode, SelectorType, StreamName};
    use std::time::Duration;

    pub(in crate::sessions) fn parameters(mode: PlaybackMode, protocol: Protocol) -> SessionParameters {
        let start = (mode != PlaybackMode::Live).then(|| Timestamp::from_millis(1_767_225_600_000));
        SessionParameters {
            protocol,
            mode,
            selector: SelectorType::Server,
            start,
            end: start.filter(|_| mode == PlaybackMode::OnDemand).map(|s| s.plus(Duration::from_secs(600))),
            container: Container::FragmentedMp4,
            discontinuity: DiscontinuityMode::Never,
            show_timestamps: false,
            show_numbers: false,
            max_fragments: 5,
            ends_when_silent: false,
        }
    }

    pub(in crate::sessions) fn key(mode: PlaybackMode, protocol: Protocol) -> SessionKey {
        let stream = StreamRef::Name(StreamName::parse("cam-1").unwrap());
        SessionKey::new(
            "main".into(),
            stream,
            parameters(mode, protocol),
            Timestamp::from_millis(1_800_000_000_900),
            5,
        )
    }

    #[test]
    fn live_windows_are_clamped_and_others_left() {
        for (asked, window, given) in [(1, 5, 3), (5, 5, 5), (5000, 5, 5), (5000, 10, 10), (2, 3, 3)] {
            let mut parameters = parameters(PlaybackMode::Live, Protocol::Hls);
            parameters.max_fragments = asked;
            let stream = StreamRef::Name(StreamName::parse("cam-1").unwrap());
            let key = SessionKey::new("main".into(), stream, parameters, Timestamp::from_millis(0), window);
            assert_eq!(key.parameters.max_fragments, given);
        }
        let mut whole = parameters(PlaybackMode::OnDemand, Protocol::Hls);
        whole.max_fragments = 5000;
        let stream = StreamRef::Name(StreamName::parse("cam-1").unwrap());
        let key = SessionKey::new("main".into(), stream, whole, Timestamp::from_millis(0), 5);
        assert_eq!((key.parameters.max_fragments, key.began), (5000, None));
    }

    #[test]
    fn a_replay_goes_on_where_it_was_by_the_clock() {
        let key = key(PlaybackMode::LiveReplay, Protocol::Hls);
        assert_eq!(key.began, Some(Timestamp::from_millis(1_800_000_000_000)));
        let (start, began) = (key.parameters.start.unwrap(), key.began.unwrap());
        assert_eq!(key.upstream(None, began).start, Some(start));
        let later = began.plus(Duration::from_secs(90));
        assert_eq!(key.upstream(None, later).start, Some(start.plus(Duration::from_secs(90))));
        let reached = start.plus(Duration::from_secs(50));
        assert_eq!(key.upstream(Some(reached), later).start, Some(reached));
        let mut ending = key.clone();
        ending.parameters.end = Some(start.plus(Duration::from_secs(60)));
        assert_eq!(ending.upstream(None, later).start, Some(start.plus(Duration::from_secs(40))));
    }

    #[test]
    fn more_is_asked_than_shown_where_playlists_change() {
        let live = key(PlaybackMode::Live, Protocol::Dash).upstream(None, Timestamp::from_millis(0));
        assert!(live.show_timestamps && live.show_numbers);
        let whole = key(PlaybackMode::OnDemand, Protocol::Dash);
        assert_eq!(whole.upstream(None, Timestamp::from_millis(0)), whole.parameters);
    }
}

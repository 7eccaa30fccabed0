//! What is decided, apart from the caller: which action, on which stream, over which footage, from where,
//! when.
//!
//! Everything that a condition can read is worked out here, without Cedar. A request that does not say which
//! footage it will show is judged as if it showed all of it.

use crate::kvs::{
    ApiName, Call, FragmentNumber, Operation, PlaybackMode, Request, Resource, StreamArn, StreamName,
    StreamRef, TimeRange, Timestamp,
};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// What a request asks permission for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// The action.
    pub operation: Operation,
    /// For GetDataEndpoint, the API whose endpoint is requested.
    pub endpoint_of: Option<ApiName>,
    /// The playback mode, for session calls and playback.
    pub mode: Option<PlaybackMode>,
    /// Which footage the answer would show.
    pub footage: Footage,
}

/// Which footage an answer would show.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Footage {
    /// None, or what the camera sees now: LIVE sessions and descriptions.
    Now,
    /// A range of the archive.
    Range(TimeRange),
    /// Not known before the answer: judged as everything from 1970 until now.
    Unknown,
}

/// Where, when and on which stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestContext {
    /// The present.
    pub now: Timestamp,
    /// The client's address, behind trusted proxies the one that they report.
    pub source_ip: IpAddr,
    /// The stream; `None` only for ListStreams.
    pub stream: Option<StreamFacts>,
}

/// What is known of a stream. Facts that no policy reads ([`super::Policy::reads`]) need not be fetched.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct StreamFacts {
    /// Its name.
    pub name: StreamName,
    /// Its region: the ARN's, or that of the `[[aws]]` entry that serves it.
    pub region: Arc<str>,
    /// Its account, if known.
    pub account: Option<Arc<str>>,
    /// Its ARN as KVS describes it, if known. The ARN in a request is not used, since it may hold any
    /// creation time.
    pub arn: Option<StreamArn>,
    /// Its tags, if they were fetched; `None` is not "no tags".
    pub tags: Option<BTreeMap<String, String>>,
}

impl StreamFacts {
    /// How much memory it takes, in bytes, beside the value itself.
    pub(super) fn weight(&self) -> usize {
        /// Two texts, their place in the map, and what the allocator rounds up.
        const PER_TAG: usize = 112;
        let text = |text: &Option<Arc<str>>| text.as_deref().map_or(0, str::len);
        let tags = self.tags.iter().flatten().map(|(key, value)| key.len() + value.len() + PER_TAG);
        let arn = self.arn.as_ref().map_or(0, |arn| arn.as_str().len());
        self.name.as_str().len() + text(&self.account) + arn + tags.sum::<usize>()
    }
}

impl Question {
    /// An action that shows no footage.
    #[must_use]
    pub const fn about(operation: Operation) -> Self {
        Self { operation, endpoint_of: None, mode: None, footage: Footage::Now }
    }

    /// What a request asks, judged at `now`.
    #[must_use]
    pub fn of(request: &Request, now: Timestamp) -> Self {
        let endpoint_of = match request {
            Request::Call(Call::GetDataEndpoint(call)) => Some(call.api),
            _ => None,
        };
        let (operation, mode) = (request.operation(), request.mode());
        let footage = match request {
            Request::Call(Call::GetMediaForFragmentList(call)) => Footage::of_fragments(&call.fragments, now),
            Request::Playback { session, resource: Resource::Packaged(packaged), .. } => {
                Footage::of_packaged(packaged.address.time, session.range())
            }
            _ => Footage::of(operation, mode, request.range()),
        };
        Self { operation, endpoint_of, mode, footage }
    }

    /// LIVE, LIVE_REPLAY or ON_DEMAND, as `context.mode`. What is no playback is judged as ON_DEMAND if it
    /// shows footage and as LIVE if it shows none.
    pub(super) fn mode(&self) -> PlaybackMode {
        self.mode.unwrap_or(match self.footage {
            Footage::Now => PlaybackMode::Live,
            Footage::Range(_) | Footage::Unknown => PlaybackMode::OnDemand,
        })
    }
}

impl Footage {
    /// What an operation shows: without a range it is now for LIVE and for descriptions, else unknown.
    #[must_use]
    pub fn of(operation: Operation, mode: Option<PlaybackMode>, range: Option<TimeRange>) -> Self {
        let shows_none = matches!(
            operation,
            Operation::DescribeStream | Operation::ListStreams | Operation::GetDataEndpoint
        );
        match range {
            Some(range) => Self::Range(range),
            None if shows_none || mode == Some(PlaybackMode::Live) => Self::Now,
            None => Self::Unknown,
        }
    }

    /// From the oldest to the newest of these fragments, by the server time that their numbers carry.
    #[must_use]
    pub fn of_fragments(fragments: &[FragmentNumber], now: Timestamp) -> Self {
        let times: Option<Vec<Timestamp>> = fragments.iter().map(|number| number.server_time(now)).collect();
        let bounds = times.and_then(|times| Some((*times.iter().min()?, *times.iter().max()?)));
        bounds.map_or(Self::Unknown, |(start, end)| Self::Range(TimeRange { start, end: Some(end) }))
    }

    /// The instant at which a segment is presented, as far as its session reaches. That is the producer's
    /// time of its fragment, or later; once the fragment is known, its own time is judged too
    /// ([`super::Policy::permit_fragment`]).
    fn of_packaged(time: Timestamp, range: Option<TimeRange>) -> Self {
        match range {
            Some(TimeRange { start, end }) => {
                let time = end.map_or(time, |end| time.min(end)).max(start);
                Self::Range(TimeRange { start: time, end: Some(time) })
            }
            None => Self::Unknown,
        }
    }

    /// Its first and last instant, seen from `now`.
    pub(super) fn bounds(self, now: Timestamp) -> (Timestamp, Timestamp) {
        match self {
            Self::Now => (now, now),
            Self::Unknown => (Timestamp::from_millis(0), now),
            // LIVE_REPLAY without an end catches up with the present.
            Self::Range(range) => (range.start, range.end.unwrap_or_else(|| now.max(range.start))),
        }
    }

    /// How old it is and how long, seen from `now`.
    pub(super) fn ages(self, now: Timestamp) -> Ages {
        let (start, end) = self.bounds(now);
        let millis = signed(end) - signed(start);
        // Lengths are rounded upwards: 3600.5 s is more than an hour.
        let duration = -(-millis).div_euclid(1000);
        Ages { start: age(start, now), end: age(end, now), duration }
    }
}

/// `context.start_age`, `end_age` and `duration`, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ages {
    pub start: i64,
    pub end: i64,
    pub duration: i64,
}

/// Whole seconds, downwards, so that "the last day" still holds when the request has travelled for half a
/// second. Negative for what lies ahead.
fn age(time: Timestamp, now: Timestamp) -> i64 {
    (signed(now) - signed(time)).div_euclid(1000)
}

fn signed(time: Timestamp) -> i64 {
    // A timestamp ends with the year 9999, far inside i64.
    i64::try_from(time.millis()).unwrap_or(i64::MAX)
}

/// A fragment of a playback session that its session need not contain: a number whose own time is not in the
/// range that was judged is judged by that time as well.
///
/// KVS gives any fragment of a stream to the holder of a session token, so a viewer of LIVE with yesterday's
/// numbers would otherwise fetch yesterday's footage, and one of yesterday today's. The time in a number is
/// the server's. Footage that a range by the producer's clock shows reaches the server later than it was
/// made: what reached it after the end of the range must be permitted by that time too, since nothing says
/// that it was made inside. Numbers of another structure are left to the session.
pub(super) fn stray(request: &Request, now: Timestamp) -> Option<Footage> {
    use crate::kvs::Protocol;
    let Request::Playback { session, resource, .. } = request else { return None };
    let number = match resource {
        // DASH numbers are positions in the session.
        Resource::Mp4Fragment { protocol: Protocol::Hls, number, .. } | Resource::TsFragment { number } => {
            number
        }
        _ => return None,
    };
    let time = number.server_time(now)?;
    let inside = match (session.mode, session.range()) {
        (PlaybackMode::Live, _) | (_, None) => time >= now.minus(LIVE_REACH),
        (_, Some(range)) => time >= range.start && range.end.is_none_or(|end| time <= end),
    };
    (!inside).then_some(Footage::Range(TimeRange { start: time, end: Some(time) }))
}

/// The footage that a request names by the numbers of fragments: of a list of them, or of one that its
/// session need not contain.
#[must_use]
pub fn named_by_number(request: &Request, now: Timestamp) -> Option<TimeRange> {
    let footage = match request {
        Request::Call(Call::GetMediaForFragmentList(call)) => Footage::of_fragments(&call.fragments, now),
        _ => stray(request, now)?,
    };
    match footage {
        Footage::Range(range) => Some(range),
        Footage::Now | Footage::Unknown => None,
    }
}

/// LIVE permits what a live window may list, by whatever number it is asked for: 10 fragments of 20 s, for a
/// player that lags by a hundred seconds. Ranges have no such slack.
const LIVE_REACH: Duration = Duration::from_secs(5 * 60);

impl StreamFacts {
    /// Fills what is not known with what a stream without tags would have, for a stream that does not exist.
    /// A caller that may use a stream of that name learns that it does not exist; a caller that needs a tag
    /// does not.
    pub fn assume_bare(&mut self, named: &StreamRef) {
        self.tags.get_or_insert_default();
        let account =
            self.account.get_or_insert_with(|| named.arn().map_or("000000000000", StreamArn::account).into());
        if self.arn.is_none() {
            let made_up = format!("arn:aws:kinesisvideo:{}:{account}:stream/{}/0", self.region, self.name);
            self.arn = named.arn().cloned().or_else(|| StreamArn::parse(&made_up).ok());
        }
    }

    /// True if these facts are about the stream that a request names, by whatever it names it.
    pub(super) fn describe(&self, named: &StreamRef) -> bool {
        let Some(arn) = named.arn() else { return self.name == *named.name() };
        self.name == *arn.name()
            && *self.region == *arn.region()
            && self.account.as_deref().is_none_or(|account| account == arn.account())
            && self.arn.as_ref().is_none_or(|known| known == arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    fn range(start_ago: u64, end_ago: Option<u64>) -> Footage {
        let back = |millis| NOW.minus(Duration::from_millis(millis));
        Footage::Range(TimeRange { start: back(start_ago), end: end_ago.map(back) })
    }

    #[test]
    fn ages_are_whole_seconds_and_what_is_unknown_is_everything() {
        for (footage, start, end, duration) in [
            (Footage::Now, 0, 0, 0),
            (range(86_400_000, Some(0)), 86_400, 0, 86_400),
            (range(86_400_999, Some(400)), 86_400, 0, 86_401),
            (range(86_401_000, Some(1_000)), 86_401, 1, 86_400),
            (range(7_200_000, None), 7_200, 0, 7_200),
            (Footage::Unknown, 1_767_225_600, 0, 1_767_225_600),
        ] {
            assert_eq!(footage.ages(NOW), Ages { start, end, duration }, "{footage:?}");
        }
        let ahead = TimeRange { start: NOW.plus(Duration::from_secs(60)), end: None };
        assert_eq!(Footage::Range(ahead).ages(NOW), Ages { start: -60, end: -60, duration: 0 });
    }

    #[test]
    fn facts_must_be_about_the_stream_that_was_named() {
        let arn = |text: &str| StreamRef::Arn(StreamArn::parse(text).unwrap());
        let facts = StreamFacts {
            name: StreamName::parse("cam-1").unwrap(),
            region: "eu-west-1".into(),
            account: Some("111122223333".into()),
            arn: None,
            tags: None,
        };
        assert!(facts.describe(&StreamRef::Name(StreamName::parse("cam-1").unwrap())));
        assert!(!facts.describe(&StreamRef::Name(StreamName::parse("Cam-1").unwrap())));
        let right = "arn:aws:kinesisvideo:eu-west-1:111122223333:stream/cam-1/1720751492346";
        assert!(facts.describe(&arn(right)));
        for (from, to) in [("eu-west-1", "eu-west-2"), ("111122223333", "444455556666"), ("cam-1", "cam-2")] {
            assert!(!facts.describe(&arn(&right.replace(from, to))), "{to}");
        }
        let known = StreamFacts { arn: Some(StreamArn::parse(right).unwrap()), ..facts };
        assert!(known.describe(&arn(right)));
        assert!(!known.describe(&arn(&right.replace("1720751492346", "1"))));
    }
}

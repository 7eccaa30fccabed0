//! Who watches: counted by requests, gone after a while without any.

use super::key::{SessionKey, ViewerId};
use super::metrics::Counted;
use prometheus::IntGauge;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The viewers of one session.
pub(super) struct Viewers {
    present: HashMap<ViewerId, Seen>,
    gauge: IntGauge,
    /// Bytes served to all of them, ever.
    pub bytes: u64,
}

struct Seen {
    since: Instant,
    last: Instant,
    bytes: u64,
    _counted: Counted,
}

/// A viewer beyond these is served and not told apart.
const MOST: usize = 100_000;

impl Viewers {
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self { present: HashMap::new(), gauge, bytes: 0 }
    }

    /// A request by `viewer`, or bytes that went to it.
    pub(super) fn seen(&mut self, viewer: ViewerId, bytes: u64, now: Instant) {
        self.bytes += bytes;
        if let Some(seen) = self.present.get_mut(&viewer) {
            seen.last = now;
            seen.bytes += bytes;
        } else if self.present.len() < MOST {
            let counted = Counted::one(&self.gauge);
            self.present.insert(viewer, Seen { since: now, last: now, bytes, _counted: counted });
        }
    }

    /// Takes out those who have not asked for anything since `timeout`, or all.
    pub(super) fn gone(&mut self, timeout: Option<Duration>, now: Instant) -> Vec<(ViewerId, Duration, u64)> {
        let is_gone = |seen: &Seen| timeout.is_none_or(|timeout| now.duration_since(seen.last) > timeout);
        self.present
            .extract_if(|_, seen| is_gone(seen))
            .map(|(viewer, seen)| (viewer, seen.last.duration_since(seen.since), seen.bytes))
            .collect()
    }

    pub(super) fn count(&self) -> usize {
        self.present.len()
    }
}

/// What a viewer who has gone has watched.
#[derive(Clone, Debug)]
pub struct Viewing {
    /// Of which session.
    pub key: SessionKey,
    /// Who, as the gateway named the viewer.
    pub viewer: ViewerId,
    /// From the first request to the last.
    pub watched: Duration,
    /// Bytes of media.
    pub bytes: u64,
}

/// A session as `/sessions` shows it. No secrets.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SessionInfo {
    /// Name or ARN.
    pub stream: String,
    /// Which `[[aws]]` entry.
    pub aws: String,
    /// `hls` or `dash`.
    pub protocol: &'static str,
    /// `LIVE`, `LIVE_REPLAY` or `ON_DEMAND`.
    pub mode: &'static str,
    /// How many watch.
    pub viewers: usize,
    /// Since it was first watched.
    pub age_seconds: u64,
    /// Media bytes served.
    pub bytes: u64,
    /// How often the upstream session was replaced.
    pub renewals: u32,
    /// True while an upstream session is held.
    pub open: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_counts_once_and_is_gone_after_a_while() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let mut viewers = Viewers::new(gauge.clone());
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        viewers.seen(ViewerId::of("a"), 5, at(0));
        viewers.seen(ViewerId::of("a"), 6, at(20));
        viewers.seen(ViewerId::of("b"), 0, at(40));
        assert_eq!((viewers.count(), gauge.get(), viewers.bytes), (2, 2, 11));
        let gone = viewers.gone(Some(Duration::from_secs(30)), at(51));
        assert_eq!(gone, [(ViewerId::of("a"), Duration::from_secs(20), 11)]);
        assert_eq!(gauge.get(), 1);
        assert_eq!(viewers.gone(None, at(51)).len(), 1);
        drop(viewers);
        assert_eq!(gauge.get(), 0);
    }
}

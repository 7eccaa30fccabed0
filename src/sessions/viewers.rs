//! The viewers of a session: counted by requests, forgotten after a while without any.

use super::key::ViewerId;
use prometheus::IntGauge;
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// The viewers of one session, each with the time of its last request.
pub(super) struct Viewers {
    present: HashMap<ViewerId, Instant, foldhash::fast::RandomState>,
    gauge: IntGauge,
    /// Media bytes sent to all viewers since the session was first watched.
    pub(super) bytes: u64,
}

/// Viewers beyond this number are served but not counted, so that the map stays bounded.
const MOST: usize = 100_000;

impl Viewers {
    pub(super) fn new(gauge: IntGauge) -> Self {
        Self { present: HashMap::default(), gauge, bytes: 0 }
    }

    /// Notes a request by `viewer`, or media bytes that were sent to it.
    pub(super) fn note(&mut self, viewer: ViewerId, bytes: u64, now: Instant) {
        self.bytes += bytes;
        if let Some(last) = self.present.get_mut(&viewer) {
            *last = now;
        } else if self.present.len() < MOST {
            self.present.insert(viewer, now);
            self.gauge.inc();
        }
    }

    /// Forgets viewers without a request for longer than `timeout`.
    pub(super) fn forget_idle(&mut self, timeout: Duration, now: Instant) {
        let before = self.count();
        self.present.retain(|_, last| now.duration_since(*last) <= timeout);
        self.gauge.sub(i64::try_from(before - self.count()).unwrap_or(0));
    }

    pub(super) fn count(&self) -> usize {
        self.present.len()
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.gauge.sub(i64::try_from(self.count()).unwrap_or(0));
    }
}

/// A session as the admin listener's `/sessions` shows it. It holds no secrets.
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
    /// How many viewers there are.
    pub viewers: usize,
    /// Seconds since it was first watched.
    pub age_seconds: u64,
    /// Media bytes served.
    pub bytes: u64,
    /// How often the upstream session was replaced.
    pub renewals: u32,
    /// True while an upstream session is open.
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
        viewers.note(ViewerId::of("a"), 5, at(0));
        viewers.note(ViewerId::of("a"), 6, at(20));
        viewers.note(ViewerId::of("b"), 0, at(40));
        assert_eq!((viewers.count(), gauge.get(), viewers.bytes), (2, 2, 11));
        viewers.forget_idle(Duration::from_secs(30), at(51));
        assert_eq!((viewers.count(), gauge.get()), (1, 1));
        viewers.note(ViewerId::of("b"), 0, at(51));
        assert_eq!(gauge.get(), 1, "the one that is left is b");
        drop(viewers);
        assert_eq!(gauge.get(), 0);
    }
}

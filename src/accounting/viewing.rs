//! Media bytes of one request, counted towards the viewing that they belong to when they have left.

use crate::base::clock;
use crate::kvs::Timestamp;
use crate::sessions::{SessionKey, Sessions, ViewerId};
use crate::telemetry::audit::Viewings;
use std::net::IpAddr;
use std::sync::Arc;

/// Where the bytes of a request count. As long as it lives, the viewing has not ended.
pub struct Viewing {
    /// The viewings of all callers.
    pub watch: Arc<Viewings>,
    /// The viewing is one that `watch` knows.
    pub counts: bool,
    /// Shared playback sessions, which count their viewers' bytes too.
    pub sessions: Sessions,
    /// Which of them is watched.
    pub key: SessionKey,
    /// By whom, as the session counts viewers.
    pub viewer: ViewerId,
    /// The identifier of the viewing.
    pub viewing: Arc<str>,
    /// Where the client is.
    pub source_ip: IpAddr,
    /// The start of the footage that is shown, if the fragment says it.
    pub footage: Option<Timestamp>,
}

impl Viewing {
    /// Counts body bytes that left.
    pub fn shown(&self, bytes: u64) {
        // An answer without a body, to HEAD or to a client that has left, showed no footage.
        if bytes > 0 {
            self.watch.shown(&self.viewing, self.source_ip, bytes, self.footage);
        }
        self.sessions.count_bytes(&self.key, self.viewer, bytes);
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if self.counts {
            self.watch.ends(&self.viewing, self.source_ip, Timestamp::from(clock::now()));
        }
    }
}

//! Media bytes of one request, counted towards the viewing that they belong to when they have left.

use crate::base::clock;
use crate::kvs::Timestamp;
use crate::sessions::{SessionKey, Sessions, ViewerId};
use crate::telemetry::audit::Viewings;
use std::net::IpAddr;
use std::sync::Arc;

/// Where the bytes of a request count. As long as it lives, the viewing has not ended.
pub(super) struct Viewing {
    pub(super) watch: Arc<Viewings>,
    /// The viewing is one that `watch` knows.
    pub(super) counts: bool,
    pub(super) sessions: Sessions,
    pub(super) key: SessionKey,
    pub(super) viewer: ViewerId,
    pub(super) viewing: Arc<str>,
    pub(super) source_ip: IpAddr,
    /// The start of the footage that is shown, if the fragment says it.
    pub(super) footage: Option<Timestamp>,
}

impl Viewing {
    /// Counts body bytes that left.
    pub(super) fn shown(&self, bytes: u64) {
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

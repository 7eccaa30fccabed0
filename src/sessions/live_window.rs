//! What the live list of a camera shows, for people and pages: a list begins behind the last gap, so it may
//! say less than its length lets expect.

use crate::kvs::Timestamp;

/// What the live list of a camera shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LiveWindow {
    /// When the oldest fragment listed began.
    pub from: Timestamp,
    /// When the newest fragment listed ended.
    pub to: Timestamp,
    /// The last time in which nothing was recorded for more than two target durations, among the fragments
    /// that KVS listed. What is ahead of it is not listed.
    pub gap: Option<(Timestamp, Timestamp)>,
    /// Nothing has been recorded since `to` for more than two target durations: the list stands still.
    pub silent: bool,
}

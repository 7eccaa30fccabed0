//! Calls to Kinesis Video Streams: one well-behaved client, whatever the number of viewers.
//!
//! [`Upstream::locate`] finds the account and region that serve a stream, [`Upstream::call`] makes one of
//! the nine calls, [`Upstream::open_session`] and [`Upstream::fetch`] do playback. Each finds its endpoint,
//! waits for its turn under KVS's quotas, signs, sends, and retries where that helps and does no harm.
//! Requests are made from scratch, so only the meaning of a client's request reaches KVS.
//!
//! Caching of media and sharing of sessions are other parts, which use the calls of this one.

mod account;
mod answer;
mod attempt;
mod behalf;
mod breaker;
mod call;
mod client;
mod config;
mod describe;
mod descriptions;
mod endpoints;
mod entry;
mod error;
mod held;
mod metrics;
mod mkv;
mod origin;
pub mod pages;
mod quota;
mod request;
mod retry;
mod session;
mod shared_answers;

pub use account::{EntryConfig, Quotas, check};
pub use answer::Answer;
pub use behalf::{CallLog, OnBehalfOf, PointsAccount};
pub use client::{Located, Upstream, points};
pub use config::Config;
pub use descriptions::{Description, Tags};
pub use error::Error;
pub use metrics::Metrics;
pub use mkv::{Chunk, Chunks, InBand};
pub use session::{SessionToken, SessionUrl};

#[cfg(test)]
mod tests;

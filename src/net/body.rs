//! Bodies as streams of shared chunks, which end whole or with an error.

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

/// A body of shared chunks. Dropping it cancels its producer.
pub type ByteStream = UnsyncBoxBody<Bytes, Broken>;

/// A body that ended before its end. A response that passes it on is aborted too, so that the client notices,
/// and nothing of it is stored (law 4).
#[derive(Clone, Debug, thiserror::Error)]
pub enum Broken {
    /// The other side closed or reset the connection, or sent fewer bytes than it announced.
    #[error("the body ended early: {0}")]
    Cut(String),
    /// No chunk arrived within the time allowed between chunks.
    #[error("the body stalled for {0:?}")]
    Stalled(std::time::Duration),
    /// The whole transfer took longer than its deadline.
    #[error("the body took longer than {0:?}")]
    TooLong(std::time::Duration),
    /// What arrived is not what was asked for, such as an in-band error chunk.
    #[error("the body is not what was asked for: {0}")]
    Refused(String),
}

/// A body from bytes that are already here.
#[must_use]
pub fn whole(bytes: Bytes) -> ByteStream {
    http_body_util::Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

//! Bodies as streams of shared chunks, which end whole or with an error.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use std::pin::Pin;
use std::task::{Context, Poll};

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

/// A body from pieces, each made with little work when it is asked for. They have `length` bytes
/// together.
#[must_use]
pub fn in_pieces(pieces: impl Iterator<Item = Bytes> + Send + Unpin + 'static, length: u64) -> ByteStream {
    InPieces { pieces, left: length }.boxed_unsync()
}

struct InPieces<I> {
    pieces: I,
    /// Bytes that are still to come.
    left: u64,
}

impl<I: Iterator<Item = Bytes> + Unpin> Body for InPieces<I> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match self.pieces.next() {
            Some(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            None if self.left > 0 => Some(Err(Broken::Cut("a text that is kept is not whole".to_owned()))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

//! A body that is here whole, in pieces.

use super::body::cut;
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

struct Pieces {
    pieces: VecDeque<Bytes>,
    /// Bytes that are still to come.
    left: u64,
    /// Counts what leaves.
    bytes: IntCounter,
}

/// A part of these pieces as a body.
pub(super) fn body(pieces: Vec<Bytes>, part: Range<usize>, bytes: IntCounter) -> ByteStream {
    let pieces = cut(pieces, part);
    let left = pieces.iter().map(|piece| piece.len() as u64).sum();
    Pieces { pieces, left, bytes }.boxed_unsync()
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let piece = self.pieces.pop_front();
        Poll::Ready(piece.map(|piece| {
            self.left -= piece.len() as u64;
            self.bytes.inc_by(piece.len() as u64);
            Ok(Frame::data(piece))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

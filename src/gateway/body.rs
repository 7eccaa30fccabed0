//! A response body that knows how much of it left.
//!
//! Wherever the bytes come from, they pass here on their way to the socket; when the last one has, or the client
//! has gone, the [`Record`] is written.

use super::record::Record;
use crate::cache::Reader;
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body on its way to a client.
pub struct Body {
    source: Source,
    /// What the source gave and did not fit into a piece.
    rest: Bytes,
    /// How much goes in one piece.
    piece: usize,
    record: Option<Box<Record>>,
}

/// Where the bytes come from.
pub enum Source {
    /// No body.
    Empty,
    /// Bytes at hand.
    Whole(Bytes),
    /// The cache: an entry, or a fill under way.
    Cached(Reader),
    /// Straight from upstream.
    Passing(ByteStream),
}

impl Body {
    /// A body that will write `record` when it is done.
    #[must_use]
    pub fn new(source: Source, record: Box<Record>) -> Self {
        let piece = if record.protocol == http::Version::HTTP_2 { PIECE_OF_HTTP2 } else { PIECE };
        Self { source, rest: Bytes::new(), piece, record: Some(record) }
    }

    /// The next piece: of what is left, or of what the source has.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.rest.is_empty() {
            let frame = match &mut self.source {
                Source::Empty => None,
                Source::Whole(bytes) if bytes.is_empty() => None,
                Source::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
                Source::Cached(reader) => ready!(Pin::new(reader).poll_frame(cx)),
                Source::Passing(stream) => ready!(Pin::new(stream).poll_frame(cx)),
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                // Trailers: nothing of ours has any.
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(self.rest.len().min(self.piece))))))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        let frame = this.next(cx);
        if let Some(record) = &mut this.record {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => record.sent(frame.data_ref().map_or(0, Bytes::len)),
                Poll::Ready(Some(Err(broken))) => record.broke(broken),
                Poll::Ready(None) => record.ended(),
                Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        if !self.rest.is_empty() {
            return false;
        }
        match &self.source {
            Source::Empty => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Cached(reader) => reader.is_end_stream(),
            Source::Passing(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let of_source = match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Cached(reader) => reader.size_hint(),
            Source::Passing(stream) => stream.size_hint(),
        };
        let held = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(of_source.lower() + held);
        if let Some(upper) = of_source.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // hyper does not poll a body that has ended once more, and never polls that of a HEAD.
        let ended = self.is_end_stream();
        if let Some(mut record) = self.record.take() {
            if ended {
                record.ended();
            }
            record.write();
        }
    }
}

/// How much of a body at hand goes to the socket in one piece: small enough that a client which leaves has been
/// counted for what it took, large enough to cost nothing.
const PIECE: usize = 256 * 1024;
/// The same where hyper asks for the next piece only once the peer's window has let the last one go: at
/// `limits.write_minimum` a piece takes as long as `limits.write_stall` gives it, so that a slow reader is told from one
/// who reads nothing.
const PIECE_OF_HTTP2: usize = 32 * 1024;

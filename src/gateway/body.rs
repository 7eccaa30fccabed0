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
use std::task::{Context, Poll};

/// A body on its way to a client.
pub struct Body {
    source: Source,
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
        Self { source, record: Some(record) }
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
        let frame = match &mut this.source {
            Source::Empty => Poll::Ready(None),
            Source::Whole(bytes) => Poll::Ready(take(bytes).map(|bytes| Ok(Frame::data(bytes)))),
            Source::Cached(reader) => Pin::new(reader).poll_frame(cx),
            Source::Passing(stream) => Pin::new(stream).poll_frame(cx),
        };
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
        match &self.source {
            Source::Empty => true,
            Source::Whole(bytes) => bytes.is_empty(),
            Source::Cached(reader) => reader.is_end_stream(),
            Source::Passing(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Cached(reader) => reader.size_hint(),
            Source::Passing(stream) => stream.size_hint(),
        }
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

fn take(bytes: &mut Bytes) -> Option<Bytes> {
    if bytes.is_empty() {
        return None;
    }
    Some(bytes.split_to(bytes.len().min(PIECE)))
}

//! A response body that counts the bytes that were sent.
//!
//! Wherever the bytes come from, they pass here on their way to the socket; when the last one has, or the
//! client has gone, the [`Record`] is written.

use super::record::Record;
use crate::cache::Reader;
use crate::net::body::{Broken, ByteStream};
use crate::net::chunk_list::ChunkList;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body on its way to a client.
pub struct Body {
    source: BodySource,
    /// What the source gave and did not fit into a piece.
    rest: Bytes,
    /// How much goes in one piece.
    piece: usize,
    /// Why the source gives nothing more.
    broken: Option<Broken>,
    /// What came before that had its chance to leave.
    flushed: bool,
    record: Option<Box<Record>>,
}

/// Where the bytes come from.
pub enum BodySource {
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
    pub fn new(source: BodySource, record: Box<Record>) -> Self {
        let piece = if record.protocol == http::Version::HTTP_2 { PIECE_OF_HTTP2 } else { PIECE };
        Self { source, rest: Bytes::new(), piece, broken: None, flushed: false, record: Some(record) }
    }

    /// The next piece: what is left and whatever else the source has ready, up to the size of one.
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<ChunkList>, Broken>>> {
        let mut piece = ChunkList::default();
        loop {
            if self.rest.is_empty() {
                match self.chunk(cx) {
                    Poll::Ready(Some(Ok(bytes))) => self.rest = bytes,
                    // What has come goes first; the source is asked again for its end, or for why it has
                    // none.
                    _ if !piece.is_empty() => break,
                    Poll::Ready(Some(Err(broken))) => return self.break_off(broken, cx),
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let room = self.piece - piece.len();
            piece.push(self.rest.split_to(self.rest.len().min(room)));
            if piece.len() >= self.piece {
                break;
            }
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// Ends with an error, but only when asked once more: hyper drops what it has not written yet when a body
    /// breaks, and the client shall have what was whole.
    fn break_off(
        &mut self,
        broken: Broken,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ChunkList>, Broken>>> {
        if std::mem::replace(&mut self.flushed, true) {
            return Poll::Ready(Some(Err(broken)));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The source's next chunk. One that broke stays so.
    fn chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(broken) = &self.broken {
            return Poll::Ready(Some(Err(broken.clone())));
        }
        let next = match &mut self.source {
            BodySource::Empty => None,
            BodySource::Whole(bytes) => Some(std::mem::take(bytes)).filter(|bytes| !bytes.is_empty()).map(Ok),
            BodySource::Cached(reader) => ready!(reader.poll_next(cx)),
            // Trailers: nothing of ours has any.
            BodySource::Passing(stream) => ready!(Pin::new(stream).poll_frame(cx))
                .map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())),
        };
        match &next {
            Some(Ok(_)) => {}
            Some(Err(broken)) => self.broken = Some(broken.clone()),
            None => self.source = BodySource::Empty,
        }
        Poll::Ready(next)
    }
}

impl HttpBody for Body {
    type Data = ChunkList;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ChunkList>, Broken>>> {
        let this = &mut *self;
        let frame = this.next(cx);
        if let Some(record) = &mut this.record {
            match &frame {
                Poll::Ready(Some(Ok(frame))) => record.sent(frame.data_ref().map_or(0, ChunkList::len)),
                Poll::Ready(Some(Err(broken))) => record.broke(broken),
                Poll::Ready(None) => record.ended(),
                Poll::Pending => {}
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        if !self.rest.is_empty() || self.broken.is_some() {
            return false;
        }
        match &self.source {
            BodySource::Empty => true,
            BodySource::Whole(bytes) => bytes.is_empty(),
            BodySource::Cached(reader) => reader.is_end_stream(),
            BodySource::Passing(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let of_source = match &self.source {
            BodySource::Empty => SizeHint::with_exact(0),
            BodySource::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            BodySource::Cached(reader) => reader.size_hint(),
            BodySource::Passing(stream) => stream.size_hint(),
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

/// How much of a body at hand goes to the socket in one piece: small enough that a client which leaves has
/// been counted for what it took, large enough to cost nothing.
const PIECE: usize = 256 * 1024;
/// The same where hyper asks for the next piece only once the peer's window has let the last one go: at
/// `limits.write_minimum` a piece takes as long as `limits.write_stall` gives it, so that a slow reader
/// differs from one that reads nothing.
const PIECE_OF_HTTP2: usize = 32 * 1024;

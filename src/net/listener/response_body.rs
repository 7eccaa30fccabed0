//! A response body under way, with the note on its end: whoever drops it, a request has ended.

use super::connection_state::Pulse;
use crate::net::piece::Piece;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One request under way.
pub(super) struct Flight {
    pulse: Arc<Pulse>,
    /// Which request of its connection.
    number: u32,
    /// A chunk was given and the next one not asked for.
    offering: bool,
    whole: bool,
}

impl Flight {
    pub(super) fn new(pulse: Arc<Pulse>, number: u32) -> Self {
        Self { pulse, number, offering: false, whole: false }
    }

    /// The answer is complete, or has no body.
    pub(super) fn land(&mut self) {
        self.whole = true;
    }

    fn asked(&mut self) {
        if std::mem::take(&mut self.offering) {
            self.pulse.asked(self.number);
        }
    }

    fn gave(&mut self) {
        self.pulse.gave(self.number);
        self.offering = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.asked();
        self.pulse.end(self.whole);
    }
}

/// The handler's body, or a few bytes of our own.
pub(super) enum Content<B> {
    Handler(B),
    Own(Option<Bytes>),
}

/// What hyper gets.
pub(super) struct Reply<B> {
    content: Content<B>,
    flight: Flight,
}

impl<B> Reply<B>
where
    B: Body + Unpin,
    B::Data: Into<Piece>,
{
    pub(super) fn new(content: Content<B>, flight: Flight) -> Self {
        let mut reply = Self { content, flight };
        if reply.is_end_stream() {
            reply.flight.land();
        }
        reply
    }
}

impl<B> Body for Reply<B>
where
    B: Body + Unpin,
    B::Data: Into<Piece>,
{
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let this = &mut *self;
        this.flight.asked();
        let polled = match &mut this.content {
            Content::Handler(body) => {
                let polled = Pin::new(body).poll_frame(context);
                polled.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(Into::into))))
            }
            Content::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
        };
        match &polled {
            Poll::Ready(None) => this.flight.land(),
            Poll::Ready(Some(Ok(_))) => {
                // The last chunk waits for the peer's window like any other: hyper drops us when it has gone.
                this.flight.gave();
                if this.is_end_stream() {
                    this.flight.land();
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Handler(body) => body.is_end_stream(),
            Content::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Handler(body) => body.size_hint(),
            Content::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
        }
    }
}

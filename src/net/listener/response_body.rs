//! A response body that notes its progress and its end in the state of the connection.

use super::connection_state::ConnectionState;
use crate::net::chunk_list::ChunkList;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// One request in progress. Dropping it, for whatever reason, ends the request.
pub(super) struct RequestInProgress {
    state: Arc<ConnectionState>,
    /// The request's number on its connection.
    number: u32,
    /// A chunk was given, and the body has not been polled since.
    chunk_offered: bool,
    whole: bool,
}

impl RequestInProgress {
    pub(super) fn new(state: Arc<ConnectionState>, number: u32) -> Self {
        Self { state, number, chunk_offered: false, whole: false }
    }

    /// The response is complete, or has no body.
    pub(super) fn complete(&mut self) {
        self.whole = true;
    }

    fn polled(&mut self) {
        if std::mem::take(&mut self.chunk_offered) {
            self.state.polled(self.number);
        }
    }

    fn offered(&mut self) {
        self.state.offered(self.number);
        self.chunk_offered = true;
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.polled();
        self.state.end(self.whole);
    }
}

/// The handler's body, or a few bytes of the listener's own.
pub(super) enum Content<B> {
    Handler(B),
    Own(Option<Bytes>),
}

/// The body that hyper sends.
pub(super) struct TrackedBody<B> {
    content: Content<B>,
    in_progress: RequestInProgress,
}

impl<B> TrackedBody<B>
where
    B: Body + Unpin,
    B::Data: Into<ChunkList>,
{
    pub(super) fn new(content: Content<B>, in_progress: RequestInProgress) -> Self {
        let mut reply = Self { content, in_progress };
        if reply.is_end_stream() {
            reply.in_progress.complete();
        }
        reply
    }
}

impl<B> Body for TrackedBody<B>
where
    B: Body + Unpin,
    B::Data: Into<ChunkList>,
{
    type Data = ChunkList;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<ChunkList>, B::Error>>> {
        let this = &mut *self;
        this.in_progress.polled();
        let polled = match &mut this.content {
            Content::Handler(body) => {
                let polled = Pin::new(body).poll_frame(context);
                polled.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(Into::into))))
            }
            Content::Own(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into())))),
        };
        match &polled {
            Poll::Ready(None) => this.in_progress.complete(),
            Poll::Ready(Some(Ok(_))) => {
                // The last chunk waits for the peer's window like any other; hyper drops the body when it has
                // been sent.
                this.in_progress.offered();
                if this.is_end_stream() {
                    this.in_progress.complete();
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

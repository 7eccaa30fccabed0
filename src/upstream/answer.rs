//! A good answer of KVS, while it is being received.

use super::attempt::Received;
use super::quota::Turn;
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use prometheus::IntCounter;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An answer whose status is 200 and whose head has been checked. Dropping the body cancels the transfer.
pub struct Answer {
    /// The body's length, where it is known ahead.
    pub length: Option<u64>,
    /// KVS's request id, for logs and support cases.
    pub request_id: Option<String>,
    /// How many requests it took, endpoint lookups not counted.
    pub attempts: u32,
    /// The bytes; they end whole or with [`Broken`].
    pub body: ByteStream,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("length", &self.length)
            .field("request_id", &self.request_id)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// `held` is kept until the body is dropped or ends, such as a place among five connections.
    pub(super) fn new(received: Received, attempts: u32, bytes: IntCounter, held: Turn) -> Self {
        let body = CountedBody { inner: received.body, bytes, held };
        Self { length: received.length, request_id: received.request_id, attempts, body: body.boxed_unsync() }
    }

    /// The whole body in memory.
    ///
    /// # Errors
    /// If it broke, or is larger than `at_most` bytes.
    pub async fn bytes(self, at_most: usize) -> Result<Bytes, Broken> {
        let held = super::held::hold(self.body, at_most).await?;
        if held.rest.is_some() {
            return Err(Broken::Refused(format!("it is larger than {at_most} bytes")));
        }
        Ok(held.bytes())
    }
}

/// Counts bytes as they arrive.
struct CountedBody {
    inner: ByteStream,
    bytes: IntCounter,
    held: Turn,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.bytes.inc_by(frame.data_ref().map_or(0, |chunk| chunk.len() as u64)),
            _ => self.held = Turn::default(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

//! The head of a body, held back until it has been checked, and the rest behind it.

use crate::net::body::{Broken, ByteStream};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The start of a body, and the rest if there is more.
pub(super) struct Held {
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) rest: Option<ByteStream>,
}

/// Reads until more than `at_most` bytes are there, or the end.
pub(super) async fn hold(mut body: ByteStream, at_most: usize) -> Result<Held, Broken> {
    let mut chunks = VecDeque::new();
    let mut size = 0;
    while size <= at_most {
        if at_most == 0 {
            return Ok(Held { chunks, rest: Some(body) });
        }
        match body.frame().await {
            None => return Ok(Held { chunks, rest: None }),
            Some(frame) => {
                if let Ok(chunk) = frame?.into_data() {
                    size += chunk.len();
                    chunks.push_back(chunk);
                }
            }
        }
    }
    Ok(Held { chunks, rest: Some(body) })
}

impl Held {
    /// What was held back, in one piece.
    pub(super) fn bytes(&self) -> Bytes {
        match self.chunks.len() {
            0 => Bytes::new(),
            1 => self.chunks[0].clone(),
            _ => {
                let mut all = BytesMut::with_capacity(self.chunks.iter().map(Bytes::len).sum());
                self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
                all.freeze()
            }
        }
    }

    /// The whole body again.
    pub(super) fn into_body(self) -> ByteStream {
        self.boxed_unsync()
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut self.rest {
            None => Poll::Ready(None),
            Some(rest) => Pin::new(rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        match self.rest.as_ref().map(|rest| rest.size_hint().exact()) {
            None => SizeHint::with_exact(held),
            Some(Some(left)) => SizeHint::with_exact(held + left),
            Some(None) => SizeHint::new(),
        }
    }
}

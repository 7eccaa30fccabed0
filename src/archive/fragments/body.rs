//! The body of a list of fragments: the next one is taken when the client has taken the one before.

use super::assembly::{Assembly, Failure};
use crate::net::body::Broken;
use bytes::Bytes;
use http_body::{Body, Frame};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type NextFragment = Pin<Box<dyn Future<Output = Option<(Result<Bytes, Broken>, Assembly)>> + Send>>;

/// The body of an answer.
pub(super) struct Feed {
    first: Option<Bytes>,
    next: Option<NextFragment>,
    /// How it ends, once what came before had its chance to leave.
    broken: Option<Broken>,
}

impl Feed {
    /// `first`, then what `assembly` yields.
    pub(super) fn new(first: Option<Bytes>, assembly: Assembly) -> Self {
        Self { first, next: Some(Box::pin(step(assembly))), broken: None }
    }
}

async fn step(mut assembly: Assembly) -> Option<(Result<Bytes, Broken>, Assembly)> {
    let fragment = assembly.next().await?;
    Some((fragment.map_err(Failure::into_broken), assembly))
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Some(Err(broken)));
        }
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let fragment = ready!(next.as_mut().poll(cx));
        self.next = None;
        match fragment {
            None => Poll::Ready(None),
            Some((Ok(bytes), assembly)) => {
                self.next = Some(Box::pin(step(assembly)));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some((Err(broken), _)) => {
                // hyper drops what it has not flushed when a body breaks; it flushes when a body has nothing
                // ready.
                self.broken = Some(broken);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

//! A response body with time limits, whose end is checked.

use super::error::chain;
use crate::net::body::Broken;
use bytes::Bytes;
use http::{Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// A response body: every wait and the whole transfer have time limits, and a missing end is an error.
pub(super) struct TimedBody {
    inner: Incoming,
    between: Duration,
    whole: Duration,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    /// A reader waits for a chunk. Without one, a pause is not the server's stall.
    waiting: bool,
    /// Bytes of the announced length that have not arrived.
    left: Option<u64>,
    ends_by_closing: bool,
    done: bool,
}

impl TimedBody {
    /// Limits the body of a response to a request that was sent at `started`.
    pub(super) fn over(
        response: Response<Incoming>,
        started: Instant,
        between: Duration,
        whole: Duration,
    ) -> Response<Self> {
        let left = response.body().size_hint().exact();
        // Without a length or chunking, a cut looks like the end.
        let ends_by_closing = left.is_none() && !response.headers().contains_key(header::TRANSFER_ENCODING);
        response.map(|inner| Self {
            inner,
            between,
            whole,
            deadline: started + whole,
            timer: Box::pin(tokio::time::sleep_until(started + whole)),
            waiting: false,
            left,
            ends_by_closing,
            done: false,
        })
    }

    fn broken(&mut self, why: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.done = true;
        Poll::Ready(Some(Err(why)))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.left {
            Some(left) if left > 0 => self.broken(Broken::Cut(format!("{left} announced bytes are missing"))),
            _ if self.ends_by_closing => {
                self.broken(Broken::Cut("its end is not marked, so it cannot be told from a cut".into()))
            }
            _ => {
                self.done = true;
                Poll::Ready(None)
            }
        }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                if let (Some(left), Some(chunk)) = (&mut this.left, frame.data_ref()) {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                // A body that trickles never waits long, but must end too.
                if Instant::now() >= this.deadline {
                    return this.broken(Broken::TooLong(this.whole));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.broken(Broken::Cut(chain(&error))),
            Poll::Ready(None) => this.end(),
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    let next = (Instant::now() + this.between).min(this.deadline);
                    this.timer.as_mut().reset(next);
                }
                std::task::ready!(this.timer.as_mut().poll(cx));
                if Instant::now() >= this.deadline {
                    this.broken(Broken::TooLong(this.whole))
                } else {
                    this.broken(Broken::Stalled(this.between))
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.left == Some(0) && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

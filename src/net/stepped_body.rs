//! A body whose pieces are made one step after the other, each when the client has taken those before.

use super::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What makes the pieces of a body.
pub trait Steps: Sized + Send + 'static {
    /// The next pieces and what makes those behind them; `None` at the end. A body ends with the first error.
    fn step(self) -> impl Future<Output = Option<(Result<VecDeque<Bytes>, Broken>, Self)>> + Send;
}

/// The body of `first` and then the pieces of `steps`: of so many bytes, if that is known. `count` gets the
/// length of each piece that leaves.
#[must_use]
pub fn stepped<S: Steps>(
    first: VecDeque<Bytes>,
    steps: S,
    length: Option<u64>,
    count: impl FnMut(u64) + Send + Unpin + 'static,
) -> ByteStream {
    let next: Option<NextStep<S>> = Some(Box::pin(steps.step()));
    SteppedBody { pieces: first, next, left: length, count, broken: None }.boxed_unsync()
}

type NextStep<S> = Pin<Box<dyn Future<Output = Option<(Result<VecDeque<Bytes>, Broken>, S)>> + Send>>;

struct SteppedBody<S, C> {
    pieces: VecDeque<Bytes>,
    next: Option<NextStep<S>>,
    /// Bytes that are still to come.
    left: Option<u64>,
    count: C,
    /// How it ends, once what came before had its chance to leave.
    broken: Option<Broken>,
}

impl<S: Steps, C: FnMut(u64) + Unpin> Body for SteppedBody<S, C> {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                let length = piece.len() as u64;
                self.left = self.left.map(|left| left.saturating_sub(length));
                (self.count)(length);
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if let Some(broken) = self.broken.take() {
                return Poll::Ready(Some(Err(broken)));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            let made = ready!(next.as_mut().poll(cx));
            self.next = None;
            match made {
                None => return Poll::Ready(None),
                Some((Ok(pieces), steps)) => {
                    self.pieces = pieces;
                    self.next = Some(Box::pin(steps.step()));
                }
                Some((Err(broken), _)) => {
                    // hyper drops what it has not flushed when a body breaks; it flushes when a body has
                    // nothing ready.
                    self.broken = Some(broken);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// So many steps of two pieces, and then an error if it is said to break.
    struct Script(u8, bool);

    impl Steps for Script {
        async fn step(self) -> Option<(Result<VecDeque<Bytes>, Broken>, Self)> {
            match self {
                Self(0, false) => None,
                Self(0, true) => Some((Err(Broken::Cut("the end".to_owned())), self)),
                Self(left, breaks) => {
                    let pieces = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
                    Some((Ok(pieces.into()), Self(left - 1, breaks)))
                }
            }
        }
    }

    #[tokio::test]
    async fn pieces_come_in_order_are_counted_and_an_error_is_the_end() {
        for (breaks, length) in [(false, Some(8)), (true, None)] {
            let counted = Arc::new(AtomicU64::new(0));
            let count = counted.clone();
            let first = VecDeque::from([Bytes::from_static(b"xy")]);
            let mut body = stepped(first, Script(2, breaks), length, move |bytes| {
                count.fetch_add(bytes, Ordering::Relaxed);
            });
            assert_eq!(body.size_hint().exact(), length);
            let (mut text, mut broke) = (Vec::new(), false);
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => text.extend_from_slice(&frame.into_data().unwrap()),
                    Err(_) => {
                        broke = true;
                        break;
                    }
                }
            }
            assert_eq!((text.as_slice(), broke), (b"xyabcabc".as_slice(), breaks));
            assert_eq!(counted.load(Ordering::Relaxed), 8);
        }
    }
}

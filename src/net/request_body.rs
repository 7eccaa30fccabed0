//! Reads request bodies: small, whole and in time, or an error.

use super::listener::Limits;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use std::time::Duration;

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// More than `limits.body_size`, by its announced length or by what came: answer 413.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// Slower than `limits.body_read_idle` or `limits.body_read_total`: answer 408.
    #[error("the request body did not arrive within {0:?}")]
    TooSlow(Duration),
    /// The client closed the connection, so no response can be sent.
    #[error("the request body ended early")]
    Broken,
}

/// Reads a request body to its end.
///
/// # Errors
/// It is too large, too slow, or broke off.
pub async fn read<B: Body<Data = Bytes> + Unpin>(mut body: B, limits: &Limits) -> Result<Bytes, Error> {
    let most = limits.body_size.as_usize();
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > most as u64 {
        return Err(Error::TooLarge(most));
    }
    let collecting = collect(&mut body, most, limits.body_read_idle.0);
    let total = limits.body_read_total.0;
    tokio::time::timeout(total, collecting).await.unwrap_or(Err(Error::TooSlow(total)))
}

async fn collect<B: Body<Data = Bytes> + Unpin>(
    body: &mut B,
    most: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(idle, body.frame()).await.map_err(|_| Error::TooSlow(idle))?;
        let chunk = match frame {
            None => break,
            Some(Err(_)) => return Err(Error::Broken),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(), // trailers are ignored
        };
        if first.len().max(more.len()) + chunk.len() > most {
            return Err(Error::TooLarge(most));
        }
        if first.is_empty() {
            first = chunk; // nearly always the whole body, without a copy
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&chunk);
        }
    }
    Ok(if more.is_empty() { first } else { more.freeze() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::{ByteSize, Span};
    use http_body::Frame;
    use http_body_util::Full;
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tokio::time::{Sleep, sleep};

    /// Gives `left` bytes, one per `pause`.
    struct Trickle {
        left: usize,
        pause: Duration,
        next: Pin<Box<Sleep>>,
    }

    impl Body for Trickle {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            std::task::ready!(self.next.as_mut().poll(cx));
            self.left -= 1;
            self.next = Box::pin(sleep(self.pause));
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    fn trickle(left: usize, pause: Duration) -> Trickle {
        Trickle { left, pause, next: Box::pin(sleep(pause)) }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_are_whole_small_and_in_time() {
        let limits = Limits { body_size: ByteSize(10), ..Limits::default() };
        assert_eq!(read(Full::from("0123456789"), &limits).await.unwrap(), "0123456789");
        assert_eq!(read(Full::from(""), &limits).await.unwrap(), "");
        assert_eq!(read(Full::from("0123456789a"), &limits).await, Err(Error::TooLarge(10)));
        assert_eq!(read(trickle(10, Duration::from_secs(1)), &limits).await.unwrap(), "xxxxxxxxxx");
        assert_eq!(read(trickle(11, Duration::from_secs(1)), &limits).await, Err(Error::TooLarge(10)));
        let idle = Limits::default().body_read_idle.0;
        assert_eq!(read(trickle(2, Duration::from_secs(6)), &limits).await, Err(Error::TooSlow(idle)));
        let limits = Limits { body_size: ByteSize(1000), body_read_total: Span::seconds(15), ..limits };
        assert_eq!(
            read(trickle(100, Duration::from_secs(1)), &limits).await,
            Err(Error::TooSlow(Duration::from_secs(15)))
        );
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_no_body() {
        assert_eq!(read(Torn(1), &Limits::default()).await, Err(Error::Broken));
    }

    /// So many chunks, then a failure.
    struct Torn(usize);

    impl Body for Torn {
        type Data = Bytes;
        type Error = &'static str;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let left = self.0.checked_sub(1);
            self.0 = left.unwrap_or_default();
            Poll::Ready(Some(left.map(|_| Frame::data(Bytes::from_static(b"ab"))).ok_or("torn")))
        }
    }
}

//! A body from S3 that ends whole, keeps a pace, or is an error.

use super::error::Error;
use crate::net::body::{Broken, ByteStream};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// So many bytes must come in each second that is spent waiting for them.
const PACE: u64 = 64 << 10;
const SECOND: Duration = Duration::from_secs(1);

/// The bytes of a range.
pub(super) struct Body {
    stream: ByteStream,
    /// Bytes ahead of the range, from a server that answers with more than was asked for.
    skip: u64,
    left: u64,
    /// How long has been waited in this second, and what came.
    waited: Duration,
    came: u64,
}

impl Body {
    pub(super) fn new(stream: ByteStream, skip: u64, length: u64) -> Self {
        Self { stream, skip, left: length, waited: Duration::ZERO, came: 0 }
    }

    /// The next bytes; `None` once all have come.
    ///
    /// # Errors
    /// The body broke, ended early, or came too slowly.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.left > 0 {
            let began = Instant::now();
            let Ok(frame) = timeout(SECOND.saturating_sub(self.waited), self.stream.frame()).await else {
                if self.came < PACE {
                    return Err(Error::Slow(PACE));
                }
                (self.waited, self.came) = (Duration::ZERO, 0);
                continue;
            };
            self.waited += began.elapsed();
            let early = || Broken::Cut(format!("{} bytes of an object are missing", self.left));
            let Ok(mut chunk) = frame.ok_or_else(early)??.into_data() else { continue };
            self.came += chunk.len() as u64;
            let skipped = self.skip.min(chunk.len() as u64);
            self.skip -= skipped;
            // Both are at most the chunk's length.
            let _ = chunk.split_to(skipped as usize);
            chunk.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !chunk.is_empty() {
                self.left -= chunk.len() as u64;
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// All bytes that are left, at most what was asked for.
    ///
    /// # Errors
    /// As [`Body::next`].
    pub(super) async fn collect(mut self) -> Result<Vec<Bytes>, Error> {
        let mut chunks = Vec::new();
        while let Some(chunk) = self.next().await? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::body::whole;
    use http_body::Frame;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    fn bytes(length: usize) -> Bytes {
        Bytes::from((0..length).map(|at| at as u8).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn what_was_not_asked_for_is_left_out() {
        let all = bytes(100);
        let body = Body::new(whole(all.clone()), 10, 20);
        assert_eq!(body.collect().await.unwrap().concat(), all[10..30]);
        let short = Body::new(whole(all), 90, 20);
        assert!(matches!(short.collect().await, Err(Error::Broken(Broken::Cut(_)))));
    }

    /// A body whose chunks of `size` bytes come each after `pause`.
    fn slow(size: usize, pause: Duration) -> ByteStream {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if sender.send(Ok(Frame::data(bytes(size)))).await.is_err() {
                    return;
                }
            }
        });
        Received(receiver).boxed_unsync()
    }

    struct Received(tokio::sync::mpsc::Receiver<Result<Frame<Bytes>, Broken>>);

    impl http_body::Body for Received {
        type Data = Bytes;
        type Error = Broken;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
            self.0.poll_recv(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_after_a_second() {
        let begun = Instant::now();
        let trickle = Body::new(slow(6000, Duration::from_millis(100)), 0, 1 << 30);
        assert!(matches!(trickle.collect().await, Err(Error::Slow(_))));
        assert!(begun.elapsed() <= Duration::from_secs(2));
        let steady = Body::new(slow(10_000, Duration::from_millis(100)), 0, 1 << 20);
        assert_eq!(steady.collect().await.unwrap().concat().len(), 1 << 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_pauses_is_not_the_servers_fault() {
        let mut body = Body::new(slow(70_000, Duration::from_millis(900)), 0, 700_000);
        while body.next().await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    }
}

//! A response body: counted while it is sent, and cut, reset or slowed down as the fault plan says.

use super::answer::Content;
use super::quota::Connection;
use super::reset::Reset;
use super::state::EmulatorState;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How often a slowed body sends a piece.
const TICK: Duration = Duration::from_millis(100);
/// How long a body waits before it is cut, so that the bytes before are sent.
const FLUSH: Duration = Duration::from_millis(30);
/// Largest frame.
const FRAME: usize = 64 * 1024;

/// A body that is being sent.
pub(super) struct ResponseBody {
    chunks: Chunks,
    ready: Bytes,
    /// The announced length; `None` for a chunked body.
    declared: Option<u64>,
    sent: u64,
    pub(super) cut: Option<Cut>,
    pub(super) bytes_per_second: Option<u64>,
    sleep: Option<Pin<Box<Sleep>>>,
    counted_for: Option<CountedFor>,
    /// Counts against the connection limit while the body is sent.
    pub(super) connection: Option<Connection>,
}

type Chunks = Option<Box<dyn Iterator<Item = Bytes> + Send>>;

/// Where a body stops early, and how.
pub(super) struct Cut {
    pub(super) after: u64,
    /// With RST; otherwise with FIN.
    pub(super) reset: Option<Reset>,
}

impl Cut {
    pub(super) fn new(after: u64, reset: Option<Reset>) -> Self {
        Self { after, reset }
    }
}

/// Where the bytes are counted.
pub(super) struct CountedFor {
    pub(super) state: Arc<EmulatorState>,
    pub(super) operation: &'static str,
    pub(super) stream: Option<String>,
}

/// The body was cut by the fault plan.
#[derive(Debug, thiserror::Error)]
#[error("cut by plan")]
pub(super) struct BodyCut;

impl ResponseBody {
    pub(super) fn new(content: Content, counted_for: Option<CountedFor>) -> Self {
        let (chunks, ready, declared): (Chunks, _, _) = match content {
            Content::Whole(bytes) => {
                let length = bytes.len() as u64;
                (None, bytes, Some(length))
            }
            Content::Parts(parts) => (Some(parts), Bytes::new(), None),
        };
        Self {
            chunks,
            ready,
            declared,
            sent: 0,
            cut: None,
            bytes_per_second: None,
            sleep: None,
            counted_for,
            connection: None,
        }
    }

    /// Fetches the next chunk if none is ready; false at the end.
    fn fill(&mut self) -> bool {
        while self.ready.is_empty() {
            match self.chunks.as_mut().and_then(Iterator::next) {
                Some(bytes) => self.ready = bytes,
                None => return false,
            }
        }
        true
    }

    fn send(&mut self, most: u64) -> Bytes {
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(FRAME).min(self.ready.len());
        let piece = self.ready.split_to(most);
        self.sent += piece.len() as u64;
        if let Some(CountedFor { state, operation, stream }) = &self.counted_for {
            let length = piece.len() as u64;
            state.counters().count(operation, stream.as_deref(), |count| count.bytes += length);
        }
        piece
    }

    fn pause(&mut self, length: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(length)));
        let poll = sleep.as_mut().poll(cx);
        if poll.is_ready() {
            self.sleep = None;
        }
        poll
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyCut>>> {
        let this = &mut *self;
        let left = this.cut.as_ref().map_or(u64::MAX, |cut| cut.after.saturating_sub(this.sent));
        if left == 0 {
            if this.pause(FLUSH, cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(reset) = this.cut.as_mut().and_then(|cut| cut.reset.take()) {
                reset.arm();
            }
            return Poll::Ready(Some(Err(BodyCut)));
        }
        if !this.fill() {
            return Poll::Ready(None);
        }
        let most = match this.bytes_per_second {
            None => left,
            Some(rate) => {
                if this.pause(TICK, cx).is_pending() {
                    return Poll::Pending;
                }
                left.min((rate / 10).max(1))
            }
        };
        Poll::Ready(Some(Ok(Frame::data(this.send(most)))))
    }

    fn is_end_stream(&self) -> bool {
        self.declared == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.declared {
            Some(length) => SizeHint::with_exact(length.saturating_sub(self.sent)),
            None => SizeHint::default(),
        }
    }
}

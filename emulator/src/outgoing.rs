//! A body on its way out: counted in the ledger, and cut, reset or slowed down as the plan has it.

use super::answer::Content;
use super::quota::Connection;
use super::reset::Reset;
use super::world::World;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How often a slowed body sends a little.
const TICK: Duration = Duration::from_millis(100);
/// How long a body that is about to be cut waits, so that what was sent before really leaves.
const FLUSH: Duration = Duration::from_millis(30);
/// Largest frame.
const FRAME: usize = 64 * 1024;

/// See above.
pub(super) struct Outgoing {
    source: Source,
    ready: Bytes,
    /// What the headers announce; `None` is chunked.
    declared: Option<u64>,
    sent: u64,
    pub(super) cut: Option<Cut>,
    pub(super) bytes_per_second: Option<u64>,
    sleep: Option<Pin<Box<Sleep>>>,
    account: Option<Entry>,
    /// Held as long as the body is under way.
    pub(super) connection: Option<Connection>,
}

type Source = Option<Box<dyn Iterator<Item = Bytes> + Send>>;

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
pub(super) struct Entry {
    pub(super) world: Arc<World>,
    pub(super) operation: &'static str,
    pub(super) stream: Option<String>,
}

/// The body was cut on purpose.
#[derive(Debug, thiserror::Error)]
#[error("cut by plan")]
pub(super) struct CutShort;

impl Outgoing {
    pub(super) fn new(content: Content, account: Option<Entry>) -> Self {
        let (source, ready, declared): (Source, _, _) = match content {
            Content::Whole(bytes) => {
                let length = bytes.len() as u64;
                (None, bytes, Some(length))
            }
            Content::Parts(parts) => (Some(parts), Bytes::new(), None),
        };
        Self {
            source,
            ready,
            declared,
            sent: 0,
            cut: None,
            bytes_per_second: None,
            sleep: None,
            account,
            connection: None,
        }
    }

    /// Makes sure that something is ready to send; false at the end.
    fn fill(&mut self) -> bool {
        while self.ready.is_empty() {
            match self.source.as_mut().and_then(Iterator::next) {
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
        if let Some(Entry { world, operation, stream }) = &self.account {
            let length = piece.len() as u64;
            world.ledger().count(operation, stream.as_deref(), |count| count.bytes += length);
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

impl Body for Outgoing {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let this = &mut *self;
        let left = this.cut.as_ref().map_or(u64::MAX, |cut| cut.after.saturating_sub(this.sent));
        if left == 0 {
            if this.pause(FLUSH, cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(reset) = this.cut.as_mut().and_then(|cut| cut.reset.take()) {
                reset.arm();
            }
            return Poll::Ready(Some(Err(CutShort)));
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

//! The socket as hyper sees it. Bytes that were read to detect the protocol come first, bytes pass the
//! [`InputCheck`] of their protocol, progress is noted in the [`ConnectionState`], and a peer that was
//! refused can read the response before the connection closes.

use super::connection_state::{ConnectionState, Instruction, Stage};
use super::http1_framing::FramingCheck;
use super::http2_paths::PathCheck;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The length of the HTTP/2 preface: the most that is read ahead.
pub(super) const AHEAD: usize = 24;

/// After refused input: ends the head that hyper is reading, so that it parses it.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// How much is read and dropped after the last response.
const MOST_DROPPED: u32 = 1 << 20;

/// A socket whose input is checked and whose progress is noted.
pub(super) struct MonitoredSocket<T> {
    socket: T,
    state: Arc<ConnectionState>,
    check: InputCheck,
    ahead: [u8; AHEAD],
    /// The part of `ahead` that hyper has not read yet.
    ahead_from: u8,
    ahead_to: u8,
    refusal: RejectedInput,
    /// The peer has closed its side.
    ended: bool,
    half_closed: bool,
    /// Bytes that were read and dropped since then.
    dropped: u32,
}

/// What the bytes of a connection are checked for.
pub(super) enum InputCheck {
    /// HTTP/1.
    Framing(FramingCheck),
    /// HTTP/2.
    Paths(Box<PathCheck>),
}

impl InputCheck {
    /// Whether an HTTP/1 request has begun and is not complete.
    fn in_request(&self) -> bool {
        matches!(self, Self::Framing(framing) if framing.in_request())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RejectedInput {
    None,
    /// The offending byte was overwritten; the end of a head follows.
    Pending,
    /// Nothing follows.
    Done,
}

impl<T> MonitoredSocket<T> {
    pub(super) fn new(socket: T, ahead: &[u8], check: InputCheck, state: Arc<ConnectionState>) -> Self {
        let mut kept = [0; AHEAD];
        let taken = ahead.len().min(AHEAD);
        kept[..taken].copy_from_slice(&ahead[..taken]);
        Self {
            socket,
            state,
            check,
            ahead: kept,
            ahead_from: 0,
            ahead_to: taken as u8,
            refusal: RejectedInput::None,
            ended: false,
            half_closed: false,
            dropped: 0,
        }
    }

    /// Whether the connection is between two requests and none was refused.
    pub(super) fn is_idle(&self) -> bool {
        self.refusal == RejectedInput::None && !self.ended && !self.check.in_request()
    }

    /// Checks bytes that just arrived in `fresh`.
    fn inspect(&mut self, fresh: &mut [u8]) {
        let framing = match &mut self.check {
            InputCheck::Framing(framing) => framing,
            InputCheck::Paths(paths) => {
                let state = &self.state;
                if paths.pass(fresh, |path| state.note_cut_path(path)).is_err() {
                    // h2 refuses the same, or reads what is no longer checked.
                    state.instruct(Instruction::LastRequest);
                }
                return;
            }
        };
        if framing.pass(fresh).is_err() {
            self.refusal = RejectedInput::Pending;
            self.state.refuse();
        }
        self.state.head_partial(framing.in_head());
        self.state.framed(framing.heads(), framing.in_body());
    }
}

impl<T: AsyncRead + Unpin> MonitoredSocket<T> {
    /// Waits, with a buffer of a few bytes only, until the peer sends something. `Ready(false)`: it has
    /// closed.
    pub(super) fn poll_first_bytes(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut into = ReadBuf::new(&mut self.ahead);
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, &mut into));
        self.ahead_from = 0;
        self.ahead_to = into.filled().len() as u8; // at most AHEAD
        Poll::Ready(read.is_ok() && self.ahead_to > 0)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for MonitoredSocket<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = into.filled().len();
        match this.refusal {
            RejectedInput::None => {}
            RejectedInput::Pending => {
                let taken = END_OF_HEAD.len().min(into.remaining());
                into.put_slice(&END_OF_HEAD[..taken]);
                this.refusal = RejectedInput::Done;
                return Poll::Ready(Ok(()));
            }
            RejectedInput::Done => return Poll::Ready(Ok(())),
        }
        if this.ahead_from < this.ahead_to {
            let rest = &this.ahead[usize::from(this.ahead_from)..usize::from(this.ahead_to)];
            let taken = rest.len().min(into.remaining());
            into.put_slice(&rest[..taken]);
            this.ahead_from += taken as u8;
            // And what else there is: hyper's buffer adapts to the lengths of its reads.
            if let Poll::Ready(read) = Pin::new(&mut this.socket).poll_read(context, into) {
                read?;
            }
        } else {
            ready!(Pin::new(&mut this.socket).poll_read(context, into))?;
        }
        let fresh = &mut into.filled_mut()[before..];
        if fresh.is_empty() {
            this.ended = true;
        } else {
            this.inspect(fresh);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for MonitoredSocket<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        note(&self.state, &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, bytes);
        note(&self.state, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if flushed.is_pending() {
            self.state.blocked();
        }
        flushed
    }

    /// Half closes. After refused input, or in the middle of a request, reads on until the peer closes too,
    /// for two seconds and a mebibyte at most: closing with unread bytes would reset the connection, and the
    /// response would be lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.half_closed {
            ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
            this.half_closed = true;
            let unread = this.check.in_request() || this.state.refused();
            if this.ended || !unread {
                return Poll::Ready(Ok(()));
            }
            this.state.enter(Stage::Lingering);
        }
        let mut scratch = [0; 4096];
        loop {
            let mut into = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.socket).poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() && this.dropped < MOST_DROPPED => {
                    this.dropped += into.filled().len() as u32; // at most 4,096
                }
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn note(state: &ConnectionState, written: &Poll<io::Result<usize>>) {
    match written {
        Poll::Ready(Ok(bytes)) => state.wrote(*bytes),
        Poll::Pending => state.blocked(),
        Poll::Ready(Err(_)) => {}
    }
}

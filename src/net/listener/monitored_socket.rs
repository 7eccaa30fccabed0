//! The socket as hyper sees it: bytes that were read while guessing the protocol come first, HTTP/1 bytes pass the
//! [`Screen`], progress is noted on the [`Pulse`], and a refused peer gets a moment to read why.

use super::connection_state::{Pulse, Stage};
use super::http1_framing::Screen;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the HTTP/2 preface takes: the most that is ever read ahead.
pub(super) const AHEAD: usize = 24;

/// After a refusal: complete whatever hyper is reading, so that it looks at what it has.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// A socket under guard.
pub(super) struct Guarded<T> {
    socket: T,
    pulse: Arc<Pulse>,
    /// Only for HTTP/1.
    screen: Option<Screen>,
    ahead: [u8; AHEAD],
    /// Which part of `ahead` hyper has not had yet.
    ahead_from: u8,
    ahead_to: u8,
    refusal: Refusal,
    /// The peer has closed his side.
    ended: bool,
    half_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    None,
    /// The offending byte was made unreadable; the end of a head follows.
    Pending,
    /// Nothing follows.
    Done,
}

impl<T> Guarded<T> {
    pub(super) fn new(socket: T, ahead: &[u8], screen: Option<Screen>, pulse: Arc<Pulse>) -> Self {
        let mut kept = [0; AHEAD];
        let taken = ahead.len().min(AHEAD);
        kept[..taken].copy_from_slice(&ahead[..taken]);
        Self {
            socket,
            pulse,
            screen,
            ahead: kept,
            ahead_from: 0,
            ahead_to: taken as u8,
            refusal: Refusal::None,
            ended: false,
            half_closed: false,
        }
    }

    /// Whether the peer is between two requests, and nothing of ours waits for him.
    pub(super) fn at_rest(&self) -> bool {
        self.refusal == Refusal::None && !self.ended && !self.screen.as_ref().is_some_and(Screen::amid)
    }

    /// Looks at bytes that just arrived in `fresh`.
    fn look(&mut self, fresh: &mut [u8]) {
        let Some(screen) = &mut self.screen else { return };
        if screen.pass(fresh).is_err() {
            self.refusal = Refusal::Pending;
            self.pulse.refuse();
        }
        self.pulse.head(screen.in_head());
    }
}

impl<T: AsyncRead + Unpin> Guarded<T> {
    /// Waits, at rest and without a buffer but a few bytes, until the peer sends something. `Ready(false)`: he ended.
    pub(super) fn poll_stir(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let mut into = ReadBuf::new(&mut self.ahead);
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, &mut into));
        self.ahead_from = 0;
        self.ahead_to = into.filled().len() as u8; // at most AHEAD
        Poll::Ready(read.is_ok() && self.ahead_to > 0)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = into.filled().len();
        match this.refusal {
            Refusal::None => {}
            Refusal::Pending => {
                let taken = END_OF_HEAD.len().min(into.remaining());
                into.put_slice(&END_OF_HEAD[..taken]);
                this.refusal = Refusal::Done;
                return Poll::Ready(Ok(()));
            }
            Refusal::Done => return Poll::Ready(Ok(())),
        }
        if this.ahead_from < this.ahead_to {
            let rest = &this.ahead[usize::from(this.ahead_from)..usize::from(this.ahead_to)];
            let taken = rest.len().min(into.remaining());
            into.put_slice(&rest[..taken]);
            this.ahead_from += taken as u8;
            // And whatever else is there: after a short read hyper doubles its buffer and keeps it so.
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
            this.look(fresh);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        note(&self.pulse, &written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, bytes);
        note(&self.pulse, &written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        if flushed.is_pending() {
            self.pulse.blocked();
        }
        flushed
    }

    /// Half closes; after a refusal, or in the middle of a request, reads on until the peer closes too (the watch
    /// ends that soon): closing with unread bytes would reset the connection and take the answer with it.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.half_closed {
            ready!(Pin::new(&mut this.socket).poll_shutdown(context))?;
            this.half_closed = true;
            let unread = this.screen.as_ref().is_some_and(Screen::amid) || this.pulse.refused();
            if this.ended || !unread {
                return Poll::Ready(Ok(()));
            }
            this.pulse.enter(Stage::Lingering);
        }
        let mut scratch = [0; 4096];
        loop {
            let mut into = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.socket).poll_read(context, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

fn note(pulse: &Pulse, written: &Poll<io::Result<usize>>) {
    match written {
        Poll::Ready(Ok(bytes)) => pulse.wrote(*bytes),
        Poll::Pending => pulse.blocked(),
        Poll::Ready(Err(_)) => {}
    }
}

//! The body of a list of fragments: the next one is taken when the client has taken the one before.

use super::failure::Failure;
use super::reader::FragmentReader;
use crate::net::body::Broken;
use crate::package::Document;
use bytes::Bytes;
use http_body::{Body, Frame};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

type NextFragment = Pin<Box<dyn Future<Output = Option<(Result<Document, Broken>, FragmentReader)>> + Send>>;

/// The body of an answer.
pub(super) struct Feed {
    /// What is left of the fragment that is being sent.
    pieces: VecDeque<Bytes>,
    next: Option<NextFragment>,
    /// How it ends, once what came before had its chance to leave.
    broken: Option<Broken>,
}

impl Feed {
    /// `first`, then what `reader` yields.
    pub(super) fn new(first: Option<Document>, reader: FragmentReader) -> Self {
        let pieces = first.iter().flat_map(pieces).collect();
        Self { pieces, next: Some(Box::pin(step(reader))), broken: None }
    }
}

fn pieces(document: &Document) -> impl Iterator<Item = Bytes> + '_ {
    document.slices(0..document.len())
}

async fn step(mut reader: FragmentReader) -> Option<(Result<Document, Broken>, FragmentReader)> {
    let fragment = reader.next().await?;
    Some((fragment.map_err(Failure::into_broken), reader))
}

impl Body for Feed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if let Some(broken) = self.broken.take() {
                return Poll::Ready(Some(Err(broken)));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            let fragment = ready!(next.as_mut().poll(cx));
            self.next = None;
            match fragment {
                None => return Poll::Ready(None),
                Some((Ok(document), reader)) => {
                    self.pieces.extend(pieces(&document));
                    self.next = Some(Box::pin(step(reader)));
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
}

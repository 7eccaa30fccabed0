//! GetMediaForFragmentList's body: Matroska documents one after the other, some of which may be errors.
//!
//! A fragment that KVS cannot give is an error chunk inside a 200 (docs/KVS.md 4.3, 9.2). [`checked`] holds
//! the first document back until its tags are read, so that a fragment that is still being written can be
//! requested again. It turns a later error chunk into a broken body, so readers abort and nothing is
//! stored. [`Chunks`] cuts the body into single fragments, for a cache that keeps them one by one.

mod in_band;
mod scan;

pub use in_band::InBand;

use super::held::Held;
use crate::kvs::FragmentNumber;
use crate::net::body::{Broken, ByteStream};
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use scan::{Event, Scanner};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Why a body is not passed on at all.
#[derive(Debug)]
pub(super) enum HeadError {
    /// The first fragment is not there, or not there yet.
    NotFound(String),
    /// KVS's own trouble with the first fragment.
    Trouble(String),
    /// The body broke, or is no Matroska.
    Broken(Broken),
}

/// The most bytes before the tags of a document.
const LONGEST_HEAD: usize = 1 << 20;
/// The largest fragment: KVS takes 50 MB.
const LARGEST: usize = 64 << 20;

/// Looks at the first document, then gives the body back, watched to its end.
pub(super) async fn checked(body: ByteStream) -> Result<ByteStream, HeadError> {
    let (inner, mut scanner) = headed(body).await?;
    for chunk in &inner.chunks {
        let events = scanner.push(chunk).map_err(refused).map_err(HeadError::Broken)?;
        // Nothing has been passed on yet, so a later fragment in the same chunk can be requested again too.
        if let Some(error) = events.into_iter().find_map(failed) {
            return Err(refusal(error));
        }
    }
    let known = inner.chunks.len();
    Ok(Checked { inner, scanner, known, done: false }.boxed_unsync())
}

/// Checks the first document only: what follows may be errors, which [`Chunks`] distinguishes.
pub(super) async fn begun(body: ByteStream) -> Result<ByteStream, HeadError> {
    Ok(headed(body).await?.0.into_body())
}

/// Reads until the first document's tags are there. Gives a fresh scanner with it.
async fn headed(mut body: ByteStream) -> Result<(Held, Scanner), HeadError> {
    let mut scanner = Scanner::default();
    let mut chunks = VecDeque::new();
    let mut size = 0;
    while size <= LONGEST_HEAD {
        let Some(frame) = body.frame().await else {
            scanner.finish().map_err(refused).map_err(HeadError::Broken)?;
            return Ok((Held { chunks, rest: None }, Scanner::default()));
        };
        let Ok(chunk) = frame.map_err(HeadError::Broken)?.into_data() else { continue };
        size += chunk.len();
        let events = scanner.push(&chunk).map_err(refused).map_err(HeadError::Broken)?;
        chunks.push_back(chunk);
        match events.into_iter().find(|event| !matches!(event, Event::Document(_))) {
            None => {}
            Some(Event::Failed(error)) => return Err(refusal(error)),
            Some(_) => return Ok((Held { chunks, rest: Some(body) }, Scanner::default())),
        }
    }
    Err(HeadError::Broken(Broken::Refused("its first document has no tags".into())))
}

fn refusal(error: InBand) -> HeadError {
    if error.is_not_found() {
        HeadError::NotFound(error.number.map(|n| n.to_string()).unwrap_or_default())
    } else if error.is_internal() {
        HeadError::Trouble(error.to_string())
    } else {
        HeadError::Broken(Broken::Refused(error.to_string()))
    }
}

fn refused(malformed: &'static str) -> Broken {
    Broken::Refused(malformed.into())
}

/// A body that is looked through as it is passed on.
struct Checked {
    inner: Held,
    scanner: Scanner,
    /// Chunks at the front that the scanner has seen already.
    known: usize,
    done: bool,
}

impl Body for Checked {
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
        let frame = std::task::ready!(Pin::new(&mut this.inner).poll_frame(cx));
        let checked = match frame {
            Some(Ok(frame)) if this.known > 0 => {
                this.known -= 1;
                Ok(Some(frame))
            }
            Some(Ok(frame)) => {
                frame.data_ref().map_or(Ok(()), |chunk| look(&mut this.scanner, chunk)).map(|()| Some(frame))
            }
            Some(Err(broken)) => Err(broken),
            None => this.scanner.finish().map_err(refused).map(|()| None),
        };
        this.done = !matches!(checked, Ok(Some(_)));
        Poll::Ready(checked.transpose())
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Lets bytes pass unless there is an error chunk among them.
fn look(scanner: &mut Scanner, bytes: &[u8]) -> Result<(), Broken> {
    match scanner.push(bytes).map_err(refused)?.into_iter().find_map(failed) {
        Some(error) => Err(Broken::Refused(error.to_string())),
        None => Ok(()),
    }
}

fn failed(event: Event) -> Option<InBand> {
    match event {
        Event::Failed(error) => Some(error),
        Event::Document(_) | Event::Fragment(_) | Event::Media => None,
    }
}

/// One document of the body, whole.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Which fragment it is, as its own tags say.
    pub number: Option<FragmentNumber>,
    /// Set if it is an error in place of the fragment; such bytes are never kept.
    pub error: Option<InBand>,
    /// The document.
    pub bytes: Bytes,
}

/// The documents of a body, one by one.
pub struct Chunks {
    body: ByteStream,
    scanner: Scanner,
    /// Bytes from the start of the current document.
    buffer: BytesMut,
    /// Where in the body the buffer begins.
    start: u64,
    next: Chunk,
    ready: VecDeque<Chunk>,
    done: bool,
}

impl Chunks {
    /// Cuts a body into documents.
    #[must_use]
    pub fn of(body: ByteStream) -> Self {
        Self {
            body,
            scanner: Scanner::default(),
            buffer: BytesMut::new(),
            start: 0,
            next: Chunk { number: None, error: None, bytes: Bytes::new() },
            ready: VecDeque::new(),
            done: false,
        }
    }

    /// The next document; `None` after the last one, once the body has ended whole.
    ///
    /// # Errors
    /// The body broke, or is no list of fragments; nothing follows then.
    pub async fn next(&mut self) -> Option<Result<Chunk, Broken>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Some(Ok(chunk));
            }
            if self.done {
                return None;
            }
            if let Err(broken) = self.advance().await {
                self.done = true;
                return Some(Err(broken));
            }
        }
    }

    async fn advance(&mut self) -> Result<(), Broken> {
        let Some(frame) = self.body.frame().await else {
            self.done = true;
            self.scanner.finish().map_err(refused)?;
            if !self.buffer.is_empty() {
                self.cut(self.start + self.buffer.len() as u64);
            }
            return Ok(());
        };
        let Ok(bytes) = frame?.into_data() else { return Ok(()) };
        if self.buffer.len() + bytes.len() > LARGEST {
            return Err(Broken::Refused("a fragment is larger than KVS's own bound".into()));
        }
        self.buffer.extend_from_slice(&bytes);
        for event in self.scanner.push(&bytes).map_err(refused)? {
            match event {
                Event::Document(at) if at > self.start => self.cut(at),
                Event::Document(_) | Event::Media => {}
                Event::Fragment(number) => self.next.number = Some(number),
                Event::Failed(error) => {
                    self.next.number = error.number.clone();
                    self.next.error = Some(error);
                }
            }
        }
        Ok(())
    }

    /// The current document ends at this position of the body.
    fn cut(&mut self, at: u64) {
        let length = usize::try_from(at - self.start).unwrap_or(usize::MAX).min(self.buffer.len());
        let bytes = self.buffer.split_to(length).freeze();
        self.start = at;
        let empty = Chunk { number: None, error: None, bytes: Bytes::new() };
        let done = std::mem::replace(&mut self.next, empty);
        self.ready.push_back(Chunk { bytes, ..done });
    }
}

#[cfg(test)]
#[path = "../tests/mkv.rs"]
pub(super) mod tests;

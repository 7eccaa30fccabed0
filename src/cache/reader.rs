//! Reading what a lookup found: a whole entry, or a body that is still arriving; all of it, or a range.
//!
//! [`Reading`] is what a lookup gives, before anything is passed on to the client; [`Reader`] is the body
//! that goes out. A reader of an entry takes no lock. A reader of an arriving body becomes one as soon as
//! the body is whole.

use super::entry::{Entry, Head};
use super::fill::handle::ReaderHandle;
use super::fill::state::{Opened, Read};
use super::store::{OpenObject, Work};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What a lookup found. Dropping it gives up the place at the fill.
pub struct Reading(ReadingSource);

enum ReadingSource {
    Entry(Arc<Entry>),
    Growing(ReaderHandle, Opened),
    Stored(Arc<dyn OpenObject>),
}

impl Reading {
    pub(super) fn whole_entry(entry: Arc<Entry>) -> Self {
        Self(ReadingSource::Entry(entry))
    }

    pub(super) fn stored(object: Arc<dyn OpenObject>) -> Self {
        Self(ReadingSource::Stored(object))
    }

    pub(super) fn growing(reader: ReaderHandle, opened: Opened) -> Self {
        let mut reading = Self(ReadingSource::Growing(reader, opened));
        reading.settle();
        reading
    }

    /// What was known ahead of the body. Its `length` is that which KVS announced, or the true one once it
    /// is known.
    #[must_use]
    pub fn head(&self) -> &Head {
        match &self.0 {
            ReadingSource::Entry(entry) => &entry.head,
            ReadingSource::Growing(_, opened) => &opened.head,
            ReadingSource::Stored(object) => object.head(),
        }
    }

    /// The length in bytes, if it is known now.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.head().length
    }

    /// Waits until the length is known, which may take until the body is whole. `None`: it cannot be known
    /// before the body has gone out, because the body is too large to be held; answer with all of it.
    ///
    /// # Errors
    /// The body broke.
    pub async fn known_length(&mut self) -> Result<Option<u64>, Broken> {
        let ReadingSource::Growing(reader, _) = &self.0 else { return Ok(self.length()) };
        match reader.length().await {
            Ok(length) => {
                self.settle();
                Ok(Some(length))
            }
            Err(None) => Ok(None),
            Err(Some(broken)) => Err(broken),
        }
    }

    /// Waits until the first `end` bytes are here. False: the body ends earlier, or is too large to be held
    /// so long; its length is known now if it ever will be.
    ///
    /// # Errors
    /// The body broke.
    pub async fn reaches(&mut self, end: u64) -> Result<bool, Broken> {
        let ReadingSource::Growing(reader, _) = &self.0 else { return Ok(self.length() >= Some(end)) };
        let reached = reader.reaches(end).await?;
        self.settle();
        Ok(reached)
    }

    /// The strong entity tag, quotes included; there is none before the body is whole.
    #[must_use]
    pub fn etag(&self) -> Option<&str> {
        self.etag_value().and_then(|value| value.to_str().ok())
    }

    /// The strong entity tag as a header value. A body that is not kept has none, because it cannot be
    /// requested again.
    #[must_use]
    pub fn etag_value(&self) -> Option<&HeaderValue> {
        match &self.0 {
            ReadingSource::Entry(entry) => entry.expires.map(|_| entry.etag()),
            ReadingSource::Stored(object) => Some(object.etag()),
            ReadingSource::Growing(..) => None,
        }
    }

    /// The same, if it is computed already. Hashing a body that was fetched for a single viewer would cost
    /// more than fetching it.
    #[must_use]
    pub fn known_etag(&self) -> Option<&HeaderValue> {
        match &self.0 {
            ReadingSource::Entry(entry) => entry.expires.and_then(|_| entry.known_etag()),
            ReadingSource::Stored(object) => Some(object.etag()),
            ReadingSource::Growing(..) => None,
        }
    }

    /// How long ago KVS answered.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Duration {
        self.head().stored.age(now)
    }

    /// Until when it may be given out without asking again; `None` if it is not kept at all.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match &self.0 {
            ReadingSource::Entry(entry) => entry.expires,
            ReadingSource::Growing(_, opened) => opened.expires,
            ReadingSource::Stored(object) => Some(object.expires()),
        }
    }

    /// Whether the body is whole and kept. One that is arriving is not yet, whatever is intended.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        !matches!(self.0, ReadingSource::Growing(..)) && self.expires().is_some()
    }

    /// All chunks, if they are here.
    #[must_use]
    pub fn whole_bytes(&self) -> Option<&[Bytes]> {
        match &self.0 {
            ReadingSource::Entry(entry) => Some(entry.pieces()),
            ReadingSource::Growing(..) | ReadingSource::Stored(_) => None,
        }
    }

    /// The body, or the bytes of it that lie in `range`. A range must lie inside the length if that is
    /// known; if it is not, wait for [`Reading::known_length`] first, or the body may end before the range
    /// does.
    #[must_use]
    pub fn body(self, range: Option<Range<u64>>) -> Reader {
        let length = self.length();
        let range = range.unwrap_or(0..length.unwrap_or(u64::MAX));
        let end = length.map_or(range.end, |length| range.end.min(length));
        let start = range.start.min(end);
        let source = match self.0 {
            ReadingSource::Entry(entry) => ReaderSource::entry(entry, start),
            ReadingSource::Growing(reader, _) => {
                if start > 0 {
                    reader.start_at(start);
                }
                ReaderSource::Growing { reader, chunks: VecDeque::new() }
            }
            ReadingSource::Stored(object) => {
                ReaderSource::Stored { object, chunks: VecDeque::new(), reading: None }
            }
        };
        Reader { source, position: start, end }
    }

    /// The whole body in one piece.
    ///
    /// # Errors
    /// The body broke, or is longer than `limit`.
    pub async fn collect(self, limit: u64) -> Result<Bytes, Broken> {
        if let Some([only]) = self.whole_bytes()
            && only.len() as u64 <= limit
        {
            return Ok(only.clone());
        }
        let length = self.length().unwrap_or(0).min(limit);
        let mut reader = self.body(None);
        let mut whole = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        let mut at_once = 0;
        while let Some(chunk) = reader.next().await {
            let chunk = chunk?;
            at_once += chunk.len();
            if at_once > COPIED_AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
            if (whole.len() + chunk.len()) as u64 > limit {
                return Err(Broken::Refused(format!("the body is longer than {limit} bytes")));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Becomes a reading of the entry if the body has become whole.
    fn settle(&mut self) {
        if let ReadingSource::Growing(reader, _) = &self.0
            && let Some(entry) = reader.entry()
        {
            self.0 = ReadingSource::Entry(entry);
        }
    }
}

/// So much of a body that is here is copied before other tasks get a turn: a fraction of a millisecond.
const COPIED_AT_ONCE: usize = 1 << 20;

/// A body as it is sent to one client. It ends whole, or with an error.
pub struct Reader {
    source: ReaderSource,
    /// The next byte.
    position: u64,
    /// One past the last byte, as far as is known; `u64::MAX` if it is not.
    end: u64,
}

enum ReaderSource {
    Entry { entry: Arc<Entry>, piece: usize, skip: usize },
    Growing { reader: ReaderHandle, chunks: VecDeque<Bytes> },
    Stored { object: Arc<dyn OpenObject>, chunks: VecDeque<Bytes>, reading: Option<ObjectRead> },
    Ended,
}

/// A read of an object in progress.
type ObjectRead = Work<'static, Result<VecDeque<Bytes>, Broken>>;

impl ReaderSource {
    fn entry(entry: Arc<Entry>, at: u64) -> Self {
        let (piece, skip) = entry.find(at);
        Self::Entry { entry, piece, skip }
    }
}

impl Reader {
    /// The next chunk.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next chunk, polled.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            if self.position >= self.end {
                self.source = ReaderSource::Ended;
            }
            match &mut self.source {
                ReaderSource::Ended => return Poll::Ready(None),
                ReaderSource::Entry { entry, piece, skip } => {
                    let Some(bytes) = entry.pieces().get(*piece) else {
                        self.source = ReaderSource::Ended;
                        continue;
                    };
                    let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
                    let to = bytes.len().min(skip.saturating_add(left));
                    let chunk =
                        if *skip == 0 && to == bytes.len() { bytes.clone() } else { bytes.slice(*skip..to) };
                    (*piece, *skip) = (*piece + 1, 0);
                    return self.hand_out(chunk);
                }
                ReaderSource::Stored { object, chunks, reading } => {
                    if let Some(chunk) = chunks.pop_front() {
                        return self.hand_out(chunk);
                    }
                    let range = self.position..self.end;
                    let read = reading.get_or_insert_with(|| Arc::clone(object).read(range));
                    let read = ready!(read.as_mut().poll(cx));
                    *reading = None;
                    match read {
                        Ok(blocks) => *chunks = blocks,
                        Err(broken) => return self.break_off(broken),
                    }
                }
                ReaderSource::Growing { reader, chunks } => {
                    if let Some(chunk) = chunks.pop_front() {
                        return self.hand_out(chunk);
                    }
                    match reader.read(self.end, chunks, cx) {
                        Read::Some => {}
                        Read::Wait => return Poll::Pending,
                        Read::End => self.source = ReaderSource::Ended,
                        Read::Whole(entry) => {
                            self.end = self.end.min(entry.length());
                            self.source = ReaderSource::entry(entry, self.position);
                        }
                        Read::Broken(broken) => return self.break_off(broken),
                    }
                }
            }
        }
    }

    fn break_off(&mut self, broken: Broken) -> Poll<Option<Result<Bytes, Broken>>> {
        self.source = ReaderSource::Ended;
        Poll::Ready(Some(Err(broken)))
    }

    fn hand_out(&mut self, chunk: Bytes) -> Poll<Option<Result<Bytes, Broken>>> {
        self.position += chunk.len() as u64;
        Poll::Ready(Some(Ok(chunk)))
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.get_mut().poll_next(cx).map(|next| next.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, ReaderSource::Ended) || self.position >= self.end
    }

    fn size_hint(&self) -> SizeHint {
        match self.source {
            ReaderSource::Ended => SizeHint::with_exact(0),
            _ if self.end == u64::MAX => SizeHint::new(),
            _ => SizeHint::with_exact(self.end - self.position),
        }
    }
}

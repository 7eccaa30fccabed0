//! A body that is read while it arrives: the state of one fill, without locks, clocks or tasks.
//!
//! Everything that can happen to a fill is a method here: a reader joins or leaves, the head arrives, a
//! chunk arrives, a reader takes more, the body ends whole or broken. A method that ends a wait adds the
//! waker to the [`Wakes`] it is given; `handle.rs` holds the lock and wakes after releasing it. Each
//! interleaving of tasks is therefore a sequence of calls, which the tests enumerate at random. The
//! readers' methods are here, the writer's in `writer.rs`.
//!
//! There are two modes. A body that may be kept is held whole, so that a reader can start from its first
//! byte at any time. A body that is too large streams: only what lies between the slowest and the fastest
//! reader is held, at most a window, and the writer waits for room.

use crate::cache::entry::{Entry, Head, Tier};
use crate::cache::store::Loaded;
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// An error of the fetch, whatever its type.
pub(in crate::cache) type FetchError = Arc<dyn Any + Send + Sync>;

/// The wakers to call once the lock is released.
pub(in crate::cache) type Wakes = Vec<Waker>;

/// The state of one fill.
pub(in crate::cache) struct FillState {
    pub(in crate::cache) phase: Phase,
    pub(in crate::cache) opened: Option<Opened>,
    /// What is held, without gaps: its first byte is `base`, its end `end`.
    pub(in crate::cache) pieces: VecDeque<BodyPiece>,
    pub(in crate::cache) base: u64,
    pub(in crate::cache) end: u64,
    pub(in crate::cache) streams: bool,
    pub(in crate::cache) readers: Vec<Option<ReaderState>>,
    pub(in crate::cache) reader_count: usize,
    /// Goes on without readers: a refresh, a warming, or a body that is read in parts.
    pub(in crate::cache) pinned: bool,
    /// The stream was purged: the readers get the body, but it is not stored.
    pub(in crate::cache) purged: bool,
    pub(in crate::cache) writer: Option<Waker>,
}

pub(in crate::cache) enum Phase {
    /// No answer yet.
    Opening,
    /// The head is known and the body is arriving.
    Growing,
    /// The body is whole; held as an entry unless it streamed.
    Done(Option<Arc<Entry>>),
    /// Answered without a body of its own.
    Answered(Answer),
    /// Ended badly.
    Broken(Broken),
    /// All readers have left.
    Abandoned,
}

/// What a fill found instead of growing.
#[derive(Clone)]
pub(in crate::cache) enum Answer {
    /// A tier below memory has it.
    Stored(Tier, Loaded),
    /// The fetch failed.
    Failed(FetchError),
}

/// What a reader that waits for the head gets.
#[derive(Clone)]
pub(in crate::cache) enum Opening {
    /// The body is arriving.
    Growing(Opened),
    /// It has another answer.
    Answered(Answer),
    /// It broke before it opened.
    Broken(Broken),
}

/// A head, and how long its body will be kept, if at all.
#[derive(Clone)]
pub(in crate::cache) struct Opened {
    pub(in crate::cache) head: Arc<Head>,
    pub(in crate::cache) expires: Option<Timestamp>,
}

pub(in crate::cache) struct BodyPiece {
    pub(in crate::cache) start: u64,
    pub(in crate::cache) bytes: Bytes,
}

impl BodyPiece {
    pub(in crate::cache) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// A reader's place.
#[derive(Default)]
pub(in crate::cache) struct ReaderState {
    /// The next byte it wants.
    pub(in crate::cache) position: u64,
    /// It has been given the head.
    pub(in crate::cache) informed: bool,
    /// It has been given bytes.
    pub(in crate::cache) served: bool,
    /// It was cut off.
    pub(in crate::cache) cut: Option<Broken>,
    /// How long it has kept others waiting, in all.
    pub(in crate::cache) held_back: Duration,
    pub(in crate::cache) waker: Option<Waker>,
}

/// A reader's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cache) struct ReaderId(usize);

/// What a reader gets.
pub(in crate::cache) enum Read {
    /// Chunks were put into its chunks.
    Some,
    /// Nothing yet; it will be woken.
    Wait,
    /// There is nothing more.
    End,
    /// The body is whole: read on from the entry, at the same position.
    Whole(Arc<Entry>),
    /// It will never be whole.
    Broken(Broken),
}

impl FillState {
    /// A fill that has just begun.
    pub(in crate::cache) fn new() -> Self {
        Self {
            phase: Phase::Opening,
            opened: None,
            pieces: VecDeque::new(),
            base: 0,
            end: 0,
            streams: false,
            readers: Vec::new(),
            reader_count: 0,
            pinned: false,
            purged: false,
            writer: None,
        }
    }

    /// Takes a reader, if the body can still be read from its first byte.
    pub(in crate::cache) fn join(&mut self, wakes: &mut Wakes) -> Option<ReaderId> {
        if self.base > 0 || self.purged || matches!(self.phase, Phase::Broken(_) | Phase::Abandoned) {
            return None;
        }
        // Two readers have more room between them than one.
        if self.streams {
            wakes.extend(self.writer.take());
        }
        self.reader_count += 1;
        let free = self.readers.iter().position(Option::is_none).unwrap_or_else(|| {
            self.readers.push(None);
            self.readers.len() - 1
        });
        self.readers[free] = Some(ReaderState::default());
        Some(ReaderId(free))
    }

    /// A reader leaves. A fill without readers that is not past half is abandoned.
    pub(in crate::cache) fn leave(&mut self, reader: ReaderId, wakes: &mut Wakes) {
        if self.readers[reader.0].take().is_some() {
            self.reader_count -= 1;
        }
        self.trim(wakes);
        if self.reader_count > 0 || !matches!(self.phase, Phase::Opening | Phase::Growing) {
            return;
        }
        if !self.worth_finishing() {
            self.phase = Phase::Abandoned;
            self.pieces.clear();
            wakes.extend(self.writer.take());
        }
    }

    /// Without readers only a body that will be stored is worth the rest of its bytes (docs/BEHAVIOUR.md 7:
    /// "a fetch that is past half goes on, another is dropped").
    fn worth_finishing(&self) -> bool {
        let stored =
            !self.streams && !self.purged && self.opened.as_ref().is_none_or(|o| o.expires.is_some());
        let length = self.opened.as_ref().and_then(|opened| opened.head.length);
        let past_half = length.is_some_and(|length| self.end.saturating_mul(2) >= length);
        stored && (self.pinned || past_half)
    }

    /// Waits for an answer.
    pub(in crate::cache) fn opening(&mut self, reader: ReaderId, waker: &Waker) -> Option<Opening> {
        let opening = match &self.phase {
            Phase::Opening => {
                self.register(reader, waker);
                return None;
            }
            Phase::Growing | Phase::Abandoned => self.opened.clone().map(Opening::Growing),
            Phase::Done(_) => self.opened.clone().map(Opening::Growing),
            Phase::Answered(answer) => Some(Opening::Answered(answer.clone())),
            Phase::Broken(broken) => Some(Opening::Broken(broken.clone())),
        };
        if let Some(reader) = &mut self.readers[reader.0] {
            reader.informed = true;
        }
        Some(opening.unwrap_or_else(|| Opening::Broken(Broken::Cut("no reader is left".into()))))
    }

    /// Moves a reader that has no bytes yet to where its range begins.
    pub(in crate::cache) fn start_at(&mut self, reader: ReaderId, position: u64, wakes: &mut Wakes) {
        if let Some(reader) = &mut self.readers[reader.0] {
            reader.position = position;
        }
        self.trim(wakes);
    }

    /// Puts chunks of `position..limit` into a reader's chunks, at most `most` bytes beyond the first chunk.
    pub(in crate::cache) fn read(
        &mut self,
        reader: ReaderId,
        limit: u64,
        most: u64,
        chunks: &mut VecDeque<Bytes>,
        waker: &Waker,
        wakes: &mut Wakes,
    ) -> Read {
        let Some(at) = self.readers[reader.0].as_ref() else { return Read::End };
        if let Some(cut) = &at.cut {
            return Read::Broken(cut.clone());
        }
        match &self.phase {
            Phase::Broken(broken) => return Read::Broken(broken.clone()),
            Phase::Abandoned => return Read::Broken(Broken::Cut("the fill was abandoned".into())),
            Phase::Answered(_) => return Read::Broken(Broken::Cut("the second attempt failed".into())),
            Phase::Done(Some(entry)) => return Read::Whole(Arc::clone(entry)),
            Phase::Done(None) if at.position >= self.end => return Read::End,
            Phase::Opening | Phase::Growing | Phase::Done(None) => {}
        }
        let position = at.position;
        if position >= limit {
            return Read::End;
        }
        if position >= self.end {
            self.register(reader, waker);
            return Read::Wait;
        }
        let reached = self.hand_over(position, limit, most, chunks);
        if let Some(reader) = &mut self.readers[reader.0] {
            reader.position = reached;
            reader.served = true;
        }
        self.trim(wakes);
        Read::Some
    }

    fn hand_over(&self, position: u64, limit: u64, most: u64, chunks: &mut VecDeque<Bytes>) -> u64 {
        let first = self.pieces.partition_point(|piece| piece.end() <= position);
        let mut reached = position;
        for piece in self.pieces.range(first..) {
            if reached >= limit || (reached > position && piece.end() - position > most) {
                break;
            }
            // Both differences lie inside the piece, so they fit.
            let from = (reached - piece.start) as usize;
            let to = (limit.min(piece.end()) - piece.start) as usize;
            chunks.push_back(if from == 0 && to == piece.bytes.len() {
                piece.bytes.clone()
            } else {
                piece.bytes.slice(from..to)
            });
            reached = piece.start + to as u64;
        }
        reached
    }

    /// The length, once it is certain: announced, or reached. `Err(None)`: it will not be known in time.
    pub(in crate::cache) fn length(
        &mut self,
        reader: ReaderId,
        waker: &Waker,
    ) -> Option<Result<u64, Option<Broken>>> {
        if let Some(length) = self.opened.as_ref().and_then(|opened| opened.head.length) {
            return Some(Ok(length));
        }
        match &self.phase {
            Phase::Done(_) => Some(Ok(self.end)),
            Phase::Broken(broken) => Some(Err(Some(broken.clone()))),
            Phase::Answered(_) | Phase::Abandoned => Some(Err(None)),
            Phase::Opening | Phase::Growing if self.streams => Some(Err(None)),
            Phase::Opening | Phase::Growing => {
                self.register(reader, waker);
                None
            }
        }
    }

    /// Whether the first `end` bytes have arrived, once that is certain. False if the body ends earlier or
    /// streams: a body that streams waits for its readers, so a reader must not wait for it.
    pub(in crate::cache) fn reaches(
        &mut self,
        reader: ReaderId,
        end: u64,
        waker: &Waker,
    ) -> Option<Result<bool, Broken>> {
        match &self.phase {
            Phase::Broken(broken) => Some(Err(broken.clone())),
            Phase::Done(_) | Phase::Opening | Phase::Growing if self.end >= end => {
                // A client that takes a part usually comes back for the next one, which would be fetched
                // from the start again.
                self.pinned = true;
                Some(Ok(true))
            }
            Phase::Done(_) | Phase::Answered(_) | Phase::Abandoned => Some(Ok(false)),
            Phase::Opening | Phase::Growing if self.streams => Some(Ok(false)),
            Phase::Opening | Phase::Growing => {
                self.register(reader, waker);
                None
            }
        }
    }

    /// The entry, once the body is whole and held.
    pub(in crate::cache) fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.phase {
            Phase::Done(entry) => entry.as_ref(),
            _ => None,
        }
    }

    /// Drops what all readers have taken, if the body streams.
    pub(in crate::cache) fn trim(&mut self, wakes: &mut Wakes) {
        if !self.streams {
            return;
        }
        let wanted =
            self.readers.iter().flatten().filter(|reader| reader.cut.is_none()).map(|reader| reader.position);
        let needed = wanted.min().unwrap_or(u64::MAX).min(self.end);
        let before = self.base;
        while self.pieces.front().is_some_and(|piece| piece.end() <= needed) {
            self.base = self.pieces.pop_front().map_or(self.base, |piece| piece.end());
        }
        if self.base > before {
            wakes.extend(self.writer.take());
        }
    }

    fn register(&mut self, reader: ReaderId, waker: &Waker) {
        if let Some(reader) = &mut self.readers[reader.0]
            && !reader.waker.as_ref().is_some_and(|known| known.will_wake(waker))
        {
            reader.waker = Some(waker.clone());
        }
    }

    pub(in crate::cache) fn wake_readers(&mut self, wakes: &mut Wakes) {
        wakes.extend(self.readers.iter_mut().flatten().filter_map(|reader| reader.waker.take()));
    }
}

#[cfg(test)]
#[path = "../tests/fill_state.rs"]
mod tests;

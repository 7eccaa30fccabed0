//! The writer's methods of [`FillState`]: open it, push chunks, end it.

use super::state::{Answer, BodyPiece, FillState, Opened, Phase, Wakes};
use crate::cache::entry::{Entry, Head};
use crate::kvs::Timestamp;
use crate::net::body::Broken;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

impl FillState {
    /// The head has arrived. Readers that passed on a different head from an earlier attempt are cut off.
    pub(in crate::cache) fn open(&mut self, head: Head, expires: Option<Timestamp>, wakes: &mut Wakes) {
        if !matches!(self.phase, Phase::Opening) {
            return;
        }
        if let Some(before) = &self.opened
            && !before.head.promises_the_same_as(&head)
        {
            for reader in self.readers.iter_mut().flatten().filter(|reader| reader.informed) {
                reader.cut = Some(Broken::Cut("the second attempt brought something else".into()));
            }
        }
        self.opened = Some(Opened { head: Arc::new(head), expires });
        self.phase = Phase::Growing;
        self.wake_readers(wakes);
    }

    /// The fill found its answer without growing, or failed.
    pub(in crate::cache) fn answer(&mut self, answer: Answer, wakes: &mut Wakes) {
        if matches!(self.phase, Phase::Opening) {
            self.phase = Phase::Answered(answer);
            self.wake_readers(wakes);
        }
    }

    /// From here on only a window is held, and no reader may join.
    pub(in crate::cache) fn stream(&mut self, wakes: &mut Wakes) {
        self.streams = true;
        self.trim(wakes);
        // Readers that wait for a length will not get one.
        self.wake_readers(wakes);
    }

    /// A chunk has arrived.
    ///
    /// # Errors
    /// It is more than was announced.
    pub(in crate::cache) fn push(&mut self, bytes: Bytes, wakes: &mut Wakes) -> Result<(), Broken> {
        let end = self.end + bytes.len() as u64;
        let length = self.opened.as_ref().and_then(|opened| opened.head.length);
        if length.is_some_and(|length| end > length) {
            return Err(Broken::Cut(format!("more bytes came than the {} announced", length.unwrap_or(0))));
        }
        if !bytes.is_empty() {
            self.pieces.push_back(BodyPiece { start: self.end, bytes });
            self.end = end;
            self.wake_readers(wakes);
            self.trim(wakes);
        }
        Ok(())
    }

    /// The pieces from the `from`-th on.
    pub(in crate::cache) fn tail(&self, from: usize) -> VecDeque<Bytes> {
        self.pieces.range(from.min(self.pieces.len())..).map(|piece| piece.bytes.clone()).collect()
    }

    /// Puts `tail` in place of the pieces from the `from`-th on, whose bytes it has.
    pub(in crate::cache) fn replace_tail(&mut self, from: usize, tail: Vec<Bytes>) {
        let Some(mut start) = self.pieces.get(from).map(|piece| piece.start) else { return };
        if start + tail.iter().map(|bytes| bytes.len() as u64).sum::<u64>() == self.end {
            self.pieces.truncate(from);
            for bytes in tail {
                let piece = BodyPiece { start, bytes };
                start = piece.end();
                self.pieces.push_back(piece);
            }
        }
    }

    /// The body has ended and is about to be stored: a reader that leaves now does not abandon it. False if
    /// all readers have left before.
    ///
    /// # Errors
    /// It is less than was announced.
    pub(in crate::cache) fn complete(&mut self) -> Result<bool, Broken> {
        match self.opened.as_ref().and_then(|opened| opened.head.length) {
            Some(length) if length != self.end => {
                Err(Broken::Cut(format!("{} of {length} bytes came", self.end)))
            }
            _ => {
                self.pinned = true;
                Ok(matches!(self.phase, Phase::Growing))
            }
        }
    }

    /// The body is whole.
    pub(in crate::cache) fn finish(&mut self, entry: Option<Arc<Entry>>, wakes: &mut Wakes) {
        if matches!(self.phase, Phase::Growing) {
            if entry.is_some() {
                self.pieces.clear();
            }
            self.phase = Phase::Done(entry);
            self.wake_readers(wakes);
        }
    }

    /// The body broke. If `again` and a reader has not been given any bytes yet, such readers wait for a
    /// second attempt, the others are cut off, and the result is true. Otherwise the fill ends for all.
    pub(in crate::cache) fn fail(&mut self, broken: &Broken, again: bool, wakes: &mut Wakes) -> bool {
        if !matches!(self.phase, Phase::Opening | Phase::Growing) {
            return false;
        }
        let waiting = self.readers.iter().flatten().any(|reader| !reader.served && reader.cut.is_none());
        let again = again && waiting && self.base == 0;
        if again {
            self.phase = Phase::Opening;
            self.streams = false;
            self.end = 0;
            for reader in self.readers.iter_mut().flatten().filter(|reader| reader.served) {
                reader.cut = Some(broken.clone());
            }
        } else {
            self.phase = Phase::Broken(broken.clone());
        }
        self.pieces.clear();
        self.wake_readers(wakes);
        again
    }

    /// The stream was purged: nothing that arrives is stored, and no reader may join.
    pub(in crate::cache) fn purge(&mut self) {
        self.purged = true;
    }

    /// Whether the stream was purged.
    pub(in crate::cache) fn purged(&self) -> bool {
        self.purged
    }

    /// True once all readers have left; otherwise the writer is woken when they do, or when there is room.
    pub(in crate::cache) fn abandoned(&mut self, waker: &Waker) -> bool {
        if matches!(self.phase, Phase::Abandoned) {
            return true;
        }
        if !self.writer.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.writer = Some(waker.clone());
        }
        false
    }

    /// Whether the writer may bring more, if a body that streams may be `window` ahead of its slowest reader.
    pub(in crate::cache) fn has_room(&self, window: u64) -> bool {
        !self.streams || self.end - self.base < window
    }

    /// A single reader needs no window of its own; several get one, so that their speeds may differ for a
    /// while.
    pub(in crate::cache) fn is_shared(&self) -> bool {
        self.reader_count > 1
    }

    /// The writer has waited for room for `waited`. Readers that made others wait are charged with it, and
    /// cut off once they have used up their `patience`.
    pub(in crate::cache) fn charge(&mut self, waited: Duration, patience: Duration, wakes: &mut Wakes) {
        let starving =
            self.readers.iter().flatten().any(|reader| reader.cut.is_none() && reader.position >= self.end);
        if !self.streams || !starving {
            return;
        }
        let first = self.pieces.front().map_or(self.base, BodyPiece::end);
        for reader in self.readers.iter_mut().flatten() {
            if reader.cut.is_none() && reader.position < first {
                reader.held_back += waited;
                if reader.held_back >= patience {
                    reader.cut = Some(Broken::Stalled(reader.held_back));
                    wakes.extend(reader.waker.take());
                }
            }
        }
        self.trim(wakes);
    }

    /// Bytes held.
    #[cfg(test)]
    pub(in crate::cache) fn held(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.bytes.len() as u64).sum()
    }

    /// Bytes that have arrived.
    pub(in crate::cache) fn arrived(&self) -> u64 {
        self.end
    }
}

//! The body of a clip: fragments are read one after the other, and each becomes its slot as it is sent.

use super::clip::PackagedClip;
use super::written_parts::PartKey;
use crate::archive::{Archive, FragmentReader};
use crate::net::body::{Broken, ByteStream};
use crate::net::stepped_body::{Steps, stepped};
use crate::package::clip::{Format, FrameTable, Section};
use crate::package::{Document, Refusal};
use crate::upstream::OnBehalfOf;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// So many bytes of slots that are here already are sent together.
const AT_ONCE: usize = 256 << 10;

/// What makes the next pieces.
struct SlotReader {
    archive: Archive,
    clip: PackagedClip,
    /// What has not been made yet.
    rest: Range<u64>,
    reader: FragmentReader,
    on_behalf_of: OnBehalfOf,
    /// Of every fragment from the first on, as long as none is missing: for the trailer.
    tables: Vec<FrameTable>,
}

impl Archive {
    /// Bytes of a clip. The body ends whole or breaks.
    #[must_use]
    pub fn clip_body(&self, clip: &PackagedClip, range: Range<u64>, on_behalf_of: OnBehalfOf) -> ByteStream {
        let length = range.end.saturating_sub(range.start);
        let bytes = self.0.packaging.metrics().bytes(clip.clip.format().name());
        let fragments = clip.clip.sections(range.clone()).fragments();
        let reader = self.read_fragments(clip, fragments, &on_behalf_of);
        let (archive, clip) = (self.clone(), clip.clone());
        let slots = SlotReader { archive, clip, rest: range, reader, on_behalf_of, tables: Vec::new() };
        stepped(VecDeque::new(), slots, Some(length), move |sent| bytes.inc_by(sent))
    }
}

impl Steps for SlotReader {
    /// The pieces of the next section, or of several if they are here already.
    async fn step(mut self) -> Option<(Result<VecDeque<Bytes>, Broken>, Self)> {
        if let Some(written) = self.written() {
            return Some((Ok(written), self));
        }
        let section = self.clip.clip.sections(self.rest.clone()).next()?;
        let (made, length) = match section {
            Section::Header(range) => {
                (Ok(VecDeque::from([self.clip.clip.header().slice(range.clone())])), range.len())
            }
            Section::Fragment { index, range } => (self.fragment(index, range.clone()).await, range.len()),
            Section::Trailer(range) => {
                let trailer = self.trailer().await;
                (trailer.map(|trailer| VecDeque::from([trailer.slice(range.clone())])), range.len())
            }
        };
        self.rest.start += length as u64;
        Some((made, self))
    }
}

impl SlotReader {
    /// The next slots that were written before; `None` if the next section is no such slot.
    fn written(&mut self) -> Option<VecDeque<Bytes>> {
        let mut pieces = VecDeque::new();
        let mut length = 0;
        // The index of an ordinary MP4 is made of every fragment that is read.
        let is_wanted = self.clip.clip.format() != Format::Plain;
        while is_wanted && length < AT_ONCE {
            let next = self.clip.clip.sections(self.rest.clone()).next();
            let Some(Section::Fragment { index, range }) = next else { break };
            let key = PartKey::new(self.clip.etag(), index);
            let (parts, stream) = (&self.archive.0.packaging.parts, self.clip.stream.arn());
            let Some(slot) = key.and_then(|key| parts.get(key, stream)) else { break };
            self.reader.skip();
            self.rest.start += range.len() as u64;
            length += range.len();
            pieces.push_back(slot.slice(range));
        }
        (!pieces.is_empty()).then_some(pieces)
    }

    async fn fragment(&mut self, index: usize, range: Range<usize>) -> Result<VecDeque<Bytes>, Broken> {
        let document = next(&mut self.reader).await?;
        let slot = self.clip.clip.slot(index, &document).map_err(|refusal| self.break_off(index, refusal))?;
        if self.clip.clip.format() == Format::Plain && self.tables.len() == index {
            let table = self.clip.clip.frame_table(index, &document);
            self.tables.push(table.map_err(|refusal| self.break_off(index, refusal))?);
        }
        let key = PartKey::new(self.clip.etag(), index);
        let slot = match key {
            Some(key) => self.archive.0.packaging.parts.keep(key, self.clip.stream.arn(), slot),
            None => slot,
        };
        Ok(cut(slot, range))
    }

    /// The trailer: remembered, made of what was sent, or made of all fragments.
    async fn trailer(&mut self) -> Result<Bytes, Broken> {
        let trailers = &self.archive.0.packaging.trailers;
        if let Some(trailer) = trailers.get(self.clip.etag()) {
            return Ok(trailer);
        }
        let count = self.clip.clip.rows().len();
        let at = self.tables.len();
        let mut reader = self.archive.read_fragments(&self.clip, at..count, &self.on_behalf_of);
        for index in at..count {
            let document = next(&mut reader).await?;
            let table = self.clip.clip.frame_table(index, &document);
            self.tables.push(table.map_err(|refusal| self.break_off(index, refusal))?);
        }
        let trailer = self.clip.clip.trailer(&self.tables);
        let trailer = trailer.map_err(|refusal| self.break_off(count.saturating_sub(1), refusal))?;
        trailers.insert(self.clip.etag().into(), trailer.clone());
        Ok(trailer)
    }

    /// Nothing of what was promised may be left out or stretched (law 4): the client notices, and asks again.
    fn break_off(&self, index: usize, refusal: Refusal) -> Broken {
        let row = &self.clip.clip.rows()[index];
        let stream = self.clip.stream.arn().name();
        if refusal == Refusal::Overflow {
            self.archive.0.packaging.raise_slack(self.clip.stream.arn(), self.clip.slack);
        }
        tracing::warn!(%stream, fragment = %row.number, at = %row.producer, "a clip breaks off: {refusal}");
        self.archive.refuse(row, refusal);
        Broken::Refused(format!("fragment {} at {}: {refusal}", row.number, row.producer))
    }
}

async fn next(reader: &mut FragmentReader) -> Result<Document, Broken> {
    match reader.next().await {
        Some(Ok(document)) => Ok(document),
        Some(Err(failure)) => Err(failure.into_broken()),
        None => Err(Broken::Cut("the list of fragments ended early".to_owned())),
    }
}

/// The part of a slot that a range covers.
pub(super) fn cut(slot: Vec<Bytes>, range: Range<usize>) -> VecDeque<Bytes> {
    let mut at = 0;
    let mut pieces = VecDeque::with_capacity(slot.len());
    for piece in slot {
        let (start, end) = (at, at + piece.len());
        at = end;
        let within = range.start.max(start)..range.end.min(end);
        if within.start >= within.end {
            continue;
        }
        let whole = within.len() == piece.len();
        pieces.push_back(if whole { piece } else { piece.slice(within.start - start..within.end - start) });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_cut_to_the_bytes_of_a_range() {
        let slot = || vec![Bytes::from_static(b"abc"), Bytes::from_static(b""), Bytes::from_static(b"defg")];
        let of = |range| cut(slot(), range).into_iter().flatten().collect::<Vec<u8>>();
        assert_eq!(of(0..7), b"abcdefg");
        assert_eq!(
            (of(1..2), of(2..5), of(3..7), of(6..7)),
            (b"b".into(), b"cde".into(), b"defg".into(), b"g".into())
        );
        assert!(of(3..3).is_empty());
    }
}

//! Finds documents, tags and media in Matroska bytes as they arrive, however they are cut.
//!
//! A real parser at the level that matters: sizes are followed, never searched for, because media may hold
//! any bytes. Segments of unknown size end where the next document begins; so do Clusters, which also occur
//! with unknown size (docs/KVS.md 9.2).

use super::in_band::InBand;
use crate::kvs::ebml::id::{self, CLUSTER, EBML, SEGMENT, TAGS};
use crate::kvs::ebml::{EbmlFault, Head};
use crate::kvs::{FragmentNumber, FragmentTags};

/// What was found, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// A document begins, so many bytes from the start of the body.
    Document(u64),
    /// It is this fragment.
    Fragment(FragmentNumber),
    /// It is an error instead.
    Failed(InBand),
    /// Its media begins.
    Media,
}

/// The scanner; push bytes, get events.
#[derive(Default)]
pub(super) struct Scanner {
    /// Bytes that were pushed and dealt with.
    at: u64,
    /// The start of an element's head that is not whole yet.
    partial: Vec<u8>,
    step: ScanStep,
    place: ScanPosition,
    documents: usize,
    /// The current document has media, or is an error.
    whole: bool,
}

#[derive(Default)]
enum ScanStep {
    /// An element's head is next.
    #[default]
    Head,
    /// So many bytes of no interest.
    Skip(u64),
    /// A Tags element, so far, and how long it will be.
    Tags(Vec<u8>, usize),
}

/// Where the next element stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum ScanPosition {
    /// Outside: only a document can begin.
    #[default]
    Outside,
    /// After a document's EBML header: only its Segment can begin.
    Document,
    /// In a Segment that has so many bytes left, if that is known.
    Segment(Option<u64>),
    /// In a Cluster of unknown size.
    Cluster,
}

/// More than AWS's tags and ten tags of a producer take.
const LONGEST_TAGS: u64 = 64 << 10;
const LONGEST_EBML: u64 = 4 << 10;
const TORN: &str = "it is not Matroska: an element is larger than what holds it";

impl Scanner {
    /// # Errors
    /// Says why this is not the body of a fragment list.
    pub(super) fn push(&mut self, mut bytes: &[u8]) -> Result<Vec<Event>, &'static str> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let used = match &mut self.step {
                ScanStep::Skip(left) => {
                    let used = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= used as u64;
                    if *left == 0 {
                        self.step = ScanStep::Head;
                    }
                    used
                }
                ScanStep::Tags(content, length) => {
                    let used = bytes.len().min(*length - content.len());
                    content.extend_from_slice(&bytes[..used]);
                    if content.len() == *length {
                        let tags = FragmentTags::read(content).map_err(malformed)?;
                        self.step = ScanStep::Head;
                        if let Some(error) = InBand::of(&tags) {
                            self.whole = true;
                            events.push(Event::Failed(error));
                        } else if let Some(number) = tags.number {
                            events.push(Event::Fragment(number));
                        }
                    }
                    used
                }
                ScanStep::Head => self.head(bytes, &mut events)?,
            };
            self.at += used as u64;
            bytes = &bytes[used..];
        }
        Ok(events)
    }

    /// # Errors
    /// Says what is missing at the end of the body.
    pub(super) fn finish(&self) -> Result<(), &'static str> {
        let between = matches!(self.step, ScanStep::Head) && self.partial.is_empty();
        let ended = match self.place {
            ScanPosition::Outside | ScanPosition::Segment(None | Some(0)) | ScanPosition::Cluster => true,
            ScanPosition::Document | ScanPosition::Segment(Some(_)) => false,
        };
        if between && ended && (self.whole || self.documents == 0) {
            Ok(())
        } else {
            Err("its last document is not whole")
        }
    }

    /// Reads an element's head from the bytes left over and the new ones; gives how many new bytes it used.
    fn head(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<usize, &'static str> {
        let before = self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(Head::LONGEST)]);
        let Some(head) = Head::read(&self.partial).map_err(malformed)? else {
            return Ok(self.partial.len() - before);
        };
        self.partial.clear();
        self.element(head, self.at - before as u64, events)?;
        Ok(head.length - before)
    }

    fn element(&mut self, head: Head, at: u64, events: &mut Vec<Event>) -> Result<(), &'static str> {
        if let ScanPosition::Segment(Some(0)) = self.place {
            self.place = ScanPosition::Outside;
        }
        if self.place == ScanPosition::Cluster && id::ends_cluster(head.id) {
            self.place = ScanPosition::Segment(None);
        }
        match (self.place, head.id) {
            (ScanPosition::Outside | ScanPosition::Segment(None) | ScanPosition::Cluster, EBML) => {
                if self.documents > 0 && !self.whole {
                    return Err("a document has no media");
                }
                self.documents += 1;
                self.whole = false;
                self.place = ScanPosition::Document;
                events.push(Event::Document(at));
                self.skip(head.size.filter(|size| *size <= LONGEST_EBML).ok_or(TORN)?);
            }
            (ScanPosition::Document, SEGMENT) => self.place = ScanPosition::Segment(head.size),
            (ScanPosition::Segment(left), id) => {
                if let Some(left) = left {
                    let size = head.size.ok_or(TORN)?.saturating_add(head.length as u64);
                    self.place = ScanPosition::Segment(Some(left.checked_sub(size).ok_or(TORN)?));
                }
                self.in_segment(id, head.size, events)?;
            }
            (ScanPosition::Cluster, _) => self.skip(head.size.ok_or(TORN)?),
            _ => return Err("it is not Matroska: an element is out of place"),
        }
        Ok(())
    }

    fn in_segment(
        &mut self,
        id: u32,
        size: Option<u64>,
        events: &mut Vec<Event>,
    ) -> Result<(), &'static str> {
        match (id, size) {
            (TAGS, Some(size)) if size <= LONGEST_TAGS => {
                // An empty element would wait for a byte that is not its own.
                let length = size as usize; // bounded above
                self.step = if length == 0 { ScanStep::Head } else { ScanStep::Tags(Vec::new(), length) };
            }
            (CLUSTER, size) => {
                self.whole = true;
                events.push(Event::Media);
                match size {
                    Some(size) => self.skip(size),
                    None => self.place = ScanPosition::Cluster,
                }
            }
            (EBML | SEGMENT, _) | (_, None) => return Err("it is not Matroska: an element is out of place"),
            (TAGS, _) => return Err("its tags are too long"),
            (_, Some(size)) => self.skip(size),
        }
        Ok(())
    }

    fn skip(&mut self, size: u64) {
        self.step = if size == 0 { ScanStep::Head } else { ScanStep::Skip(size) };
    }
}

fn malformed(fault: EbmlFault) -> &'static str {
    match fault {
        EbmlFault::NoId => "it is not Matroska: an element has no id",
        EbmlFault::NoSize => "it is not Matroska: an element has no size",
        EbmlFault::Torn | EbmlFault::NoNumber => "it is not Matroska: a tag is torn",
    }
}

//! Steps from element to element of a document, within bounds.

use crate::kvs::ebml::Head;
use crate::package::{Document, Refusal};
use std::ops::Range;

/// An element and where its content lies in the document.
pub(super) struct Element {
    pub(super) id: u32,
    /// Up to the end of what holds it, if its size is unknown.
    pub(super) content: Range<usize>,
    pub(super) unknown_size: bool,
}

/// Reads elements by their offset.
pub(super) struct Walk<'d> {
    document: &'d Document,
    left: u32,
}

/// A document of empty elements must not take the time of millions of steps. A frame takes up to four
/// elements.
const MOST_ELEMENTS: u32 = 1 << 19;

impl<'d> Walk<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self { document, left: MOST_ELEMENTS }
    }

    /// The element at the start of this range.
    pub(super) fn element(&mut self, within: Range<usize>) -> Result<Element, Refusal> {
        self.left = self.left.checked_sub(1).ok_or(Refusal::TooLarge("elements"))?;
        let mut room = [0; Head::LONGEST];
        let most = room.len().min(within.len());
        let filled = self.document.read(within.start, &mut room[..most]);
        let head = Head::read(&room[..filled])?.ok_or(Refusal::Torn)?;
        let start = within.start + head.length;
        let end = match head.size {
            None => within.end,
            Some(size) => usize::try_from(size)
                .ok()
                .and_then(|size| start.checked_add(size))
                .filter(|end| *end <= within.end)
                .ok_or(Refusal::Torn)?,
        };
        Ok(Element { id: head.id, content: start..end, unknown_size: head.size.is_none() })
    }

    /// The element at the start of this range, whose size must be known.
    pub(super) fn sized_element(&mut self, within: Range<usize>) -> Result<Element, Refusal> {
        let element = self.element(within)?;
        element.sized()?;
        Ok(element)
    }

    /// A copy of the content of a small element.
    pub(super) fn content(&self, element: &Element, most: usize) -> Result<Vec<u8>, Refusal> {
        if element.content.len() > most {
            return Err(Refusal::TooLarge("bytes in the description of its tracks or tags"));
        }
        Ok(self.document.copy(element.content.clone()))
    }
}

impl Element {
    pub(super) fn sized(&self) -> Result<(), Refusal> {
        if self.unknown_size {
            return Err(Refusal::Malformed("an element has no size where it must have one"));
        }
        Ok(())
    }
}

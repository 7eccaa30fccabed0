//! A clip of any length whose every byte has its place before any fragment but the first is fetched.
//!
//! The rows that KVS lists and the first fragment decide the header, the place of every fragment, the length
//! and the entity tag. So any range of a clip needs the fragments that it touches and no others, and every
//! replica serves the same bytes.

mod basis;
mod fragmented;
mod matroska;
mod plain;
mod slots;
#[cfg(test)]
mod tests;

pub use plain::FrameTable;
pub use slots::{Section, Sections};

use super::timing::TrackRun;
use super::{Document, Refusal, mkv};
use crate::kvs::ListedFragment;
use aws_lc_rs::digest;
use basis::Basis;
use bytes::Bytes;
use slots::Slots;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Part of every entity tag: changes whenever the bytes made of the same footage do.
const VERSION: &str = "1";
/// The most fragments of a clip: an index has no room for more references.
pub const MOST_FRAGMENTS: usize = super::mp4::index::MOST_REFERENCES;
/// The longest ordinary MP4: its index needs the frame sizes of every fragment.
pub const LONGEST_PLAIN: Duration = Duration::from_secs(2 * 3600);
/// The largest ordinary MP4.
pub const LARGEST_PLAIN: u64 = 4 << 30;

/// The kinds of file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// MP4 in fragments, with an index ahead of them: plays while it downloads.
    Fragmented,
    /// MP4 with one `moov` at its end, for programs that know no fragments.
    Plain,
    /// Matroska: the stored clusters one after the other.
    Matroska,
}

impl Format {
    /// The value of the label `layout`, and a part of entity tags.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fragmented => "fragmented",
            Self::Plain => "plain",
            Self::Matroska => "matroska",
        }
    }
}

/// How a clip is to be made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClipSettings {
    /// The kind of file.
    pub format: Format,
    /// Room for what a fragment grows by, in powers of four. Raised when one did not fit; part of the entity
    /// tag.
    pub slack: u8,
    /// How much of the beginning is not presented (MP4 only).
    pub hidden: Duration,
}

/// A clip.
pub struct Clip {
    format: Format,
    basis: Basis,
    header: Bytes,
    slots: Slots,
    /// What follows the slots.
    trailer: u64,
    etag: String,
}

impl Clip {
    /// The clip of these fragments, in the order in which they are presented, `first` being the first one's
    /// bytes.
    ///
    /// # Errors
    /// There are none or too many, or the first one cannot be packaged.
    pub fn new(
        rows: Arc<[ListedFragment]>,
        first: &Document,
        settings: ClipSettings,
    ) -> Result<Self, Refusal> {
        if rows.is_empty() {
            return Err(Refusal::Unsupported("there are no fragments to package"));
        }
        if rows.len() > MOST_FRAGMENTS {
            return Err(Refusal::TooLarge("fragments for one clip"));
        }
        let fragment = mkv::read(first)?;
        let basis = Basis::new(rows, &fragment, settings.hidden)?;
        let sizes = slots::sizes(&basis.rows, &basis.timeline, &fragment, settings.slack);
        let (header, trailer) = match settings.format {
            Format::Fragmented => (fragmented::header(&basis, &sizes), 0),
            Format::Plain => {
                (plain::header(&sizes)?, plain::trailer_length(&basis, &fragment, settings.slack))
            }
            Format::Matroska => (matroska::header(&basis, first, &fragment, &sizes)?, 0),
        };
        let slots = Slots::new(header.len() as u64, &sizes);
        let etag = entity_tag(&basis, settings, &header);
        Ok(Self { format: settings.format, basis, header, slots, trailer, etag })
    }

    /// The length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.slots.end() + self.trailer
    }

    /// The strong entity tag, quotes included.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The kind of file.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The fragments that it is made of.
    #[must_use]
    pub fn rows(&self) -> &[ListedFragment] {
        &self.basis.rows
    }

    /// What lies ahead of the first fragment.
    #[must_use]
    pub fn header(&self) -> &Bytes {
        &self.header
    }

    /// What a range of its bytes needs, in order.
    #[must_use]
    pub fn sections(&self, range: Range<u64>) -> Sections<'_> {
        Sections::new(&self.slots, range, self.length())
    }

    /// The bytes of one fragment's slot, exactly as many as its slot has.
    ///
    /// # Errors
    /// The fragment cannot be packaged behind the first one, or needs more room.
    pub fn slot(&self, index: usize, document: &Document) -> Result<Vec<Bytes>, Refusal> {
        let fragment = mkv::read(document)?;
        let size = self.slots.length(index);
        match self.format {
            Format::Fragmented => fragmented::slot(&self.basis, index, document, &fragment, size),
            Format::Plain => plain::slot(&self.basis, index, document, &fragment, size),
            Format::Matroska => matroska::slot(&self.basis, index, document, &fragment, size),
        }
    }

    /// Whether a fragment can be packaged behind the first one.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, index: usize, document: &Document) -> Result<(), Refusal> {
        let fragment = mkv::read(document)?;
        match self.format {
            Format::Matroska => matroska::check(&self.basis, &fragment),
            Format::Fragmented | Format::Plain => {
                self.basis.check_tracks(&fragment)?;
                self.basis.plans().try_for_each(|plan| {
                    TrackRun::of(document, &fragment, plan, self.basis.time(index)).map(drop)
                })
            }
        }
    }

    /// What the trailer needs to know of one fragment, for [`Format::Plain`].
    ///
    /// # Errors
    /// As [`Self::slot`].
    pub fn frame_table(&self, index: usize, document: &Document) -> Result<FrameTable, Refusal> {
        plain::frame_table(&self.basis, index, self.slots.begin(index), document)
    }

    /// What lies behind the last fragment, made of the tables of all of them.
    ///
    /// # Errors
    /// It needs more room than was promised.
    pub fn trailer(&self, tables: &[FrameTable]) -> Result<Bytes, Refusal> {
        plain::trailer(&self.basis, self.trailer, tables)
    }
}

/// The entity tag, quotes included: of everything that decides the bytes of the clip.
fn entity_tag(basis: &Basis, settings: ClipSettings, header: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(format!("{VERSION} {} {}\n", settings.format.name(), settings.slack).as_bytes());
    for row in basis.rows.iter() {
        let (length, producer) = (row.length.as_millis(), row.producer.millis());
        context.update(format!("{} {} {length} {producer}\n", row.number, row.size).as_bytes());
    }
    context.update(header);
    format!("\"{}\"", crate::base::hex::encode(&context.finish().as_ref()[..16]))
}

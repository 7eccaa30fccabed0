//! Clips as they are promised and as they are written, read by parsers that are not ours.

mod mp4;
mod promises;

use super::*;
use crate::kvs::{FragmentNumber, ListedFragment, Timestamp};
use crate::package::documents::{self, START, WrittenDocument};

/// The documents of a clip and the rows that KVS lists of them.
struct Stored {
    rows: Arc<[ListedFragment]>,
    documents: Vec<Document>,
}

/// Which of the two `FragmentSizeInBytes` counts; docs/KVS.md 4.2.
#[derive(Clone, Copy, Debug)]
enum Listed {
    Chunk,
    Payload,
}

/// These documents as stored fragments. Each begins at its `cluster_time`, and is listed to last `length` ms.
fn stored(written: &[WrittenDocument], length: u64, listed: Listed) -> Stored {
    let documents: Vec<Document> = written.iter().map(|written| Document::from(written.bytes())).collect();
    let rows = written.iter().zip(&documents).enumerate().map(|(at, (written, document))| {
        let payload: usize = written.blocks.iter().map(|block| block.payload.len()).sum();
        let counter = 1_000 + at as u128;
        let number = (1 << 28) * (counter << 64);
        ListedFragment {
            number: FragmentNumber::parse(&number.to_string()).unwrap(),
            server: Timestamp::from_millis(written.cluster_time + 300),
            producer: Timestamp::from_millis(written.cluster_time),
            length: Duration::from_millis(length),
            size: match listed {
                Listed::Chunk => document.len() as u64,
                Listed::Payload => payload as u64,
            },
        }
    });
    Stored { rows: rows.collect(), documents }
}

const USUAL: ClipSettings = ClipSettings { format: Format::Fragmented, slack: 0, hidden: Duration::ZERO };

fn of(format: Format) -> ClipSettings {
    ClipSettings { format, ..USUAL }
}

impl Stored {
    fn clip(&self, options: ClipSettings) -> Clip {
        self.try_clip(options).unwrap()
    }

    fn try_clip(&self, options: ClipSettings) -> Result<Clip, Refusal> {
        Clip::new(self.rows.clone(), &self.documents[0], options)
    }

    /// A range of the clip, made of the fragments that it touches.
    fn range(&self, clip: &Clip, range: Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for section in clip.sections(range) {
            match section {
                Section::Header(range) => bytes.extend_from_slice(&clip.header()[range]),
                Section::Fragment { index, range } => {
                    let slot = clip.slot(index, &self.documents[index]).unwrap().concat();
                    bytes.extend_from_slice(&slot[range]);
                }
                Section::Trailer(range) => bytes.extend_from_slice(&self.trailer(clip)[range]),
            }
        }
        bytes
    }

    fn trailer(&self, clip: &Clip) -> Bytes {
        let tables = self.documents.iter().enumerate();
        let tables: Vec<_> =
            tables.map(|(index, document)| clip.frame_table(index, document).unwrap()).collect();
        clip.trailer(&tables).unwrap()
    }

    fn whole(&self, clip: &Clip) -> Vec<u8> {
        self.range(clip, 0..clip.length())
    }
}

/// Two seconds of pictures and sound in each of so many fragments, one after the other.
fn camera(fragments: u64) -> Vec<WrittenDocument> {
    (0..fragments).map(|at| documents::avc_aac(50, START + at * 2000)).collect()
}

const FORMATS: [Format; 3] = [Format::Fragmented, Format::Plain, Format::Matroska];

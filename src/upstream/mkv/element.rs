//! EBML's alphabet: element ids and sizes, and the tags that AWS writes.

use super::in_band::InBand;
use crate::kvs::FragmentNumber;

pub(super) const EBML: u32 = 0x1A45_DFA3;
pub(super) const SEGMENT: u32 = 0x1853_8067;
pub(super) const CLUSTER: u32 = 0x1F43_B675;
pub(super) const TAGS: u32 = 0x1254_C367;
const TAG: u32 = 0x7373;
const SIMPLE_TAG: u32 = 0x67C8;
const TAG_NAME: u32 = 0x45A3;
const TAG_STRING: u32 = 0x4487;

/// The elements that may stand beside a Cluster in a Segment, and so end one of unknown size: SeekHead, Info,
/// Tracks, Cues, Chapters, Attachments, Tags, Cluster.
const IN_SEGMENT: [u32; 8] =
    [0x114D_9B74, 0x1549_A966, 0x1654_AE6B, 0x1C53_BB6B, 0x1043_A770, 0x1941_A469, TAGS, CLUSTER];

/// True for what ends a Cluster of unknown size.
pub(super) fn ends_cluster(id: u32) -> bool {
    IN_SEGMENT.contains(&id)
}

/// An element's head: id, size (`None` if unknown), and how many bytes the head itself takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) id: u32,
    pub(super) size: Option<u64>,
    pub(super) length: usize,
}

/// Reads a head. `Ok(None)`: more bytes are needed.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 {
        return Err("it is not Matroska: an element has no id");
    }
    let Some(&marker) = bytes.get(id_length) else { return Ok(None) };
    let size_length = marker.leading_zeros() as usize + 1;
    if size_length > 8 {
        return Err("it is not Matroska: an element has no size");
    }
    let Some(size) = bytes.get(id_length..id_length + size_length) else { return Ok(None) };
    let id = bytes[..id_length].iter().fold(0, |id, b| id << 8 | u32::from(*b));
    let raw = size.iter().fold(0, |size, b| size << 8 | u64::from(*b));
    let mask = (1_u64 << (7 * size_length)) - 1;
    let value = raw & mask;
    Ok(Some(Head { id, size: (value != mask).then_some(value), length: id_length + size_length }))
}

/// What AWS's tags say about a document.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Tags {
    pub(super) number: Option<FragmentNumber>,
    pub(super) code: Option<String>,
    pub(super) id: Option<String>,
}

impl Tags {
    /// The error that the tags describe, if they do.
    pub(super) fn error(&self) -> Option<InBand> {
        if self.code.is_none() && self.id.is_none() {
            return None;
        }
        Some(InBand {
            number: self.number.clone(),
            code: self.code.clone().unwrap_or_default(),
            id: self.id.as_deref().and_then(|id| id.trim().parse().ok()),
        })
    }
}

/// Reads the content of a Tags element. Names are those seen on the wire, and the documented ones
/// (docs/KVS.md 9.2).
pub(super) fn tags(content: &[u8]) -> Result<Tags, &'static str> {
    let mut found = Tags::default();
    each(content, &mut |id, tag| {
        if id != TAG {
            return Ok(());
        }
        each(tag, &mut |id, simple| {
            if id != SIMPLE_TAG {
                return Ok(());
            }
            let (mut name, mut value) = (None, None);
            each(simple, &mut |id, content| {
                match id {
                    TAG_NAME => name = std::str::from_utf8(content).ok(),
                    TAG_STRING => value = std::str::from_utf8(content).ok(),
                    _ => {}
                }
                Ok(())
            })?;
            let value = value.map(|value| value.trim_end_matches('\0').to_owned());
            match (name.map(|name| name.trim_end_matches('\0')), value) {
                (Some("AWS_KINESISVIDEO_FRAGMENT_NUMBER"), Some(value)) => {
                    found.number = FragmentNumber::parse(&value).ok();
                }
                (Some("AWS_KINESISVIDEO_ERROR_CODE" | "AWS_KINESISVIDEO_EXCEPTION_MESSAGE"), value) => {
                    found.code = Some(value.unwrap_or_default());
                }
                (Some("AWS_KINESISVIDEO_ERROR_ID" | "AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE"), value) => {
                    found.id = Some(value.unwrap_or_default());
                }
                _ => {}
            }
            Ok(())
        })
    })?;
    Ok(found)
}

type Visit<'v, 'b> = &'v mut dyn FnMut(u32, &'b [u8]) -> Result<(), &'static str>;

/// Visits the children of an element that is here whole.
fn each<'b>(mut bytes: &'b [u8], visit: Visit<'_, 'b>) -> Result<(), &'static str> {
    const TORN: &str = "it is not Matroska: a tag is torn";
    while !bytes.is_empty() {
        let head = head(bytes)?.ok_or(TORN)?;
        let size = head.size.and_then(|size| usize::try_from(size).ok()).ok_or(TORN)?;
        let rest = &bytes[head.length..];
        let content = rest.get(..size).ok_or(TORN)?;
        visit(head.id, content)?;
        bytes = &rest[size..];
    }
    Ok(())
}

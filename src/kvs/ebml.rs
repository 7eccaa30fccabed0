//! EBML as KVS's fragments use it: heads of elements, numbers, and the ids of Matroska that matter here
//! (docs/KVS.md 9.2; RFC 8794, RFC 9559).

/// Ids of elements.
pub mod id {
    /// Begins a document.
    pub const EBML: u32 = 0x1A45_DFA3;
    /// Holds all else of a document.
    pub const SEGMENT: u32 = 0x1853_8067;
    /// Holds media.
    pub const CLUSTER: u32 = 0x1F43_B675;
    /// Holds [`TAG`]s.
    pub const TAGS: u32 = 0x1254_C367;
    /// Holds [`SIMPLE_TAG`]s.
    pub const TAG: u32 = 0x7373;
    /// A [`TAG_NAME`] and a [`TAG_STRING`].
    pub const SIMPLE_TAG: u32 = 0x67C8;
    /// Text.
    pub const TAG_NAME: u32 = 0x45A3;
    /// Text.
    pub const TAG_STRING: u32 = 0x4487;
    /// Holds the scale of times.
    pub const INFO: u32 = 0x1549_A966;
    /// Holds the entries of tracks.
    pub const TRACKS: u32 = 0x1654_AE6B;
    const SEEK_HEAD: u32 = 0x114D_9B74;
    const CUES: u32 = 0x1C53_BB6B;
    const CHAPTERS: u32 = 0x1043_A770;
    const ATTACHMENTS: u32 = 0x1941_A469;

    /// The elements that may stand beside a Cluster in a Segment, and so end one of unknown size.
    const IN_SEGMENT: [u32; 8] = [SEEK_HEAD, INFO, TRACKS, CUES, CHAPTERS, ATTACHMENTS, TAGS, CLUSTER];

    /// True for what ends a Cluster of unknown size inside a document.
    #[must_use]
    pub fn ends_cluster(id: u32) -> bool {
        IN_SEGMENT.contains(&id)
    }
}

/// Why bytes are no EBML.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EbmlFault {
    /// An element has no id of 1 to 4 bytes.
    NoId,
    /// An element has no size of 1 to 8 bytes.
    NoSize,
    /// An element is larger than what holds it.
    Torn,
    /// A number has more than 8 bytes.
    NoNumber,
}

/// An element's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// With its marker bits.
    pub id: u32,
    /// Bytes of the content; `None` if that is not known.
    pub size: Option<u64>,
    /// Bytes of the head itself; at most [`Head::LONGEST`].
    pub length: usize,
}

impl Head {
    /// The longest head: 4 bytes of id, 8 of size.
    pub const LONGEST: usize = 12;

    /// Reads a head. `Ok(None)`: more bytes are needed.
    ///
    /// # Errors
    /// This is no head.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, EbmlFault> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let id_length = first.leading_zeros() as usize + 1;
        if id_length > 4 {
            return Err(EbmlFault::NoId);
        }
        let Some(size) = bytes.get(id_length..) else { return Ok(None) };
        let Some(Vint { value, length }) = Vint::read(size)? else { return Ok(None) };
        let id = bytes[..id_length].iter().fold(0, |id, b| id << 8 | u32::from(*b));
        Ok(Some(Self { id, size: value, length: id_length + length }))
    }
}

/// A number that says in its first byte how long it is: a size, the number of a track, a size in a lace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vint {
    /// `None` if all its bits are set, which means "unknown" for a size.
    pub value: Option<u64>,
    /// Its bytes: 1 to 8.
    pub length: usize,
}

impl Vint {
    /// The longest one.
    pub const LONGEST: usize = 8;

    /// Reads one. `Ok(None)`: more bytes are needed.
    ///
    /// # Errors
    /// Its first byte is 0.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, EbmlFault> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let length = first.leading_zeros() as usize + 1;
        if length > Self::LONGEST {
            return Err(EbmlFault::NoSize);
        }
        let Some(bytes) = bytes.get(..length) else { return Ok(None) };
        let mask = (1_u64 << (7 * length)) - 1;
        let value = bytes.iter().fold(0, |value, b| value << 8 | u64::from(*b)) & mask;
        Ok(Some(Self { value: (value != mask).then_some(value), length }))
    }
}

/// Visits the children of an element whose content is here whole.
///
/// # Errors
/// A child is no element or larger than its parent, or the visitor fails.
pub fn each<'b, E: From<EbmlFault>>(
    mut bytes: &'b [u8],
    mut visit: impl FnMut(u32, &'b [u8]) -> Result<(), E>,
) -> Result<(), E> {
    while !bytes.is_empty() {
        let head = Head::read(bytes)?.ok_or(EbmlFault::Torn)?;
        let size = head.size.and_then(|size| usize::try_from(size).ok()).ok_or(EbmlFault::Torn)?;
        let rest = &bytes[head.length..];
        let content = rest.get(..size).ok_or(EbmlFault::Torn)?;
        visit(head.id, content)?;
        bytes = &rest[size..];
    }
    Ok(())
}

/// The content of an unsigned integer. No bytes are 0.
///
/// # Errors
/// It has more than 8 bytes.
pub fn unsigned(content: &[u8]) -> Result<u64, EbmlFault> {
    if content.len() > 8 {
        return Err(EbmlFault::NoNumber);
    }
    Ok(content.iter().fold(0, |value, b| value << 8 | u64::from(*b)))
}

/// The content of a float. No bytes are 0.
///
/// # Errors
/// It has neither 0, 4 nor 8 bytes.
pub fn float(content: &[u8]) -> Result<f64, EbmlFault> {
    match content {
        [] => Ok(0.0),
        [a, b, c, d] => Ok(f64::from(f32::from_be_bytes([*a, *b, *c, *d]))),
        [a, b, c, d, e, f, g, h] => Ok(f64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])),
        _ => Err(EbmlFault::NoNumber),
    }
}

/// The content of a text: producers pad texts with NULs (docs/KVS.md 9.2). `None` if it is not UTF-8.
#[must_use]
pub fn text(content: &[u8]) -> Option<&str> {
    std::str::from_utf8(content).ok().map(|text| text.trim_end_matches('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_are_read_whatever_their_width() {
        let head = |bytes: &[u8]| Head::read(bytes);
        assert_eq!(head(&[0xEC, 0x80]), Ok(Some(Head { id: 0xEC, size: Some(0), length: 2 })));
        assert_eq!(head(&[0xA3, 0x40, 0x05]), Ok(Some(Head { id: 0xA3, size: Some(5), length: 3 })));
        let cluster = [0x1F, 0x43, 0xB6, 0x75, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(head(&cluster), Ok(Some(Head { id: id::CLUSTER, size: None, length: 12 })));
        for cut in 0..cluster.len() {
            assert_eq!(head(&cluster[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(head(&[0x08, 0x80]), Err(EbmlFault::NoId));
        assert_eq!(head(&[0xEC, 0]), Err(EbmlFault::NoSize));
    }

    #[test]
    fn numbers_have_at_most_eight_bytes() {
        assert_eq!(unsigned(&[]), Ok(0));
        assert_eq!(unsigned(&[0xFF; 8]), Ok(u64::MAX));
        assert_eq!(unsigned(&[0; 9]), Err(EbmlFault::NoNumber));
        assert_eq!(float(&8000_f32.to_be_bytes()), Ok(8000.0));
        assert_eq!(float(&44_100_f64.to_be_bytes()), Ok(44_100.0));
        assert_eq!(float(&[0; 3]), Err(EbmlFault::NoNumber));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut sum = 0;
            let whole = each::<EbmlFault>(&bytes, |_, content| {
                sum += content.len();
                Ok(())
            });
            prop_assert!(sum <= bytes.len(), "{whole:?}");
        }
    }
}

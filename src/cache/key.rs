//! Cache keys: which requests have the same bytes as their answer (docs/BEHAVIOUR.md 7, first table;
//! docs/KVS.md 8.1).
//!
//! A key is the SHA-256 of an injective encoding of the request, with one constructor per row of the table.
//! It never holds a user: who may see an entry is decided before the cache is reached. Beside the digest it
//! carries two short tags of its stream, so that a purge finds every entry of a stream without a heap
//! allocation in the key.

use crate::kvs::operations::ImageFormat;
use crate::kvs::{
    FragmentNumber, Operation, Protocol, Resource, SelectorType, StreamArn, StreamRef, Timestamp,
};
use aws_lc_rs::digest::SHA256;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

/// Names the bytes of one response.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub(super) digest: [u8; 32],
    /// The tag of the ARN; zero if the key was made from a bare name.
    pub(super) arn: u64,
    /// The tag of the stream's name.
    pub(super) name: u64,
}

/// One still picture, as requested.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Picture {
    /// The clock that `at` is read on.
    pub selector: SelectorType,
    /// The instant.
    pub at: Timestamp,
    /// JPEG or PNG.
    pub format: ImageFormat,
    /// JPEG quality; absent means KVS's own default, which is 80, and the two are one picture.
    pub quality: Option<u8>,
    /// Width in pixels, if the request names one.
    pub width: Option<u16>,
    /// Height in pixels, if the request names one.
    pub height: Option<u16>,
}

impl Key {
    /// A resource of an upstream playback session: init, media, playlist, manifest. `stream` is the
    /// stream's ARN, or its name where the ARN is not known; it is there for [`super::Cache::purge`] and is
    /// part of the key.
    #[must_use]
    pub fn resource(stream: &StreamRef, session: &str, resource: &Resource) -> Self {
        let protocol = match resource.protocol() {
            Protocol::Hls => b"h",
            Protocol::Dash => b"d",
        };
        Encoding::of_ref(KeyKind::Resource, stream)
            .part(session.as_bytes())
            .part(protocol)
            .shown(resource)
            .key()
    }

    /// One fragment as Matroska, the same for every session and caller.
    #[must_use]
    pub fn mkv(stream: &StreamArn, number: &FragmentNumber) -> Self {
        Encoding::of(KeyKind::Mkv, stream).part(number.as_str().as_bytes()).key()
    }

    /// A clip.
    #[must_use]
    pub fn clip(stream: &StreamArn, selector: SelectorType, start: Timestamp, end: Timestamp) -> Self {
        Encoding::of(KeyKind::Clip, stream).selector(selector).instant(start).instant(end).key()
    }

    /// A picture at an instant.
    #[must_use]
    pub fn image(stream: &StreamArn, picture: &Picture) -> Self {
        Encoding::of(KeyKind::Image, stream)
            .selector(picture.selector)
            .instant(picture.at)
            .appearance(picture)
            .key()
    }

    /// The newest picture of a camera, whatever its instant: `picture.at` does not count.
    #[must_use]
    pub fn latest_image(stream: &StreamArn, picture: &Picture) -> Self {
        Encoding::of(KeyKind::LatestImage, stream).selector(picture.selector).appearance(picture).key()
    }

    /// The fragments of a range, drained and sorted.
    #[must_use]
    pub fn fragment_list(
        stream: &StreamArn,
        selector: SelectorType,
        start: Timestamp,
        end: Timestamp,
    ) -> Self {
        Encoding::of(KeyKind::FragmentList, stream).selector(selector).instant(start).instant(end).key()
    }

    /// All fragments of one clock hour, counted from 1970, in an encoding of this format.
    #[must_use]
    pub fn hour_index(
        stream: &StreamArn,
        selector: SelectorType,
        (hour, part): (u64, Option<u8>),
        format: u8,
    ) -> Self {
        let encoding = Encoding::of(KeyKind::HourIndex, stream).selector(selector);
        let part = part.as_slice();
        encoding.part(&hour.to_le_bytes()).part(part).part(&[format]).key()
    }

    /// KVS's own answer to a call about a stream of an `[[aws]]` entry, by everything that the call says:
    /// `body` is the call as KVS receives it.
    #[must_use]
    pub fn answer(stream: &StreamRef, entry: &str, operation: Operation, body: &[u8]) -> Self {
        let encoding = Encoding::of_ref(KeyKind::Answer, stream).part(entry.as_bytes());
        encoding.part(operation.name().as_bytes()).part(body).key()
    }

    /// Whether a purge of `target` covers this key.
    pub(super) fn is_of(&self, target: PurgeTarget) -> bool {
        match target {
            PurgeTarget::Name(name) => self.name == name,
            PurgeTarget::Arn { arn, name } => self.arn == arn || (self.arn == 0 && self.name == name),
        }
    }

    /// The purges that would cover this key.
    pub(super) fn purged_by(&self) -> impl Iterator<Item = PurgeTarget> {
        [PurgeTarget::Name(self.name), PurgeTarget::Arn { arn: self.arn, name: self.name }].into_iter()
    }

    /// The digest's first eight bytes, evenly spread.
    pub(super) fn spread(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Shows the digest's beginning, enough to follow one entry through a log.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.spread().swap_bytes())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.spread());
    }
}

/// A digest needs no second hash.
#[derive(Clone, Copy, Default)]
pub(super) struct DigestHash;

/// Hands on the one `u64` it is given.
#[derive(Default)]
pub(super) struct DigestHasher(u64);

impl BuildHasher for DigestHash {
    type Hasher = DigestHasher;
    fn build_hasher(&self) -> DigestHasher {
        DigestHasher(0)
    }
}

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = tag(bytes) ^ self.0.rotate_left(5);
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Which entries a purge means.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum PurgeTarget {
    /// Every stream of this name.
    Name(u64),
    /// This very stream, and entries whose key was made from its bare name.
    Arn {
        /// The ARN's tag.
        arn: u64,
        /// The name's tag.
        name: u64,
    },
}

impl PurgeTarget {
    /// Reads an ARN or a name.
    pub(super) fn of(stream: &str) -> Self {
        match StreamArn::parse(stream) {
            Ok(arn) => Self::of_arn(&arn),
            Err(_) => Self::of_name(stream),
        }
    }

    fn of_arn(arn: &StreamArn) -> Self {
        Self::Arn { arn: tag(arn.as_str().as_bytes()), name: tag(arn.name().as_str().as_bytes()) }
    }

    fn of_name(name: &str) -> Self {
        Self::Name(tag(name.as_bytes()))
    }
}

/// FNV-1a, never zero. Stable for ever because it is stored on disk; a collision purges too much, never too
/// little.
fn tag(bytes: &[u8]) -> u64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    hash.max(1)
}

/// The rows of the table. Numbers are stored on disk inside digests: append, never renumber.
#[derive(Clone, Copy)]
enum KeyKind {
    Resource = 1,
    Mkv = 2,
    Clip = 3,
    Image = 4,
    LatestImage = 5,
    FragmentList = 6,
    Answer = 7,
    HourIndex = 8,
}

/// An encoding being built: the row, then each part behind its length, so that two different lists of parts
/// never have the same encoding. It is gathered first and hashed in one call.
struct Encoding {
    bytes: Vec<u8>,
    arn: u64,
    name: u64,
}

/// Room for the parts of most keys.
const USUAL: usize = 256;

impl Encoding {
    fn of(row: KeyKind, stream: &StreamArn) -> Self {
        Self::new(row, PurgeTarget::of_arn(stream), stream.as_str())
    }

    /// By the ARN, or by the name where the ARN is not known.
    fn of_ref(row: KeyKind, stream: &StreamRef) -> Self {
        match stream {
            StreamRef::Arn(arn) => Self::of(row, arn),
            StreamRef::Name(name) => Self::new(row, PurgeTarget::of_name(name.as_str()), name.as_str()),
        }
    }

    fn new(row: KeyKind, target: PurgeTarget, stream: &str) -> Self {
        let mut bytes = Vec::with_capacity(USUAL);
        bytes.push(row as u8);
        let (arn, name) = match target {
            PurgeTarget::Arn { arn, name } => (arn, name),
            PurgeTarget::Name(name) => (0, name),
        };
        Self { bytes, arn, name }.part(stream.as_bytes())
    }

    fn key(self) -> Key {
        let mut digest = [0; 32];
        digest.copy_from_slice(aws_lc_rs::digest::digest(&SHA256, &self.bytes).as_ref());
        Key { digest, arn: self.arn, name: self.name }
    }

    fn part(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// The last part, written as text without a string in between. It needs no length: nothing follows it.
    fn shown(mut self, value: impl fmt::Display) -> Self {
        // Writing to a vector cannot fail.
        let _ = std::io::Write::write_fmt(&mut self.bytes, format_args!("{value}"));
        self
    }

    fn selector(self, selector: SelectorType) -> Self {
        self.part(selector.as_str().as_bytes())
    }

    fn instant(self, at: Timestamp) -> Self {
        self.part(&at.millis().to_le_bytes())
    }

    fn appearance(self, picture: &Picture) -> Self {
        let quality = match picture.format {
            ImageFormat::Jpeg => picture.quality.unwrap_or(DEFAULT_QUALITY),
            ImageFormat::Png => 0,
        };
        let side = |side: Option<u16>| side.unwrap_or(0).to_le_bytes();
        self.part(picture.format.as_str().as_bytes())
            .part(&[quality])
            .part(&side(picture.width))
            .part(&side(picture.height))
    }
}

/// docs/KVS.md 4.5: "JPEGQuality … default 80".
const DEFAULT_QUALITY: u8 = 80;

#[cfg(test)]
#[path = "tests/key.rs"]
mod tests;

/// Keys for the tests of other files.
#[cfg(test)]
pub(super) mod tests_support {
    use super::*;

    /// A key that stands for the number, of the stream `cam`.
    pub(crate) fn key(number: u64) -> Key {
        let arn = StreamArn::parse("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1").unwrap();
        Key::mkv(&arn, &FragmentNumber::parse(&number.to_string()).unwrap())
    }
}

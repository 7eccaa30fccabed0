//! Segments that are packaged here of stored fragments, by the addresses that players know them by.
//!
//! `v1-1767225600000.m4s` is the pictures of the fragment that is presented at that time, in milliseconds
//! since 1970 by the producer's clock, and `a1-….m4s` its sound. `v1-….mp4` is the init segment for it and
//! for those that follow.

use super::session::Protocol;
use super::timestamp::Timestamp;
use std::fmt;

/// A segment or an init segment that is packaged here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PackagedResource {
    /// HLS or DASH: the two have folders of their own.
    pub protocol: Protocol,
    /// Init segment, or media.
    pub part: PackagedPart,
    /// Which media, and when.
    pub address: SegmentAddress,
}

/// What is at an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PackagedPart {
    /// `ftyp` + `moov`.
    Init,
    /// `moof` + `mdat`.
    Media,
}

/// Which segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SegmentAddress {
    /// Pictures or sound.
    pub kind: MediaKind,
    /// When it is presented, by the producer's clock.
    pub time: Timestamp,
}

/// What of a fragment a segment holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl PackagedResource {
    /// Reads a file name; one that is spelt in any other way than it is shown gives `None`.
    #[must_use]
    pub fn parse(protocol: Protocol, file: &str) -> Option<Self> {
        let (address, extension) = file.split_once('.')?;
        let part = [PackagedPart::Init, PackagedPart::Media]
            .into_iter()
            .find(|part| part.extension() == extension)?;
        Some(Self { protocol, part, address: SegmentAddress::parse(address)? })
    }
}

impl fmt::Display for PackagedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.address, self.part.extension())
    }
}

impl PackagedPart {
    const fn extension(self) -> &'static str {
        match self {
            Self::Init => "mp4",
            Self::Media => "m4s",
        }
    }
}

impl SegmentAddress {
    fn parse(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_once("1-")?;
        let kind = [MediaKind::Video, MediaKind::Audio].into_iter().find(|known| known.letter() == kind)?;
        let is_plain = digits.len() <= 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let address = Self { kind, time: Timestamp::from_millis(digits.parse().ok().filter(|_| is_plain)?) };
        // Leading zeros, and times beyond the last one, would be other spellings of the same segment.
        (address.time.millis().to_string() == digits).then_some(address)
    }
}

impl fmt::Display for SegmentAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}1-{}", self.kind.letter(), self.time.millis())
    }
}

impl MediaKind {
    /// `v` or `a`, as in addresses.
    #[must_use]
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Video => "v",
            Self::Audio => "a",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_segment_has_one_spelling() {
        for file in [
            "v1-01.m4s",
            "v1-+1.m4s",
            "v1-.m4s",
            "v2-1.m4s",
            "x1-1.m4s",
            "v1-1.m4s.mp4",
            "v1-1",
            "v1-1.ts",
            "v1-253402300800000.m4s",
            "v1-1 .m4s",
            "../v1-1.m4s",
            "v1-99999999999999999999.m4s",
        ] {
            assert_eq!(PackagedResource::parse(Protocol::Hls, file), None, "{file}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_is_the_same(millis in 0..253_402_300_800_000_u64, video: bool, init: bool) {
            let resource = PackagedResource {
                protocol: Protocol::Dash,
                part: if init { PackagedPart::Init } else { PackagedPart::Media },
                address: SegmentAddress {
                    kind: if video { MediaKind::Video } else { MediaKind::Audio },
                    time: Timestamp::from_millis(millis),
                },
            };
            prop_assert_eq!(PackagedResource::parse(Protocol::Dash, &resource.to_string()), Some(resource));
        }

        #[test]
        fn any_name_is_read_or_refused_without_panic(file in "\\PC{0,40}") {
            let _ = PackagedResource::parse(Protocol::Hls, &file);
            let _ = PackagedResource::parse(Protocol::Hls, &format!("v1-{file}"));
        }
    }
}

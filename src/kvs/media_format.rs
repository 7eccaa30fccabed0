//! What media looks like from outside: the content type of each kind, and the bytes that each begins with.
//!
//! KVS's own `Content-Type` decides nothing: types come from this table, and an answer that does not begin as
//! its kind must is none (docs/THREATS.md, threat 2).

/// A kind of media that KVS answers with.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MediaFormat {
    /// Clips, init segments and segments of fragmented MP4 (ISO/IEC 14496-12).
    Mp4,
    /// Segments of MPEG-TS (ISO/IEC 13818-1).
    MpegTs,
    /// Stored fragments: Matroska, which KVS calls WebM (docs/KVS.md 9.2).
    Matroska,
    /// Pictures of GetImages.
    Jpeg,
    /// The same, if they were asked for as PNG.
    Png,
}

impl MediaFormat {
    /// So many bytes decide whether a body begins as its kind must.
    pub const HEAD: usize = 12;

    /// The content type that clients get.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::MpegTs => "video/mp2t",
            Self::Matroska => "video/webm",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }

    /// Whether a body may begin with these bytes: its first [`MediaFormat::HEAD`], or all of it if it is
    /// shorter, which none of these kinds is.
    #[must_use]
    pub fn begins(self, head: &[u8]) -> bool {
        if head.len() < Self::HEAD {
            return false;
        }
        match self {
            Self::Mp4 => {
                let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
                // 1 means that the size follows in 64 bits.
                (size == 1 || size >= 8) && MP4_BOXES.contains(&[head[4], head[5], head[6], head[7]])
            }
            Self::MpegTs => head[0] == 0x47,
            Self::Matroska => head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]),
            Self::Jpeg => head.starts_with(&[0xff, 0xd8, 0xff]),
            Self::Png => head.starts_with(b"\x89PNG\r\n\x1a\n"),
        }
    }
}

/// The boxes that a file or a segment of MP4 begins with.
const MP4_BOXES: [[u8; 4]; 8] =
    [*b"ftyp", *b"styp", *b"moof", *b"sidx", *b"prft", *b"emsg", *b"moov", *b"free"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn media_begins_as_its_kind_must_and_nothing_else_does() {
        let mp4 = |kind: &str| [&[0, 0, 0, 24][..], kind.as_bytes(), b"isom"].concat();
        for kind in ["ftyp", "styp", "moof", "sidx"] {
            assert!(MediaFormat::Mp4.begins(&mp4(kind)), "{kind}");
        }
        assert!(MediaFormat::MpegTs.begins(&[0x47; 12]));
        assert!(MediaFormat::Matroska.begins(b"\x1a\x45\xdf\xa3\x01\0\0\0\0\0\0\x1f"));
        assert!(MediaFormat::Jpeg.begins(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01"));
        assert!(MediaFormat::Png.begins(b"\x89PNG\r\n\x1a\n\0\0\0\r"));
        let all = [
            MediaFormat::Mp4,
            MediaFormat::MpegTs,
            MediaFormat::Matroska,
            MediaFormat::Jpeg,
            MediaFormat::Png,
        ];
        let no_media: [&[u8]; 6] = [
            b"hi",
            b"",
            b"<!DOCTYPE html><script>",
            b"{\"Message\":\"no\"}",
            &[0; 12],
            b"\0\0\0\x18evilisom",
        ];
        for format in all {
            for body in no_media {
                assert!(!format.begins(body), "{format:?} {body:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic(head in proptest::collection::vec(any::<u8>(), 0..20)) {
            for format in [MediaFormat::Mp4, MediaFormat::MpegTs, MediaFormat::Jpeg] {
                let _ = format.begins(&head);
            }
        }
    }
}

//! The tag of a stream at the beginning of a playback path, by which a load balancer can send all requests
//! for one camera to one replica without understanding anything of the path.
//!
//! A tag is [`LENGTH`] characters of base64url, a keyed digest of the stream's name: nobody without the key
//! learns a name from it or makes the tag of a name. It decides nothing and authenticates nothing. It is
//! checked all the same, so that an address that was changed opens nothing, whichever character it was.

use crate::kvs::StreamName;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How many characters a tag has. 36 bits: with 10,000 cameras two have the same tag once in 1,400 fleets,
/// and then they are played from the same replica.
pub(super) const LENGTH: usize = 6;

/// What stands between tag and sealed capability. No character of base64url.
const SEPARATOR: char = '.';

/// Makes the tags of one playback key.
pub(super) struct StreamTagger(hmac::Key);

impl StreamTagger {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Puts the tag of a stream ahead of a sealed capability.
    pub(super) fn tagged(&self, stream: &StreamName, sealed: &str) -> String {
        format!("{}{SEPARATOR}{sealed}", self.tag(stream))
    }

    /// Whether `tag` is that of `stream`.
    pub(super) fn is_tag_of(&self, stream: &StreamName, tag: &str) -> bool {
        self.tag(stream) == tag
    }

    fn tag(&self, stream: &StreamName) -> String {
        let digest = hmac::sign(&self.0, stream.as_str().as_bytes());
        let mut tag = URL_SAFE_NO_PAD.encode(digest);
        tag.truncate(LENGTH);
        tag
    }
}

/// Tag and sealed capability of a path segment. Addresses made by versions without tags have none.
pub(super) fn split(segment: &str) -> (Option<&str>, &str) {
    match segment.split_once(SEPARATOR) {
        Some((tag, sealed)) => (Some(tag), sealed),
        None => (None, segment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(name: &str) -> StreamName {
        StreamName::parse(name).unwrap()
    }

    #[test]
    fn a_tag_depends_on_the_stream_and_on_the_key_alone() {
        let (one, other) = (StreamTagger::new(&[1; 32]), StreamTagger::new(&[2; 32]));
        let tag = one.tag(&stream("cam-1"));
        assert_eq!((tag.len(), &tag), (LENGTH, &StreamTagger::new(&[1; 32]).tag(&stream("cam-1"))));
        assert!(tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{tag}");
        assert_ne!(tag, one.tag(&stream("cam-2")));
        assert_ne!(tag, other.tag(&stream("cam-1")));
        assert!(one.is_tag_of(&stream("cam-1"), &tag) && !one.is_tag_of(&stream("cam-2"), &tag));
    }

    #[test]
    fn a_segment_has_a_tag_or_is_a_capability_alone() {
        let tagger = StreamTagger::new(&[1; 32]);
        let tagged = tagger.tagged(&stream("cam-1"), "c4p");
        assert_eq!(split(&tagged), (Some(&tagged[..LENGTH]), "c4p"));
        assert_eq!(split("c4p"), (None, "c4p"));
        assert_eq!(split(".c4p"), (Some(""), "c4p"));
        assert_eq!(split("a.b.c"), (Some("a"), "b.c"));
    }
}

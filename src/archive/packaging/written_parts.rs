//! Small parts of files as they were written: the slots and segments of cameras with little to send.
//!
//! To read a fragment of many small frames and to put them together takes several times as long as to send
//! them, so what came of it is kept for the next reader. Large fragments are not: their frames are shared
//! with the cache, and reading them costs little beside sending them. What is kept counts in the cache's
//! budget.

use crate::cache::Cache;
use crate::kvs::StreamArn;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::time::Duration;

/// The largest part that is kept: half a second of 1 Mb/s, or five of 0.1 Mb/s.
const LARGEST: usize = 64 << 10;
/// Which part of the cache's budget they may take.
const SHARE: u64 = 16;
/// What an entry takes beside its bytes.
const OVERHEAD: usize = 200;
/// How long a part is kept: no footage is shown much longer than KVS keeps it.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// The parts. Clones share them.
#[derive(Clone)]
pub(super) struct WrittenParts {
    parts: moka::sync::Cache<PartKey, Part, foldhash::fast::RandomState>,
    cache: Cache,
}

/// A part of a file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PartKey {
    /// Of the file's entity tag, which stands for everything that decides its bytes.
    file: u128,
    index: u32,
}

#[derive(Clone)]
struct Part {
    stream: StreamArn,
    bytes: Bytes,
}

impl PartKey {
    /// The part with this index of the file with this entity tag, quotes included. `None` for a tag that is
    /// not of 128 bits.
    pub(super) fn new(etag: &str, index: usize) -> Option<Self> {
        let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
        let is_whole = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let file = u128::from_str_radix(digits, 16).ok().filter(|_| is_whole)?;
        Some(Self { file, index: u32::try_from(index).ok()? })
    }
}

impl WrittenParts {
    /// None yet; those to come count in the budget of `cache`, which has so many bytes.
    pub(super) fn new(cache: Cache, memory: u64) -> Self {
        let parts = moka::sync::Cache::builder()
            .max_capacity(memory / SHARE)
            .weigher(|_, part: &Part| u32::try_from(part.bytes.len() + OVERHEAD).unwrap_or(u32::MAX))
            .time_to_live(KEPT_FOR);
        Self { parts: parts.build_with_hasher(foldhash::fast::RandomState::default()), cache }
    }

    /// A part of this stream that was written before. Entity tags alone do not tell streams apart for
    /// certain.
    pub(super) fn get(&self, key: PartKey, stream: &StreamArn) -> Option<Bytes> {
        self.parts.get(&key).filter(|part| part.stream == *stream).map(|part| part.bytes)
    }

    /// Keeps a part if it is small and there is room. Returns what is to be sent of it.
    pub(super) fn keep(&self, key: PartKey, stream: &StreamArn, pieces: Vec<Bytes>) -> Vec<Bytes> {
        let length = pieces.iter().map(Bytes::len).sum();
        let mut share = self.cache.share();
        if length == 0 || length > LARGEST || !share.grow_to((length + OVERHEAD) as u64) {
            return pieces;
        }
        let mut whole = BytesMut::with_capacity(length);
        pieces.iter().for_each(|piece| whole.extend_from_slice(piece));
        let bytes = Arc::new(share).hold(whole.freeze());
        self.parts.insert(key, Part { stream: stream.clone(), bytes: bytes.clone() });
        vec![bytes]
    }

    /// Forgets a stream, by its ARN.
    pub(super) fn purge(&self, stream: &str) {
        for (key, _) in self.parts.iter().filter(|(_, part)| part.stream.as_str() == stream) {
            self.parts.invalidate(&*key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache;
    use crate::setting::ByteSize;

    const TAG: &str = "\"00112233445566778899aabbccddeeff\"";

    fn parts(memory: u64) -> WrittenParts {
        let config = cache::Config { memory: ByteSize(memory), ..cache::Config::default() };
        let metrics = cache::Metrics::register(&prometheus::Registry::new()).unwrap();
        WrittenParts::new(Cache::open(&config, metrics).unwrap(), memory)
    }

    fn arn(name: &str) -> StreamArn {
        StreamArn::parse(&format!("arn:aws:kinesisvideo:eu-west-1:1:stream/{name}/1")).unwrap()
    }

    #[tokio::test]
    async fn small_parts_are_kept_whole_and_large_ones_go_as_they_came() {
        let parts = parts(16 << 20);
        let key = |index| PartKey::new(TAG, index).unwrap();
        let pieces = vec![Bytes::from_static(b"head"), Bytes::from_static(b"frames")];
        assert_eq!(parts.keep(key(1), &arn("cam-1"), pieces), [&b"headframes"[..]]);
        assert_eq!(parts.get(key(1), &arn("cam-1")).unwrap(), &b"headframes"[..]);
        assert!(parts.get(key(1), &arn("cam-2")).is_none(), "the same tag at another camera");
        let large = vec![Bytes::from(vec![1; LARGEST]), Bytes::from_static(b"x")];
        assert_eq!(parts.keep(key(2), &arn("cam-1"), large.clone()), large);
        assert!(parts.get(key(2), &arn("cam-1")).is_none());
    }

    #[tokio::test]
    async fn a_purge_forgets_the_parts_of_its_stream_and_no_others() {
        let parts = parts(16 << 20);
        let key = |index| PartKey::new(TAG, index).unwrap();
        for (index, name) in [(1, "cam-1"), (2, "cam-2")] {
            parts.keep(key(index), &arn(name), vec![Bytes::from_static(b"frames")]);
        }
        parts.purge(arn("cam-1").as_str());
        assert!(parts.get(key(1), &arn("cam-1")).is_none());
        assert!(parts.get(key(2), &arn("cam-2")).is_some());
    }

    #[tokio::test]
    async fn parts_take_no_more_than_their_share_of_the_budget() {
        let parts = parts(16 << 20);
        for index in 0..200 {
            let key = PartKey::new(TAG, index).unwrap();
            parts.keep(key, &arn("cam-1"), vec![Bytes::from(vec![0; 32 << 10])]);
        }
        parts.parts.run_pending_tasks();
        let held = parts.parts.weighted_size();
        assert!((512 << 10..=1 << 20).contains(&held), "{held}");
    }

    #[test]
    fn a_part_is_known_by_its_files_entity_tag_alone() {
        let key = |etag| PartKey::new(etag, 7);
        assert!(key(TAG).is_some() && key(TAG) == key(TAG));
        assert_ne!(key(TAG), key("\"00112233445566778899aabbccddeefe\""));
        for wrong in ["", "\"\"", "W/\"00\"", "\"00112233445566778899aabbccddeeff00\"", "\"zz\""] {
            assert_eq!(key(wrong), None, "{wrong}");
        }
    }
}

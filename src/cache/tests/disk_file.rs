//! The format of a stored object: what is written is read, and nothing damaged is given out.

use super::*;
use crate::cache::key::tests_support::key;
use proptest::prelude::*;

fn entry(body: &[u8], cuts: &[usize], note: Option<&str>) -> Entry {
    let mut rest = Bytes::copy_from_slice(body);
    let mut pieces: Vec<Bytes> = cuts.iter().map(|cut| rest.split_to((*cut).min(rest.len()))).collect();
    pieces.push(rest);
    let mut head = Head::new(HeaderValue::from_static("video/mp4"), None, Timestamp::from_millis(5));
    head.note = note.map(Into::into);
    Entry::new(key(1), &head, Some(expires()), pieces.into(), None)
}

fn reservation() -> Reservation {
    crate::cache::memory::budget::tests_support::plenty().reserve()
}

fn expires() -> Timestamp {
    Timestamp::from_millis(7)
}

fn body(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 % 251) as u8).collect()
}

fn stored(entry: &Entry) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    write(entry, expires(), &folder.path().join("x.tmp"), &path).unwrap();
    (folder, path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn what_is_written_is_read_whole_and_by_range(
        length in prop_oneof![0..300_usize, 65_530..65_545_usize, 0..400_000_usize],
        cuts in proptest::collection::vec(0..100_000_usize, 0..5),
        start in 0..400_000_u64, size in 0..300_000_u64,
        note in proptest::option::of("\\PC{0,9}"),
    ) {
        let body = body(length);
        let entry = entry(&body, &cuts, note.as_deref());
        let (_folder, path) = stored(&entry);
        let file = File::open(&path).unwrap();
        prop_assert_eq!(file.metadata().unwrap().len(), super::size(&entry));
        let header = Header::read(&file).unwrap();
        header.check(&file, &mut reservation()).unwrap();
        let read = header.read_whole(&file, &mut reservation()).unwrap();
        prop_assert!(read.pieces().concat() == body);
        prop_assert_eq!(&*read.head, &*entry.head);
        prop_assert_eq!((read.etag(), read.expires, read.key), (entry.etag(), entry.expires, entry.key));
        let range = start.min(length as u64)..(start + size).min(length as u64);
        if !range.is_empty() {
            let mut got = Vec::new();
            while (got.len() as u64) < range.end - range.start {
                let from = range.start + got.len() as u64;
                let mut reserved = reservation();
                let blocks = header.read_range(&file, from..range.end, PIECE, &mut reserved).unwrap();
                blocks.iter().for_each(|block| got.extend_from_slice(block));
            }
            prop_assert!(got == body[range.start as usize..range.end as usize]);
        }
    }

    #[test]
    fn a_flipped_byte_anywhere_is_never_given_out(
        length in 0..200_000_usize, at: prop::sample::Index, flip in 1..=255_u8
    ) {
        let body = body(length);
        let (_folder, path) = stored(&entry(&body, &[], Some("n")));
        let mut bytes = fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&path, &bytes).unwrap();
        let file = File::open(&path).unwrap();
        let read = Header::read(&file).and_then(|header| header.read_whole(&file, &mut reservation()));
        prop_assert!(read.is_err());
    }

    #[test]
    fn a_file_of_any_length_but_its_own_is_refused(cut: prop::sample::Index, more: bool) {
        let (_folder, path) = stored(&entry(&body(70_000), &[], None));
        let mut bytes = fs::read(&path).unwrap();
        if more { bytes.push(0) } else { bytes.truncate(cut.index(bytes.len())) }
        fs::write(&path, &bytes).unwrap();
        prop_assert!(Header::read(&File::open(&path).unwrap()).is_err());
    }

    #[test]
    fn any_bytes_are_refused_without_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        if magic && bytes.len() > 12 {
            bytes[..8].copy_from_slice(&MAGIC);
            let length = bytes.len() as u32;
            bytes[8..12].copy_from_slice(&length.to_le_bytes());
            let at = bytes.len() - 4;
            let own = crc32fast::hash(&bytes[..at]);
            bytes[at..].copy_from_slice(&own.to_le_bytes());
        }
        fs::write(folder.path().join("x"), &bytes).unwrap();
        let file = File::open(folder.path().join("x")).unwrap();
        let _ = Header::read(&file).and_then(|header| header.read_whole(&file, &mut reservation()));
    }
}

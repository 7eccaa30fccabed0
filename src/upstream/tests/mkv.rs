//! Fragment lists put together by hand: cut, checked, torn.

use super::*;
use proptest::prelude::*;

/// An element with a known size, written in `width` bytes.
fn element(id: &[u8], width: u32, content: &[u8]) -> Vec<u8> {
    let marked = content.len() as u64 | 1 << (7 * width);
    let size = &marked.to_be_bytes()[8 - width as usize..];
    [id, size, content].concat()
}

const UNKNOWN: [u8; 8] = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];

fn tags(pairs: &[(&str, &str)]) -> Vec<u8> {
    let simple = pairs.iter().flat_map(|(name, value)| {
        let content =
            [element(&[0x45, 0xA3], 4, name.as_bytes()), element(&[0x44, 0x87], 4, value.as_bytes())]
                .concat();
        element(&[0x67, 0xC8], 4, &content)
    });
    let simple: Vec<u8> = simple.collect();
    element(&[0x12, 0x54, 0xC3, 0x67], 4, &element(&[0x73, 0x73], 4, &simple))
}

fn document(children: &[Vec<u8>]) -> Vec<u8> {
    let doc_type = element(&[0x42, 0x82], 1, b"matroska");
    [element(&[0x1A, 0x45, 0xDF, 0xA3], 1, &doc_type), [&[0x18, 0x53, 0x80, 0x67][..], &UNKNOWN].concat()]
        .into_iter()
        .chain(children.iter().cloned())
        .flatten()
        .collect()
}

/// Media that holds the bytes of an EBML header, as media may.
fn media(length: usize) -> Vec<u8> {
    let mut block = vec![0x81, 0, 0, 0x80, 0x1A, 0x45, 0xDF, 0xA3, 0x84];
    block.resize(block.len() + length, 7);
    block
}

pub(in crate::upstream) fn fragment(number: &str, length: usize) -> Vec<u8> {
    let cluster = [element(&[0xE7], 1, &[0]), element(&[0xA3], 8, &media(length))].concat();
    document(&[
        element(&[0x15, 0x49, 0xA9, 0x66], 2, b"info"),
        element(&[0x16, 0x54, 0xAE, 0x6B], 2, &[0; 40]),
        tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number), ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1.5")]),
        element(&[0x1F, 0x43, 0xB6, 0x75], 8, &cluster),
    ])
}

/// A Cluster of unknown size, then tags after it, as GetMedia writes them.
fn open_ended(number: &str) -> Vec<u8> {
    let cluster =
        [&[0x1F, 0x43, 0xB6, 0x75][..], &[0xFF], &element(&[0xE7], 1, &[0]), &element(&[0xA3], 2, &media(9))];
    document(&[
        tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number)]),
        cluster.concat(),
        tags(&[("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "15858")]),
    ])
}

pub(in crate::upstream) fn failed(number: &str, code: &str, id: &str) -> Vec<u8> {
    document(&[tags(&[
        ("AWS_KINESISVIDEO_ERROR_CODE", code),
        ("AWS_KINESISVIDEO_ERROR_ID", id),
        ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number),
    ])])
}

/// A body in pieces of the given sizes, over and over.
fn body(bytes: &[u8], sizes: &[usize]) -> ByteStream {
    let mut chunks = VecDeque::new();
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    while !rest.is_empty() {
        let (now, later) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
        chunks.push_back(Bytes::copy_from_slice(now));
        rest = later;
    }
    Held { chunks, rest: None }.into_body()
}

async fn all(body: ByteStream) -> Result<Vec<Chunk>, Broken> {
    let mut chunks = Chunks::of(body);
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().await {
        found.push(chunk?);
    }
    Ok(found)
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn known_size_segment(number: &str) -> Vec<u8> {
    let content =
        [tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number)]), element(&[0x1F, 0x43, 0xB6, 0x75], 2, b"")];
    let header = element(&[0x1A, 0x45, 0xDF, 0xA3], 1, b"");
    [header, element(&[0x18, 0x53, 0x80, 0x67], 3, &content.concat())].concat()
}

#[test]
fn a_list_is_cut_into_its_fragments_byte_for_byte() {
    let documents = [
        fragment("101", 3000),
        open_ended("102"),
        failed("103", "FRAGMENT_NOT_FOUND", "3000"),
        known_size_segment("104"),
        fragment("105", 0),
    ];
    let found = run(all(body(&documents.concat(), &[1000]))).unwrap();
    assert_eq!(found.len(), 5);
    for (chunk, document) in found.iter().zip(&documents) {
        assert_eq!(chunk.bytes, document);
    }
    let numbers: Vec<_> = found.iter().map(|chunk| chunk.number.as_ref().unwrap().as_str()).collect();
    assert_eq!(numbers, ["101", "102", "103", "104", "105"]);
    let errors: Vec<_> = found.iter().map(|chunk| chunk.error.is_some()).collect();
    assert_eq!(errors, [false, false, true, false, false]);
    assert!(found[2].error.as_ref().unwrap().is_not_found());
}

#[test]
fn tags_as_documented_are_errors_too() {
    let document = document(&[tags(&[
        ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "internal"),
        ("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE", "5000"),
    ])]);
    let found = run(all(body(&document, &[7]))).unwrap();
    assert!(found[0].error.as_ref().unwrap().is_internal());
}

#[test]
fn a_good_list_passes_the_check_unchanged() {
    let bytes = [fragment("1", 5000), fragment("2", 10), open_ended("3")].concat();
    for sizes in [[1].as_slice(), &[3, 50], &[100_000]] {
        let checked = run(checked(body(&bytes, sizes))).unwrap();
        assert_eq!(run(checked.collect()).unwrap().to_bytes(), bytes);
    }
    assert!(run(checked(body(&[], &[1]))).is_ok(), "no fragments, no bytes");
}

#[test]
fn an_error_chunk_at_the_head_is_refused_and_later_on_breaks_the_body() {
    let missing = failed("7", "FRAGMENT_NOT_FOUND", "3000");
    let head = run(checked(body(&missing, &[5]))).map(drop);
    assert!(matches!(head, Err(HeadError::NotFound(number)) if number == "7"));
    let internal = failed("7", "INTERNAL_ERROR", "5000");
    assert!(matches!(run(checked(body(&internal, &[5]))).map(drop), Err(HeadError::Trouble(_))));
    let kms = failed("7", "KMS_KEY_ACCESS_DENIED", "4500");
    assert!(matches!(run(checked(body(&kms, &[5]))).map(drop), Err(HeadError::Broken(Broken::Refused(_)))));
    for sizes in [[4].as_slice(), &[700], &[100_000]] {
        let bytes = [fragment("6", 1000), missing.clone(), fragment("8", 1)].concat();
        let read = run(async { Ok::<_, HeadError>(checked(body(&bytes, sizes)).await?.collect().await) });
        assert!(matches!(read, Err(HeadError::NotFound(_)) | Ok(Err(Broken::Refused(_)))));
    }
}

#[test]
fn what_is_not_a_fragment_list_is_refused() {
    let no_media = document(&[tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1")])]);
    for junk in [
        b"{\"Message\":\"no\"}".to_vec(),
        vec![0; 100],
        vec![0xFF; 100],
        no_media.clone(),
        [no_media, fragment("2", 1)].concat(),
        fragment("1", 10)[5..].to_vec(),
        element(&[0x1A, 0x45, 0xDF, 0xA3], 8, &[0; 10_000]),
    ] {
        assert!(run(all(body(&junk, &[64]))).is_err());
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        sizes in prop::collection::vec(1..200_usize, 1..8),
        lengths in prop::collection::vec(0..600_usize, 1..5),
    ) {
        let numbered = lengths.iter().enumerate();
        let documents: Vec<_> = numbered.map(|(i, n)| fragment(&i.to_string(), *n)).collect();
        let found = run(all(body(&documents.concat(), &sizes))).unwrap();
        prop_assert_eq!(found.len(), documents.len());
        for (chunk, document) in found.iter().zip(&documents) { prop_assert_eq!(&chunk.bytes, document); }
    }

    #[test]
    fn a_cut_list_is_never_whole(cut in 1..1500_usize, size in 1..300_usize) {
        let documents = [fragment("1", 400), fragment("2", 900)];
        let bytes = documents.concat();
        let cut = cut.min(bytes.len() - 1);
        let whole = cut == documents[0].len();
        prop_assert_eq!(run(all(body(&bytes[..cut], &[size]))).is_ok(), whole);
        let read = run(async {
            let looked = checked(body(&bytes[..cut], &[size])).await.map_err(|_| ())?;
            Ok::<_, ()>(looked.collect().await)
        });
        prop_assert_eq!(matches!(read, Ok(Ok(_))), whole);
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), size in 1..50_usize,
    ) {
        let _ = run(all(body(&bytes, &[size])));
        let mut opened = fragment("1", 10);
        opened.extend(bytes);
        let _ = run(all(body(&opened, &[size])));
    }
}

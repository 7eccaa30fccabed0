//! Fragments put together by hand that must be refused, each with its reason.

use super::*;
use crate::package::TrackSettings;
use crate::package::documents::{self, START, WrittenDocument, element, number, wide};
use bytes::Bytes;

/// Why a document or the settings of its tracks are refused.
fn refusal(document: &WrittenDocument) -> Refusal {
    refused(&document.bytes())
}

fn refused(bytes: &[u8]) -> Refusal {
    let fragment = read(&Document::from(Bytes::copy_from_slice(bytes)));
    fragment.and_then(|fragment| TrackSettings::of_fragment(&fragment)).unwrap_err()
}

fn changed(change: impl FnOnce(&mut WrittenDocument)) -> WrittenDocument {
    let mut document = documents::avc_aac(9, START);
    change(&mut document);
    document
}

/// The document as one of known sizes throughout.
fn closed(document: WrittenDocument) -> WrittenDocument {
    WrittenDocument { sdk_shape: false, open_segment: false, ..document }
}

#[test]
fn pictures_without_any_key_frame() {
    let document = changed(|document| {
        let pictures = document.blocks.iter_mut().filter(|block| block.track == 1);
        pictures.for_each(|block| block.key = false);
    });
    assert_eq!(refusal(&document), Refusal::Unsupported("its pictures have no key frame"));
}

#[test]
fn frames_of_no_bytes() {
    const EMPTY: Refusal = Refusal::Unsupported("a frame has no bytes");
    assert_eq!(refusal(&changed(|document| document.blocks[3].payload.clear())), EMPTY);
    let laced = |lacing, payload: &[u8]| {
        refusal(&changed(|document| {
            document.blocks[1] = documents::sound(2, 0, 1);
            document.blocks[1].lacing = lacing;
            document.blocks[1].payload = payload.to_vec();
        }))
    };
    assert_eq!(laced(2, &[1, 0, 7]), EMPTY);
    assert_eq!(laced(2, &[1, 1, 7]), EMPTY, "nothing is left for the last frame");
    assert_eq!(laced(4, &[3]), EMPTY);
    assert_eq!(laced(6, &[1, 0x80, 7]), EMPTY);
}

#[test]
fn two_clusters_and_two_documents() {
    let cluster = element(0x1F43_B675, &number(0xE7, 0));
    let document = changed(|document| document.after = cluster.clone());
    assert_eq!(refusal(&document), Refusal::Unsupported("it has two Clusters"));
    assert_eq!(refusal(&closed(document)), Refusal::Unsupported("it has two Clusters"));
    let document = documents::avc(9, START);
    let twice = [document.bytes(), document.bytes()].concat();
    assert_eq!(refused(&twice), Refusal::Malformed("a second document follows"));
    let document = closed(document);
    let twice = [document.bytes(), document.bytes()].concat();
    assert_eq!(refused(&twice), Refusal::Malformed("something follows its Segment"));
}

#[test]
fn a_document_of_known_size_torn_at_any_byte() {
    let bytes = closed(documents::avc_aac(3, START)).bytes();
    for cut in 0..bytes.len() {
        assert_eq!(refused(&bytes[..cut]), Refusal::Torn, "{cut}");
    }
}

#[test]
fn a_document_of_unknown_size_torn_inside_any_element() {
    let bytes = documents::avc_aac(3, START).bytes();
    let read = |bytes: Bytes| read(&Document::from(bytes));
    let whole = read(bytes.clone()).unwrap();
    let ends: Vec<_> = whole.frames.iter().map(|frame| frame.place().end).collect();
    for cut in 0..bytes.len() {
        let frames = ends.iter().position(|end| *end == cut).map_or(0, |last| last + 1);
        match read(bytes.slice(..cut)) {
            // Nothing in such a document says that more should follow.
            Ok(fragment) => assert_eq!(fragment.frames, whole.frames[..frames], "{cut}"),
            Err(_) => assert_eq!(frames, 0, "{cut}"),
        }
    }
}

#[test]
fn an_error_in_place_of_the_fragment() {
    let tag = |name: &str, value: &str| (format!("AWS_KINESISVIDEO_{name}"), value.into());
    let tags = documents::tags(&[
        tag("ERROR_CODE", "FRAGMENT_NOT_FOUND"),
        tag("ERROR_ID", "3000"),
        tag("FRAGMENT_NUMBER", "91343852333185057105875891022195998207386831087"),
    ]);
    let chunk = [documents::header(), documents::open(0x1853_8067, &tags)].concat();
    assert_eq!(refused(&chunk), Refusal::InBand);
    // Even if media stands before it.
    assert_eq!(refusal(&changed(|document| document.after = tags)), Refusal::InBand);
}

#[test]
fn a_cluster_without_frames() {
    const NO_MEDIA: Refusal = Refusal::Unsupported("it has no media");
    assert_eq!(refusal(&changed(|document| document.blocks.clear())), NO_MEDIA);
    assert_eq!(refusal(&closed(changed(|document| document.blocks.clear()))), NO_MEDIA);
    let undeclared = |document: &mut WrittenDocument| {
        document.blocks.iter_mut().for_each(|block| block.track += 10);
    };
    assert_eq!(refusal(&changed(undeclared)), NO_MEDIA);
    let none = [documents::header(), documents::open(0x1853_8067, &[])].concat();
    assert_eq!(refused(&none), NO_MEDIA);
}

#[test]
fn times_beyond_all_clocks() {
    let late = |time| refusal(&changed(|document| document.cluster_time = time));
    assert_eq!(late(1 << 63), Refusal::Malformed("the time of its Cluster"));
    assert_eq!(late(u64::MAX), Refusal::Malformed("the time of its Cluster"));
    assert_eq!(late((1 << 63) - 1), Refusal::Malformed("a time is beyond all clocks"));
}

#[test]
fn numbers_of_nine_bytes_and_ticks_that_are_none() {
    const LONG: Refusal = Refusal::Malformed("a number has more bytes than numbers have");
    let in_cluster = wide(0xE7, &[0; 9], 1);
    assert_eq!(refusal(&changed(|document| document.in_cluster = in_cluster)), LONG);
    let in_entry = |more: Vec<u8>| refusal(&changed(|document| document.tracks[0].more = more));
    assert_eq!(in_entry(wide(0x23_E383, &[0; 9], 1)), LONG);
    assert_eq!(in_entry(element(0xE1, &wide(0xB5, &[0; 9], 1))), LONG);
    const TICK: Refusal = Refusal::Malformed("its TimestampScale is 0 or more than a second");
    for tick in [0, 1_000_000_001, u64::MAX] {
        assert_eq!(refusal(&changed(|document| document.tick = tick)), TICK);
    }
}

#[test]
fn settings_that_are_absent_or_not_understood() {
    let private = |track: usize, private: Option<&[u8]>| {
        refusal(&changed(|document| document.tracks[track].private = private.map(<[u8]>::to_vec)))
    };
    const VIDEO: Refusal = Refusal::Unsupported("a CodecPrivate is no avcC or hvcC");
    const AUDIO: Refusal = Refusal::Unsupported("a CodecPrivate is no AudioSpecificConfig");
    assert_eq!(private(0, None), VIDEO);
    assert_eq!(private(0, Some(&[])), VIDEO);
    assert_eq!(private(0, Some(&[&[0, 0, 0, 1], &documents::AVCC[8..]].concat())), VIDEO);
    assert_eq!(private(0, Some(&documents::AVCC[..30])), VIDEO);
    assert_eq!(private(1, None), AUDIO);
    assert_eq!(private(1, Some(&documents::ASC[..1])), AUDIO);
    assert_eq!(private(1, Some(&[0x16, 0x90])), AUDIO, "rate index 13");
}

#[test]
fn codecs_that_are_not_packaged_are_named_in_words_of_our_own() {
    let codec = |track: usize, codec_id| {
        refusal(&changed(|document| document.tracks[track].codec_id = codec_id)).to_string()
    };
    assert_eq!(codec(1, "A_OPUS"), "its CodecID A_OPUS is not packaged");
    assert_eq!(codec(1, "A_OPUS\0"), "its CodecID A_OPUS is not packaged");
    assert_eq!(codec(0, "V_AV1"), "its CodecID V_AV1 is not packaged");
    assert_eq!(codec(1, "A_<script>"), "the CodecID of its sound is not packaged");
    assert_eq!(codec(0, ""), "the CodecID of its pictures is not packaged");
    assert_eq!(codec(1, "A_MS/ACM"), "its CodecID A_MS/ACM is not packaged", "neither A-law nor µ-law");
    let third = changed(|document| {
        document.tracks.push(documents::WrittenTrack { number: 3, ..documents::aac_track() });
        document.tracks[2].codec_id = "A_VORBIS";
    });
    assert_eq!(refusal(&third).to_string(), "its CodecID A_VORBIS is not packaged");
    let typeless = changed(|document| document.tracks[1].kind = 0);
    assert_eq!(refusal(&typeless).reason(), "malformed");
    let crossed = changed(|document| document.tracks[1].kind = 1);
    assert_eq!(refusal(&crossed).reason(), "malformed");
}

#[test]
fn tracks_that_are_encoded_or_numbered_alike() {
    let encoded = changed(|document| document.tracks[0].more = element(0x6D80, &[]));
    assert_eq!(refusal(&encoded), Refusal::Unsupported("a track has ContentEncodings"));
    let alike = changed(|document| document.tracks[1].number = 1);
    assert_eq!(refusal(&alike), Refusal::Malformed("two tracks have one number"));
    let unnumbered = changed(|document| document.tracks[1].number = 0);
    assert_eq!(refusal(&unnumbered), Refusal::Malformed("a track has no number"));
}

#[test]
fn more_than_the_bounds_of_frames_tracks_bytes_and_elements() {
    let frames = changed(|document| document.blocks = vec![documents::sound(2, 0, 1); 70_000]);
    assert_eq!(refusal(&frames), Refusal::TooLarge("frames"));
    let laces = changed(|document| {
        let lace = vec![255; 257];
        let block = documents::WrittenBlock { payload: lace, lacing: 4, ..documents::sound(2, 0, 1) };
        document.blocks = vec![block; 257];
    });
    assert_eq!(refusal(&laces), Refusal::TooLarge("frames"));
    let tracks = changed(|document| document.tracks.extend((3..=9).map(documents::text_track)));
    assert_eq!(refusal(&tracks), Refusal::TooLarge("tracks"));
    let voids = changed(|document| document.before = [0xEC, 0x80].repeat(600_000));
    assert_eq!(refusal(&voids), Refusal::TooLarge("elements"));
    let piece = Bytes::from(vec![0; 1 << 20]);
    assert_eq!(read(&Document::new(vec![piece; 65])).unwrap_err(), Refusal::TooLarge("bytes"));
    let tags = changed(|document| document.tags[0].1 = "7".repeat(2 << 20));
    assert_eq!(refusal(&tags).reason(), "too_large");
}

#[test]
fn impossible_laces() {
    let laced = |lacing, payload: &[u8]| {
        refusal(&changed(|document| {
            document.blocks[1] = documents::sound(2, 0, 1);
            document.blocks[1].lacing = lacing;
            document.blocks[1].payload = payload.to_vec();
        }))
    };
    const LACE: Refusal = Refusal::Malformed("the sizes of a lace do not fit its block");
    const HEAD: Refusal = Refusal::Malformed("a block ends inside its head");
    assert_eq!(laced(2, &[1, 9, 7, 7]), LACE, "Xiph: more than there is");
    assert_eq!(laced(2, &[255; 40]), LACE);
    assert_eq!(laced(2, &[1]), HEAD);
    assert_eq!(laced(2, &[]), HEAD);
    assert_eq!(laced(4, &[1, 7, 7, 7]), LACE, "fixed: does not divide");
    assert_eq!(laced(6, &[1, 0x8F, 7]), LACE, "EBML: more than there is");
    assert_eq!(laced(6, &[2, 0x82, 0x80, 7, 7, 7]), LACE, "less than nothing");
    assert_eq!(laced(6, &[1, 0x48]), HEAD);
    assert_eq!(laced(6, &[1, 0, 7]).reason(), "malformed", "no size");
    assert_eq!(laced(6, &[1, 0xFF, 7]).reason(), "malformed", "all bits set");
}

#[test]
fn what_is_no_matroska() {
    for junk in [
        &b"{\"Message\":\"no\"}"[..],
        &[0; 100],
        &[0xFF; 100],
        &documents::avc(1, START).bytes()[5..],
        &documents::header(),
        &[documents::header(), documents::header()].concat(),
        &[documents::header(), documents::open(0x1853_8067, &documents::open(0x1549_A966, &[]))].concat(),
        &[],
    ] {
        assert!(matches!(refused(junk), Refusal::Malformed(_) | Refusal::Torn), "{junk:x?}");
    }
    let no_block = changed(|document| document.in_cluster = element(0xA0, &number(0xFB, 1)));
    assert_eq!(refusal(&no_block), Refusal::Malformed("a BlockGroup has no Block"));
    let torn_block = changed(|document| document.in_cluster = element(0xA3, &[0x81, 0]));
    assert_eq!(refusal(&torn_block), Refusal::Malformed("a block ends inside its head"));
}

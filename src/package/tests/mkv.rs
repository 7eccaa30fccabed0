//! Fragments put together by hand: every shape that producers and KVS make is read, with all its frames.

use super::*;
use crate::package::TrackSettings;
use crate::package::documents::{self, START, WrittenDocument, element, number};
use bytes::Bytes;
use proptest::prelude::*;

const SEEK_HEAD: u32 = 0x114D_9B74;
const CUES: u32 = 0x1C53_BB6B;
const VOID: u32 = 0xEC;

fn fragment(document: &WrittenDocument) -> Result<Fragment, Refusal> {
    read(&Document::from(document.bytes()))
}

/// The fragment, whose frames are those that were written, and whose tracks have settings.
fn whole(document: &WrittenDocument) -> Fragment {
    let read = fragment(document).unwrap();
    let bytes = document.bytes();
    assert_eq!(read.frames.len(), document.blocks.len());
    for (frame, block) in read.frames.iter().zip(&document.blocks) {
        assert_eq!(&bytes[frame.place()], &block.payload[..]);
        assert_eq!(read.tracks[usize::from(frame.track)].number, block.track);
        assert_eq!(frame.time, document.cluster_time as i64 + i64::from(block.time));
        assert_eq!(frame.key, block.key);
    }
    TrackSettings::of_fragment(&read).unwrap();
    read
}

/// The same document as the SDK writes it, and as one that was cut from a finished file.
fn shapes(document: &WrittenDocument) -> [WrittenDocument; 2] {
    let finished_file = WrittenDocument { sdk_shape: false, open_segment: false, ..document.clone() };
    [document.clone(), finished_file]
}

#[test]
fn pictures_and_sound_are_read_with_their_times_bytes_and_tags() {
    let read = whole(&documents::avc_aac(50, START));
    assert_eq!((read.tick, read.cluster_time), (1_000_000, START as i64));
    assert_eq!(read.producer.unwrap().millis(), START);
    assert_eq!(read.server.unwrap().millis(), START + 500);
    assert_eq!(read.number.as_ref().unwrap().as_str().len(), 47);
    assert_eq!(read.tracks[0].size, (640, 360));
    assert_eq!((read.tracks[1].sampling_rate, read.tracks[1].channels), (48_000.0, 2));
}

#[test]
fn every_codec_is_read_from_clusters_of_known_and_of_unknown_size() {
    for document in [
        documents::avc(9, START),
        documents::avc_other_sets(9, START),
        documents::avc_b_frames(9, START),
        documents::hevc(9, START),
        documents::avc_aac(9, START),
        documents::avc_alaw(9, START),
        documents::ulaw(100, START),
    ] {
        shapes(&document).iter().for_each(|document| drop(whole(document)));
    }
}

#[test]
fn a_stale_seek_head_is_ignored() {
    let seek = [element(0x53AB, &CUES.to_be_bytes()), number(0x53AC, 1 << 40)].concat();
    let before = element(SEEK_HEAD, &element(0x4DBB, &seek));
    for document in shapes(&documents::avc_aac(9, START)) {
        whole(&WrittenDocument { before: before.clone(), ..document });
    }
}

#[test]
fn void_cues_and_tags_may_stand_anywhere() {
    let tags = documents::tags(&[("CAMERA".into(), "front door".into())]);
    let beside = [element(VOID, &[0; 4000]), element(CUES, &[0; 30]), tags, element(VOID, &[])].concat();
    for document in shapes(&documents::avc_aac(9, START)) {
        whole(&WrittenDocument {
            before: beside.clone(),
            between: beside.clone(),
            after: beside.clone(),
            in_cluster: [element(VOID, &[0; 9]), number(0xA7, 5)].concat(),
            ..document
        });
    }
}

#[test]
fn the_second_tags_of_get_media_do_not_replace_the_first() {
    let second = documents::tags(&[
        ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW".into(), "15858".into()),
        ("AWS_KINESISVIDEO_CONTINUATION_TOKEN".into(), "913".into()),
    ]);
    for document in shapes(&documents::avc_aac(9, START)) {
        let read = whole(&WrittenDocument { after: second.clone(), ..document });
        assert_eq!(read.producer.unwrap().millis(), START);
        assert!(read.number.is_some());
    }
}

#[test]
fn blocks_may_stand_in_groups() {
    let mut document = documents::avc_aac(9, START);
    document.blocks.iter_mut().for_each(|block| block.grouped = true);
    shapes(&document).iter().for_each(|document| drop(whole(document)));
}

/// A document of one block, whose lace has frames of these lengths.
fn laced(track: documents::WrittenTrack, lacing: u8, head: &[u8], lengths: &[usize]) -> WrittenDocument {
    let frames = lengths.iter().enumerate().flat_map(|(index, length)| vec![index as u8; *length]);
    let payload = head.iter().copied().chain(frames).collect();
    let block = documents::WrittenBlock { lacing, payload, ..documents::sound(track.number, 0, 1) };
    WrittenDocument { tracks: vec![track], blocks: vec![block], ..documents::avc(1, START) }
}

fn lengths_and_times(document: &WrittenDocument) -> Vec<(u32, i64)> {
    let read = fragment(document).unwrap();
    let bytes = document.bytes();
    for (index, frame) in read.frames.iter().enumerate() {
        assert!(bytes[frame.place()].iter().all(|byte| usize::from(*byte) == index), "{index}");
    }
    read.frames.iter().map(|frame| (frame.length, frame.time - START as i64)).collect()
}

#[test]
fn laces_of_each_kind_are_spread_by_the_length_of_their_frames() {
    const XIPH: u8 = 2;
    const FIXED: u8 = 4;
    const EBML: u8 = 6;
    // Four frames of AAC at 48 kHz: 21.3 ms each.
    let aac = || documents::aac_track();
    let xiph = laced(aac(), XIPH, &[3, 255, 45, 255, 0, 9], &[300, 255, 9, 50]);
    assert_eq!(lengths_and_times(&xiph), [(300, 0), (255, 21), (9, 43), (50, 64)]);
    // 300, then -45, then -246: RFC 9559 10.3.3.
    let ebml = laced(aac(), EBML, &[3, 0x41, 0x2C, 0x5F, 0xD2, 0x5F, 0x09], &[300, 255, 9, 50]);
    assert_eq!(lengths_and_times(&ebml), [(300, 0), (255, 21), (9, 43), (50, 64)]);
    // G.711 at 8 kHz: 8 bytes are a millisecond.
    let fixed = laced(documents::g711_track(1, 6), FIXED, &[2], &[160, 160, 160]);
    assert_eq!(lengths_and_times(&fixed), [(160, 0), (160, 20), (160, 40)]);
    let uneven = laced(documents::g711_track(1, 7), XIPH, &[1, 80], &[80, 400]);
    assert_eq!(lengths_and_times(&uneven), [(80, 0), (400, 10)]);
    let stated = documents::WrittenTrack { default_duration: Some(20_000_000), ..aac() };
    let stated = laced(stated, FIXED, &[2], &[7, 7, 7]);
    assert_eq!(lengths_and_times(&stated), [(7, 0), (7, 20), (7, 40)]);
    // Ticks of 0.1 ms.
    let fine = laced(aac(), FIXED, &[2], &[7, 7, 7]);
    let fine = WrittenDocument { tick: 100_000, ..fine };
    assert_eq!(lengths_and_times(&fine), [(7, 0), (7, 213), (7, 427)]);
    // Pictures whose duration is not said: at one time, and in order.
    let pictures = laced(documents::avc_track(documents::AVCC), FIXED, &[1], &[7, 7]);
    assert_eq!(lengths_and_times(&pictures), [(7, 0), (7, 0)]);
}

#[test]
fn a_block_of_an_undeclared_track_is_skipped() {
    let mut document = documents::avc_aac(9, START);
    let declared = document.blocks.len();
    document.blocks.insert(3, documents::sound(5, 10, 20));
    assert_eq!(fragment(&document).unwrap().frames.len(), declared);
}

#[test]
fn a_third_track_that_is_neither_pictures_nor_sound_is_left_out() {
    let mut document = documents::avc_aac(9, START);
    let known = document.blocks.len();
    document.tracks.push(documents::text_track(3));
    document.blocks.insert(3, documents::sound(3, 10, 20));
    let read = fragment(&document).unwrap();
    assert_eq!((read.tracks.len(), read.frames.len()), (3, known));
    assert!(read.frames.iter().all(|frame| frame.track < 2));
    assert_eq!(TrackSettings::of_fragment(&read).unwrap().len(), 2);
}

#[test]
fn a_fragment_may_have_pictures_only_of_two_tracks() {
    let mut document = documents::avc_aac(9, START);
    document.blocks.retain(|block| block.track == 1);
    assert_eq!(TrackSettings::of_fragment(&whole(&document)).unwrap().len(), 1);
    let mut document = documents::avc_aac(9, START);
    document.blocks.retain(|block| block.track == 2);
    assert_eq!(TrackSettings::of_fragment(&whole(&document)).unwrap().len(), 1);
}

#[test]
fn times_may_be_equal_and_as_early_as_a_block_can_say() {
    let mut document = documents::avc(9, START);
    document.blocks.iter_mut().for_each(|block| block.time = 5);
    document.blocks[1].time = i16::MIN;
    document.blocks[2].time = i16::MAX;
    whole(&document);
    assert_eq!(whole(&WrittenDocument { cluster_time: 0, ..document }).frames[1].time, -32_768);
}

#[test]
fn ticks_may_be_other_than_a_millisecond() {
    let document = WrittenDocument { tick: 100_000, ..documents::avc_b_frames(9, START) };
    let read = whole(&document);
    assert_eq!(read.tick, 100_000);
    // 40 ticks are 4 ms.
    assert_eq!(TrackSettings::of_fragment(&read).unwrap()[0].1.delay, 360);
    let document = WrittenDocument { tick: 1_000_000_000, cluster_time: 5, ..documents::avc(2, START) };
    assert_eq!(whole(&document).tick, 1_000_000_000);
}

#[test]
fn a_config_of_five_bytes_with_sbr_is_read() {
    let mut document = documents::avc_aac(9, START);
    document.tracks[1].private = Some(vec![0x13, 0x10, 0x56, 0xE5, 0x98]);
    assert_eq!(TrackSettings::of_fragment(&whole(&document)).unwrap()[1].1.timescale, 24_000);
}

#[test]
fn texts_may_end_in_nuls() {
    let mut document = documents::avc_aac(9, START);
    document.tracks[0].codec_id = "V_MPEG4/ISO/AVC\0\0\0\0\0";
    document.tracks[1].codec_id = "A_AAC\0";
    for (name, value) in &mut document.tags {
        name.push('\0');
        value.push_str("\0\0");
    }
    assert_eq!(whole(&document).producer.unwrap().millis(), START);
}

#[test]
fn a_relative_producer_has_times_from_zero() {
    let mut document = documents::avc_aac(9, 0);
    document.tags[2].1 = "0.000".into();
    let read = whole(&document);
    assert_eq!((read.producer.unwrap().millis(), read.cluster_time), (0, 0));
    document.tags.clear();
    let read = whole(&document);
    assert_eq!((read.producer, read.server, read.number), (None, None, None));
}

#[test]
fn pictures_before_the_first_key_frame_are_dropped_and_sound_is_not() {
    let mut document = documents::avc_aac(9, START);
    let sounds = document.blocks.iter().filter(|block| block.track == 2).count();
    let pictures = document.blocks.iter_mut().filter(|block| block.track == 1);
    for (index, picture) in pictures.enumerate() {
        picture.key = index == 4;
    }
    let read = fragment(&document).unwrap();
    let pictures: Vec<_> = read.frames.iter().filter(|frame| frame.track == 0).collect();
    assert_eq!(pictures.len(), 5);
    assert!(pictures[0].key && pictures[0].time == START as i64 + 160);
    assert_eq!(read.frames.len() - pictures.len(), sounds);
}

/// The bytes of a document in pieces of the given sizes, over and over.
fn pieces(bytes: &Bytes, sizes: &[usize]) -> Document {
    let (mut rest, mut sizes) = (bytes.clone(), sizes.iter().cycle());
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        pieces.push(rest.split_to(size));
    }
    Document::new(pieces)
}

/// A document of each kind, for properties.
fn written(kind: usize) -> WrittenDocument {
    let mut grouped = documents::avc_aac(4, START);
    grouped.blocks.iter_mut().for_each(|block| block.grouped = true);
    let lace = laced(documents::aac_track(), 2, &[3, 255, 45, 255, 0, 9], &[300, 255, 9, 50]);
    let documents = [
        documents::avc_b_frames(4, START),
        documents::hevc(4, START),
        documents::avc_alaw(4, START),
        WrittenDocument { sdk_shape: false, open_segment: false, ..documents::avc_aac(4, START) },
        grouped,
        lace,
    ];
    documents[kind % documents.len()].clone()
}

proptest! {
    #[test]
    fn however_the_document_is_cut_the_fragment_is_the_same(
        kind in 0..6_usize, sizes in prop::collection::vec(1..400_usize, 1..6),
    ) {
        let bytes = written(kind).bytes();
        let whole = read(&Document::from(bytes.clone())).unwrap();
        let cut = read(&pieces(&bytes, &sizes)).unwrap();
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
    }

    #[test]
    fn changed_documents_are_read_or_refused_without_panic(
        kind in 0..6_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 1..8),
        size in 1..300_usize,
    ) {
        let mut bytes = written(kind).bytes().to_vec();
        for (at, value, how) in changes {
            let at = at.index(bytes.len().max(1));
            match how {
                0 if at < bytes.len() => bytes[at] = value,
                1 if at < bytes.len() => bytes[at] ^= 1 << (value % 8),
                2 => { bytes.splice(at..(at + usize::from(value)).min(bytes.len()), []); }
                _ => bytes.insert(at, value),
            }
        }
        let bytes = Bytes::from(bytes);
        let whole = read(&Document::from(bytes.clone()));
        let cut = read(&pieces(&bytes, &[size]));
        prop_assert_eq!(format!("{whole:?}"), format!("{cut:?}"));
        if let Ok(fragment) = whole {
            let frames: usize = fragment.frames.iter().map(|frame| frame.length as usize).sum();
            prop_assert!(frames <= bytes.len());
            prop_assert!(fragment.frames.iter().all(|frame| frame.place().end <= bytes.len()));
            let _ = TrackSettings::of_fragment(&fragment);
        }
    }
}

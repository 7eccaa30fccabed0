//! The chunks have the form of the captures.

use super::super::footage::tests::{FOOTAGE, footage};
use super::*;
use proptest::prelude::*;

const CONTAINERS: [Container; 2] = [Container::File, Container::Sdk];

fn label(timecode: u64) -> Label {
    Label {
        number: "91343852333181432412489103253840132852129169963".into(),
        server_millis: 1_511_852_109_126,
        producer_millis: 1_511_852_108_513,
        timecode,
    }
}

fn position(chunk: &[u8], wanted: &[u8]) -> Option<usize> {
    chunk.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn the_tags_are_those_of_the_capture_to_the_byte() {
    // docs/KVS.md 9.2: 1254C367 100000EB 7373 100000E5 67C8 1000005B 45A3 10000020 … 4487 1000002F, 243
    // bytes.
    let start = [0x12, 0x54, 0xc3, 0x67, 0x10, 0, 0, 0xeb, 0x73, 0x73, 0x10, 0, 0, 0xe5, 0x67, 0xc8, 0x10, 0];
    for container in CONTAINERS {
        let chunk = chunk(&footage(FOOTAGE[0], 3), container, &label(1_511_852_108_513));
        let at = position(&chunk, &start).unwrap();
        assert_eq!(chunk[at + 243..at + 247], *id::CLUSTER, "the cluster follows after 243 bytes");
        let text = String::from_utf8_lossy(&chunk[at..at + 243]).into_owned();
        assert!(text.contains(&label(0).number));
        assert!(text.contains("1511852109.126") && text.contains("1511852108.513"));
        let relative = Label { producer_millis: 0, ..label(0) };
        let chunk = super::chunk(&footage(FOOTAGE[0], 3), container, &relative);
        let at = position(&chunk, &[0x12, 0x54, 0xc3, 0x67, 0x10, 0, 0, 0xe2]).unwrap();
        assert_eq!(chunk[at + 234..at + 238], *id::CLUSTER, "and after 234 with 0.000");
    }
}

#[test]
fn the_sdk_s_documents_are_those_of_the_capture_to_the_byte() {
    let chunk = chunk(&footage(FOOTAGE[0], 3), Container::Sdk, &label(0));
    let header = [
        0x1a, 0x45, 0xdf, 0xa3, 0xa4, 0x42, 0x86, 0x81, 1, 0x42, 0xf7, 0x81, 1, 0x42, 0xf2, 0x81, 4, 0x42,
        0xf3, 0x81, 8, 0x42, 0x82, 0x89, b'm', b'a', b't', b'r', b'o', b's', b'k', b'a', 0, 0x42, 0x87, 0x81,
        2, 0x42, 0x85, 0x81, 2, 0x18, 0x53, 0x80, 0x67, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x12,
        0x54, 0xc3, 0x67, 1, 0, 0, 0, 0, 0, 0,
    ];
    assert!(chunk.starts_with(&header));
    let cluster = [
        0x1f, 0x43, 0xb6, 0x75, 0xff, 0xe7, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0xa7, 0x81, 0, 0xa3, 1, 0, 0, 0, 0,
    ];
    assert!(position(&chunk, &cluster).is_some());
    assert!(position(&chunk, b"V_MPEG4/ISO/AVC\0\0\0\0").is_some());
}

#[test]
fn a_file_s_index_points_at_cues_that_are_not_there() {
    let chunk = chunk(&footage(FOOTAGE[0], 3), Container::File, &label(0));
    let at = position(&chunk, id::SEEK_HEAD).unwrap();
    let cues = position(&chunk, id::CUES).unwrap();
    assert!(at < cues && position(&chunk[cues + 4..], id::CUES).is_none());
}

#[test]
fn an_error_chunk_has_no_cluster() {
    let chunk = error_chunk("1", "FRAGMENT_NOT_FOUND", "3000");
    assert!(position(&chunk, id::CLUSTER).is_none());
    assert!(chunk.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]));
}

proptest! {
    #[test]
    fn the_length_of_a_chunk_is_known_ahead(
        kind in proptest::sample::select(&FOOTAGE[..]), sdk: bool, window in 0..1_u64 << 30,
    ) {
        let (container, label) = (CONTAINERS[usize::from(sdk)], label(window * 2048));
        let footage = footage(kind, window);
        let whole = chunk(&footage, container, &label);
        prop_assert_eq!(chunk_length(&footage, container, &label), whole.len());
        let payload = footage.size(footage.tracks());
        prop_assert!(payload < whole.len());
        prop_assert_eq!(position(&whole, &footage.video[0].data).is_some(), true);
    }
}

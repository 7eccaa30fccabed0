//! Fragments put together by hand: every shape that must be packaged, and what is refused.

use super::*;
use crate::package::TrackSettings;
use crate::package::documents::{self, START, WrittenDocument};

fn fragment(document: &WrittenDocument) -> Result<Fragment, Refusal> {
    read(&Document::from(document.bytes()))
}

#[test]
fn pictures_and_sound_are_read_with_their_times_and_bytes() {
    let written = documents::avc_aac(50, START);
    let read = fragment(&written).unwrap();
    assert_eq!(read.frames.len(), written.blocks.len());
    assert_eq!(read.tick, 1_000_000);
    assert_eq!(read.cluster_time, START as i64);
    assert_eq!(read.producer.unwrap().millis(), START);
    assert_eq!(read.server.unwrap().millis(), START + 500);
    assert_eq!(read.number.as_ref().unwrap().as_str().len(), 47);
    let bytes = written.bytes();
    for (frame, block) in read.frames.iter().zip(&written.blocks) {
        assert_eq!(&bytes[frame.place()], &block.payload[..]);
        assert_eq!(u64::from(frame.track) + 1, block.track);
        assert_eq!(frame.time, START as i64 + i64::from(block.time));
        assert_eq!(frame.key, block.key);
    }
    assert_eq!(TrackSettings::of_fragment(&read).unwrap().len(), 2);
}

#[test]
fn what_producers_send_is_read() {
    let shapes = [
        (documents::avc(9, START), 9),
        (documents::avc_other_sets(9, START), 9),
        (documents::avc_b_frames(9, START), 9),
        (documents::hevc(9, START), 9),
        (documents::avc_alaw(9, START), 18),
        (documents::ulaw(100, START), 100),
    ];
    for (document, frames) in shapes {
        let read = fragment(&document).unwrap();
        assert_eq!(read.frames.len(), frames);
        TrackSettings::of_fragment(&read).unwrap();
        let finished_file = WrittenDocument { sdk_shape: false, open_segment: false, ..document };
        assert_eq!(fragment(&finished_file).unwrap().frames.len(), frames);
    }
}

//! MP4 as another parser reads it: every frame, its bytes, its times.

use super::*;
use re_mp4::{Mp4, Track};

/// The frames of a stored track, as they should come out: bytes and key.
fn frames(written: &[WrittenDocument], track: u64) -> Vec<(Vec<u8>, bool)> {
    let blocks = written.iter().flat_map(|written| &written.blocks).filter(|block| block.track == track);
    blocks.map(|block| (block.payload.clone(), block.key)).collect()
}

fn read(bytes: &[u8]) -> Mp4 {
    Mp4::read_bytes(bytes).unwrap()
}

/// Checks that a track has all stored frames; key frames may have parameter sets ahead.
fn assert_frames(bytes: &[u8], track: &Track, stored: &[(Vec<u8>, bool)]) {
    assert_eq!(track.samples.len(), stored.len());
    for (sample, (payload, key)) in track.samples.iter().zip(stored) {
        let written = &bytes[sample.byte_range()];
        assert!(written.ends_with(payload), "at {}", sample.offset);
        assert!(written.len() == payload.len() || *key);
        assert!(written.len() <= payload.len() + 120);
        assert_eq!(sample.is_sync, *key);
    }
}

/// When a fragment of pictures begins, in milliseconds.
fn begin(track: &re_mp4::TrafBox) -> i64 {
    track.tfdt.as_ref().unwrap().base_media_decode_time as i64 / 90
}

/// Decode times rise, and the distance of the first frame to the last is right.
fn assert_times(track: &Track) {
    let times: Vec<i64> = track.samples.iter().map(|sample| sample.decode_timestamp).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

const MP4: [Format; 2] = [Format::Fragmented, Format::Plain];

#[test]
fn every_frame_of_pictures_and_sound_is_there_with_its_times() {
    let written = camera(5);
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        let (pictures, sound) = (&mp4.tracks()[&1], &mp4.tracks()[&2]);
        assert_frames(&bytes, pictures, &frames(&written, 1));
        assert_frames(&bytes, sound, &frames(&written, 2));
        assert_times(pictures);
        assert_times(sound);
        let presented: Vec<i64> =
            pictures.samples.iter().map(|sample| sample.composition_timestamp).collect();
        assert!((0..).zip(&presented).all(|(at, time)| *time == at * 3600), "{format:?} {presented:?}");
        assert_eq!((pictures.width, pictures.height), (640, 360));
        assert_eq!(sound.timescale, 48_000);
        assert!(sound.samples.iter().all(|sample| sample.duration == 1024 || format == Format::Plain));
    }
}

#[test]
fn pictures_that_are_reordered_keep_their_times_of_presentation() {
    let written: Vec<_> = (0..3).map(|at| documents::avc_b_frames(49, START + at * 1960)).collect();
    let stored = stored(&written, 1920, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        let track = &mp4.tracks()[&1];
        assert_frames(&bytes, track, &frames(&written, 1));
        assert_times(track);
        let expected = written.iter().enumerate().flat_map(|(at, written)| {
            written.blocks.iter().map(move |block| (at as i64 * 1960 + i64::from(block.time)) * 90)
        });
        // The parser does not apply the edit list.
        let delay = track.samples[0].composition_timestamp;
        let presented = track.samples.iter().map(|sample| sample.composition_timestamp - delay);
        assert_eq!(presented.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{format:?}");
        // Negative offsets shift pictures in some players.
        assert!(track.samples.iter().all(|s| s.composition_timestamp >= s.decode_timestamp));
    }
}

#[test]
fn other_parameter_sets_stand_in_the_first_frame_of_their_fragment() {
    let written = [
        documents::avc(50, START),
        documents::avc_other_sets(50, START + 2000),
        documents::avc(50, START + 4000),
    ];
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        let track = &mp4.tracks()[&1];
        assert_frames(&bytes, track, &frames(&written, 1));
        let first = |fragment: usize| &bytes[track.samples[fragment * 50].byte_range()];
        let sps = |avcc: &[u8]| avcc[6..8 + usize::from(avcc[7])].to_vec();
        for (fragment, avcc) in [(0, documents::AVCC), (1, documents::OTHER_AVCC), (2, documents::AVCC)] {
            let sps = sps(avcc);
            assert!(first(fragment).windows(sps.len()).any(|window| window == sps), "{format:?} {fragment}");
        }
    }
}

#[test]
fn a_gap_stays_a_gap_and_an_overlap_follows() {
    let starts = [START, START + 2000, START + 62_000, START + 63_000, START + 66_000];
    let written: Vec<_> = starts.iter().map(|start| documents::avc(50, *start)).collect();
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        let track = &mp4.tracks()[&1];
        assert_times(track);
        let begins: Vec<i64> = match format {
            // The parser adds up durations instead of reading when a fragment begins.
            Format::Fragmented => mp4.moofs.iter().map(|moof| begin(&moof.trafs[0])).collect(),
            _ => (0..5).map(|at| track.samples[at * 50].composition_timestamp / 90).collect(),
        };
        assert_eq!(begins, [0, 2000, 62_000, 63_980, 66_000], "{format:?}");
    }
}

#[test]
fn sound_that_begins_ahead_of_the_first_picture_does_not_make_times_negative() {
    let mut early = documents::avc_aac(50, START);
    early.blocks.insert(0, documents::sound(2, -21, 90));
    let written = [early, documents::avc_aac(50, START + 2000)];
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        assert_frames(&bytes, &mp4.tracks()[&2], &frames(&written, 2));
    }
}

#[test]
fn g711_stays_as_it_is_stored() {
    let written: Vec<_> = (0..3).map(|at| documents::avc_alaw(50, START + at * 2000)).collect();
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let bytes = stored.whole(&stored.clip(of(format)));
        let mp4 = read(&bytes);
        let sound = &mp4.tracks()[&2];
        assert_frames(&bytes, sound, &frames(&written, 2));
        assert_eq!(sound.timescale, 8000);
    }
}

#[test]
fn h265_says_so() {
    let written = [documents::hevc(50, START), documents::hevc(50, START + 2000)];
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let mp4 = read(&stored.whole(&stored.clip(of(format))));
        let track = &mp4.tracks()[&1];
        assert_eq!(track.samples.len(), 100);
        assert!(track.codec_string(&mp4).unwrap().starts_with("hvc1.1.6"));
    }
}

#[test]
fn what_lies_before_the_start_is_hidden_by_an_edit_list_and_still_there() {
    let written = camera(3);
    let stored = stored(&written, 1960, Listed::Chunk);
    for format in MP4 {
        let hidden = Duration::from_millis(500);
        let bytes = stored.whole(&stored.clip(ClipSettings { hidden, ..of(format) }));
        let mp4 = read(&bytes);
        for (track, per_millisecond) in [(0, 90), (1, 48)] {
            let edits = mp4.moov.traks[track].edts.as_ref().unwrap().elst.as_ref().unwrap();
            let begins: Vec<u64> = edits.entries.iter().map(|edit| edit.media_time).collect();
            assert_eq!(begins, [500 * per_millisecond], "{format:?}");
        }
        assert_frames(&bytes, &mp4.tracks()[&1], &frames(&written, 1));
    }
}

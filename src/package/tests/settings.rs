//! Settings of tracks: CodecPrivate of each codec, and what is not one.

use super::*;
use crate::package::documents::{self, ASC, AVCC, HVCC, OTHER_AVCC};
use crate::package::{Document, TrackKind, mkv};
use proptest::prelude::*;

fn track(codec: Codec, private: &[u8]) -> Track {
    Track {
        number: 1,
        kind: if codec.is_video() { TrackKind::Video } else { TrackKind::Audio },
        codec: Some(codec),
        private: private.to_vec(),
        size: if codec.is_video() { (640, 360) } else { (0, 0) },
        sampling_rate: 8000.0,
        channels: 2,
        default_duration: None,
    }
}

fn of(codec: Codec, private: &[u8]) -> Result<TrackSettings, Refusal> {
    TrackSettings::of(&track(codec, private))
}

#[test]
fn h264_and_h265_have_their_parameter_sets_and_names() {
    let avc = of(Codec::Avc, AVCC).unwrap();
    let (length_size, sets) = avc.parameter_sets().unwrap();
    assert_eq!((length_size, sets.len()), (4, 2));
    assert_eq!(sets.iter().map(|set| set[0] & 31).collect::<Vec<_>>(), [7, 8]);
    assert_eq!((avc.timescale, avc.width, avc.height, avc.channels), (90_000, 640, 360, 0));
    assert_eq!(avc.codec_string(false), "avc1.64001e");
    assert_eq!(avc.codec_string(true), "avc3.64001e");
    assert_eq!(of(Codec::Avc, OTHER_AVCC).unwrap().codec_string(false), "avc1.42c015");
    let hevc = of(Codec::Hevc, HVCC).unwrap();
    let (length_size, sets) = hevc.parameter_sets().unwrap();
    assert_eq!(length_size, 4);
    assert_eq!(sets.iter().map(|set| set[0] >> 1).collect::<Vec<_>>(), [32, 33, 34], "and no SEI");
    assert_eq!(hevc.codec_string(false), "hvc1.1.6.L60.90");
    assert_eq!(hevc.codec_string(true), "hev1.1.6.L60.90");
}

#[test]
fn a_codec_private_that_is_absent_annex_b_or_cut_is_refused() {
    let annex_b = [&[0, 0, 0, 1][..], &AVCC[8..33]].concat();
    for codec in [Codec::Avc, Codec::Hevc] {
        for private in [&[][..], &annex_b] {
            assert!(matches!(of(codec, private), Err(Refusal::Unsupported(_))));
        }
    }
    for cut in 0..AVCC.len() {
        assert!(of(Codec::Avc, &AVCC[..cut]).is_err(), "{cut}");
    }
    for cut in 0..HVCC.len() {
        assert!(of(Codec::Hevc, &HVCC[..cut]).is_err(), "{cut}");
    }
    for cut in 0..8 {
        assert!(of(Codec::Alaw, &[6, 0, 1, 0, 0x40, 0x1f, 0, 0][..cut]).is_err(), "{cut}");
    }
    assert!(of(Codec::Aac, &[]).is_err());
    assert!(of(Codec::Aac, &ASC[..1]).is_err());
    let mut three_byte_lengths = AVCC.to_vec();
    three_byte_lengths[4] = 0xfe;
    assert!(of(Codec::Avc, &three_byte_lengths).is_err());
    let mut no_sets = AVCC[..6].to_vec();
    no_sets[5] = 0xe0;
    no_sets.push(0);
    assert!(of(Codec::Avc, &no_sets).is_err());
}

#[test]
fn aac_settings_are_read_with_escape_and_sbr() {
    let read = |config: &[u8]| {
        let settings = of(Codec::Aac, config)?;
        let name = settings.codec_string(false);
        Ok::<_, Refusal>((name, settings.timescale, settings.channels, settings.frame))
    };
    assert_eq!(read(ASC), Ok(("mp4a.40.2".into(), 48_000, 2, 1024)));
    // 5 bytes: LC at 24 kHz, then the extension that says SBR at 48 kHz.
    assert_eq!(read(&[0x13, 0x10, 0x56, 0xe5, 0x98]), Ok(("mp4a.40.2".into(), 24_000, 2, 1024)));
    // SBR said first: 24 kHz core, 48 kHz after SBR, LC.
    assert_eq!(read(&[0x2b, 0x11, 0x88, 0x00]), Ok(("mp4a.40.5".into(), 24_000, 2, 1024)));
    // Rate index 15: 24 bits of rate follow, here 44,056 Hz; one channel.
    let rate = 44_056_u64;
    let bits = (2_u64 << 4 | 15) << 24 | rate;
    let escaped = (bits << 4 | 1) << 27;
    assert_eq!(read(&escaped.to_be_bytes()), Ok(("mp4a.40.2".into(), 44_056, 1, 1024)));
    // 960 samples per frame.
    assert_eq!(read(&[0x11, 0x94]), Ok(("mp4a.40.2".into(), 48_000, 2, 960)));
    // No channels in the settings: those of the track. 7 stands for eight.
    assert_eq!(read(&[0x11, 0x80]), Ok(("mp4a.40.2".into(), 48_000, 2, 1024)));
    assert_eq!(read(&[0x11, 0xb8]), Ok(("mp4a.40.2".into(), 48_000, 8, 1024)));
    for refused in [
        [0x16, 0x90], // rate index 13
        [0x17, 0x10], // rate index 14
        [0xb9, 0x90], // AAC LD
        [0x11, 0xc0], // a reserved configuration of channels
    ] {
        assert!(matches!(read(&refused), Err(Refusal::Unsupported(_))), "{refused:x?}");
    }
}

#[test]
fn g711_takes_channels_and_rate_from_its_wave_format() {
    let settings = of(Codec::Ulaw, &[7, 0, 2, 0, 0x80, 0x3e, 0, 0]).unwrap();
    assert_eq!((settings.timescale, settings.channels, settings.frame), (16_000, 2, 0));
    assert_eq!(settings.codec_string(false), "ulaw");
    assert_eq!(of(Codec::Alaw, &[6, 0, 1, 0, 0x40, 0x1f, 0, 0]).unwrap().codec_string(true), "alaw");
    assert!(of(Codec::Ulaw, &[7, 0, 0, 0, 0x40, 0x1f, 0, 0]).is_err(), "no channels");
    assert!(of(Codec::Ulaw, &[7, 0, 1, 0, 0, 0, 0, 0]).is_err(), "no rate");
}

#[test]
fn the_delay_is_what_b_frames_need() {
    let delay = |document: documents::WrittenDocument| {
        let fragment = mkv::read(&Document::from(document.bytes())).unwrap();
        TrackSettings::of_fragment(&fragment).unwrap()[0].1.delay
    };
    assert_eq!(delay(documents::avc(10, documents::START)), 0);
    // A B-frame is decoded one picture after its time: 40 ms.
    assert_eq!(delay(documents::avc_b_frames(10, documents::START)), 3600);
}

#[test]
fn pictures_stand_before_sound_and_tracks_without_frames_are_left_out() {
    let mut document = documents::avc_aac(5, documents::START);
    document.tracks.swap(0, 1);
    let settings = |document: &documents::WrittenDocument| {
        let fragment = mkv::read(&Document::from(document.bytes())).unwrap();
        let settings = TrackSettings::of_fragment(&fragment).unwrap();
        settings.into_iter().map(|(index, settings)| (index, settings.codec)).collect::<Vec<_>>()
    };
    assert_eq!(settings(&document), [(1, Codec::Avc), (0, Codec::Aac)]);
    document.blocks.retain(|block| block.track == 1);
    assert_eq!(settings(&document), [(1, Codec::Avc)]);
}

proptest! {
    #[test]
    fn any_codec_private_is_read_without_panic(
        private in prop::collection::vec(any::<u8>(), 0..80), base in 0..4_usize, at in 0..60_usize,
    ) {
        let mut mutated = [AVCC, OTHER_AVCC, HVCC, ASC][base].to_vec();
        let at = at.min(mutated.len());
        mutated.splice(at.., private.iter().copied());
        for private in [private, mutated] {
            for codec in [Codec::Avc, Codec::Hevc, Codec::Aac, Codec::Alaw, Codec::Ulaw] {
                if let Ok(settings) = of(codec, &private) {
                    prop_assert!(settings.timescale > 0);
                    prop_assert!(!codec.is_video() || settings.parameter_sets().is_ok());
                    prop_assert!(!settings.codec_string(true).is_empty());
                }
            }
        }
    }
}

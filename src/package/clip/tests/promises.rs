//! What is promised before the media is there, and kept.

use super::*;
use proptest::prelude::*;

#[test]
fn the_written_length_is_the_promised_one_whatever_kvs_counts_as_a_fragments_size() {
    for format in FORMATS {
        for listed in [Listed::Chunk, Listed::Payload] {
            for written in [camera(5), vec![documents::ulaw(100, START)], vec![documents::hevc(50, START)]] {
                let stored = stored(&written, 1960, listed);
                let clip = stored.clip(of(format));
                assert_eq!(stored.whole(&clip).len() as u64, clip.length(), "{format:?} {listed:?}");
            }
        }
    }
}

#[test]
fn two_makers_make_the_same_bytes_and_entity_tag() {
    let first = stored(&camera(4), 1960, Listed::Chunk);
    let mut second = stored(&camera(4), 1960, Listed::Chunk);
    for document in &mut second.documents {
        // The cache of another replica holds the fragment in other pieces.
        let bytes = Bytes::from(document.copy(0..document.len()));
        *document = Document::new(
            (0..bytes.len()).step_by(100).map(|at| bytes.slice(at..(at + 100).min(bytes.len()))).collect(),
        );
    }
    for format in FORMATS {
        let (one, other) = (first.clip(of(format)), second.clip(of(format)));
        assert_eq!(one.etag(), other.etag());
        assert_eq!(first.whole(&one), second.whole(&other));
    }
}

#[test]
fn the_entity_tag_names_the_format_the_room_the_trim_and_the_fragments() {
    let all = stored(&camera(4), 1960, Listed::Chunk);
    let fewer = stored(&camera(3), 1960, Listed::Chunk);
    let longer = stored(&camera(4), 1970, Listed::Chunk);
    let roomy = ClipSettings { slack: 1, ..USUAL };
    let trimmed = ClipSettings { hidden: Duration::from_millis(500), ..USUAL };
    let clips = [
        all.clip(USUAL),
        all.clip(of(Format::Plain)),
        all.clip(of(Format::Matroska)),
        all.clip(roomy),
        all.clip(trimmed),
        fewer.clip(USUAL),
        longer.clip(USUAL),
    ];
    let tags: std::collections::HashSet<_> = clips.iter().map(Clip::etag).collect();
    assert_eq!(tags.len(), clips.len());
    assert!(tags.iter().all(|tag| tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"')));
}

#[test]
fn a_slot_depends_on_its_own_fragment_only() {
    let mut stored = stored(&camera(4), 1960, Listed::Chunk);
    let clip = stored.clip(USUAL);
    let before = clip.slot(2, &stored.documents[2]).unwrap().concat();
    stored.documents[1] = Document::default();
    stored.documents[3] = Document::default();
    assert_eq!(clip.slot(2, &stored.documents[2]).unwrap().concat(), before);
}

#[test]
fn a_fragment_that_does_not_fit_is_refused_and_fits_with_more_room() {
    let mut written = camera(3);
    // Four times as many frames as the first fragment promises.
    let dense = documents::avc_aac(50, START + 2000);
    written[1] = WrittenDocument {
        blocks: dense
            .blocks
            .iter()
            .flat_map(|block| {
                let mut frame = block.clone();
                frame.payload.truncate(12);
                std::iter::once(block.clone()).chain(std::iter::repeat_n(frame, 40))
            })
            .collect(),
        ..dense
    };
    for format in [Format::Fragmented, Format::Matroska] {
        let stored = stored(&written, 1960, Listed::Payload);
        let clip = stored.clip(of(format));
        assert_eq!(clip.slot(1, &stored.documents[1]).unwrap_err(), Refusal::Overflow, "{format:?}");
        let roomy = stored.clip(ClipSettings { slack: 3, ..of(format) });
        assert_eq!(roomy.slot(1, &stored.documents[1]).unwrap().concat().len(), roomy.slots.length(1));
    }
}

#[test]
fn a_length_of_0_is_the_distance_to_the_next_fragment() {
    let stored = stored(&camera(3), 0, Listed::Payload);
    let clip = stored.clip(USUAL);
    assert_eq!(stored.whole(&clip).len() as u64, clip.length());
    let footage: usize = stored.documents.iter().map(Document::len).sum();
    assert!(clip.length() < 2 * footage as u64, "{} for {footage} bytes", clip.length());
}

#[test]
fn what_cannot_follow_the_first_fragment_is_refused() {
    let sound_settings = || {
        let mut other = documents::avc_aac(50, START + 2000);
        other.tracks[1].private = Some(vec![0x12, 0x08]);
        other
    };
    for (next, reason) in [
        (sound_settings(), "the settings of sound change"),
        (documents::avc_alaw(50, START + 2000), "the codec changes"),
    ] {
        let stored = stored(&[documents::avc_aac(50, START), next], 1960, Listed::Chunk);
        let clip = stored.clip(USUAL);
        assert!(clip.check(0, &stored.documents[0]).is_ok());
        let refusal = clip.check(1, &stored.documents[1]).unwrap_err();
        assert!(refusal.to_string().contains(reason), "{refusal}");
        assert!(clip.slot(1, &stored.documents[1]).is_err());
    }
    let stored =
        stored(&[documents::avc(50, START), documents::avc_aac(50, START + 2000)], 1960, Listed::Chunk);
    for format in FORMATS {
        let refusal = stored.clip(of(format)).check(1, &stored.documents[1]).unwrap_err();
        assert!(refusal.to_string().contains("begin inside the range"), "{refusal}");
    }
}

#[test]
fn matroska_refuses_what_one_header_cannot_say_and_mp4_takes_it() {
    let written = [documents::avc(50, START), documents::avc_other_sets(50, START + 2000)];
    let stored = stored(&written, 1960, Listed::Chunk);
    let refusal = stored.clip(of(Format::Matroska)).check(1, &stored.documents[1]).unwrap_err();
    assert!(refusal.to_string().contains("use clip.mp4"), "{refusal}");
    assert!(stored.clip(USUAL).check(1, &stored.documents[1]).is_ok());
}

#[test]
fn a_clip_without_fragments_or_with_too_many_is_refused() {
    let stored = stored(&camera(1), 1960, Listed::Chunk);
    let clip =
        |rows: Arc<[ListedFragment]>| Clip::new(rows, &stored.documents[0], USUAL).map(|clip| clip.length());
    assert!(clip(Arc::new([])).is_err());
    assert!(clip(vec![stored.rows[0].clone(); MOST_FRAGMENTS].into()).is_ok());
    assert!(clip(vec![stored.rows[0].clone(); MOST_FRAGMENTS + 1].into()).is_err());
}

proptest! {
    #[test]
    fn any_range_is_the_slice_of_the_whole(
        format in prop::sample::select(&FORMATS[..]),
        ends in (0.0..1.0_f64, 0.0..1.0_f64),
        lengths in prop::collection::vec(1..80_usize, 1..6),
    ) {
        let mut start = START;
        let written: Vec<_> = lengths.iter().map(|frames| {
            let document = documents::avc_aac(*frames, start);
            start += *frames as u64 * 40;
            document
        }).collect();
        let stored = stored(&written, 1960, Listed::Chunk);
        let clip = stored.clip(of(format));
        let whole = stored.whole(&clip);
        prop_assert_eq!(whole.len() as u64, clip.length());
        let at = |part: f64| (part * clip.length() as f64) as u64;
        let range = at(ends.0.min(ends.1))..at(ends.0.max(ends.1)) + 1;
        let expected = &whole[range.start as usize..(range.end as usize).min(whole.len())];
        prop_assert_eq!(&stored.range(&clip, range)[..], expected);
    }

    /// Whatever is stored in place of a fragment: a slot of the promised length, or a refusal.
    #[test]
    fn a_damaged_fragment_fills_its_slot_or_is_refused(
        format in prop::sample::select(&FORMATS[..]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let stored = stored(&camera(3), 1960, Listed::Chunk);
        let clip = stored.clip(of(format));
        let mut bytes = stored.documents[1].copy(0..stored.documents[1].len());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let document = Document::from(Bytes::from(bytes));
        if let Ok(slot) = clip.slot(1, &document) {
            prop_assert_eq!(slot.concat().len(), clip.slots.length(1));
        }
        if format == Format::Plain {
            let _ = clip.frame_table(1, &document);
        }
        // As the first fragment of another clip.
        let _ = Clip::new(stored.rows.clone(), &document, of(format)).map(|clip| clip.length());
    }
}

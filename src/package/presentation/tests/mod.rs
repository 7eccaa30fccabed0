//! Playlists, manifests and segments of written fragments.

use super::*;
use crate::kvs::{FragmentNumber, PackagedPart, PackagedResource, Protocol, Resource, SegmentAddress};
use crate::package::Document;
use crate::package::documents::{START, WrittenDocument, avc, avc_aac, avc_b_frames, avc_other_sets, ulaw};
use proptest::prelude::*;
use std::time::Duration;

/// A fragment of a test: its bytes and its row.
#[derive(Clone, Debug)]
struct Stored {
    row: ListedFragment,
    document: Document,
}

/// 2^156 + (counter << 92) + (millis << 28), in decimal.
fn number(counter: u64, millis: u64) -> FragmentNumber {
    let mut digits = vec![0_u8];
    for bit in (0..=156).rev() {
        let mut carry = match bit {
            156 => 1,
            92..156 => (counter >> (bit - 92) & 1) as u8,
            28..92 => (millis >> (bit - 28) & 1) as u8,
            _ => 0,
        };
        for digit in &mut digits {
            let doubled = *digit * 2 + carry;
            (*digit, carry) = (doubled % 10, doubled / 10);
        }
        if carry > 0 {
            digits.push(carry);
        }
    }
    let digits: String = digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect();
    FragmentNumber::parse(&digits).unwrap()
}

/// A fragment of so many milliseconds, listed one frame of 40 ms shorter.
fn stored(counter: u64, start: u64, millis: u64, written: &WrittenDocument) -> Stored {
    let document = Document::from(written.bytes());
    let row = ListedFragment {
        number: number(counter, start),
        server: Timestamp::from_millis(start + 500),
        producer: Timestamp::from_millis(start),
        length: Duration::from_millis(millis - 40),
        size: document.len() as u64,
    };
    Stored { row, document }
}

/// Pictures and sound of 2 s each, from [`START`] on.
fn steady(count: u64) -> Vec<Stored> {
    let at = |index| START + index * 2000;
    (0..count).map(|index| stored(7 + index, at(index), 2000, &avc_aac(50, at(index)))).collect()
}

fn present(fragments: &[Stored]) -> Result<Presentation, Refusal> {
    let rows: Arc<[ListedFragment]> = fragments.iter().map(|stored| stored.row.clone()).collect();
    let observed: Vec<(usize, Observation)> = to_observe(&rows)
        .into_iter()
        .map(|index| Ok((index, Observation::of(&fragments[index].document)?)))
        .collect::<Result<_, Refusal>>()?;
    Presentation::new(rows, observed)
}

const CALM: HlsOptions = HlsOptions { discontinuities: Discontinuities::BehindGaps, dates: false };
const PLAIN: DashOptions = DashOptions { timestamps: false, numbers: false };

#[test]
fn a_steady_range_is_one_run_of_segments_with_a_date_at_its_beginning() {
    let presentation = present(&steady(3)).unwrap();
    assert_eq!(
        presentation.media_playlist(MediaKind::Audio, CALM),
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:2\n\
         #EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"a1-1717243200000.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:2024-06-01T12:00:00.000Z\n#EXTINF:2.000,\na1-1717243200000.m4s\n\
         #EXTINF:2.000,\na1-1717243202000.m4s\n#EXTINF:1.960,\na1-1717243204000.m4s\n#EXT-X-ENDLIST\n"
    );
    let master = presentation.master_playlist();
    assert!(master.contains(",CODECS=\"avc1.64001e,mp4a.40.2\",RESOLUTION=640x360,FRAME-RATE=25.000,"));
    assert!(master.ends_with("AUDIO=\"audio\"\ngetHLSMediaPlaylist.m3u8?TrackNumber=1\n"), "{master}");
    let manifest = presentation.manifest(PLAIN);
    assert_eq!(manifest.matches("<S t=\"1717243200000\" d=\"2000\" r=\"1\"/>\n<S d=\"1960\"/>").count(), 2);
    assert_eq!(manifest.matches("presentationTimeOffset=\"1717243200000\"").count(), 2);
    assert!(manifest.contains("mediaPresentationDuration=\"PT5.960S\""), "{manifest}");
    assert!(manifest.contains("codecs=\"mp4a.40.2\" audioSamplingRate=\"48000\""), "{manifest}");
}

#[test]
fn a_gap_is_a_discontinuity_and_a_jump_of_the_timeline() {
    let mut fragments = steady(2);
    fragments.push(stored(9, START + 60_000, 2000, &avc_aac(50, START + 60_000)));
    let presentation = present(&fragments).unwrap();
    let playlist = presentation.media_playlist(MediaKind::Video, CALM);
    let gap = "#EXTINF:2.000,\nv1-1717243202000.m4s\n#EXT-X-DISCONTINUITY\n\
               #EXT-X-PROGRAM-DATE-TIME:2024-06-01T12:01:00.000Z\n#EXTINF:1.960,\nv1-1717243260000.m4s\n";
    assert!(playlist.contains(gap), "{playlist}");
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 1);
    let manifest = presentation.manifest(PLAIN);
    let jump = "<S t=\"1717243200000\" d=\"2000\" r=\"1\"/>\n<S t=\"1717243260000\" d=\"1960\"/>";
    assert!(manifest.contains(jump), "{manifest}");
    let nowhere = HlsOptions { discontinuities: Discontinuities::Nowhere, dates: true };
    let playlist = presentation.media_playlist(MediaKind::Video, nowhere);
    assert!(!playlist.contains("DISCONTINUITY"));
    assert_eq!(playlist.matches("PROGRAM-DATE-TIME").count(), 3);
    let everywhere = HlsOptions { discontinuities: Discontinuities::Everywhere, dates: false };
    assert_eq!(presentation.media_playlist(MediaKind::Video, everywhere).matches("DISCONTINUITY").count(), 3);
}

#[test]
fn lengths_of_zero_last_until_the_next_fragment_and_twenty_seconds_at_most() {
    let mut fragments = steady(3);
    fragments[2] = stored(9, START + 60_000, 2000, &avc_aac(50, START + 60_000));
    fragments.iter_mut().for_each(|fragment| fragment.row.length = Duration::ZERO);
    let playlist = present(&fragments).unwrap().media_playlist(MediaKind::Video, CALM);
    let infs: Vec<&str> = playlist.lines().filter(|line| line.starts_with("#EXTINF")).collect();
    assert_eq!(infs[..2], ["#EXTINF:2.000,", "#EXTINF:20.000,"]);
    assert_eq!(playlist.matches("#EXT-X-DISCONTINUITY").count(), 1);
}

#[test]
fn other_pictures_and_missing_sound_begin_a_group() {
    let at = |index: u64| START + index * 2000;
    let fragments = [
        stored(1, at(0), 2000, &avc_aac(50, at(0))),
        // New runs: other parameter sets and no sound; the first ones again.
        stored(90, at(1), 2000, &avc_other_sets(50, at(1))),
        stored(170, at(2), 2000, &avc(50, at(2))),
        stored(171, at(3), 2000, &avc(50, at(3))),
    ];
    let presentation = present(&fragments).unwrap();
    let playlist = presentation.media_playlist(MediaKind::Video, CALM);
    assert_eq!(playlist.matches("#EXT-X-MAP").count(), 3, "{playlist}");
    assert!(playlist.contains("#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"v1-1717243202000.mp4\"\n"));
    let sound = presentation.media_playlist(MediaKind::Audio, CALM);
    assert_eq!((sound.matches("#EXT-X-MAP").count(), sound.matches("#EXT-X-GAP").count()), (1, 3));
    assert!(sound.contains("#EXT-X-VERSION:8"), "{sound}");
    let manifest = presentation.manifest(PLAIN);
    assert!(manifest.contains("<Period id=\"1\" start=\"PT2.000S\" duration=\"PT2.000S\">"), "{manifest}");
    assert_eq!(manifest.matches("<AdaptationSet ").count(), 4);
    let init =
        |kind, index| presentation.init(SegmentAddress { kind, time: Timestamp::from_millis(at(index)) });
    assert!(init(MediaKind::Video, 1).is_some());
    assert!(init(MediaKind::Audio, 1).is_none() && init(MediaKind::Video, 3).is_none());
    assert!(presentation.segment(1, MediaKind::Audio, &fragments[1].document).is_err());
    // What was not observed is found when it is packaged.
    let refused = presentation.segment(3, MediaKind::Video, &fragments[0].document);
    assert_eq!(refused, Err(Refusal::Unsupported("sound or pictures begin inside the range")));
}

#[test]
fn only_the_beginnings_of_runs_are_looked_into() {
    let run = |from: u64, count: u64| (from..from + count).map(|counter| number(counter, START));
    let rows = |numbers: Vec<FragmentNumber>| -> Vec<ListedFragment> {
        let row = steady(1).remove(0).row;
        numbers.into_iter().map(|number| ListedFragment { number, ..row.clone() }).collect()
    };
    let mut numbers: Vec<FragmentNumber> = run(5, 3).chain(run(90, 2)).chain(run(92, 2)).collect();
    assert_eq!(to_observe(&rows(numbers.clone())), [0, 3]);
    let foreign = |digits: &str| FragmentNumber::parse(digits).unwrap();
    numbers.extend([foreign("1"), foreign("7")]);
    assert_eq!(to_observe(&rows(numbers)), [0, 3], "numbers of another structure show no jump");
    let scattered = (0..1000).map(|place| number(place * 10, START)).collect();
    let found = to_observe(&rows(scattered));
    assert_eq!((found.len(), found[0]), (MOST_OBSERVED, 0));
    assert!(to_observe(&[]).is_empty());
}

#[test]
fn a_fragment_without_sound_has_an_empty_segment_of_sound() {
    let mut fragments = steady(2);
    fragments[1] = stored(8, START + 2000, 2000, &avc(50, START + 2000));
    let presentation = present(&fragments).unwrap();
    let bytes = presentation.segment(1, MediaKind::Audio, &fragments[1].document).unwrap().concat();
    let times = Times::of(&bytes);
    assert_eq!((times.start, times.durations), ((START + 2000) * 48, vec![]));
    assert!(bytes.ends_with(b"\0\0\0\x08mdat"));
}

#[test]
fn nothing_observed_and_nothing_listed_is_refused() {
    let fragments = steady(2);
    let rows: Arc<[ListedFragment]> = fragments.iter().map(|stored| stored.row.clone()).collect();
    assert!(Presentation::new(rows.clone(), []).is_err());
    let second = Observation::of(&fragments[1].document).unwrap();
    assert!(Presentation::new(rows, [(1, second.clone())]).is_err());
    assert!(Presentation::new(Arc::new([]), [(0, second)]).is_err());
}

#[test]
fn kvs_attributes_of_dash_are_shown_on_request() {
    let presentation = present(&steady(2)).unwrap();
    let manifest = presentation.manifest(DashOptions { timestamps: true, numbers: true });
    let number = &presentation.rows()[1].number;
    assert!(manifest.contains(&format!("<S d=\"1960\" kvs:ts=\"1717243202000\" kvs:fn=\"{number}\"/>")));
    assert!(manifest.contains(" xmlns:kvs=\"urn:kvs-edge:fragment\""));
}

#[test]
fn an_entity_tag_changes_with_what_is_written() {
    let fragments = steady(2);
    let presentation = present(&fragments).unwrap();
    let tag = |presentation: &Presentation, index, kind| presentation.segment_tag(index, kind).unwrap();
    let tags = [
        tag(&presentation, 0, MediaKind::Video),
        tag(&presentation, 0, MediaKind::Audio),
        tag(&presentation, 1, MediaKind::Video),
    ];
    assert!(tags[0] != tags[1] && tags[0] != tags[2]);
    let later = present(&fragments[1..]).unwrap();
    assert_eq!(tag(&later, 0, MediaKind::Video), tags[2], "another range, the same segment");
    let same = |index: usize, of: &Presentation| {
        of.segment(index, MediaKind::Video, &fragments[1].document).unwrap().concat()
    };
    assert_eq!(same(0, &later), same(1, &presentation));
}

/// The times of a segment, read from its boxes.
#[derive(Debug)]
struct Times {
    start: u64,
    durations: Vec<u32>,
    sizes: Vec<u32>,
    data: usize,
}

impl Times {
    fn of(segment: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
        let find = |kind: &[u8]| segment.windows(4).position(|window| window == kind).unwrap() + 4;
        let (tfhd, tfdt, trun) = (find(b"tfhd"), find(b"tfdt"), find(b"trun"));
        let start = u64::from(word(tfdt + 4)) << 32 | u64::from(word(tfdt + 8));
        let (flags, count) = (word(trun) & 0xff_ffff, word(trun + 4));
        let constant = (word(tfhd) & 8 != 0).then(|| word(tfhd + 8));
        let mut at = trun + 12 + if flags & 4 != 0 { 4 } else { 0 };
        let (mut durations, mut sizes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            durations.push(constant.unwrap_or_else(|| word(at)));
            at += if flags & 0x100 != 0 { 4 } else { 0 };
            sizes.push(word(at));
            at += 4 + if flags & 0x400 != 0 { 4 } else { 0 } + if flags & 0x800 != 0 { 4 } else { 0 };
        }
        Self { start, durations, sizes, data: word(trun + 8) as usize }
    }

    fn end(&self) -> u64 {
        self.start + self.durations.iter().map(|duration| u64::from(*duration)).sum::<u64>()
    }
}

fn document(shape: u8, frames: usize, start: u64) -> WrittenDocument {
    match shape {
        0 => avc(frames, start),
        1 => avc_b_frames(frames, start),
        2 => avc_aac(frames, start),
        _ => ulaw(frames * 2, start),
    }
}

/// Fragments of one shape, each some time after the end of the one before, in runs.
fn fragments() -> impl Strategy<Value = Vec<Stored>> {
    let one = (2_usize..60, prop_oneof![8 => Just(0_u64), 1 => 0..5_000_u64], prop::bool::weighted(0.1));
    (0..4_u8, prop::collection::vec(one, 1..12)).prop_map(|(shape, plan)| {
        let (mut at, mut counter) = (START, 1);
        plan.into_iter()
            .map(|(frames, pause, jump)| {
                at += pause;
                counter += if jump { 70 } else { 1 };
                let millis = frames as u64 * 40;
                let stored = stored(counter, at, millis, &document(shape, frames, at));
                at += millis;
                stored
            })
            .collect()
    })
}

/// Every URI of a text, by what stands around it.
fn uris(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned);
    let maps = text.split("URI=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    lines.chain(maps).collect()
}

/// The URIs that a player makes of a manifest.
fn dash_uris(manifest: &str) -> Vec<String> {
    let value = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0.to_owned())
    };
    let (mut found, mut media, mut time) = (Vec::new(), String::new(), 0_u64);
    for line in manifest.lines() {
        if line.starts_with("<SegmentTemplate") {
            found.extend(value(line, "initialization"));
            media = value(line, "media").unwrap();
        } else if line.starts_with("<S ") {
            time = value(line, "t").map_or(time, |time| time.parse().unwrap());
            let duration: u64 = value(line, "d").unwrap().parse().unwrap();
            let repeats: u64 = value(line, "r").map_or(0, |repeats| repeats.parse().unwrap());
            for _ in 0..=repeats {
                found.push(media.replace("$Time$", &time.to_string()));
                time += duration;
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_uri_leads_to_a_segment_and_hls_and_dash_have_the_same(fragments in fragments()) {
        let presentation = present(&fragments).unwrap();
        let mut hls = Vec::new();
        for kind in presentation.kinds() {
            hls.extend(uris(&presentation.media_playlist(kind, CALM)));
        }
        let mut dash = dash_uris(&presentation.manifest(PLAIN));
        for uri in &hls {
            let resource = Resource::parse(Protocol::Hls, uri, "");
            let Some(Resource::Packaged(PackagedResource { part, address, .. })) = resource else {
                panic!("{uri}")
            };
            let index = presentation.index(address.time).unwrap();
            match part {
                PackagedPart::Init => prop_assert!(presentation.init(address).is_some()),
                PackagedPart::Media => {
                    let made = presentation.segment(index, address.kind, &fragments[index].document);
                    prop_assert!(!made.unwrap().is_empty());
                }
            }
        }
        hls.sort();
        dash.sort();
        prop_assert_eq!(hls, dash);
        for playlist in uris(&presentation.master_playlist()) {
            let (file, query) = playlist.split_once('?').unwrap();
            let Some(Resource::MediaPlaylist { track }) = Resource::parse(Protocol::Hls, file, query) else {
                panic!("{playlist}")
            };
            prop_assert!(presentation.kind(track).is_some());
        }
    }

    #[test]
    fn decode_times_rise_and_bytes_do_not_depend_on_who_makes_them(fragments in fragments()) {
        let (one, other) = (present(&fragments).unwrap(), present(&fragments).unwrap());
        for kind in one.kinds() {
            let mut before = 0;
            for (index, stored) in fragments.iter().enumerate() {
                let bytes = one.segment(index, kind, &stored.document).unwrap().concat();
                let times = Times::of(&bytes);
                // Sound ends on its own borders, up to a frame behind the fragment.
                let slack = if kind == MediaKind::Audio { 1024 } else { 0 };
                prop_assert!(times.start + slack >= before, "{} {}", times.start, before);
                prop_assert!(times.durations.iter().all(|duration| *duration > 0));
                let media: usize = times.sizes.iter().map(|size| *size as usize).sum();
                prop_assert_eq!(times.data + media, bytes.len());
                before = times.end();
                prop_assert_eq!(other.segment(index, kind, &stored.document).unwrap().concat(), bytes);
            }
            prop_assert_eq!(one.media_playlist(kind, CALM), other.media_playlist(kind, CALM));
        }
    }

    #[test]
    fn any_rows_are_presented_without_panic(
        rows in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u64>()), 1..40),
    ) {
        let observation = Observation::of(&steady(1)[0].document).unwrap();
        let rows: Arc<[ListedFragment]> = rows
            .into_iter()
            .map(|(start, length, size)| ListedFragment {
                number: number(size, start.into()),
                server: Timestamp::from_millis(start.into()),
                producer: Timestamp::from_millis(u64::from(start) * 50_000),
                length: Duration::from_millis(length.into()),
                size,
            })
            .collect();
        let presentation = Presentation::new(rows, [(0, observation)]).unwrap();
        prop_assert!(presentation.master_playlist().contains("BANDWIDTH="));
        let dates = HlsOptions { dates: true, ..CALM };
        prop_assert!(presentation.media_playlist(MediaKind::Video, dates).ends_with("ENDLIST\n"));
        prop_assert!(presentation.manifest(PLAIN).ends_with("</MPD>\n"));
    }
}

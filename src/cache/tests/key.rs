//! Cache keys: different requests differ, and a purge finds the entries of its stream.

use super::*;
use crate::kvs::StreamName;
use proptest::prelude::*;

/// Everything a key can be made from.
#[derive(Clone, PartialEq, Debug)]
enum Asked {
    Resource(StreamRef, String, Resource),
    Mkv(StreamArn, FragmentNumber),
    Clip(StreamArn, SelectorType, u64, u64),
    Image(StreamArn, Picture),
    List(StreamArn, SelectorType, u64, u64),
    Hour(StreamArn, SelectorType, (u64, Option<u8>), u8),
    Answer(StreamArn, Operation, String),
}

fn key(asked: &Asked) -> Key {
    let at = Timestamp::from_millis;
    match asked {
        Asked::Resource(stream, session, resource) => Key::resource(stream, session, resource),
        Asked::Mkv(arn, number) => Key::mkv(arn, number),
        Asked::Clip(arn, selector, start, end) => Key::clip(arn, *selector, at(*start), at(*end)),
        Asked::Image(arn, picture) => Key::image(arn, picture),
        Asked::List(arn, selector, start, end) => Key::fragment_list(arn, *selector, at(*start), at(*end)),
        Asked::Hour(arn, selector, hour, format) => Key::hour_index(arn, *selector, *hour, *format),
        Asked::Answer(arn, operation, body) => {
            let stream = StreamRef::Arn(arn.clone());
            Key::answer(&stream, "main", *operation, body.as_bytes())
        }
    }
}

fn arn() -> impl Strategy<Value = StreamArn> {
    ("[ab]{1,2}", 1..3_u8).prop_map(|(name, created)| {
        StreamArn::parse(&format!("arn:aws:kinesisvideo:eu-west-1:1:stream/{name}/{created}")).unwrap()
    })
}

/// Few values each, so that equal and nearly equal requests come up often.
fn asked() -> impl Strategy<Value = Asked> {
    let selector = prop_oneof![Just(SelectorType::Producer), Just(SelectorType::Server)];
    let number = "[12]{1,3}".prop_map(|n| FragmentNumber::parse(&n).unwrap());
    let protocol = prop_oneof![Just(Protocol::Hls), Just(Protocol::Dash)];
    let resource = prop_oneof![
        Just(Resource::MasterPlaylist),
        Just(Resource::Manifest),
        (1..3_u8).prop_map(|track| Resource::MediaPlaylist { track }),
        (protocol.clone(), 1..3_u8, proptest::option::of(0..2_u32))
            .prop_map(|(protocol, track, sequence)| Resource::InitSegment { protocol, track, sequence }),
        (protocol, number.clone(), 1..3_u8).prop_map(|(protocol, number, track)| Resource::Mp4Fragment {
            protocol,
            number,
            track
        }),
    ];
    let format = prop_oneof![Just(ImageFormat::Jpeg), Just(ImageFormat::Png)];
    let picture = (selector.clone(), 0..3_u64, format, 1..3_u8, 1..3_u16, 1..3_u16).prop_map(
        |(selector, at, format, quality, width, height)| Picture {
            selector,
            at: Timestamp::from_millis(at),
            format,
            quality: (format == ImageFormat::Jpeg).then_some(quality),
            width: Some(width),
            height: Some(height),
        },
    );
    let named = prop_oneof![
        "[ab]{1,2}".prop_map(|name| StreamRef::Name(StreamName::parse(&name).unwrap())),
        arn().prop_map(StreamRef::Arn),
    ];
    prop_oneof![
        (named, "[ab]{1,2}", resource).prop_map(|(s, i, r)| Asked::Resource(s, i, r)),
        (arn(), number).prop_map(|(a, n)| Asked::Mkv(a, n)),
        (arn(), selector.clone(), 0..3_u64, 0..3_u64).prop_map(|(a, s, b, e)| Asked::Clip(a, s, b, e)),
        (arn(), picture).prop_map(|(a, p)| Asked::Image(a, p)),
        (arn(), selector.clone(), 0..3_u64, 0..3_u64).prop_map(|(a, s, b, e)| Asked::List(a, s, b, e)),
        (arn(), selector, 0..3_u64, proptest::option::of(0..2_u8), 0..3_u8)
            .prop_map(|(a, s, h, p, f)| Asked::Hour(a, s, (h, p), f)),
        (arn(), prop_oneof![Just(Operation::GetImages), Just(Operation::ListFragments)], "[ab]{0,2}")
            .prop_map(|(a, o, b)| Asked::Answer(a, o, b)),
    ]
}

proptest! {
    #[test]
    fn different_requests_have_different_keys(one in asked(), two in asked()) {
        prop_assert_eq!(key(&one) == key(&two), one == two);
    }

    #[test]
    fn a_list_of_parts_is_never_encoded_like_another(
        one in proptest::collection::vec("[ab]{0,3}", 1..4),
        two in proptest::collection::vec("[ab]{0,3}", 1..4),
    ) {
        let encode = |parts: &[String]| {
            let begin = Encoding::new(KeyKind::Mkv, PurgeTarget::of_name("s"), "s");
            parts.iter().fold(begin, |to, part| to.part(part.as_bytes())).bytes
        };
        prop_assert_eq!(encode(&one) == encode(&two), one == two);
    }
}

#[test]
fn a_purge_by_arn_reaches_what_is_known_by_name_and_spares_a_later_stream_of_that_name() {
    let arn = |created: u32| {
        StreamArn::parse(&format!("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/{created}")).unwrap()
    };
    let named = |name: &str| StreamRef::Name(StreamName::parse(name).unwrap());
    let number = FragmentNumber::parse("1").unwrap();
    let (old, new) = (Key::mkv(&arn(1), &number), Key::mkv(&arn(2), &number));
    let session = Key::resource(&named("cam"), "s1", &Resource::MasterPlaylist);
    let other = Key::resource(&named("cam2"), "s1", &Resource::MasterPlaylist);
    let hit = |target: &str| [old, new, session, other].map(|key| key.is_of(PurgeTarget::of(target)));
    assert_eq!(hit(arn(1).as_str()), [true, false, true, false]);
    assert_eq!(hit("cam"), [true, true, true, false]);
    assert_eq!(hit("unheard-of"), [false; 4]);
}

#[test]
fn the_default_quality_said_aloud_is_the_same_picture() {
    let arn = StreamArn::parse("arn:aws:kinesisvideo:eu-west-1:1:stream/cam/1").unwrap();
    let picture = |quality| Picture {
        selector: SelectorType::Server,
        at: Timestamp::from_millis(7),
        format: ImageFormat::Jpeg,
        quality,
        width: None,
        height: None,
    };
    assert_eq!(Key::image(&arn, &picture(None)), Key::image(&arn, &picture(Some(80))));
    assert_ne!(Key::image(&arn, &picture(None)), Key::image(&arn, &picture(Some(81))));
    assert_ne!(Key::image(&arn, &picture(None)), Key::latest_image(&arn, &picture(None)));
}

//! Any body gets an answer of KVS and never a panic.

use super::*;
use crate::clock::Millis;
use crate::config::Config;
use crate::members::Members;
use crate::state::EmulatorState;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::LazyLock;

const NOW: Millis = 1_700_000_000_000;

static STATE: LazyLock<EmulatorState> =
    LazyLock::new(|| EmulatorState::new(Config { quotas: false, ..Config::default() }, NOW));

fn ask(operation: Operation, body: &Value) -> Result<Answer, KvsError> {
    let tenant = ("123456789012".to_owned(), "eu-west-1".to_owned());
    let members = Members::of(body)?;
    let call = Call {
        state: &STATE,
        tenant: &tenant,
        members,
        now: NOW,
        no_data: false,
        in_band_error: None,
        missing: Vec::new(),
    };
    answer(operation, &call)
}

const OPERATIONS: [Operation; 9] = [
    Operation::GetDataEndpoint,
    Operation::DescribeStream,
    Operation::ListStreams,
    Operation::ListFragments,
    Operation::GetMediaForFragmentList,
    Operation::GetClip,
    Operation::GetImages,
    Operation::GetHLSStreamingSessionURL,
    Operation::GetDASHStreamingSessionURL,
];

const NAMES: [&str; 24] = [
    "StreamName",
    "StreamARN",
    "APIName",
    "MaxResults",
    "NextToken",
    "FragmentSelector",
    "ClipFragmentSelector",
    "HLSFragmentSelector",
    "DASHFragmentSelector",
    "FragmentSelectorType",
    "TimestampRange",
    "StartTimestamp",
    "EndTimestamp",
    "Fragments",
    "ImageSelectorType",
    "Format",
    "SamplingInterval",
    "WidthPixels",
    "PlaybackMode",
    "Expires",
    "MaxMediaPlaylistFragmentResults",
    "ContainerFormat",
    "DiscontinuityMode",
    "StreamNameCondition",
];

const WORDS: [&str; 13] = [
    "cam-1",
    "cam-2",
    "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam-1/1699909200000",
    "SERVER_TIMESTAMP",
    "PRODUCER_TIMESTAMP",
    "GET_CLIP",
    "JPEG",
    "LIVE",
    "LIVE_REPLAY",
    "ON_DEMAND",
    "MPEG_TS",
    "AAAAAAAAAAEAAAGLz+VoAAAAAYvP5WgAAAABi8/laAAAAAAAAAAAZA==",
    "91343852333185057105875891022195998207386831087",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        8 => proptest::sample::select(&WORDS[..]).prop_map(|word| json!(word)),
        4 => (1_699_990_000.0..1_700_000_100.0_f64).prop_map(|time| json!(time)),
        2 => (0..6000_u64).prop_map(|number| json!(number)),
        1 => any::<f64>().prop_map(|number| json!(number)),
        1 => any::<i64>().prop_map(|number| json!(number)),
        1 => "\\PC{0,30}".prop_map(|text| json!(text)),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(|yes| json!(yes)),
    ];
    leaf.prop_recursive(3, 24, 8, |inner| {
        prop_oneof![
            3 => body_of(inner.clone()),
            1 => proptest::collection::vec(inner, 0..4).prop_map(Value::Array),
        ]
    })
}

fn body_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::vec((proptest::sample::select(&NAMES[..]), value), 0..8).prop_map(|members| {
        Value::Object(members.into_iter().map(|(name, v)| (name.to_owned(), v)).collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn any_body_is_answered(
        operation in proptest::sample::select(&OPERATIONS[..]), mut body in body_of(value()), named: bool,
    ) {
        if named {
            body["StreamName"] = json!("cam-1");
        }
        if let Err(error) = ask(operation, &body) {
            let internal = operation == Operation::ListFragments && error.kind == "InternalFailure";
            prop_assert!(error.status < 500 || internal, "{:?}", error);
        }
    }
}

#[test]
fn every_bound_of_a_clip_is_named() {
    let ask = |from: f64, to: f64, selector: &str| {
        let range = json!({"StartTimestamp": from, "EndTimestamp": to});
        let selector = json!({"FragmentSelectorType": selector, "TimestampRange": range});
        let body = json!({"StreamName": "cam-1", "ClipFragmentSelector": selector});
        ask(Operation::GetClip, &body).err().map(|error| error.kind)
    };
    let now = NOW as f64 / 1000.0;
    let invalid = Some("InvalidArgumentException".to_owned());
    assert_eq!(ask(now - 60.0, now - 20.0, "SERVER_TIMESTAMP"), None);
    assert_eq!(ask(now - 60.0, now - 60.0, "SERVER_TIMESTAMP"), invalid, "End > Start");
    assert_eq!(ask(now - 60.0, now + 1.0, "SERVER_TIMESTAMP"), invalid, "End in the past");
    assert_eq!(ask(now - 60.0, now + 1.0, "PRODUCER_TIMESTAMP"), None, "but a producer may be ahead");
    assert_eq!(ask(now - 86_500.0, now - 20.0, "PRODUCER_TIMESTAMP"), invalid, "24 hours");
    assert_eq!(ask(now - 90_000.0, now - 20_000.0, "SERVER_TIMESTAMP"), invalid, "stream head");
    assert_eq!(
        ask(now - 60.0, now - 60.0 + 0.01, "SERVER_TIMESTAMP").as_deref(),
        Some("ResourceNotFoundException")
    );
}

#[test]
fn a_clip_stops_silently_at_two_hundred_fragments() {
    let now = NOW as f64 / 1000.0;
    let range = json!({"StartTimestamp": now - 3600.0, "EndTimestamp": now - 20.0});
    let selector = json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range});
    let body = json!({"StreamName": "cam-1", "ClipFragmentSelector": selector});
    let answer = ask(Operation::GetClip, &body).unwrap();
    let crate::answer::Content::Parts(parts) = answer.content else { panic!("a clip is streamed") };
    assert_eq!(parts.count(), 1 + 2 * 200, "a header, then each fragment's video and sound");
}

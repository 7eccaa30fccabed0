//! Bounds, defaults and cross-rules of the nine calls, each row a sentence of docs/KVS.md 2 or 4.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::from_millis(1_767_225_660_000);

fn read(operation: Operation, body: &Value) -> Result<Call, Invalid> {
    Call::read(operation, body.to_string().as_bytes(), NOW)
}

fn clip(start: f64, end: f64, kind: &str) -> Value {
    json!({"StreamName": "cam-1", "ClipFragmentSelector": {"FragmentSelectorType": kind,
        "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end}}})
}

#[test]
fn what_is_written_is_what_was_understood_and_nothing_else() {
    let mut body = clip(1_767_225_600.123_456, 1_767_225_660.0, "SERVER_TIMESTAMP");
    body["Mystery"] = json!("x");
    let call = read(Operation::GetClip, &body).unwrap();
    let written: Value = serde_json::from_slice(&call.body()).unwrap();
    assert_eq!(written, clip(1_767_225_600.123, 1_767_225_660_f64, "SERVER_TIMESTAMP").tap_integer_end());
}

trait TapIntegerEnd {
    fn tap_integer_end(self) -> Self;
}
impl TapIntegerEnd for Value {
    /// Whole seconds are written as integers.
    fn tap_integer_end(mut self) -> Self {
        let range = &mut self["ClipFragmentSelector"]["TimestampRange"];
        range["EndTimestamp"] = (range["EndTimestamp"].as_f64().unwrap() as u64).into();
        self
    }
}

#[test]
fn each_broken_rule_names_its_member() {
    use Operation::{
        DescribeStream, GetClip, GetDashStreamingSessionUrl, GetDataEndpoint, GetHlsStreamingSessionUrl,
        GetImages, GetMediaForFragmentList, ListFragments, ListStreams,
    };
    let s = 1_767_225_000.0;
    let images = |extra: Value| {
        let mut body = json!({"StreamName": "c", "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": s,
            "EndTimestamp": s + 10.0, "Format": "JPEG"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let range = |a: f64, b: f64| json!({"StartTimestamp": a, "EndTimestamp": b});
    let hls = |mode: &str, range: Option<Value>| {
        let mut selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP"});
        if let Some(range) = range {
            selector["TimestampRange"] = range;
        }
        json!({"StreamName": "c", "PlaybackMode": mode, "HLSFragmentSelector": selector})
    };
    let rows = [
        (DescribeStream, json!({}), "StreamName or StreamARN is required"),
        (DescribeStream, json!({"StreamName": "a b"}), "StreamName may hold only"),
        (DescribeStream, json!({"StreamARN": "arn:x"}), "StreamARN must look like"),
        (DescribeStream, json!({"StreamName": 7}), "StreamName must be a string"),
        (GetDataEndpoint, json!({"StreamName": "c"}), "APIName is required"),
        (
            GetDataEndpoint,
            json!({"StreamName": "c", "APIName": "GETCLIP"}),
            "APIName must be one of PUT_MEDIA",
        ),
        (ListStreams, json!({"MaxResults": 0}), "MaxResults is 0; it must be from 1 to 10000"),
        (
            ListStreams,
            json!({"StreamNameCondition": {"ComparisonOperator": "ENDS"}}),
            "ComparisonOperator must be",
        ),
        (ListStreams, json!({"NextToken": "a b"}), "NextToken must be"),
        (ListFragments, json!({"StreamName": "c"}), "FragmentSelector is required"),
        (
            ListFragments,
            json!({"StreamName": "c", "NextToken": "YQ==", "MaxResults": 1001}),
            "MaxResults is 1001",
        ),
        (GetMediaForFragmentList, json!({"StreamName": "c", "Fragments": []}), "Fragments has 0 members"),
        (
            GetMediaForFragmentList,
            json!({"StreamName": "c", "Fragments": ["1", 2]}),
            "Fragments[1] must be a string",
        ),
        (
            GetMediaForFragmentList,
            json!({"StreamName": "c", "Fragments": ["x"]}),
            "Fragments[0] must be 1 to 128",
        ),
        (GetClip, json!({"StreamName": "c"}), "ClipFragmentSelector is required"),
        (GetClip, clip(s, s, "SERVER_TIMESTAMP"), "EndTimestamp must be after"),
        (GetClip, clip(s, s - 1.0, "SERVER_TIMESTAMP"), "EndTimestamp must not be before"),
        (GetClip, clip(s - 90_000.0, s, "SERVER_TIMESTAMP"), "at most 24 hours"),
        (GetClip, clip(s, s + 3600.0, "SERVER_TIMESTAMP"), "must be in the past"),
        (GetClip, clip(s * 1000.0, s * 1000.0 + 1.0, "SERVER_TIMESTAMP"), "looks like milliseconds"),
        (GetClip, clip(s, s + 1.0, "OTHER"), "FragmentSelectorType must be one of"),
        (GetImages, images(json!({"EndTimestamp": s + 301.0})), "at most 300 seconds"),
        (GetImages, images(json!({"SamplingInterval": 199})), "SamplingInterval is 199; it must be from 200"),
        (GetImages, images(json!({"WidthPixels": 640})), "HeightPixels is required"),
        (GetImages, images(json!({"WidthPixels": 3841, "HeightPixels": 1})), "WidthPixels is 3841"),
        (GetImages, images(json!({"MaxResults": 101})), "MaxResults is 101"),
        (GetImages, images(json!({"Format": "GIF"})), "Format must be one of JPEG, PNG"),
        (GetImages, images(json!({"FormatConfig": {"JPEGQuality": "101"}})), "JPEGQuality must be"),
        (GetImages, images(json!({"FormatConfig": {"JPEGQuality": 80}})), "must be a string"),
        (GetImages, images(json!({"FormatConfig": {}})), "exactly one member"),
        (
            GetHlsStreamingSessionUrl,
            hls("ON-DEMAND", None),
            "PlaybackMode must be one of LIVE, LIVE_REPLAY, ON_DEMAND",
        ),
        (GetHlsStreamingSessionUrl, hls("LIVE", Some(range(s, s + 1.0))), "TimestampRange must be absent"),
        (GetHlsStreamingSessionUrl, hls("ON_DEMAND", None), "TimestampRange is required"),
        (
            GetHlsStreamingSessionUrl,
            hls("ON_DEMAND", Some(json!({"StartTimestamp": s}))),
            "EndTimestamp is required",
        ),
        (GetHlsStreamingSessionUrl, json!({"StreamName": "c", "Expires": 299}), "Expires is 299"),
        (
            GetHlsStreamingSessionUrl,
            json!({"StreamName": "c", "PlaybackMode": "ON_DEMAND"}),
            "HLSFragmentSelector is",
        ),
        (
            GetDashStreamingSessionUrl,
            json!({"StreamName": "c", "MaxManifestFragmentResults": 5001}),
            "is 5001",
        ),
    ];
    for (operation, body, expected) in rows {
        let error = read(operation, &body).expect_err(expected).to_string();
        assert!(error.contains(expected), "{operation} {body}: {error}");
    }
}

#[test]
fn defaults_are_filled_in_so_that_equal_wishes_are_equal() {
    let plain = read(Operation::GetHlsStreamingSessionUrl, &json!({"StreamName": "c"})).unwrap();
    let spelled = json!({"StreamName": "c", "PlaybackMode": "LIVE", "ContainerFormat": "FRAGMENTED_MP4",
        "HLSFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP"}, "DiscontinuityMode": "ALWAYS",
        "DisplayFragmentTimestamp": "NEVER", "Expires": 300, "MaxMediaPlaylistFragmentResults": 5});
    assert_eq!(plain, read(Operation::GetHlsStreamingSessionUrl, &spelled).unwrap());
    let producer =
        json!({"StreamName": "c", "HLSFragmentSelector": {"FragmentSelectorType": "PRODUCER_TIMESTAMP"}});
    let producer = read(Operation::GetHlsStreamingSessionUrl, &producer).unwrap();
    assert_eq!(producer.session().unwrap().discontinuity, crate::kvs::DiscontinuityMode::Never);
}

/// Any JSON, with the member names that we know sprinkled in.
fn any_body() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        Just("StreamName".to_owned()),
        Just("StreamARN".to_owned()),
        Just("Fragments".to_owned()),
        Just("HLSFragmentSelector".to_owned()),
        Just("ClipFragmentSelector".to_owned()),
        Just("FragmentSelectorType".to_owned()),
        Just("TimestampRange".to_owned()),
        Just("StartTimestamp".to_owned()),
        Just("EndTimestamp".to_owned()),
        Just("PlaybackMode".to_owned()),
        Just("MaxResults".to_owned()),
        "[a-zA-Z]{1,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!("cam-1")),
        Just(json!("LIVE")),
        Just(json!("SERVER_TIMESTAMP")),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_and_reading_what_is_written_gives_the_same(body in any_body()) {
        for operation in Operation::ALL {
            if let Ok(call) = read(operation, &body) {
                prop_assert_eq!(Call::read(operation, &call.body(), NOW).unwrap(), call);
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_panic(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        for operation in Operation::ALL { let _ = Call::read(operation, &body, NOW); }
    }
}

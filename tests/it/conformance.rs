//! KVS as KVS is, seen through kvs-edge: its exceptions in three SDKs, its faults, and bodies of any kind.
//!
//! `docs/KVS-CONFORMANCE.md` says which test shows which row of the wire reference; `table` holds it to that.

mod bodies;
mod crowd;
mod exceptions;
mod faults;
mod table;
mod traps;

use serde_json::{Value, json};

/// The nine calls and their paths.
pub const OPERATIONS: [(&str, &str); 9] = [
    ("GetDataEndpoint", "/getDataEndpoint"),
    ("DescribeStream", "/describeStream"),
    ("ListStreams", "/listStreams"),
    ("ListFragments", "/listFragments"),
    ("GetMediaForFragmentList", "/getMediaForFragmentList"),
    ("GetClip", "/getClip"),
    ("GetImages", "/getImages"),
    ("GetHLSStreamingSessionURL", "/getHLSStreamingSessionURL"),
    ("GetDASHStreamingSessionURL", "/getDASHStreamingSessionURL"),
];

/// The path of a call.
pub fn path(operation: &str) -> &'static str {
    OPERATIONS.iter().find(|(name, _)| *name == operation).map(|(_, path)| *path).unwrap()
}

/// A good body for a call, for ten seconds of footage that ended `back` seconds ago.
pub fn body(operation: &str, stream: &str, back: u64, fragments: &[String]) -> Value {
    let now = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000;
    let (start, end) = (now - back - 10, now - back);
    let range = json!({ "StartTimestamp": start, "EndTimestamp": end });
    let selector = json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range });
    let session = |selector_name: &str| json!({ "StreamName": stream, "PlaybackMode": "ON_DEMAND", selector_name: selector });
    match operation {
        "GetDataEndpoint" => json!({ "StreamName": stream, "APIName": "GET_CLIP" }),
        "DescribeStream" => json!({ "StreamName": stream }),
        "ListStreams" => json!({}),
        "ListFragments" => json!({ "StreamName": stream, "FragmentSelector": selector }),
        "GetMediaForFragmentList" => json!({ "StreamName": stream, "Fragments": fragments }),
        "GetClip" => json!({ "StreamName": stream, "ClipFragmentSelector": selector }),
        "GetImages" => json!({
            "StreamName": stream, "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": start,
            "EndTimestamp": end, "SamplingInterval": 3000, "Format": "JPEG", "MaxResults": 2,
        }),
        "GetHLSStreamingSessionURL" => session("HLSFragmentSelector"),
        "GetDASHStreamingSessionURL" => session("DASHFragmentSelector"),
        other => panic!("{other} is none of the nine"),
    }
}

//! Any JSON in: never a failure of ours, and nothing reaches KVS but members that were understood.

use super::{OPERATIONS, body};
use crate::harness::{Edge, Setup};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Bodies per call.
const CASES: usize = 60;
/// What members that no model has are named, so that they are found wherever they end up.
const UNKNOWN: &str = "Unparsed";

/// Members of the models (`kvs-operations.json`), and what they may be taken for.
const MEMBERS: [&str; 26] = [
    "StreamName",
    "StreamARN",
    "APIName",
    "MaxResults",
    "NextToken",
    "StreamNameCondition",
    "FragmentSelector",
    "ClipFragmentSelector",
    "HLSFragmentSelector",
    "DASHFragmentSelector",
    "Fragments",
    "ImageSelectorType",
    "StartTimestamp",
    "EndTimestamp",
    "SamplingInterval",
    "Format",
    "FormatConfig",
    "WidthPixels",
    "HeightPixels",
    "PlaybackMode",
    "ContainerFormat",
    "DiscontinuityMode",
    "DisplayFragmentTimestamp",
    "DisplayFragmentNumber",
    "Expires",
    "MaxMediaPlaylistFragmentResults",
];

/// Members inside members.
const INNER: [&str; 7] = [
    "FragmentSelectorType",
    "TimestampRange",
    "StartTimestamp",
    "EndTimestamp",
    "JPEGQuality",
    "ComparisonOperator",
    "ComparisonValue",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        (0..30_000_i64).prop_map(|number| json!(number)),
        "\\PC{0,20}".prop_map(Value::from),
        "(LIVE|ON_DEMAND|SERVER_TIMESTAMP|JPEG|ALWAYS|cam-1|[0-9]{1,60})".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let name = prop_oneof![
            2 => proptest::sample::select(&INNER[..]).prop_map(str::to_owned),
            1 => "[a-zA-Z]{1,8}".prop_map(|name| format!("{UNKNOWN}{name}")),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A good body with some members changed, taken away or added, at the top and inside; or no object at all.
fn any_body(good: Value) -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        3 => proptest::sample::select(&MEMBERS[..]).prop_map(str::to_owned),
        2 => "[a-zA-Z]{1,8}".prop_map(|name| format!("{UNKNOWN}{name}")),
    ];
    let change = (name, proptest::option::weighted(0.8, any_json()), any::<bool>());
    let changed = proptest::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut body = good.clone();
        for (name, value, inside) in changes {
            let Some(top) = body.as_object_mut() else { continue };
            let deeper = inside && top.values().any(Value::is_object);
            let target = if deeper { top.values_mut().find_map(Value::as_object_mut) } else { Some(top) };
            let Some(target) = target else { continue };
            match value {
                Some(value) => drop(target.insert(name, value)),
                None => drop(target.remove(&name)),
            }
        }
        body
    });
    prop_oneof![9 => changed, 1 => any_json()]
}

/// Every member that may reach KVS, inner ones by their path.
fn known() -> BTreeSet<String> {
    let mut known: BTreeSet<String> = MEMBERS.iter().map(|name| (*name).to_owned()).collect();
    known.insert("MaxManifestFragmentResults".into());
    known.insert("FormatConfig.JPEGQuality".into());
    for selector in MEMBERS.iter().filter(|name| name.ends_with("FragmentSelector")) {
        for inner in [
            "FragmentSelectorType",
            "TimestampRange",
            "TimestampRange.StartTimestamp",
            "TimestampRange.EndTimestamp",
        ] {
            known.insert(format!("{selector}.{inner}"));
        }
    }
    known
}

async fn edge() -> (Edge, Vec<String>) {
    let mut setup = Setup::default();
    setup.emulator.quotas = false;
    setup.emulator.streams = (1..=CASES).map(|number| format!("cam-{number}")).collect();
    let edge =
        setup.setting("UPSTREAM__API_DEADLINE", "60s").setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    let wanted = body("ListFragments", "cam-1", 60, &[]);
    let listed = edge.call("/listFragments", edge.alice(), &wanted).await.json();
    let numbers = listed["Fragments"].as_array().unwrap().iter().take(2);
    let numbers = numbers.map(|row| row["FragmentNumber"].as_str().unwrap().to_owned()).collect();
    (edge, numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_json_body_makes_us_fail_and_no_unknown_member_goes_on() {
    let (edge, numbers) = edge().await;
    let token = edge.alice();
    let mut runner = TestRunner::default();
    let mut answered = 0;
    for (operation, path) in OPERATIONS {
        for case in 1..=CASES {
            // Each case has a camera of its own, so that no quota of one makes the test wait.
            let name =
                if operation == "GetMediaForFragmentList" { "cam-1".into() } else { format!("cam-{case}") };
            let good = body(operation, &name, 60, &numbers);
            let body = any_body(good).new_tree(&mut runner).unwrap().current();
            let answer = edge.call(path, &token, &body).await;
            assert!(
                answer.status < 500 && !answer.broken,
                "{operation} {body}: {} {}",
                answer.status,
                answer.text()
            );
            let shaped =
                answer.status == 200 || (!answer.kind().is_empty() && answer.json()["Message"].is_string());
            assert!(shaped, "{operation} {body}: {}", answer.text());
            answered += u32::from(answer.status == 200);
        }
    }
    println!("{} bodies, {answered} of them answered", OPERATIONS.len() * CASES);
    assert!(answered > 60, "{answered}: too few were good enough to reach KVS");
    let reached = edge.reached().await;
    let known = known();
    let seen = reached["members_seen"].as_object().unwrap();
    assert!(seen.len() >= 8, "{seen:?}");
    for (operation, members) in seen {
        for member in members.as_array().unwrap() {
            let member = member.as_str().unwrap();
            assert!(known.contains(member), "{operation} was asked with {member}");
        }
    }
}

#[tokio::test]
async fn text_that_is_no_json_is_the_callers_mistake() {
    let edge = Edge::start().await;
    let bearer = format!("Bearer {}", edge.alice());
    for text in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{\"StreamName\":\"cam-1\"",
        "{\"a\":1}{}",
        "\u{0}",
        "{\"StreamName\":\"cam-1\",\"StreamName\":\"cam-2\"}",
    ] {
        for (operation, path) in OPERATIONS {
            let url = format!("{}{path}", edge.url);
            let answer = edge.http.post(&url, &[("authorization", &bearer)], text.to_owned()).await;
            let empty_is_fine = operation == "ListStreams" && text.is_empty();
            assert!(
                answer.status == 400 || empty_is_fine,
                "{operation} {text:?}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
}

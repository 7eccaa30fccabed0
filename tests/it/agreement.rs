//! What is served is what Cedar decides: random policies put in force by a reload, real tokens with random
//! claims, real calls; beside it the same policies, as they are written, in a plain Cedar that was given a
//! request built from nothing but the token's claims and the call.

use crate::harness::edge::AUDIENCE;
use crate::harness::{Edge, Setup};
use cedar_policy::{Authorizer, Context, Decision, Entities, EntityUid, PolicySet, Request};
use kvs_edge::identity::Algorithm;
use kvs_edge::identity::mint::{KeyKind, SigningKey};
use kvs_edge::kvs::Timestamp;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::fs;
use std::str::FromStr;

const OTHER: &str = "https://agreement.test/";
const GROUPS: [&str; 3] = ["guards", "clerks", "night \"shift\""];

const CONDITIONS: [&str; 10] = [
    r#"context.mode == "LIVE""#,
    "context.start_age <= 600",
    "context.end_age > 600",
    "context.duration <= 30",
    r#"context.issuer == "https://agreement.test/""#,
    r#"context.source_ip.isInRange(ip("10.0.0.0/8"))"#,
    r#"principal has site && principal.site == "berlin""#,
    "principal has clearance && principal.clearance > 2",
    r#"resource.name like "*-1""#,
    r#"action == Action::"GetClip" || action in Action::"View""#,
];

/// One action that is asked, how, and what Cedar is told of the footage: mode, ages of start and end,
/// duration.
#[derive(Clone, Debug)]
struct Asked {
    action: &'static str,
    path: &'static str,
    stream: &'static str,
    body: Value,
    circumstances: (&'static str, i64, i64, i64),
}

fn asked(now: u64, numbers: &[(&'static str, Value)]) -> Vec<Asked> {
    let mut all = Vec::new();
    for stream in ["cam-1", "cam-2"] {
        let mut add = |action, path, body: Value, circumstances| {
            let mut body = body;
            body["StreamName"] = stream.into();
            all.push(Asked { action, path, stream, body, circumstances });
        };
        add("DescribeStream", "/describeStream", json!({}), ("LIVE", 0, 0, 0));
        let live = json!({"PlaybackMode": "LIVE"});
        add("GetHLSStreamingSessionURL", "/getHLSStreamingSessionURL", live, ("LIVE", 0, 0, 0));
        for (ago, long) in [(120, 20), (120, 60), (3600, 20)] {
            let circumstances = ("ON_DEMAND", ago, ago - long, long);
            let (start, end) = (now - ago as u64, now - (ago - long) as u64);
            let range = json!({"FragmentSelectorType": "SERVER_TIMESTAMP",
                "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end}});
            add("GetClip", "/getClip", json!({"ClipFragmentSelector": range}), circumstances);
            add("ListFragments", "/listFragments", json!({"FragmentSelector": range}), circumstances);
            let dash = json!({"PlaybackMode": "ON_DEMAND", "DASHFragmentSelector": range});
            add("GetDASHStreamingSessionURL", "/getDASHStreamingSessionURL", dash, circumstances);
            let images = json!({"ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": start,
                "EndTimestamp": end, "SamplingInterval": 20_000, "Format": "JPEG"});
            add("GetImages", "/getImages", images, circumstances);
        }
        let replay = json!({"PlaybackMode": "LIVE_REPLAY", "HLSFragmentSelector": {
            "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": now - 120}}});
        let ages = ("LIVE_REPLAY", 120, 0, 120);
        add("GetHLSStreamingSessionURL", "/getHLSStreamingSessionURL", replay, ages);
        let listed = numbers.iter().find(|(of, _)| *of == stream).map(|(_, numbers)| numbers.clone());
        let media = json!({"Fragments": listed.unwrap()});
        // By the time in their numbers: somewhere in the twenty seconds that were listed.
        add("GetMediaForFragmentList", "/getMediaForFragmentList", media, ("ON_DEMAND", 110, 108, 2));
    }
    all
}

fn policy() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        1 => Just("principal".to_owned()),
        3 => prop::sample::select(&GROUPS[..]).prop_map(|group| format!("principal in Group::{group:?}")),
        1 => Just("principal == User::\"alice\"".to_owned()),
    ];
    let action = prop::sample::select(vec![
        "action",
        r#"action in Action::"View""#,
        r#"action in [Action::"Download", Action::"Describe"]"#,
        r#"action == Action::"GetClip""#,
    ]);
    let resource = prop::sample::select(vec![
        "resource",
        r#"resource in StreamSet::"lobby""#,
        r#"resource == Stream::"cam-2""#,
    ]);
    let condition = prop::option::of((prop::sample::select(&CONDITIONS[..]), any::<bool>()));
    let condition = condition.prop_map(|it| match it {
        None => String::new(),
        Some((body, true)) => format!(" when {{ {body} }}"),
        Some((body, false)) => format!(" unless {{ {body} }}"),
    });
    let effect = prop_oneof![4 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, action, resource, condition)
        .prop_map(|(e, p, a, r, c)| format!("{e} ({p}, {a}, {r}){c};\n"))
}

fn claims() -> impl Strategy<Value = Value> {
    let groups = prop::sample::subsequence(&GROUPS[..], 0..=2);
    let site = prop::option::of(prop::sample::select(vec!["berlin", "kiel"]));
    let subject = prop::sample::select(vec!["alice", "bob"]);
    (subject, groups, site, prop::option::of(0..5_i64)).prop_map(|(subject, groups, site, clearance)| {
        let mut claims = json!({"iss": OTHER, "aud": AUDIENCE, "sub": subject, "groups": groups,
            "exp": Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 + 600});
        site.into_iter().for_each(|site| claims["site"] = site.into());
        clearance.into_iter().for_each(|clearance| claims["clearance"] = clearance.into());
        claims
    })
}

fn uid(kind: &str, id: &str) -> Value {
    json!({"type": kind, "id": id})
}

/// What plain Cedar says.
fn decided(policies: &PolicySet, claims: &Value, asked: &Asked) -> bool {
    let group = |group: &Value| uid("Group", group.as_str().unwrap());
    let groups: Vec<Value> = claims["groups"].as_array().unwrap().iter().map(group).collect();
    let mut attributes = json!({});
    for name in ["site", "clearance"] {
        claims.get(name).into_iter().for_each(|value| attributes[name] = value.clone());
    }
    let sets: &[Value] = if asked.stream == "cam-1" { &[uid("StreamSet", "lobby")] } else { &[] };
    let under = match asked.action {
        "GetClip" | "GetMediaForFragmentList" => "Download",
        "DescribeStream" => "Describe",
        _ => "View",
    };
    let subject = claims["sub"].as_str().unwrap();
    let entities = json!([
        {"uid": uid("User", subject), "attrs": attributes, "parents": groups},
        {"uid": uid("Stream", asked.stream), "attrs": {"name": asked.stream}, "parents": sets},
        {"uid": uid("Action", asked.action), "attrs": {}, "parents": [uid("Action", under)]},
    ]);
    let (mode, start, end, duration) = asked.circumstances;
    let context = json!({"mode": mode, "start_age": start, "end_age": end, "duration": duration, "issuer": OTHER,
        "source_ip": {"__extn": {"fn": "ip", "arg": "127.0.0.1"}}});
    let entity = |kind: &str, id: &str| EntityUid::from_json(uid(kind, id)).unwrap();
    let request = Request::new(
        entity("User", subject),
        entity("Action", asked.action),
        entity("Stream", asked.stream),
        Context::from_json_value(context, None).unwrap(),
        None,
    );
    let entities = Entities::from_json_value(entities, None).unwrap();
    let response = Authorizer::new().is_authorized(&request.unwrap(), policies, &entities);
    assert_eq!(response.diagnostics().errors().count(), 0, "{asked:?}", asked = asked.action);
    response.decision() == Decision::Allow
}

#[tokio::test]
async fn what_is_served_is_what_cedar_decides_on_a_request_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::generate(KeyKind::P256).unwrap();
    fs::write(folder.path().join("keys.json"), json!({"keys": [key.jwk()]}).to_string()).unwrap();
    let more = format!(
        "[[issuer]]\nissuer = \"{OTHER}\"\naudience = [\"{AUDIENCE}\"]\nalgorithms = [\"ES256\"]\n\
         jwks = \"file:{}\"\n[issuer.claims]\nsubject = \"/sub\"\ngroups = \"/groups\"\nsite = \"/site\"\n\
         clearance = {{ pointer = \"/clearance\", type = \"long\" }}\n",
        folder.path().join("keys.json").display()
    );
    let edge: Edge = Setup { more, ..Setup::default() }.start().await;
    let now = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000;
    let mut numbers = Vec::new();
    for stream in ["cam-1", "cam-2"] {
        let range = json!({"StartTimestamp": now - 115, "EndTimestamp": now - 105});
        let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
        let list = json!({"StreamName": stream, "MaxResults": 1, "FragmentSelector": selector});
        let listed = edge.call("/listFragments", edge.alice(), &list).await.json();
        numbers.push((stream, json!([listed["Fragments"][0]["FragmentNumber"]])));
    }
    let questions = asked(now, &numbers);
    let mut runner = TestRunner::deterministic();
    let sets = prop::collection::vec(policy(), 2..5);
    let (mut served, mut refused, mut generations) = (0, 0, 0);
    while generations < 16 {
        let text = sets.new_tree(&mut runner).unwrap().current().concat();
        fs::write(edge.path("policies.cedar"), &text).unwrap();
        let reloaded = edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
        if reloaded.status == 422 {
            // Some policies can never apply, which is a mistake.
            continue;
        }
        assert_eq!(reloaded.status, 200, "{}", reloaded.text());
        generations += 1;
        let plain = PolicySet::from_str(&text).unwrap();
        for _ in 0..24 {
            let claims = claims().new_tree(&mut runner).unwrap().current();
            let asked = prop::sample::select(questions.clone()).new_tree(&mut runner).unwrap().current();
            let token = key.sign(Algorithm::ES256, &claims).unwrap();
            let answer = edge.call(asked.path, &token, &asked.body).await;
            let expected = if decided(&plain, &claims, &asked) { 200 } else { 403 };
            let what = || format!("{text}{claims} {} {} {:?}", asked.action, asked.body, asked.circumstances);
            assert_eq!(answer.status, expected, "{} {}", answer.message(), what());
            *(if expected == 200 { &mut served } else { &mut refused }) += 1;
        }
    }
    assert!(served > 40 && refused > 100, "{served} {refused}: this tries too little");
}

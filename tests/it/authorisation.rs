//! May they: every way to name a stream or its footage is bound to the decision (`docs/THREATS.md`, threat
//! 3).

use crate::harness::{Answer, Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

/// Guards may do everything with cam-1 and nothing else; contractors likewise, for the last ten minutes.
async fn edge() -> Edge {
    let policies = r#"
        permit (principal in Group::"investigators", action, resource);
        @id("one-camera") permit (principal in Group::"guards", action, resource == Stream::"cam-1");
        @id("ten-minutes") permit (principal in Group::"contractors", action in [Action::"View", Action::"Download"],
            resource == Stream::"cam-1") when { context.start_age <= 600 && context.end_age >= 0 };
    "#;
    Setup { policies: policies.into(), ..Setup::default() }.start().await
}

async fn arn(edge: &Edge, name: &str) -> String {
    let described = edge.call("/describeStream", edge.alice(), &json!({"StreamName": name})).await.json();
    described["StreamInfo"]["StreamARN"].as_str().unwrap().to_owned()
}

fn selector(start: u64, end: u64) -> Value {
    json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": start, "EndTimestamp": end}})
}

fn shown(answer: &Answer) -> String {
    format!(
        "{} {} {}",
        answer.status,
        answer.kind(),
        String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)])
    )
}

#[tokio::test]
async fn a_stream_is_the_same_stream_by_whatever_name_and_no_name_leads_to_another() {
    let edge = edge().await;
    let (one, two) = (arn(&edge, "cam-1").await, arn(&edge, "cam-2").await);
    let bob = edge.bob();
    // Each named so that it is his: the same answers.
    for own in [
        json!({"StreamName": "cam-1"}),
        json!({"StreamARN": one}),
        json!({"StreamName": "cam-1", "StreamARN": one}),
    ] {
        let answer = edge.call("/describeStream", &bob, &own).await;
        assert_eq!(answer.status, 200, "{own}: {}", shown(&answer));
        assert_eq!(answer.json()["StreamInfo"]["StreamName"], "cam-1");
    }
    edge.forget_reached().await;
    let other_account = one.replace(":123456789012:", ":999988887777:");
    let region = one.replace("eu-west-1", "eu-west-2");
    assert!(other_account != one && region != one, "{one}");
    let table: Vec<(&str, String, &[u16])> = vec![
        ("another's name", r#"{"StreamName":"cam-2"}"#.into(), &[403]),
        ("another's ARN", json!({"StreamARN": two}).to_string(), &[403]),
        ("his name, another's ARN", json!({"StreamName": "cam-1", "StreamARN": two}).to_string(), &[400]),
        ("another's name, his ARN", json!({"StreamName": "cam-2", "StreamARN": one}).to_string(), &[400]),
        ("another account", json!({"StreamARN": other_account}).to_string(), &[403]),
        (
            "another account and his name",
            json!({"StreamName": "cam-1", "StreamARN": other_account}).to_string(),
            &[403],
        ),
        ("another region", json!({"StreamARN": region}).to_string(), &[403]),
        (
            "another partition",
            json!({"StreamARN": one.replace("arn:aws:", "arn:aws-cn:")}).to_string(),
            &[403],
        ),
        ("another service", json!({"StreamARN": one.replace("kinesisvideo", "kinesis")}).to_string(), &[400]),
        ("an ARN in capitals", json!({"StreamARN": one.to_uppercase()}).to_string(), &[400]),
        (
            "an ARN with a path",
            json!({"StreamARN": one.replace("/cam-1/", "/cam-1/../cam-2/")}).to_string(),
            &[400],
        ),
        ("an ARN with a star", json!({"StreamARN": one.replace("cam-1", "*")}).to_string(), &[400]),
        ("an ARN as the name", json!({"StreamName": two}).to_string(), &[400]),
        ("capitals", r#"{"StreamName":"CAM-1"}"#.into(), &[403]),
        ("Cyrillic letters", "{\"StreamName\":\"\u{441}\u{430}m-1\"}".into(), &[400]),
        ("the same, escaped", r#"{"StreamName":"\u0441am-1"}"#.into(), &[400]),
        ("full width", "{\"StreamName\":\"\u{ff43}am-1\"}".into(), &[400]),
        ("a soft hyphen", "{\"StreamName\":\"cam\u{ad}-1\"}".into(), &[400]),
        ("a combining mark", "{\"StreamName\":\"ca\u{301}m-1\"}".into(), &[400]),
        ("another hyphen", "{\"StreamName\":\"cam\u{2010}1\"}".into(), &[400]),
        ("a zero-width space", "{\"StreamName\":\"cam-1\u{200b}\"}".into(), &[400]),
        ("a space", r#"{"StreamName":"cam-1 "}"#.into(), &[400]),
        ("a NUL", r#"{"StreamName":"cam-1\u0000"}"#.into(), &[400]),
        ("a line break", r#"{"StreamName":"cam-1\n"}"#.into(), &[400]),
        ("a path", r#"{"StreamName":"cam-1/../cam-2"}"#.into(), &[400]),
        ("a percent sign", r#"{"StreamName":"%63am-2"}"#.into(), &[400]),
        ("a pattern", r#"{"StreamName":"cam-*"}"#.into(), &[400]),
        ("a list", r#"{"StreamName":["cam-1"]}"#.into(), &[400]),
        ("null", r#"{"StreamName":null}"#.into(), &[400]),
        ("nothing", "{}".into(), &[400]),
        ("twice", r#"{"StreamName":"cam-1","StreamName":"cam-2"}"#.into(), &[400]),
        ("twice, by escape", r#"{"StreamName":"cam-1","Stream\u004eame":"cam-2"}"#.into(), &[400]),
        ("escaped", r#"{"StreamName":"cam-\u0032"}"#.into(), &[403]),
        ("two documents", r#"{"StreamName":"cam-1"}{"StreamName":"cam-2"}"#.into(), &[400]),
    ];
    for (what, body, expected) in &table {
        let bearer = format!("Bearer {bob}");
        let headers = [("authorization", bearer.as_str())];
        let answer = edge.http.post(&format!("{}/describeStream", edge.url), &headers, body.clone()).await;
        assert!(expected.contains(&answer.status), "{what}: {}", shown(&answer));
    }
    for path in [
        "/streams/cam-2",
        "/streams/CAM-1",
        "/streams/%63am-2",
        "/streams/cam-1/../cam-2",
        "/streams/cam-1%2f..%2fcam-2",
        "/streams/cam-2/snapshot.jpg",
        "/streams/cam-2/live.m3u8",
        "/streams/cam-2/fragments?start=2026-01-01T00:00:00Z&end=2026-01-01T00:01:00Z",
    ] {
        let answer = edge.get(path, &bob).await;
        assert!([400, 403, 404].contains(&answer.status), "{path}: {}", shown(&answer));
    }
    assert_eq!(edge.reached().await["total"], json!({}), "KVS was not asked for any of it");
}

#[tokio::test]
async fn page_tokens_and_fragment_numbers_of_another_stream_open_nothing() {
    let edge = edge().await;
    let (start, end) = (now() - 120, now() - 60);
    let page = |stream: &str, token: Option<&str>| {
        let mut body =
            json!({"StreamName": stream, "FragmentSelector": selector(start, end), "MaxResults": 3});
        if let Some(token) = token {
            body["NextToken"] = token.into();
            body.as_object_mut().unwrap().remove("FragmentSelector");
        }
        body
    };
    let list = async |token: &str, body: &Value| edge.call("/listFragments", token, body).await;
    let (alice, bob) = (edge.alice(), edge.bob());
    let theirs = list(&alice, &page("cam-2", None)).await.json();
    let theirs_next = theirs["NextToken"].as_str().unwrap();
    let own = list(&bob, &page("cam-1", None)).await.json();
    let own_next = own["NextToken"].as_str().unwrap();
    let second = list(&bob, &page("cam-1", Some(own_next))).await;
    assert_eq!(second.status, 200, "{}", shown(&second));
    assert_ne!(second.json()["Fragments"], own["Fragments"]);
    // The same stream by its other name, either way round.
    let (one, two) = (arn(&edge, "cam-1").await, arn(&edge, "cam-2").await);
    let by_arn = |arn: &str, token: &str| json!({"StreamARN": arn, "MaxResults": 3, "NextToken": token});
    let continued = list(&bob, &by_arn(&one, own_next)).await;
    assert_eq!(continued.status, 200, "{}", shown(&continued));
    assert_ne!(continued.json()["Fragments"], own["Fragments"]);
    let first_by_arn = json!({"StreamARN": one, "FragmentSelector": selector(start, end), "MaxResults": 3});
    let first_by_arn = list(&bob, &first_by_arn).await.json();
    let arn_next = first_by_arn["NextToken"].as_str().unwrap();
    let continued = list(&bob, &page("cam-1", Some(arn_next))).await;
    assert_eq!(continued.status, 200, "{}", shown(&continued));
    for (whose, body) in [
        (&bob, by_arn(&one, theirs_next)),
        (&alice, by_arn(&two, own_next)),
        (&alice, by_arn(&two, arn_next)),
    ] {
        let crossed = list(whose, &body).await;
        assert_eq!(
            (crossed.status, crossed.kind()),
            (400, "InvalidArgumentException"),
            "{}",
            shown(&crossed)
        );
    }
    let crossed = list(&bob, &page("cam-1", Some(theirs_next))).await;
    assert_eq!((crossed.status, crossed.kind()), (400, "InvalidArgumentException"), "{}", shown(&crossed));
    assert_eq!(list(&bob, &page("cam-2", Some(own_next))).await.status, 400);
    assert_eq!(list(&bob, &page("cam-2", Some(theirs_next))).await.status, 403);
    for made_up in ["", "AAAA", "not base64", &own_next[4..]] {
        let answer = list(&bob, &page("cam-1", Some(made_up))).await;
        assert_eq!(answer.status, 400, "{made_up:?}: {}", shown(&answer));
    }
    // A fragment list of another stream: KVS finds no such fragments in this one.
    let number = |listed: &Value| listed["Fragments"][0]["FragmentNumber"].as_str().unwrap().to_owned();
    let media = async |token: &str, stream: &str, number: &str| {
        let body = json!({"StreamName": stream, "Fragments": [number]});
        edge.call("/getMediaForFragmentList", token, &body).await
    };
    let (own, theirs) = (number(&own), number(&theirs));
    assert_eq!(media(&bob, "cam-1", &own).await.status, 200);
    let secret = media(&alice, "cam-2", &theirs).await;
    assert_eq!(secret.status, 200, "{}", shown(&secret));
    assert_eq!(media(&bob, "cam-2", &theirs).await.status, 403);
    let crossed = media(&bob, "cam-1", &theirs).await;
    assert!(crossed.status == 404 || crossed.body != secret.body, "{}", shown(&crossed));
    // And within a session: a capability of cam-1 with cam-2's fragment.
    let master = edge.play("/streams/cam-1/live.m3u8", &bob).await;
    let folder = master.rsplit_once('/').unwrap().0;
    let fragment = format!("{folder}/getMP4MediaFragment.mp4?FragmentNumber={theirs}&TrackNumber=1");
    let crossed = edge.http.get(&fragment, &[]).await;
    assert!(crossed.status >= 400 || crossed.body != secret.body, "{}", shown(&crossed));
    // A capability under another protocol's path, or changed by a letter, is none.
    let changed = master
        .replacen("/hls/v1/", "/dash/v1/", 1)
        .replace("getHLSMasterPlaylist.m3u8", "getDASHManifest.mpd");
    assert!([403, 404].contains(&edge.http.get(&changed, &[]).await.status));
    let at = master.find("/hls/v1/").unwrap() + 30;
    let letter = if &master[at..=at] == "A" { "B" } else { "A" };
    let changed = format!("{}{letter}{}", &master[..at], &master[at + 1..]);
    assert_eq!(edge.http.get(&changed, &[]).await.status, 403);
}

#[tokio::test]
async fn conditions_on_time_hold_for_clips_images_lists_sessions_fragments_and_pages() {
    let edge = edge().await;
    let carl = edge.token("carl", &["contractors"]);
    let now = now();
    let (new, old) = ((now - 120, now - 100), (now - 3600, now - 3580));
    let (across, ahead) = ((now - 700, now - 500), (now - 30, now + 3600));
    let clip = |(start, end): (u64, u64)| json!({"StreamName": "cam-1", "ClipFragmentSelector": selector(start, end)});
    let list = |(start, end): (u64, u64)| json!({"StreamName": "cam-1", "MaxResults": 2, "FragmentSelector": selector(start, end)});
    let images = |(start, end): (u64, u64)| {
        json!({"StreamName": "cam-1", "ImageSelectorType": "SERVER_TIMESTAMP", "StartTimestamp": start,
            "EndTimestamp": end, "SamplingInterval": 3000, "Format": "JPEG"})
    };
    let hls = |mode: &str, range: Option<(u64, Option<u64>)>| {
        let mut selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP"});
        if let Some((start, end)) = range {
            selector["TimestampRange"] = json!({"StartTimestamp": start});
            if let Some(end) = end {
                selector["TimestampRange"]["EndTimestamp"] = end.into();
            }
        }
        json!({"StreamName": "cam-1", "PlaybackMode": mode, "HLSFragmentSelector": selector})
    };
    let dash = |(start, end): (u64, u64)| json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "DASHFragmentSelector": selector(start, end)});
    for (path, body, expected) in [
        ("/getClip", clip(new), 200),
        ("/getClip", clip(old), 403),
        ("/getClip", clip(across), 403),
        ("/listFragments", list(new), 200),
        ("/listFragments", list(old), 403),
        ("/listFragments", list(across), 403),
        ("/getImages", images(new), 200),
        ("/getImages", images(old), 403),
        ("/getHLSStreamingSessionURL", hls("LIVE", None), 200),
        ("/getHLSStreamingSessionURL", hls("ON_DEMAND", Some((new.0, Some(new.1)))), 200),
        ("/getHLSStreamingSessionURL", hls("ON_DEMAND", Some((old.0, Some(old.1)))), 403),
        ("/getHLSStreamingSessionURL", hls("ON_DEMAND", Some((old.0, Some(new.1)))), 403),
        ("/getHLSStreamingSessionURL", hls("LIVE_REPLAY", Some((new.0, None))), 200),
        ("/getHLSStreamingSessionURL", hls("LIVE_REPLAY", Some((old.0, None))), 403),
        ("/getDASHStreamingSessionURL", dash(new), 200),
        ("/getDASHStreamingSessionURL", dash(old), 403),
    ] {
        let answer = edge.call(path, &carl, &body).await;
        assert_eq!(answer.status, expected, "{path} {body}: {}", shown(&answer));
    }
    for (path, expected) in [
        (format!("clip.mp4?start={}&end={}", new.0, new.1), 200),
        (format!("clip.mp4?start={}&end={}", old.0, old.1), 403),
        (format!("fragments?start={}&end={}", new.0, new.1), 200),
        (format!("fragments?start={}&end={}", old.0, old.1), 403),
        (format!("snapshot.jpg?at={}", new.1), 200),
        (format!("snapshot.jpg?at={}", old.1), 403),
        (format!("vod.m3u8?start={}&end={}", new.0, new.1), 302),
        (format!("vod.m3u8?start={}&end={}", old.0, old.1), 403),
        (format!("vod.mpd?start={}&end={}", old.0, old.1), 403),
        (format!("clip.mp4?start={}&end={}", ahead.0, ahead.1), 403),
    ] {
        let answer = edge.get(&format!("/streams/cam-1/{path}"), &carl).await;
        // A clip into the future is refused as such by KVS's own rules, or by policy: never served.
        let fine = answer.status == expected || (path.contains(&ahead.1.to_string()) && answer.status == 400);
        assert!(fine, "{path}: {}", shown(&answer));
    }
    // Somebody else's page token continues old footage, whatever the caller calls it.
    let alice = edge.alice();
    let first = edge.call("/listFragments", &alice, &list(old)).await.json();
    let token = &first["NextToken"];
    assert!(token.is_string(), "{first}");
    let next = json!({"StreamName": "cam-1", "NextToken": token});
    assert_eq!(edge.call("/listFragments", &alice, &next).await.status, 200);
    assert_eq!(edge.call("/listFragments", &carl, &next).await.status, 403);
    let mut disguised = list(new);
    disguised["NextToken"] = token.clone();
    assert_eq!(edge.call("/listFragments", &carl, &disguised).await.status, 400);
    // Fragment numbers carry their time.
    let mut newest = edge.call("/listFragments", &carl, &list(new)).await.json();
    let media = |number: &Value| json!({"StreamName": "cam-1", "Fragments": [number]});
    let (new, old) =
        (newest["Fragments"][0]["FragmentNumber"].take(), &first["Fragments"][0]["FragmentNumber"]);
    assert_eq!(edge.call("/getMediaForFragmentList", &carl, &media(&new)).await.status, 200);
    assert_eq!(edge.call("/getMediaForFragmentList", &carl, &media(old)).await.status, 403);
    let both = json!({"StreamName": "cam-1", "Fragments": [new, old]});
    assert_eq!(edge.call("/getMediaForFragmentList", &carl, &both).await.status, 403);
    // And so does a live session: yesterday's numbers in today's session.
    let master = edge.play("/streams/cam-1/live.m3u8", &carl).await;
    assert_eq!(edge.http.get(&master, &[]).await.status, 200);
    let folder = master.rsplit_once('/').unwrap().0;
    let stray =
        format!("{folder}/getMP4MediaFragment.mp4?FragmentNumber={}&TrackNumber=1", old.as_str().unwrap());
    assert_eq!(edge.http.get(&stray, &[]).await.status, 403);
}

/// KVS gives any fragment of a stream to the holder of a session's token, so numbers from outside of the range
/// that was judged are judged by their own time, at both ends and to the second.
#[tokio::test]
async fn numbers_from_outside_of_a_session_s_range_are_judged_by_their_own_time() {
    let policies = r#"
        @id("all") permit (principal in Group::"investigators", action, resource);
        @id("past") permit (principal in Group::"past", action, resource) when { context.end_age >= 600 };
        @id("lately") permit (principal in Group::"lately", action, resource) when { context.start_age <= 600 };
    "#;
    let setup = Setup { policies: policies.to_owned(), ..Setup::default() };
    let edge = setup.setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    let now = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000;
    let number = async |age: u64| {
        let list = format!("/streams/cam-1/fragments?start={}&end={}", now - age - 10, now - age);
        let listed = edge.get(&list, edge.alice()).await.json();
        listed["fragments"][0]["number"].as_str().unwrap().to_owned()
    };
    for (group, range, ages) in [
        // What is newer than policy allows: 1 s of it, and all of it; as far as the range reaches; older.
        ("past", (900, 601), [(570, true), (60, true), (20, true), (700, false), (1200, false)]),
        // What is older than policy allows: within two minutes of the range, and long ago.
        ("lately", (590, 300), [(640, true), (700, true), (3000, true), (400, false), (200, false)]),
    ] {
        for clock in ["server", "producer"] {
            let token = edge.token("carl", &[group]);
            let page = format!(
                "/streams/cam-1/vod.m3u8?clock={clock}&start={}&end={}",
                now - range.0,
                now - range.1
            );
            let master = edge.play(&page, &token).await;
            let folder = master.rsplit_once('/').unwrap().0.to_owned();
            assert_eq!(edge.http.get(&master, &[]).await.status, 200, "{page}");
            let list = format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1");
            let text = edge.http.get(&list, &[]).await.text();
            let own = text.lines().filter(|line| line.starts_with("getMP4Media")).nth(3).unwrap();
            assert_eq!(edge.http.get(&format!("{folder}/{own}"), &[]).await.status, 200, "{clock} {own}");
            for (age, is_denied) in ages {
                let number = number(age).await;
                let stray = format!("{folder}/getMP4MediaFragment.mp4?FragmentNumber={number}&TrackNumber=1");
                let answer = edge.http.get(&stray, &[]).await;
                // What policy permits, the session need not have.
                let what = format!("{group} {clock} {age}: {} {}", answer.status, answer.text());
                assert_eq!(answer.status == 403, is_denied, "{what}");
            }
        }
    }
}

/// A stream's tags decide, end to end: asked of KVS only because a policy reads them, once for everybody, and
/// where KVS cannot tell, nobody gets in by that policy.
#[tokio::test]
async fn tags_decide_and_are_asked_for_once_and_only_if_a_policy_reads_them() {
    let policies = r#"
        permit (principal in Group::"berlin", action in [Action::"View", Action::"Describe"], resource)
        when { resource.hasTag("site") && resource.getTag("site") == "berlin" };
        permit (principal in Group::"berlin", action in Action::"Download", resource == Stream::"cam-2");
    "#;
    let edge = Setup { policies: policies.into(), ..Setup::default() }.start().await;
    let tag = async |stream: &str, tags: Value| {
        let url = format!("{}/_emulator/streams/{stream}", edge.emulator.url());
        let answer = edge.http.post(&url, &[], json!({"tags": tags}).to_string()).await;
        assert!(answer.status < 300, "{}", answer.text());
    };
    tag("cam-1", json!({"site": "berlin", "floor": "3"})).await;
    tag("cam-2", json!({"site": "kiel"})).await;
    let ben = edge.token("ben", &["berlin"]);
    // A download is permitted by name: none of the policies for it reads a tag, so nobody asks for any.
    edge.forget_reached().await;
    let start = now() - 110;
    let clip = json!({"StreamName": "cam-2", "ClipFragmentSelector": selector(start, start + 10)});
    let answer = edge.call("/getClip", &ben, &clip).await;
    assert_eq!(answer.status, 200, "{}", shown(&answer));
    assert_eq!(edge.reached_by("ListTagsForStream").await, 0);
    let describe = async |token: &str, stream: &str| {
        edge.call("/describeStream", token, &json!({"StreamName": stream})).await.status
    };
    for _ in 0..5 {
        assert_eq!(describe(&ben, "cam-1").await, 200);
        assert_eq!(describe(&ben, "cam-2").await, 403);
        assert_eq!(describe(&ben, "cam-3").await, 403);
        assert_eq!(describe(&edge.alice(), "cam-1").await, 403);
    }
    assert_eq!(edge.reached_by("ListTagsForStream").await, 3, "once for each stream");
    let streams = edge.get("/streams", &ben).await.json();
    let names: Vec<&Value> = streams["streams"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["cam-1"], "a list shows what tags permit");
    let asked = edge.reached_by("ListTagsForStream").await;
    assert_eq!(asked, 6, "once more for each, by the ARN that lists and playback addresses hold");
    let master = edge.play("/streams/cam-1/live.m3u8", &ben).await;
    assert_eq!(edge.http.get(&master, &[]).await.status, 200);
    assert_eq!(edge.get("/streams/cam-2/live.m3u8", &ben).await.status, 403);
    assert_eq!(edge.get("/streams", &ben).await.status, 200);
    assert_eq!(edge.reached_by("ListTagsForStream").await, asked, "all of it is remembered");
}

#[tokio::test]
async fn without_a_policy_that_reads_them_tags_are_not_asked_for_and_unknown_tags_permit_nothing() {
    let edge = edge().await;
    edge.forget_reached().await;
    for path in ["/streams", "/streams/cam-1", "/streams/cam-1/live.m3u8"] {
        assert!(edge.get(path, edge.alice()).await.status < 400, "{path}");
    }
    assert_eq!(edge.reached_by("ListTagsForStream").await, 0);
    let policies = r#"permit (principal, action, resource) unless { resource.tags.contains("secret=yes") };"#;
    let setup = Setup { policies: policies.into(), ..Setup::default() };
    let edge = setup.setting("UPSTREAM__RETRIES", "0").start().await;
    let broken = json!({"kind": "status", "status": 500, "type": "InternalFailure"});
    edge.fault(json!({"operation": "ListTagsForStream", "stream": "cam-1", "fault": broken})).await;
    let answer = edge.get("/streams/cam-1", edge.alice()).await;
    assert!((500..600).contains(&answer.status), "KVS cannot tell, so nobody may: {}", shown(&answer));
    assert_eq!(edge.get("/streams/cam-2", edge.alice()).await.status, 200);
}

/// Most cameras have a picture in the last 24 s. A limit of age that permits those does not deny it because others
/// need to be looked for further back, and shows nothing older.
#[tokio::test]
async fn a_limit_of_age_above_thirty_seconds_permits_the_newest_picture() {
    let policies = r#"
        permit (principal in Group::"investigators", action, resource);
        permit (principal in Group::"lately", action, resource) when { context.start_age <= 35 };
    "#;
    let edge = Setup { policies: policies.to_owned(), ..Setup::default() }.start().await;
    let carl = edge.token("carl", &["lately"]);
    let snapshot = async |token: &str| edge.get("/streams/cam-1/snapshot.jpg", token).await.status;
    assert_eq!(snapshot(&carl).await, 200);
    // What is complete began more than 30 s ago.
    let now = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() as f64 / 1000.0;
    let gap = json!({"gap": {"from": now - 31.5, "to": now + 600.0}});
    let url = format!("{}/_emulator/streams/cam-2", edge.emulator.url());
    assert!(edge.http.post(&url, &[], gap.to_string()).await.status < 300);
    let other = async |token: &str| edge.get("/streams/cam-2/snapshot.jpg?max_age=0", token).await.status;
    for _ in 0..2 {
        assert_eq!(other(&carl).await, 404);
        assert_eq!(other(&edge.alice()).await, 200);
    }
}

/// An old picture that others have just been shown is not for those who may see new ones only.
#[tokio::test]
async fn the_newest_picture_is_never_older_than_what_its_asker_may_see() {
    let edge = edge().await;
    let (alice, carl) = (edge.alice(), edge.token("carl", &["contractors"]));
    let snapshot = async |token: &str, query: &str| {
        let answer = edge.get(&format!("/streams/cam-1/snapshot.jpg{query}"), token).await;
        let time = answer.header("kvs-edge-image-time").map(|time| Timestamp::parse(time).unwrap());
        (answer.status, time)
    };
    let (status, time) = snapshot(&alice, "?max_age=3600").await;
    assert!(status == 200 && time.is_some());
    // Ten minutes are his: an hour is not, even while the picture at hand is new.
    assert_eq!(snapshot(&carl, "?max_age=3600").await.0, 403);
    assert_eq!(snapshot(&carl, "?max_age=300").await, (200, time), "that picture is new enough");
    assert_eq!(snapshot(&carl, "").await.0, 200);
}

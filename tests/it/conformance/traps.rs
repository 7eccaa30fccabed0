//! Odd edges of KVS that a user of kvs-edge must never meet, or is told of in words.

use super::{OPERATIONS, body, path};
use crate::harness::{Edge, Setup};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn ago(seconds: u64) -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - seconds
}

fn selector(start: impl Into<Value>, end: impl Into<Value>) -> Value {
    let range = json!({ "StartTimestamp": start.into(), "EndTimestamp": end.into() });
    json!({ "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range })
}

/// All numbers of a range, page by page; and how many pages.
async fn listed(edge: &Edge, selector: &Value, most: u32) -> (Vec<Value>, usize) {
    let (mut rows, mut pages) = (Vec::new(), 0);
    let mut ask = json!({ "StreamName": "cam-1", "FragmentSelector": selector, "MaxResults": most });
    loop {
        let answer = edge.call("/listFragments", edge.alice(), &ask).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.json();
        rows.extend(page["Fragments"].as_array().unwrap().clone());
        pages += 1;
        match page["NextToken"].as_str() {
            Some(token) => ask["NextToken"] = token.into(),
            None => return (rows, pages),
        }
    }
}

fn number(row: &Value) -> String {
    row["FragmentNumber"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn lists_come_in_pages_of_one_and_of_a_thousand_and_empty() {
    let edge = Edge::start().await;
    let minute = selector(ago(120), ago(90));
    let (one_by_one, pages) = listed(&edge, &minute, 1).await;
    let (at_once, one) = listed(&edge, &minute, 1000).await;
    let set = |rows: &[Value]| rows.iter().map(number).collect::<BTreeSet<_>>();
    assert!(one_by_one.len() >= 10 && pages >= one_by_one.len() && one == 1, "{pages} {one}");
    assert_eq!(set(&one_by_one), set(&at_once));
    assert_eq!(set(&at_once).len(), at_once.len(), "each once");
    // Before anything that is retained.
    assert_eq!(listed(&edge, &selector(1_500_000_000, 1_500_000_060), 100).await.0, Vec::<Value>::new());
}

#[tokio::test]
async fn both_ends_of_a_range_are_in_it_whatever_the_form_of_their_numbers() {
    let edge = Edge::start().await;
    let (rows, _) = listed(&edge, &selector(ago(120), ago(90)), 1000).await;
    let start = |row: &Value| (row["ServerTimestamp"].as_f64().unwrap() * 1000.0).round() as u64;
    let mut rows: Vec<_> = rows.iter().map(|row| (start(row), number(row))).collect();
    rows.sort();
    let wanted: BTreeSet<_> = rows[1..=3].iter().map(|(_, number)| number.clone()).collect();
    let forms: [fn(u64) -> String; 2] = [
        |millis| format!("{}.{:03}", millis / 1000, millis % 1000),
        |millis| format!("{}.{:012}E9", millis / 1_000_000_000_000, millis % 1_000_000_000_000),
    ];
    for form in forms {
        let ask = |start: u64, end: u64| {
            format!(
                r#"{{"StreamName":"cam-1","MaxResults":1000,"FragmentSelector":{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{{"StartTimestamp":{},"EndTimestamp":{}}}}}}}"#,
                form(start),
                form(end)
            )
        };
        let bearer = format!("Bearer {}", edge.alice());
        let url = format!("{}/listFragments", edge.url);
        for (start, end, expected) in [(rows[1].0, rows[3].0, 3), (rows[1].0 + 1, rows[3].0 - 1, 1)] {
            let answer = edge.http.post(&url, &[("authorization", &bearer)], ask(start, end)).await;
            let got =
                answer.json()["Fragments"].as_array().unwrap().iter().map(number).collect::<BTreeSet<_>>();
            assert_eq!(got.len(), expected, "{}", ask(start, end));
            assert!(got.is_subset(&wanted));
        }
    }
}

#[tokio::test]
async fn milliseconds_for_seconds_are_a_mistake_that_is_told() {
    let edge = Edge::start().await;
    let ask =
        json!({ "StreamName": "cam-1", "ClipFragmentSelector": selector(ago(90) * 1000, ago(60) * 1000) });
    let answer = edge.call("/getClip", edge.alice(), &ask).await;
    assert_eq!((answer.status, answer.kind()), (400, "InvalidArgumentException"));
    assert!(
        answer.message().contains("ClipFragmentSelector.TimestampRange.StartTimestamp"),
        "{}",
        answer.message()
    );
    assert!(answer.message().contains("seconds"), "{}", answer.message());
}

#[tokio::test]
async fn a_clip_that_kvs_cuts_says_where_it_ends() {
    let edge = Edge::start().await;
    let start = ago(1000);
    let ask = |seconds: u64| json!({ "StreamName": "cam-1", "ClipFragmentSelector": selector(start, start + seconds) });
    let short = edge.call("/getClip", edge.alice(), &ask(100)).await;
    assert_eq!((short.status, short.header("kvs-edge-truncated")), (200, None));
    let long = edge.call("/getClip", edge.alice(), &ask(900)).await;
    let told = long.header("kvs-edge-truncated").expect("the clip is shorter than its range");
    assert!(told.starts_with("fragments=200, of=4") && told.contains("until=\""), "{told}");
    // What is held says it too, and so does the page.
    let again = edge.call("/getClip", edge.alice(), &ask(900)).await;
    assert_eq!(again.header("kvs-edge-truncated"), Some(told));
    let page = format!("/streams/cam-1/clip.mp4?source=kvs&start={start}&end={}", start + 900);
    assert_eq!(edge.get(&page, edge.alice()).await.header("kvs-edge-truncated"), Some(told));
}

#[tokio::test]
async fn a_clip_gives_back_the_points_of_fragments_that_it_has_not() {
    let edge = Edge::start().await;
    let ask = json!({ "StreamName": "cam-1", "ClipFragmentSelector": selector(ago(1150), ago(1000)) });
    let answer = edge.call("/getClip", edge.alice(), &ask).await;
    assert_eq!(answer.status, 200);
    // Charged for the 151 fragments that could start in its range; some 75 did.
    let used = edge.metric("kvs_edge_quota_utilization_ratio", &[r#"kind="media""#]).await;
    assert!(used < 0.20, "{used}");
}

#[tokio::test]
async fn a_thousand_fragments_of_which_one_is_missing_end_early_and_leave_nothing_bad() {
    let mut setup = Setup::default();
    setup.emulator.quotas = false;
    let edge = setup.start().await;
    let (rows, _) = listed(&edge, &selector(ago(2200), ago(100)), 1000).await;
    let mut numbers: Vec<_> = rows.iter().map(number).collect();
    numbers.sort();
    numbers.truncate(1000);
    assert_eq!(numbers.len(), 1000);
    let ask = |numbers: &[String]| json!({ "StreamName": "cam-1", "Fragments": numbers });
    let good = numbers.clone();
    let last = if numbers[500].ends_with('9') { '8' } else { '9' };
    let missing = format!("{}{last}", &numbers[500][..46]);
    numbers[500] = missing.clone();
    let broken = edge.call("/getMediaForFragmentList", edge.alice(), &ask(&numbers)).await;
    assert!(broken.status == 200 && broken.broken, "{} {}", broken.status, broken.body.len());
    let documents =
        |bytes: &[u8]| bytes.windows(4).filter(|window| window == &[0x1a, 0x45, 0xdf, 0xa3]).count();
    assert_eq!(documents(&broken.body), 500, "what came before the missing one, whole");
    assert!(!broken.body.windows(18).any(|window| window == b"FRAGMENT_NOT_FOUND"));
    let alone = edge.call("/getMediaForFragmentList", edge.alice(), &ask(&[missing])).await;
    assert_eq!((alone.status, alone.kind()), (404, "ResourceNotFoundException"));
    let whole = edge.call("/getMediaForFragmentList", edge.alice(), &ask(&good[450..550])).await;
    assert!(!whole.broken && documents(&whole.body) == 100);
}

#[tokio::test]
async fn errors_that_no_model_has_keep_their_name_and_words() {
    let edge = Setup::default().setting("UPSTREAM__RETRIES", "0").start().await;
    for kind in ["IllegalArgumentException", "ValidationException"] {
        let fault = json!({"kind": "status", "status": 400, "type": kind, "message": "as KVS has it"});
        edge.fault(json!({"operation": "GetImages", "fault": fault, "times": 1})).await;
        let answer = edge.call("/getImages", edge.alice(), &body("GetImages", "cam-1", 60, &[])).await;
        assert_eq!((answer.status, answer.kind(), &*answer.message()), (400, kind, "as KVS has it"));
    }
}

#[tokio::test]
async fn both_spellings_of_error_headers_and_messages_and_the_older_xml_are_understood() {
    let edge = Setup::default().setting("UPSTREAM__RETRIES", "0").start().await;
    let raw = |status: u16, header: &str, value: &str, text: &str| json!({"kind": "raw", "status": status, "headers": {header: value}, "body": text});
    let uri = "ResourceNotFoundException:https://kinesisvideo.amazonaws.com/doc/2017-09-30/";
    let none = "No fragments found in the stream for the clip request.";
    for (fault, status, kind, message) in [
        (
            raw(404, "x-amzn-errortype", uri, &json!({"Message": none}).to_string()),
            404,
            "ResourceNotFoundException",
            none,
        ),
        (
            raw(404, "x-amz-ErrorType", uri, &json!({"message": none}).to_string()),
            404,
            "ResourceNotFoundException",
            none,
        ),
        // A refusal of us is not the caller's fault, and says nothing of us.
        (
            raw(
                403,
                "x-amzn-errortype",
                "AccessDeniedException:http://internal.amazon.com/coral/com.amazon.coral.service/",
                r#"{"Message":"User: arn:aws:iam::1:user/x is not authorized"}"#,
            ),
            502,
            "InternalFailure",
            "",
        ),
        (
            raw(401, "x-amzn-errortype", "NotAuthorizedException", r#"{"Message":"denied"}"#),
            502,
            "InternalFailure",
            "",
        ),
        (
            raw(
                403,
                "content-type",
                "text/xml",
                "<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be authorized</Message>\n</AccessDeniedException>",
            ),
            502,
            "InternalFailure",
            "",
        ),
    ] {
        edge.fault(json!({"operation": "GetClip", "fault": fault, "times": 2})).await;
        let answer = edge.call("/getClip", edge.alice(), &body("GetClip", "cam-1", 60, &[])).await;
        assert_eq!((answer.status, answer.kind()), (status, kind), "{}", answer.text());
        assert!(answer.message().contains(message) && !answer.text().contains("user/x"), "{}", answer.text());
        let url = format!("{}/_emulator/faults", edge.emulator.url());
        edge.http.send("DELETE", &url, &[], String::new()).await;
    }
}

#[tokio::test]
async fn each_call_lives_at_one_spelling_and_other_spellings_are_told_it() {
    let edge = Edge::start().await;
    for (operation, _) in OPERATIONS {
        let answer = edge.call(&format!("/{operation}"), edge.alice(), &json!({})).await;
        assert_eq!(answer.status, 404, "{operation}");
        assert!(answer.message().contains(path(operation)), "{}", answer.message());
    }
    assert_eq!(edge.reached_by("UnknownOperation").await, 0);
}

#[tokio::test]
async fn a_misspelt_stream_is_told_at_the_first_step_and_an_outage_is_not() {
    let edge = Edge::start().await;
    let ask = |stream: &str| body("GetDataEndpoint", stream, 60, &[]);
    let answer = edge.call("/getDataEndpoint", edge.alice(), &ask("cam-9")).await;
    assert_eq!((answer.status, answer.kind()), (404, "ResourceNotFoundException"));
    let down = json!({"kind": "status", "status": 503, "type": "ServiceUnavailable"});
    edge.fault(json!({"operation": "DescribeStream", "fault": down})).await;
    let answer = edge.call("/getDataEndpoint", edge.alice(), &ask("cam-1")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("http://edge.test"));
}

#[tokio::test]
async fn what_belongs_to_no_stream_counts_as_other() {
    let edge = Edge::start().await;
    assert_eq!(edge.call("/listStreams", edge.alice(), &json!({})).await.status, 200);
    let bytes =
        edge.metric("kvs_edge_upstream_bytes_total", &[r#"api="ListStreams""#, r#"stream="_other""#]).await;
    assert!(bytes > 100.0, "{bytes}");
    assert!(!edge.metrics().await.keys().any(|series| series.contains(r#"stream="""#)));
}

#[tokio::test]
async fn a_hundred_who_ask_for_the_same_json_at_once_are_one_request() {
    let edge = Edge::start().await;
    for operation in ["DescribeStream", "ListFragments", "GetImages"] {
        let slow = json!({"kind": "delay", "millis": 300});
        edge.fault(json!({"operation": operation, "fault": slow, "times": 1})).await;
        edge.forget_reached().await;
        let ask = body(operation, "cam-2", 60, &[]);
        let bearer = format!("Bearer {}", edge.alice());
        let url = format!("{}{}", edge.url, path(operation));
        let one = || {
            let (http, url, bearer, ask) = (edge.http.clone(), url.clone(), bearer.clone(), ask.to_string());
            tokio::spawn(async move { http.post(&url, &[("authorization", &bearer)], ask).await })
        };
        let crowd: Vec<_> = (0..100).map(|_| one()).collect();
        for answer in crowd {
            let answer = answer.await.unwrap();
            assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        }
        assert_eq!(edge.reached_by(operation).await, 1, "{operation}");
        // Who may not is not answered from what others were.
        let denied = edge.call(path(operation), edge.token("eve", &[]), &ask).await;
        assert_eq!(denied.status, 403);
    }
}

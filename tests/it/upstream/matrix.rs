//! The fault matrix: operation by fault. Nothing hangs past its deadline, nothing gives a short success.

use super::*;
use std::time::Instant;

const FAULTS: [(&str, &str); 15] = [
    ("delay 200 ms", r#""fault":{"kind":"delay","millis":200},"times":1"#),
    ("500 once", r#""fault":{"kind":"status","status":500},"times":1"#),
    ("500 always", r#""fault":{"kind":"status","status":500}"#),
    ("503 once", r#""fault":{"kind":"status","status":503,"type":"ServiceUnavailable"},"times":1"#),
    (
        "throttle once",
        r#""fault":{"kind":"status","status":400,"type":"ClientLimitExceededException"},"times":1"#,
    ),
    ("throttle always", r#""fault":{"kind":"status","status":400,"type":"ClientLimitExceededException"}"#),
    ("reset before", r#""fault":{"kind":"reset"},"times":1"#),
    ("reset mid-body", r#""fault":{"kind":"reset","after_bytes":40}"#),
    ("truncated once", r#""fault":{"kind":"truncate","after_bytes":40},"times":1"#),
    ("truncated always", r#""fault":{"kind":"truncate","after_bytes":40}"#),
    ("endless trickle", r#""fault":{"kind":"trickle","bytes_per_second":10}"#),
    ("90-byte 200 once", r#""fault":{"kind":"unknown_operation"},"times":1"#),
    ("90-byte 200", r#""fault":{"kind":"unknown_operation"}"#),
    ("no answer", r#""fault":{"kind":"delay","millis":60000}"#),
    ("expired keys", r#""fault":{"kind":"status","status":403,"type":"ExpiredTokenException"},"times":1"#),
];

/// What a cell says.
struct Cell {
    got: String,
    whole: bool,
    asked: u64,
    took: Duration,
}

async fn cell(kvs: &Emulator, call: &Call, rule: &str) -> Cell {
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let right = asked(&upstream, call).await.map(|body| body.len());
    let operation = call.operation();
    operator(kvs, "DELETE", "requests", "").await;
    operator(kvs, "POST", "faults", &format!(r#"{{"operation":"{operation}",{rule}}}"#)).await;
    let started = Instant::now();
    let got = asked(&upstream, call).await;
    let took = started.elapsed();
    operator(kvs, "DELETE", "faults", "").await;
    let (asked, _) = count(kvs, operation.name()).await;
    // Session URLs differ in their token, clips of the emulator do not.
    let whole = got.is_err() || got.as_ref().map(Bytes::len).ok() == right.ok();
    let got = got.map_or_else(|error| error, |body| format!("{} bytes", body.len()));
    Cell { got, whole, asked, took }
}

/// One operation against every fault, with an emulator of its own.
async fn column(number: usize) -> (Vec<String>, Vec<String>) {
    let kvs = kvs(|config| {
        config.quotas = false;
        config.clip_creation_time = Some(Timestamp::from_millis(1_700_000_000_000));
    })
    .await;
    let mut calls = calls();
    let setup = upstream(entry(&kvs.url()), Config::default()).await;
    calls.push(fragments(&numbers(&setup).await[..2]));
    let call = &calls[number];
    let operation = call.operation().name();
    let (mut lines, mut bad) = (Vec::new(), Vec::new());
    for (fault, rule) in FAULTS {
        let Cell { got, whole, asked, took } = cell(&kvs, call, rule).await;
        lines.push(format!("{operation:<28} {fault:<18} {asked:>5} {:>6}  {got}", took.as_millis()));
        if !whole || took > Duration::from_secs(10) || asked > 6 {
            bad.push(format!("{fault} {operation}: {got} after {took:?} and {asked} requests"));
        }
        let absorbed =
            fault.ends_with("once") || matches!(fault, "delay 200 ms" | "reset before" | "expired keys");
        // A clip that was cut after its first byte is broken and stays so.
        if absorbed && !got.ends_with("bytes") && !(operation == "GetClip" && fault == "truncated once") {
            bad.push(format!("{fault} {operation} was not absorbed: {got}"));
        }
    }
    (lines, bad)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_hangs_and_nothing_is_short() {
    let columns: Vec<_> = (0..=calls().len()).map(|number| tokio::spawn(column(number))).collect();
    let mut bad = Vec::new();
    println!("{:<28} {:<18} {:>5} {:>6}  client got", "operation", "fault", "asked", "ms");
    for column in columns {
        let (lines, wrong) = column.await.unwrap();
        println!("{}", lines.join("\n"));
        bad.extend(wrong);
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test]
async fn an_endpoint_that_moves_or_whose_name_is_gone_is_found_again() {
    let kvs = kvs(|config| config.separate_data_plane = true).await;
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let list = &calls()[1];
    asked(&upstream, list).await.unwrap();
    operator(&kvs, "POST", "endpoint", "{}").await;
    asked(&upstream, list).await.expect("the data plane moved to another port");
    operator(&kvs, "POST", "endpoint", r#"{"url":"http://gone.localhost:1"}"#).await;
    asked(&upstream, list).await.expect("what works is kept");
    let clip = asked(&upstream, &calls()[2]).await;
    assert!(clip.is_err(), "an endpoint that was never good: {clip:?}");
    operator(&kvs, "POST", "endpoint", "{}").await;
    asked(&upstream, &calls()[2]).await.expect("and found once it is good");
}

#[tokio::test]
async fn fragments_that_are_not_there_are_told_from_those_that_are() {
    let kvs = kvs(|_| {}).await;
    let upstream = upstream(entry(&kvs.url()), quick()).await;
    let numbers = numbers(&upstream).await;
    let once = r#"{"operation":"GetMediaForFragmentList","fault":{"kind":"in_band_error"},"times":1}"#;
    operator(&kvs, "POST", "faults", once).await;
    asked(&upstream, &fragments(&numbers[..2])).await.expect("asked for again");
    let missing = format!("{}{}", &numbers[0][..46], if numbers[0].ends_with('9') { '8' } else { '9' });
    let got = asked(&upstream, &fragments(&[numbers[0].clone(), missing.clone(), numbers[1].clone()])).await;
    assert!(got.is_err(), "an error in the band is no success");
    let Call::GetMediaForFragmentList(list) = fragments(&[numbers[0].clone(), missing, numbers[1].clone()])
    else {
        unreachable!()
    };
    let located = upstream.locate(&camera()).unwrap();
    let mut chunks = upstream.media(&located, &list, "alice").await.unwrap();
    let mut found = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.unwrap();
        found.push((chunk.number.unwrap().to_string(), chunk.error.is_none()));
    }
    let good: Vec<_> = found.iter().filter(|(_, good)| *good).map(|(number, _)| number.clone()).collect();
    assert_eq!(good, numbers[..2]);
}

//! Our client against the local KVS: what KVS and the network do wrong, and what becomes of it; credentials
//! from everywhere; and that KVS is never asked for more than it allows.

mod credentials;
mod matrix;
mod polite;
mod signing;

use bytes::Bytes;
use kvs_edge::kvs::{Call, Operation, StreamName, StreamRef, Timestamp};
use kvs_edge::net::client::{Client, Limits, Options};
use kvs_edge::setting::{SecretSource, Span};
use kvs_edge::telemetry::metrics::StreamLabels;
use kvs_edge::upstream::{Config, EntryConfig, Error, Metrics, OnBehalfOf, Upstream};
use kvs_edge_emulator::{self as emulator, Emulator};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// A local KVS that takes faults.
pub async fn kvs(change: impl FnOnce(&mut emulator::Config)) -> Emulator {
    let mut config = emulator::Config {
        listen: ([127, 0, 0, 1], 0).into(),
        allow_faults: true,
        ..emulator::Config::default()
    };
    change(&mut config);
    emulator::start(config).await.unwrap()
}

/// An entry for it, signing with its own keys.
pub fn entry(url: &str) -> EntryConfig {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("id"), "AKIDEMULATOR").unwrap();
        std::fs::write(folder.path().join("secret"), "emulator-secret").unwrap();
        folder
    });
    let file = |name: &str| Some(SecretSource::File(FOLDER.path().join(name)));
    EntryConfig {
        endpoint_url: Some(url.to_owned()),
        access_key_id: file("id"),
        secret_access_key: file("secret"),
        ..EntryConfig::new("main", "eu-west-1")
    }
}

pub async fn upstream(entry: EntryConfig, config: Config) -> Upstream {
    let metrics = Metrics::register(&prometheus::Registry::new(), StreamLabels::new(1_000)).unwrap();
    Upstream::start(&[entry], &config, None, metrics).await.unwrap()
}

/// Deadlines that a test can wait for.
pub fn quick() -> Config {
    let short = Span::seconds(2);
    Config {
        first_byte: short,
        clip_first_byte: short,
        between_bytes: short,
        api_deadline: Span::seconds(6),
        download_deadline: Span::seconds(6),
        playlist_deadline: Span::seconds(6),
        playback_deadline: Span::seconds(6),
        queue_wait: Span::seconds(1),
        throttle_retries: 3,
        ..Config::default()
    }
}

pub fn camera() -> StreamRef {
    StreamRef::Name(StreamName::parse("cam-1").unwrap())
}

/// Each data operation for the minute before the last one.
pub fn calls() -> Vec<Call> {
    let now = Timestamp::from(kvs_edge::base::clock::now());
    let range = |seconds: u64| {
        let end = now.millis() / 1000 - 60;
        format!(r#"{{"StartTimestamp":{},"EndTimestamp":{end}}}"#, end - seconds)
    };
    let selector = |seconds| {
        format!(r#"{{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{}}}"#, range(seconds))
    };
    let end = now.millis() / 1000 - 60;
    [
        (Operation::DescribeStream, String::new()),
        (Operation::ListFragments, format!(r#","FragmentSelector":{}"#, selector(60))),
        (Operation::GetClip, format!(r#","ClipFragmentSelector":{}"#, selector(20))),
        (
            Operation::GetImages,
            format!(
                r#","ImageSelectorType":"SERVER_TIMESTAMP","StartTimestamp":{},"EndTimestamp":{end},
                "SamplingInterval":1000,"Format":"JPEG","MaxResults":2"#,
                end - 10
            ),
        ),
        (Operation::GetHlsStreamingSessionUrl, String::new()),
        (Operation::GetDashStreamingSessionUrl, String::new()),
    ]
    .into_iter()
    .map(|(operation, members)| read(operation, &members))
    .collect()
}

pub fn read(operation: Operation, members: &str) -> Call {
    let body = format!(r#"{{"StreamName":"cam-1"{members}}}"#);
    Call::read(operation, body.as_bytes(), Timestamp::from(kvs_edge::base::clock::now())).unwrap()
}

/// The numbers of fragments of the last minute but one.
pub async fn numbers(upstream: &Upstream) -> Vec<String> {
    let body = asked(upstream, &calls()[1]).await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let number = |row: &serde_json::Value| row["FragmentNumber"].as_str().unwrap().to_owned();
    list["Fragments"].as_array().unwrap().iter().map(number).collect()
}

pub fn fragments(numbers: &[String]) -> Call {
    read(Operation::GetMediaForFragmentList, &format!(r#","Fragments":{}"#, serde_json::json!(numbers)))
}

/// Asks, and reads the answer to its end.
pub async fn asked(upstream: &Upstream, call: &Call) -> Result<Bytes, String> {
    let located = upstream.locate(&camera()).map_err(|e| name(&e))?;
    let answer =
        upstream.call(&located, call, &OnBehalfOf::all_callers("alice")).await.map_err(|e| name(&e))?;
    answer.bytes(200 << 20).await.map_err(|broken| format!("broken body: {broken}"))
}

/// An error's variant, for tables.
pub fn name(error: &Error) -> String {
    match error {
        Error::Kvs(fault) => format!("KVS {} {}", fault.status, fault.kind),
        other => format!("{other:?}").split([' ', '(', '{']).next().unwrap_or_default().to_owned(),
    }
}

/// Tells the emulator something, or asks it.
pub async fn operator(kvs: &Emulator, method: &str, path: &str, body: &str) -> serde_json::Value {
    let roots = rustls::RootCertStore::empty(); // loopback is plain
    let client = Client::with_roots(Options { allow_http: true, ..Options::default() }, roots).unwrap();
    let uri = format!("{}/_emulator/{path}", kvs.url());
    let request =
        http::Request::builder().method(method).uri(uri).body(Bytes::from(body.to_owned())).unwrap();
    let answer = client.fetch(request, 16 << 20, &Limits::default()).await.unwrap();
    assert!(answer.status().is_success(), "{path} {body}: {:?}", answer.body());
    serde_json::from_slice(answer.body()).unwrap()
}

/// How often an operation reached the emulator, and how often it was throttled.
pub async fn count(kvs: &Emulator, operation: &str) -> (u64, u64) {
    let requests = operator(kvs, "GET", "requests", "").await;
    let of = &requests["total"][operation];
    (of["requests"].as_u64().unwrap_or(0), of["throttled"].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn every_call_is_answered_with_a_signature_that_kvs_takes() {
    let kvs = kvs(|_| {}).await;
    let upstream = upstream(entry(&kvs.url()), Config::default()).await;
    for call in calls() {
        let body = asked(&upstream, &call).await.unwrap_or_else(|e| panic!("{}: {e}", call.operation()));
        assert!(body.len() > 50, "{}", call.operation());
    }
    let numbers = numbers(&upstream).await;
    let media = asked(&upstream, &fragments(&numbers[..3])).await.unwrap();
    assert!(media.starts_with(&[0x1A, 0x45, 0xDF, 0xA3]));
    let located = upstream.locate(&camera()).unwrap();
    assert_eq!(upstream.describe(&located, || "test".into()).await.unwrap().arn.account(), "123456789012");
    upstream.tags(&located, || Some(OnBehalfOf::all_callers("stream facts"))).await.unwrap();
    let streams =
        Call::read(Operation::ListStreams, b"{}", Timestamp::from(kvs_edge::base::clock::now())).unwrap();
    let listed = upstream
        .call_entry("main", &streams, &OnBehalfOf::all_callers("alice"))
        .await
        .unwrap()
        .bytes(1 << 20)
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&listed).contains("cam-2"));
}

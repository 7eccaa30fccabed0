//! Every call with every error that its model has, in three unmodified SDKs: each must arrive as the exception that
//! programs catch. One table, one process per SDK.
//!
//! KVS throws by plan. What an SDK must not see is different on purpose: a throttle that outlasts our own retries is
//! ThrottlingException with 429, the one word that every SDK retries by itself; refusals of *our* credentials are no
//! caller's fault and come as 502.

use super::{OPERATIONS, body};
use crate::harness::{Edge, Setup, python, run};
use crate::rust_sdk::Lent;
use aws_config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_credential_types::Credentials;
use aws_sdk_kinesisvideo::Client as Control;
use aws_sdk_kinesisvideoarchivedmedia::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::{Client as Media, types};
use kvs_edge::net::client::{Client, Options};
use serde_json::{Value, json};
use std::path::Path;
use tokio::process::Command;

const INVALID: &str = "InvalidArgumentException";
const LIMIT: &str = "ClientLimitExceededException";
const DENIED: &str = "NotAuthorizedException";
const MISSING: &str = "ResourceNotFoundException";
const RETENTION: &str = "NoDataRetentionException";
const CODEC: [&str; 3] = [
    "UnsupportedStreamMediaTypeException",
    "MissingCodecPrivateDataException",
    "InvalidCodecPrivateDataException",
];

/// What an operation's model says that it throws.
fn modelled(operation: &str) -> Vec<&'static str> {
    let mut errors = vec![INVALID, LIMIT];
    if operation != "ListStreams" {
        errors.extend([MISSING, DENIED]);
    }
    match operation {
        "GetClip" => errors.extend([CODEC.as_slice(), &[RETENTION, "InvalidMediaFrameException"]].concat()),
        "GetHLSStreamingSessionURL" | "GetDASHStreamingSessionURL" => {
            errors.extend([CODEC.as_slice(), &[RETENTION]].concat());
        }
        "GetImages" => errors.push(RETENTION),
        _ => {}
    }
    errors
}

fn status(error: &str) -> u16 {
    match error {
        MISSING => 404,
        DENIED => 403, // our own, by policy
        _ => 400,
    }
}

/// A row of the table, as the client programs read it.
struct Row {
    operation: &'static str,
    error: Option<&'static str>,
    input: Value,
    url: String,
}

/// Whether the request itself is wrong, because nothing is asked of KVS that could throw.
fn wrong_by_itself(operation: &str, error: &str) -> bool {
    error == INVALID && matches!(operation, "GetDataEndpoint" | "ListStreams")
}

fn stream(operation: &str, error: &str) -> String {
    format!("{operation}-{error}")
}

/// The edges behind the table: one, and another whose ListStreams is throttled.
async fn edges() -> (Edge, Edge) {
    let all: Vec<_> = OPERATIONS
        .iter()
        .flat_map(|(operation, _)| modelled(operation).into_iter().map(move |error| (*operation, error)))
        .collect();
    let mut setup = Setup::default();
    setup.emulator.streams = ["cam-1".to_owned()]
        .into_iter()
        .chain(all.iter().map(|(operation, error)| stream(operation, error)))
        .collect();
    setup.emulator.quotas = false;
    setup.policies = r#"
        permit (principal in Group::"investigators", action, resource)
        unless { resource.name like "*NotAuthorizedException" };
    "#
    .into();
    let patient = |setup: Setup| {
        // Sessions are asked of KVS, whose errors this is about.
        let setup = setup.setting("PLAYBACK__ARCHIVE", "kvs");
        setup.reachable().setting("UPSTREAM__RETRIES", "0").setting("UPSTREAM__THROTTLE_RETRIES", "0")
    };
    let edge = patient(setup).start().await;
    let throttled = patient(Setup::default()).start().await;
    let plan = |operation: &str, stream: Option<&str>, error: &str| {
        let fault = json!({"kind": "status", "status": status(error), "type": error, "message": format!("planned {error}")});
        json!({"operation": operation, "stream": stream, "fault": fault})
    };
    throttled.fault(plan("ListStreams", None, LIMIT)).await;
    for (operation, error) in &all {
        // Whether a stream exists is asked with DescribeStream; nothing else of it is KVS's to refuse.
        let asked = if *operation == "GetDataEndpoint" { "DescribeStream" } else { operation };
        if *operation != "ListStreams" && *error != DENIED && !wrong_by_itself(operation, error) {
            edge.fault(plan(asked, Some(&stream(operation, error)), error)).await;
        }
    }
    (edge, throttled)
}

async fn rows(edge: &Edge, throttled: &Edge) -> Vec<Row> {
    let listed =
        edge.call("/listFragments", edge.alice(), &body("ListFragments", "cam-1", 60, &[])).await.json();
    let number = listed["Fragments"][0]["FragmentNumber"].as_str().unwrap().to_owned();
    let mut rows = Vec::new();
    for (operation, _) in OPERATIONS {
        let input = |stream: &str| body(operation, stream, 60, std::slice::from_ref(&number));
        rows.push(Row { operation, error: None, input: input("cam-1"), url: edge.url.clone() });
        for error in modelled(operation) {
            let mut input = input(&stream(operation, error));
            if wrong_by_itself(operation, error) {
                let (member, value) =
                    if operation == "ListStreams" { ("NextToken", "AAAA") } else { ("APIName", "NONE") };
                input[member] = value.into();
            }
            let elsewhere = operation == "ListStreams" && error == LIMIT;
            let url = if elsewhere { throttled.url.clone() } else { edge.url.clone() };
            rows.push(Row { operation, error: Some(error), input, url });
        }
    }
    rows
}

fn as_json(rows: &[Row], edge: &Edge, throttled: &Edge) -> Value {
    let token = |row: &Row| if row.url == edge.url { edge.alice() } else { throttled.alice() };
    rows.iter()
        .map(|row| json!({"operation": row.operation, "url": row.url, "token": token(row), "input": row.input}))
        .collect()
}

/// What a client must have told of a row: class, code and status. `general` is its class for what no model has.
fn assert_told(sdk: &str, rows: &[Row], got: &Value, general: fn(&str) -> &'static str) {
    let got = got.as_array().unwrap();
    assert_eq!(got.len(), rows.len());
    println!("{:<28} {:<38} {sdk}", "operation", "KVS throws");
    for (row, told) in rows.iter().zip(got) {
        let expected = match row.error {
            None => json!({"class": null}),
            // Our endpoint is our own to tell, however KVS limits its own.
            Some(LIMIT) if row.operation == "GetDataEndpoint" => json!({"class": null}),
            Some(LIMIT) => {
                json!({"class": general(row.operation), "code": "ThrottlingException", "status": 429})
            }
            Some(error) => json!({"class": error, "code": error, "status": status(error)}),
        };
        let error = row.error.unwrap_or("nothing");
        println!("{:<28} {error:<38} {} {}", row.operation, told["status"], told["class"]);
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&told[key], value, "{sdk} {} {error}: {told}", row.operation);
        }
        let planned = !wrong_by_itself(row.operation, error) && !matches!(error, LIMIT | DENIED | "nothing");
        if planned {
            // In our own words: KVS's may hold what must not leave.
            let message = told["message"].as_str().unwrap_or_default();
            assert!(message.len() > 20 && !message.contains("planned"), "{sdk} {}: {told}", row.operation);
        }
    }
}

#[tokio::test]
async fn boto3_raises_every_modelled_error_of_every_call() {
    let (edge, throttled) = edges().await;
    let rows = rows(&edge, &throttled).await;
    let table = as_json(&rows, &edge, &throttled).to_string();
    let output = python("exceptions.py", &[("TABLE", &table), ("AWS_DEFAULT_REGION", "eu-west-1")]).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    let got = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert_told("boto3", &rows, &got, |_| "ClientError");
}

#[tokio::test]
async fn the_javascript_sdk_raises_every_modelled_error_of_every_call() {
    let (edge, throttled) = edges().await;
    let rows = rows(&edge, &throttled).await;
    let mut node = Command::new("node");
    node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/js/exceptions.mjs"))
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("AWS_REGION", "eu-west-1")
        .env("TABLE", as_json(&rows, &edge, &throttled).to_string());
    let output = run(&mut node).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    let got = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert_told("JavaScript v3", &rows, &got, |operation| {
        if matches!(operation, "DescribeStream" | "ListStreams") {
            "KinesisVideoServiceException"
        } else {
            "KinesisVideoArchivedMediaServiceException"
        }
    });
}

#[tokio::test]
async fn the_rust_sdk_raises_every_modelled_error_of_every_call() {
    let (edge, throttled) = edges().await;
    let rows = rows(&edge, &throttled).await;
    let (sdk, other) = (Sdk::of(&edge).await, Sdk::of(&throttled).await);
    let mut got = Vec::new();
    for row in &rows {
        let sdk = if row.url == edge.url { &sdk } else { &other };
        got.push(sdk.ask(row).await);
    }
    assert_told("Rust", &rows, &Value::Array(got), |_| "Unhandled");
}

/// An answer, or the variant, code, status and message of the SDK's error.
fn told<T, E: ProvideErrorMetadata + std::fmt::Debug>(
    answer: Result<T, SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>>,
) -> Value {
    let Err(error) = answer else { return json!({"class": null}) };
    let status = error.raw_response().map(|response| response.status().as_u16());
    let SdkError::ServiceError(error) = error else { return json!({"class": format!("{error:?}")}) };
    let error = error.into_err();
    let variant = format!("{error:?}");
    let class = variant.split([' ', '(', '{']).next();
    json!({"class": class, "code": error.code(), "status": status, "message": error.message()})
}

fn time(value: &Value) -> DateTime {
    DateTime::from_secs(value.as_i64().unwrap())
}

struct Sdk {
    control: Control,
    media: Media,
}

impl Sdk {
    async fn of(edge: &Edge) -> Self {
        let config = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("kvsedge", "kvsedge", Some(edge.alice()), None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(&edge.url)
            .http_client(Lent(Client::new(Options { allow_http: true, ..Options::default() }).unwrap()))
            .load()
            .await;
        Self { control: Control::new(&config), media: Media::new(&config) }
    }

    async fn ask(&self, row: &Row) -> Value {
        let Self { control, media } = self;
        let text = |name: &str| row.input[name].as_str().map(str::to_owned);
        let stream = text("StreamName");
        let range = |selector: &str| {
            let range = &row.input[selector]["TimestampRange"];
            (time(&range["StartTimestamp"]), time(&range["EndTimestamp"]))
        };
        match row.operation {
            "GetDataEndpoint" => {
                let api = aws_sdk_kinesisvideo::types::ApiName::from(&*text("APIName").unwrap());
                told(control.get_data_endpoint().set_stream_name(stream).api_name(api).send().await)
            }
            "DescribeStream" => told(control.describe_stream().set_stream_name(stream).send().await),
            "ListStreams" => told(control.list_streams().set_next_token(text("NextToken")).send().await),
            "ListFragments" => {
                let (start, end) = range("FragmentSelector");
                let range = types::TimestampRange::builder()
                    .start_timestamp(start)
                    .end_timestamp(end)
                    .build()
                    .unwrap();
                let selector = types::FragmentSelector::builder()
                    .fragment_selector_type(types::FragmentSelectorType::ServerTimestamp)
                    .timestamp_range(range)
                    .build()
                    .unwrap();
                told(media.list_fragments().set_stream_name(stream).fragment_selector(selector).send().await)
            }
            "GetMediaForFragmentList" => {
                let number = row.input["Fragments"][0].as_str().unwrap();
                told(
                    media
                        .get_media_for_fragment_list()
                        .set_stream_name(stream)
                        .fragments(number)
                        .send()
                        .await,
                )
            }
            "GetClip" => {
                let (start, end) = range("ClipFragmentSelector");
                let range = types::ClipTimestampRange::builder()
                    .start_timestamp(start)
                    .end_timestamp(end)
                    .build()
                    .unwrap();
                let selector = types::ClipFragmentSelector::builder()
                    .fragment_selector_type(types::ClipFragmentSelectorType::ServerTimestamp)
                    .timestamp_range(range)
                    .build()
                    .unwrap();
                told(media.get_clip().set_stream_name(stream).clip_fragment_selector(selector).send().await)
            }
            "GetImages" => {
                let call = media.get_images().set_stream_name(stream);
                let call = call.image_selector_type(types::ImageSelectorType::ServerTimestamp);
                let call = call.start_timestamp(time(&row.input["StartTimestamp"]));
                let call = call.end_timestamp(time(&row.input["EndTimestamp"]));
                told(call.sampling_interval(3000).format(types::Format::Jpeg).send().await)
            }
            "GetHLSStreamingSessionURL" => {
                let (start, end) = range("HLSFragmentSelector");
                let range =
                    types::HlsTimestampRange::builder().start_timestamp(start).end_timestamp(end).build();
                let selector = types::HlsFragmentSelector::builder()
                    .fragment_selector_type(types::HlsFragmentSelectorType::ServerTimestamp)
                    .timestamp_range(range)
                    .build();
                let call = media.get_hls_streaming_session_url().set_stream_name(stream);
                let call = call.playback_mode(types::HlsPlaybackMode::OnDemand);
                told(call.hls_fragment_selector(selector).send().await)
            }
            _ => {
                let (start, end) = range("DASHFragmentSelector");
                let range =
                    types::DashTimestampRange::builder().start_timestamp(start).end_timestamp(end).build();
                let selector = types::DashFragmentSelector::builder()
                    .fragment_selector_type(types::DashFragmentSelectorType::ServerTimestamp)
                    .timestamp_range(range)
                    .build();
                let call = media.get_dash_streaming_session_url().set_stream_name(stream);
                let call = call.playback_mode(types::DashPlaybackMode::OnDemand);
                told(call.dash_fragment_selector(selector).send().await)
            }
        }
    }
}

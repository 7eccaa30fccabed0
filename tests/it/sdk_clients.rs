//! Unmodified AWS SDKs: one variable, a JWT as session token, and every refusal is the exception that programs catch.
//!
//! The two-step code of AWS's documentation with boto3 is in `first_light`.

use crate::harness::program::binary;
use crate::harness::{Edge, Setup, python, run};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;
use tokio::process::Command;

/// An edge where cam-2 is throttled by KVS, so that callers of its clips are told to come back later.
async fn edge() -> Edge {
    let edge = Setup::default()
        .reachable()
        .setting("UPSTREAM__RETRIES", "0")
        .setting("UPSTREAM__THROTTLE_RETRIES", "0")
        .start()
        .await;
    let throttled = json!({"kind": "status", "status": 400, "type": "ClientLimitExceededException"});
    edge.fault(json!({"operation": "GetClip", "stream": "cam-2", "fault": throttled})).await;
    edge
}

fn printed(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

/// Each refusal's exception, status and number of retries, by the SDK's own names of them.
fn assert_refusals(got: &Value, classes: [&str; 5]) {
    let throttled = "; try again later";
    let expected = [
        ("unknown", "NotAuthorizedException", 401, "the token is malformed"),
        (
            "denied",
            "NotAuthorizedException",
            403,
            "not authorized to perform kinesisvideo:GetClip on stream cam-1",
        ),
        ("missing", "ResourceNotFoundException", 404, ""),
        ("invalid", "InvalidArgumentException", 400, "ClipFragmentSelector"),
        ("throttled", "ThrottlingException", 429, throttled),
    ];
    for ((what, code, status, message), class) in expected.into_iter().zip(classes) {
        let told = &got[what];
        assert_eq!((&told["code"], &told["status"]), (&json!(code), &json!(status)), "{what}: {told}");
        assert_eq!(told["class"], class, "{what}: {told}");
        assert!(told["message"].as_str().unwrap().contains(message), "{what}: {told}");
        let again = if what == "throttled" { 2 } else { 0 };
        assert_eq!(told["retries"], again, "{what}: {told}");
    }
}

/// Where clients are pointed at, and as whom.
pub struct Place<'a> {
    pub url: &'a str,
    /// May everything.
    pub alice: &'a str,
    /// May watch cam-1 live.
    pub bob: &'a str,
    /// A home for clients that look for settings there.
    pub folder: &'a Path,
}

/// boto3: two steps, and every refusal.
pub async fn boto3(place: &Place<'_>) {
    let environment = [
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", place.url),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
        ("AWS_RETRY_MODE", "standard"),
        ("ALICE", place.alice),
        ("BOB", place.bob),
    ];
    let got = printed(&python("refusals.py", &environment).await);
    assert_eq!(got["allowed"]["class"], Value::Null, "{got}");
    let classes = [
        "NotAuthorizedException",
        "NotAuthorizedException",
        "ResourceNotFoundException",
        "InvalidArgumentException",
        // KVS's model has no class for it; what makes boto3 retry is the code.
        "ClientError",
    ];
    assert_refusals(&got, classes);
}

#[tokio::test]
async fn boto3_raises_its_own_exceptions() {
    let edge = edge().await;
    let (alice, bob) = (edge.alice(), edge.bob());
    boto3(&Place { url: &edge.url, alice: &alice, bob: &bob, folder: edge.folder.path() }).await;
}

/// JavaScript in Node: all nine calls, and every refusal.
pub async fn node(place: &Place<'_>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/js");
    assert!(folder.join("node_modules").exists(), "node_modules is not there: `make test` makes it");
    let mut node = Command::new("node");
    node.arg(folder.join("two_step.mjs"))
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("AWS_ENDPOINT_URL_KINESIS_VIDEO", place.url)
        .env("AWS_REGION", "eu-west-1")
        .env("ALICE", place.alice)
        .env("BOB", place.bob);
    let got = printed(&run(&mut node).await);
    assert_eq!(got["endpoint"], place.url);
    assert!(got["clip"].as_u64().unwrap() > 50_000, "{got}");
    let count = got["fragments"]["count"].as_u64().unwrap();
    assert!(count >= 9 && got["fragments"]["distinct"] == count, "{got}");
    assert!(got["images"].as_u64().unwrap() >= 5, "{got}");
    assert_eq!(got["mkv"], "1a45dfa3");
    assert!(got["hls"].as_str().unwrap().starts_with(&format!("{}/hls/v1/", place.url)), "{got}");
    assert!(got["dash"].as_str().unwrap().starts_with(&format!("{}/dash/v1/", place.url)), "{got}");
    assert_eq!(got["streams"], json!(["cam-1", "cam-2", "cam-3"]));
    let classes = [
        "NotAuthorizedException",
        "NotAuthorizedException",
        "ResourceNotFoundException",
        "InvalidArgumentException",
        "KinesisVideoArchivedMediaServiceException",
    ];
    assert_refusals(&got["refusals"], classes);
}

#[tokio::test]
async fn the_javascript_sdk_in_node_does_all_nine_calls_and_raises_its_own_exceptions() {
    let edge = edge().await;
    let (alice, bob) = (edge.alice(), edge.bob());
    node(&Place { url: &edge.url, alice: &alice, bob: &bob, folder: edge.folder.path() }).await;
}

/// The AWS CLI: two steps, a list, and every refusal.
pub async fn aws_cli(place: &Place<'_>) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/aws");
    let aws = async |token: &str, arguments: &[&str]| {
        let mut aws = Command::new(&program);
        aws.args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", place.folder)
            .env("AWS_ENDPOINT_URL_KINESIS_VIDEO", place.url)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_MAX_ATTEMPTS", "2")
            .env("AWS_ACCESS_KEY_ID", "kvsedge")
            .env("AWS_SECRET_ACCESS_KEY", "kvsedge")
            .env("AWS_SESSION_TOKEN", token);
        run(&mut aws).await
    };
    let endpoint = ["kinesisvideo", "get-data-endpoint", "--stream-name", "cam-1", "--api-name", "GET_CLIP"];
    let arguments = [&endpoint[..], &["--query", "DataEndpoint", "--output", "text"]].concat();
    let asked = aws(place.alice, &arguments).await;
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let endpoint = String::from_utf8(asked.stdout).unwrap().trim().to_owned();
    assert_eq!(endpoint, place.url);
    let now = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000;
    let file = place.folder.join("clip.mp4");
    let clip = async |token: &str, stream: &str, start: u64, end: u64| {
        let range = format!("{{StartTimestamp={start},EndTimestamp={end}}}");
        let selector = format!("FragmentSelectorType=SERVER_TIMESTAMP,TimestampRange={range}");
        let service = ["kinesis-video-archived-media", "get-clip", "--endpoint-url", &endpoint];
        let asked = ["--stream-name", stream, "--clip-fragment-selector", &selector, file.to_str().unwrap()];
        aws(token, &[&service[..], &asked].concat()).await
    };
    let got = clip(place.alice, "cam-1", now - 110, now - 90).await;
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert!(std::fs::metadata(&file).unwrap().len() > 50_000);
    let listed =
        aws(place.alice, &["kinesisvideo", "list-streams", "--query", "StreamInfoList[].StreamName"]).await;
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed, json!(["cam-1", "cam-2", "cam-3"]));
    let described = aws(place.alice, &["kinesisvideo", "describe-stream", "--stream-name", "cam-9"]).await;
    for (refused, words) in [
        (clip("not.a.token", "cam-1", now - 110, now - 90).await, "(NotAuthorizedException)"),
        (clip(place.bob, "cam-1", now - 110, now - 90).await, "(NotAuthorizedException)"),
        (described, "(ResourceNotFoundException)"),
        (clip(place.alice, "cam-1", now - 90, now - 110).await, "(InvalidArgumentException)"),
        (clip(place.alice, "cam-2", now - 110, now - 90).await, "(ThrottlingException)"),
    ] {
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && said.contains(words), "{words}: {said}");
    }
}

#[tokio::test]
async fn the_aws_cli_needs_the_same_variable_and_says_why_it_was_refused() {
    let edge = edge().await;
    let (alice, bob) = (edge.alice(), edge.bob());
    aws_cli(&Place { url: &edge.url, alice: &alice, bob: &bob, folder: edge.folder.path() }).await;
}

#[tokio::test]
async fn boto3_pages_through_the_streams_that_the_caller_may_describe_and_no_others() {
    let mut setup = Setup::default();
    setup.emulator.streams = (1..=9).map(|number| format!("cam-{number}")).collect();
    setup.policies = r#"
        permit (principal in Group::"investigators", action == Action::"DescribeStream", resource);
        permit (principal in Group::"guards", action in Action::"Describe", resource)
        when { resource.name like "cam-*" && resource.name != "cam-4" && resource.name != "cam-5" };
        forbid (principal, action in Action::"Describe", resource) when { resource.name == "cam-9" };
    "#
    .into();
    let edge = setup.reachable().start().await;
    for (group, expected) in [
        (
            "investigators",
            json!([["cam-1", "cam-2"], ["cam-3", "cam-4"], ["cam-5", "cam-6"], ["cam-7", "cam-8"]]),
        ),
        // Full pages, though two streams in the middle are not theirs.
        ("guards", json!([["cam-1", "cam-2"], ["cam-3", "cam-6"], ["cam-7", "cam-8"]])),
        ("strangers", json!([[]])),
    ] {
        let token = edge.token("somebody", &[group]);
        let environment = [
            ("AWS_ENDPOINT_URL_KINESIS_VIDEO", edge.url.as_str()),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "kvsedge"),
            ("AWS_SECRET_ACCESS_KEY", "kvsedge"),
            ("AWS_SESSION_TOKEN", &token),
        ];
        let got = printed(&python("list_streams.py", &environment).await);
        assert_eq!(got, expected, "{group}");
        let page = edge.get("/streams", &token).await.json();
        let names: Vec<&Value> = page["streams"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
        let all: Vec<&Value> =
            expected.as_array().unwrap().iter().flat_map(|p| p.as_array().unwrap()).collect();
        assert_eq!(names, all, "{group}");
    }
}

#[tokio::test]
async fn boto3_gets_its_token_from_a_credential_process_and_from_a_loopback_endpoint() {
    let edge = Setup::default().reachable().start().await;
    let (token, profile, authorization) =
        (edge.path("token"), edge.path("aws-config"), edge.path("authorization"));
    let program = binary();
    let command = format!("{} credentials --token-file {}", program.display(), token.display());
    std::fs::write(&token, edge.alice()).unwrap();
    std::fs::write(&profile, format!("[default]\nregion = eu-west-1\ncredential_process = {command}\n"))
        .unwrap();
    let listed = async |more: &[(&str, &str)]| {
        let base = [
            ("AWS_ENDPOINT_URL_KINESIS_VIDEO", edge.url.as_str()),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
            ("HOME", edge.folder.path().to_str().unwrap()),
        ];
        printed(&python("list_streams.py", &[&base[..], more].concat()).await)
    };
    let all = json!([["cam-1", "cam-2"], ["cam-3"]]);
    assert_eq!(listed(&[("AWS_CONFIG_FILE", profile.to_str().unwrap())]).await, all);

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (stdout, _child) = Command::new(&program)
        .args(["credentials", "--token-file", token.to_str().unwrap(), "--serve", &free.to_string()])
        .args(["--authorization-file", authorization.to_str().unwrap()])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map(|mut child| (child.stdout.take().unwrap(), child))
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(stdout));
    let mut variables = Vec::new();
    for _ in 0..2 {
        // `export NAME=VALUE`, as it is told to people.
        let line = lines.next_line().await.unwrap().unwrap();
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        variables.push((name.to_owned(), value.trim_matches('\'').to_owned()));
    }
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(listed(&variables).await, all);
    // The file's next token is used without anybody's doing.
    std::fs::write(&token, edge.bob()).unwrap();
    assert_eq!(listed(&variables).await, json!([["cam-1"]]));
}

//! The whole path on real video: an SDK and a player get what the camera made, and nobody else gets anything.

use crate::harness::{Edge, Setup, python, tool};
use kvs_edge::aws::sign::Signer;
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Footage that has settled.
fn clip_request() -> Value {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 90;
    json!({"StreamName": "cam-1", "ClipFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": end - 20, "EndTimestamp": end}}})
}

#[tokio::test]
async fn a_clip_through_the_edge_is_the_clip_of_kvs_byte_for_byte() {
    let edge = Edge::start().await;
    let body = clip_request();
    let ours = edge.call("/getClip", edge.alice(), &body).await;
    assert_eq!((ours.status, ours.header("content-type")), (200, Some("video/mp4")));
    let mut request = http::Request::post(format!("{}/getClip", edge.emulator.url()))
        .header("content-type", "application/json")
        .body(bytes::Bytes::from(body.to_string()))
        .unwrap();
    let keys = aws_credential_types::Credentials::from_keys("AKIDEMULATOR", "emulator-secret", None);
    let text = body.to_string();
    let signer = Signer::new("eu-west-1", "kinesisvideo");
    signer.sign(&mut request, text.as_bytes(), &keys, SystemTime::now()).unwrap();
    let theirs = edge.http.exchange(request).await;
    assert_eq!(theirs.status, 200, "{}", theirs.text());
    assert!(ours.body.len() > 50_000, "{}", ours.body.len());
    assert_eq!(ours.body, theirs.body);
    let file = edge.path("clip.mp4");
    std::fs::write(&file, &ours.body).unwrap();
    let probed = tool(
        "ffprobe",
        &["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv", file.to_str().unwrap()],
    )
    .await;
    assert!(probed.contains("h264") && probed.contains("aac"), "{probed}");
}

#[tokio::test]
async fn ffmpeg_decodes_live_and_archive_without_an_error() {
    let edge = Edge::start().await;
    let live = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let decode = ["-v", "error", "-xerror", "-i", &live, "-t", "20", "-f", "null", "-"];
    assert_eq!(tool("ffmpeg", &decode).await, "");
    let now = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000;
    let archive = format!("/streams/cam-1/vod.m3u8?start={}&end={}", now - 150, now - 90);
    let archive = edge.play(&archive, edge.alice()).await;
    assert_eq!(tool("ffmpeg", &["-v", "error", "-xerror", "-i", &archive, "-f", "null", "-"]).await, "");
    let seconds =
        tool("ffprobe", &["-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0", &archive])
            .await;
    let seconds: f64 = seconds.trim().parse().unwrap();
    assert!((55.0..65.0).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn ten_viewers_of_a_camera_cost_kvs_one() {
    let edge = Edge::start().await;
    let mut viewers = tokio::task::JoinSet::new();
    for name in 0..10 {
        let url =
            edge.play("/streams/cam-1/live.m3u8", edge.token(&format!("viewer-{name}"), &["guards"])).await;
        viewers.spawn(async move {
            tool("ffmpeg", &["-v", "error", "-i", &url, "-t", "12", "-c", "copy", "-f", "null", "-"]).await
        });
    }
    while let Some(viewer) = viewers.join_next().await {
        viewer.unwrap();
    }
    let reached = edge.reached().await;
    let fragments: Vec<_> = reached["resources"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| name.starts_with("getMP4MediaFragment"))
        .collect();
    assert!(fragments.len() >= 10, "five fragments or more on two tracks: {fragments:?}");
    for (name, times) in fragments {
        assert_eq!(times, 1, "{name} was fetched more than once");
    }
    assert_eq!(reached["total"]["GetHLSStreamingSessionURL"]["requests"], 1);
}

#[tokio::test]
async fn an_unmodified_boto3_program_needs_one_variable_and_no_aws_keys() {
    let edge = Setup::default().reachable().start().await;
    let token = edge.alice();
    let environment = [
        ("AWS_ENDPOINT_URL_KINESIS_VIDEO", edge.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "kvsedge"),
        ("AWS_SECRET_ACCESS_KEY", "kvsedge"),
        ("AWS_SESSION_TOKEN", &token),
        ("AWS_DEFAULT_REGION", "eu-west-1"),
    ];
    let output = python("two_step.py", &environment).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(got["endpoint"], edge.url);
    assert!(got["clip"]["bytes"].as_u64().unwrap() > 50_000, "{got}");
    let count = got["fragments"]["count"].as_u64().unwrap();
    assert!(count >= 18 && got["fragments"]["distinct"] == count, "{got}");
    assert!(got["images"].as_u64().unwrap() >= 10, "{got}");
    assert_eq!(got["mkv"], 3);
    assert!(got["hls"].as_str().unwrap().starts_with(&format!("{}/hls/v1/", edge.url)), "{got}");
    assert!(got["dash"].as_str().unwrap().starts_with(&format!("{}/dash/v1/", edge.url)), "{got}");
    assert_eq!(got["streams"], json!(["cam-1", "cam-2", "cam-3"]));
    assert_eq!(got["described"], "ACTIVE");
}

#[tokio::test]
async fn nobody_gets_anything_without_a_token_and_nothing_reaches_kvs_for_them() {
    let edge = Edge::start().await;
    edge.forget_reached().await;
    let anonymous = edge.http.post(&format!("{}/getClip", edge.url), &[], clip_request().to_string()).await;
    assert_eq!((anonymous.status, anonymous.kind()), (401, "NotAuthorizedException"));
    assert!(anonymous.header("www-authenticate").unwrap().starts_with("Bearer"));
    let denied = edge.call("/getClip", edge.bob(), &clip_request()).await;
    assert_eq!((denied.status, denied.kind()), (403, "NotAuthorizedException"));
    assert_eq!(denied.message(), "not authorized to perform kinesisvideo:GetClip on stream cam-1");
    let other = edge.get("/streams/cam-2/live.m3u8", edge.bob()).await;
    assert_eq!(other.status, 403);
    let reached = edge.reached().await;
    assert_eq!(reached["total"], json!({}), "{reached}");
}

#[tokio::test]
async fn a_wrong_letter_case_is_told_the_right_path_and_others_the_list() {
    let edge = Edge::start().await;
    let wrong = edge.call("/GetClip", edge.alice(), &clip_request()).await;
    assert_eq!(wrong.status, 404);
    assert!(wrong.message().contains("/getClip"), "{}", wrong.message());
    let unknown = edge.call("/putMedia", edge.alice(), &json!({})).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.message().contains("/getHLSStreamingSessionURL"), "{}", unknown.message());
    assert_eq!(unknown.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn no_secret_of_kvs_leaves() {
    const CANARY: &str = "CanaryTokenThatMustNeverLeave0123456";
    let mut setup = Setup::default();
    setup.emulator.canary = Some(CANARY.to_owned());
    setup.emulator.public_endpoint = None;
    let edge = setup.start().await;
    let upstream_host = edge.emulator.url().replace("http://", "");
    let mut seen: Vec<String> = Vec::new();
    let url = edge.call("/getHLSStreamingSessionURL", edge.alice(), &json!({"StreamName": "cam-1"})).await;
    let path = url.json()["HLSStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", "");
    let folder = path.rsplit_once('/').unwrap().0.to_owned();
    seen.push(format!("{:?} {}", url.headers, url.text()));
    let mut paths = vec![path, format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1")];
    let mut at = 0;
    while at < paths.len() && at < 12 {
        let answer = edge.http.get(&format!("{}{}", edge.url, paths[at]), &[]).await;
        assert_eq!(answer.status, 200, "{}: {}", paths[at], answer.text());
        let text = answer.text();
        for line in text.lines().filter(|line| line.starts_with("getMP4")) {
            paths.push(format!("{folder}/{line}"));
        }
        seen.push(format!("{:?} {text}", answer.headers));
        at += 1;
    }
    assert!(at > 4, "media was fetched too: {paths:?}");
    let dash = edge.call("/getDASHStreamingSessionURL", edge.alice(), &json!({"StreamName": "cam-1"})).await;
    let manifest =
        dash.json()["DASHStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", &edge.url);
    let manifest = edge.http.get(&manifest, &[]).await;
    assert_eq!(manifest.status, 200, "{}", manifest.text());
    seen.push(format!("{:?} {}", manifest.headers, manifest.text()));
    edge.fault(json!({"operation": "GetHLSMediaPlaylist", "fault": {"kind": "status", "status": 500, "type": "InternalFailure",
        "message": format!("trouble with {CANARY} at {upstream_host}")}})).await;
    let broken =
        edge.http.get(&format!("{}{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=2", edge.url), &[]).await;
    seen.push(format!("{:?} {}", broken.headers, broken.text()));
    for page in ["/metrics", "/sessions", "/readyz"] {
        seen.push(edge.http.get(&format!("{}{page}", edge.admin), &[]).await.text());
    }
    seen.push(std::fs::read_to_string(edge.path("audit.log")).unwrap_or_default());
    for text in &seen {
        assert!(!text.contains(CANARY), "the session token left: {text}");
        assert!(!text.contains(&upstream_host), "the upstream host left: {text}");
        assert!(!text.contains("SessionToken"), "{text}");
        assert!(!text.contains("AWS4-HMAC") && !text.contains("AKIDEMULATOR"), "{text}");
    }
}

#[tokio::test]
async fn nothing_of_a_client_s_headers_goes_upstream() {
    let edge = Edge::start().await;
    let bearer = format!("Bearer {}", edge.alice());
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/x-amz-json-1.0"),
        ("x-forwarded-for", "10.1.2.3"),
        ("cookie", "session=secret"),
        ("x-canary", "leak"),
        ("amz-sdk-invocation-id", "1"),
        ("connection", "x-hop"),
        ("x-hop", "leak"),
    ];
    let body = clip_request().to_string();
    assert_eq!(edge.http.post(&format!("{}/getClip", edge.url), &headers, body).await.status, 200);
    let seen = edge.reached().await["clients_headers_seen"].clone();
    let mut names: Vec<&str> = seen.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    let allowed = [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "user-agent",
        "x-amz-date",
    ];
    assert!(names.iter().all(|name| allowed.contains(name)), "{names:?}");
}

#[tokio::test]
async fn every_byte_is_counted_where_it_was_billed_and_where_it_went() {
    let edge = Edge::start().await;
    let before = edge.metrics().await;
    for starts_at_zero in [
        "kvs_edge_outgoing_bytes_total{api=\"GetClip\",cache=\"none\",stream=\"_other\"}",
        "kvs_edge_upstream_bytes_total{api=\"GetClip\",stream=\"_other\"}",
        "kvs_edge_quota_points_total{kind=\"media\",stream=\"_other\"}",
        "kvs_edge_quota_utilization_ratio{kind=\"metadata\",stream=\"_other\"}",
    ] {
        assert_eq!(before.get(starts_at_zero), Some(&0.0), "{starts_at_zero}");
    }
    let first = edge.call("/getClip", edge.alice(), &clip_request()).await;
    let same = json!({"StreamName": "cam-1", "ClipFragmentSelector": clip_request()["ClipFragmentSelector"]});
    let again = edge.call("/getClip", edge.alice(), &same).await;
    assert_eq!(first.status, 200);
    let sent = (first.body.len() + again.body.len()) as f64;
    edge.until("both are recorded", async || {
        edge.metric("kvs_edge_outgoing_bytes_total", &["api=\"GetClip\"", "stream=\"cam-1\""]).await == sent
    })
    .await;
    let billed = edge.metric("kvs_edge_upstream_bytes_total", &["api=\"GetClip\""]).await;
    let served = edge.reached().await["total"]["GetClip"]["bytes"].as_f64().unwrap();
    assert_eq!(billed, served);
}

#[tokio::test]
async fn admin_tells_health_and_readiness() {
    let edge = Edge::start().await;
    let get = |path: &str| {
        let (http, url) = (edge.http.clone(), format!("{}{path}", edge.admin));
        async move { http.get(&url, &[]).await }
    };
    assert_eq!(get("/healthz").await.status, 200);
    let ready = get("/readyz").await;
    assert_eq!((ready.status, ready.json()["ready"].clone()), (200, json!(true)), "{}", ready.text());
    // Never on the public port.
    assert_eq!(edge.http.get(&format!("{}/metrics", edge.url), &[]).await.status, 404);
    let Edge { mut running, http, admin, .. } = edge;
    let draining = tokio::spawn(running.take().unwrap().drain());
    tokio::time::timeout(Duration::from_secs(10), draining)
        .await
        .expect("an idle edge drains at once")
        .unwrap();
    let _ = (http, admin);
}

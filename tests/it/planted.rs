//! A secret planted wherever KVS could put one, in the answers of every call and of every playback resource:
//! no byte, header, log line, metric, audit line or trace has it.

use crate::conformance::{OPERATIONS, body};
use crate::harness::{Answer, Edge, Served, Setup};
use serde_json::{Value, json};
use std::fs;

/// A session token, a host of KVS, one of a company's own, and an access key.
const SECRETS: [&str; 4] = [
    "CiAxZ5pfU9cQmGmHn0TSKq7qyDkF3b1m6r4vEhIQAAECAwQFBgcICQoLDA0ODxoZ~",
    "b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com",
    "https://kvs-17.internal.example:8443/",
    "AKIAIOSFODNN7EXAMPLE",
];

/// The real program, so that its log can be read, with every answer of KVS passed on as it comes.
async fn serve(edge: &Edge) -> Served {
    let environment = [
        ("KVS_EDGE__PLAYBACK__ARCHIVE", "kvs"),
        ("KVS_EDGE__UPSTREAM__RETRIES", "0"),
        ("KVS_EDGE__UPSTREAM__THROTTLE_RETRIES", "0"),
        ("KVS_EDGE__UPSTREAM__BREAKER_FAILURES", "1000"),
    ];
    Served::start(edge, "edge.toml", &environment).await
}

/// Every kind of answer that a text can be planted in.
fn plants(secret: &str) -> Vec<Value> {
    let text = format!("trouble at {secret} with SessionToken={secret}");
    let message = |member: &str| json!({ member: text, "Other": text }).to_string();
    let mut plants = vec![json!({"kind": "plant", "text": secret})];
    for status in [400, 403, 404, 405, 410, 500] {
        for kind in ["ResourceNotFoundException", "NovelException"] {
            plants.push(json!({"kind": "status", "status": status, "type": kind, "message": text}));
        }
    }
    let raw = |status: u16, headers: Value, body: String| json!({"kind": "raw", "status": status, "headers": headers, "body": body});
    plants.extend([
        raw(400, json!({"x-amzn-errortype": secret}), message("message")),
        raw(
            404,
            json!({"x-amzn-errortype": format!("X:{secret}"), "x-amzn-requestid": secret}),
            text.clone(),
        ),
        raw(410, json!({}), format!("<{secret}Exception><Message>{text}</Message></{secret}Exception>")),
        raw(302, json!({"location": format!("https://{secret}/")}), text.clone()),
        raw(307, json!({"location": secret, "content-type": "text/html"}), String::new()),
        raw(
            200,
            json!({"content-type": format!("text/html; x=\"{secret}\"")}),
            format!("<script>{text}</script>"),
        ),
        raw(200, json!({"x-amzn-requestid": secret}), message("StreamInfo")),
        raw(
            200,
            json!({}),
            json!({"Fragments": text, "Images": text, "DataEndpoint": secret,
            "HLSStreamingSessionURL": secret, "DASHStreamingSessionURL": secret})
            .to_string(),
        ),
        raw(200, json!({"content-type": "video/mp4"}), "hi".to_owned()),
        raw(
            200,
            json!({"content-type": "application/x-mpegurl"}),
            format!("#EXTM3U\n#EXT-X-VERSION:3\n{text}\n"),
        ),
        json!({"kind": "in_band_error", "code": secret, "id": secret}),
    ]);
    plants
}

/// What is asked after each plant: the nine calls, the pages, and playback.
async fn everything(
    edge: &Edge,
    served: &Served,
    playing: &[String],
    numbers: &[String],
    nth: u64,
) -> Vec<Answer> {
    let bearer = format!("Bearer {}", edge.alice());
    let headers = [("authorization", bearer.as_str())];
    let mut answers = Vec::new();
    for (operation, path) in OPERATIONS {
        // Other footage each time, so that nothing comes from the cache.
        let body = body(operation, "cam-1", 100 + 11 * nth, numbers).to_string();
        answers.push(edge.http.post(&format!("{}{path}", served.url), &headers, body).await);
    }
    let end = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 105 - 13 * nth;
    let range = format!("start={}&end={end}", end - 10);
    for page in [
        "/streams".to_owned(),
        "/streams/cam-1".to_owned(),
        format!("/streams/cam-1/fragments?{range}"),
        format!("/streams/cam-1/snapshot.jpg?at={end}"),
        format!("/streams/cam-1/clip.mp4?{range}"),
        format!("/streams/cam-1/clip.mp4?{range}&source=kvs"),
        format!("/streams/cam-1/vod.m3u8?{range}"),
        "/streams/cam-2/live.mpd".to_owned(),
    ] {
        answers.push(edge.http.get(&format!("{}{page}", served.url), &headers).await);
    }
    for path in playing {
        answers.push(edge.http.get(path, &[]).await);
    }
    answers
}

/// The addresses of what plays now: playlists, manifest, init segments and segments.
async fn playing(edge: &Edge, served: &Served) -> Vec<String> {
    let bearer = format!("Bearer {}", edge.alice());
    let mut paths = Vec::new();
    for page in ["live.m3u8", "live.mpd"] {
        let page = format!("{}/streams/cam-1/{page}", served.url);
        let answer = edge.http.get(&page, &[("authorization", &bearer)]).await;
        let master = format!("{}{}", served.url, answer.location());
        let folder = master.rsplit_once('/').unwrap().0.to_owned();
        paths.push(master);
        if page.ends_with("m3u8") {
            let playlist = format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1");
            let text = edge.http.get(&playlist, &[]).await.text();
            paths.push(playlist);
            let segments = text.lines().filter(|line| line.starts_with("getMP4Media"));
            paths.extend(segments.map(|segment| format!("{folder}/{segment}")));
            paths.push(format!("{folder}/getMP4InitFragment.mp4?TrackNumber=2"));
        }
    }
    paths
}

fn assert_clean(secret: &str, what: &str, text: &str) {
    let text = text.to_lowercase();
    for part in [secret, "sessiontoken", "kvs-17", "amazonaws"] {
        assert!(!text.contains(&part.to_lowercase()), "{what}: {part} left: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_planted_in_any_answer_of_kvs_reaches_no_client_and_no_log() {
    let mut setup = Setup::default();
    setup.emulator.quotas = false;
    setup.emulator.public_endpoint = None;
    let edge = setup.start().await;
    let served = serve(&edge).await;
    let listed =
        edge.call("/listFragments", edge.alice(), &body("ListFragments", "cam-1", 60, &[])).await.json();
    let numbers: Vec<String> = listed["Fragments"]
        .as_array()
        .unwrap()
        .iter()
        .take(2)
        .map(|row| row["FragmentNumber"].as_str().unwrap().to_owned())
        .collect();
    let (mut nth, mut seen) = (0, [0_u32; 6]);
    for secret in SECRETS {
        for (place, fault) in plants(secret).into_iter().enumerate() {
            // All of them with the first secret, and each kind with the others.
            if secret != SECRETS[0] && place % 7 != 0 {
                continue;
            }
            let playing = playing(&edge, &served).await;
            edge.fault(json!({"operation": "*", "fault": fault})).await;
            nth += 1;
            for answer in everything(&edge, &served, &playing, &numbers, nth).await {
                seen[usize::from(answer.status / 100)] += 1;
                let headers = format!("{:?}", answer.headers);
                assert_clean(secret, &fault.to_string(), &headers);
                assert!(!headers.contains("text/html"), "{fault}: {headers}");
                assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{fault}");
                assert_clean(secret, &fault.to_string(), &answer.text());
            }
            edge.clear_faults().await;
        }
        for page in ["/metrics", "/sessions", "/readyz", "/config"] {
            let text = edge.http.get(&format!("{}{page}", served.admin), &[]).await.text();
            assert!(!text.contains(secret), "{page}: {text}");
        }
        for file in ["stdout.log", "audit.log"] {
            let text = fs::read_to_string(edge.path(file)).unwrap();
            assert!(text.len() > 1000, "{file} was written");
            assert_clean(secret, file, &text);
        }
    }
    println!("{nth} plants; answers by class: {seen:?}");
    assert!(seen[2] > 50 && seen[4] > 50 && seen[5] > 50, "{seen:?}");
}

#[tokio::test]
async fn what_is_not_media_is_502_and_never_kept_whatever_its_type() {
    let edge = Setup::default().setting("UPSTREAM__RETRIES", "0").start().await;
    let end = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 300;
    let clip = format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={end}", end - 10);
    let image = json!({"Images": [{"TimeStamp": end - 1, "ImageContent": "aGk="}]}).to_string();
    let picture = format!("/streams/cam-1/snapshot.jpg?at={end}");
    let rows = [
        ("GetClip", &clip, "video/mp4", "hi"),
        ("GetClip", &clip, "text/html", "<script>alert(1)</script>, and more of it"),
        ("GetImages", &picture, "application/json", &image),
    ];
    for (operation, path, kind, body) in rows {
        let fault = json!({"kind": "raw", "status": 200, "headers": {"content-type": kind}, "body": body});
        edge.fault(json!({"operation": operation, "fault": fault, "times": 1})).await;
        let bad = edge.get(path, edge.alice()).await;
        assert_eq!((bad.status, bad.header("content-type")), (502, Some("application/json")), "{body}");
        assert!(!bad.text().contains("script"), "{}", bad.text());
        edge.clear_faults().await;
    }
    let good = edge.get(&clip, edge.alice()).await;
    assert_eq!((good.status, good.header("content-type")), (200, Some("video/mp4")));
    assert!(good.body.len() > 1000 && edge.get(&picture, edge.alice()).await.status == 200);
    // Media under another type is media, and gets ours.
    edge.fault(json!({"operation": "GetClip", "fault": {"kind": "plant", "text": "x"}, "times": 1})).await;
    let other = edge.get(&clip.replace("cam-1", "cam-2"), edge.alice()).await;
    assert_eq!((other.status, other.header("content-type")), (200, Some("video/mp4")), "{}", other.text());
}

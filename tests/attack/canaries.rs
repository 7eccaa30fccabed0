//! KVS's answers with secrets planted in them, of every kind and for every call: no client, log or metric shows one.

use super::bystanders::{absolute, now, session_url};
use super::client::Client;
use super::target::{FAULTY, PLANTED, Target};
use super::{Finding, Until};
use serde_json::{Value, json};
use std::sync::Arc;

const OPERATIONS: &[&str] = &[
    "DescribeStream",
    "ListFragments",
    "GetMediaForFragmentList",
    "GetClip",
    "GetImages",
    "GetHLSStreamingSessionURL",
    "GetDASHStreamingSessionURL",
    "GetHLSMasterPlaylist",
    "GetHLSMediaPlaylist",
    "GetMP4InitFragment",
    "GetMP4MediaFragment",
    "GetTSFragment",
    "GetDASHManifest",
];

/// The faults that are planned for each operation in turn.
fn faults() -> Vec<Value> {
    let text = format!("arn:aws:iam::123456789012:role/{PLANTED} at https://{PLANTED}.kinesisvideo.example");
    let mut faults = Vec::new();
    for (status, kind) in [
        (400, "InvalidArgumentException"),
        (400, "ClientLimitExceededException"),
        (400, "NotYetKnownException"),
        (401, "NotAuthorizedException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (405, "MethodNotAllowed"),
        (410, "Gone"),
        (500, "InternalFailure"),
    ] {
        faults.push(json!({"kind": "status", "status": status, "type": kind, "message": text}));
    }
    let headers = json!({"Content-Type": format!("text/html; x={PLANTED}"), "Location": format!("https://{PLANTED}/"),
        "X-Amzn-RequestId": PLANTED, "Set-Cookie": format!("a={PLANTED}"), "ETag": format!("\"{PLANTED}\"")});
    for (status, body) in [
        (200, format!("<html>{PLANTED}</html>")),
        (
            200,
            format!(
                "#EXTM3U\n#EXT-X-VERSION:6\nhttps://{PLANTED}/getMP4MediaFragment.mp4?SessionToken={PLANTED}\n"
            ),
        ),
        (200, json!({"Fragments": [], "NextToken": PLANTED, "Unknown": PLANTED}).to_string()),
        (200, json!({"StreamInfo": {"StreamName": FAULTY, "Unknown": PLANTED}}).to_string()),
        (
            200,
            json!({"HLSStreamingSessionURL": format!("https://{PLANTED}/hls/v1/x?SessionToken={PLANTED}")})
                .to_string(),
        ),
        (302, String::new()),
        (400, format!("not JSON {PLANTED}")),
        // The log shows what KVS says to operators, once it has been searched for hosts, tokens and ARNs.
        (403, format!("<Error><Message>{text}</Message></Error>")),
    ] {
        faults.push(json!({"kind": "raw", "status": status, "headers": headers, "body": body}));
    }
    faults
}

pub async fn planted(target: Arc<Target>, until: Until) -> Finding {
    let (client, token) = (target.client(70), target.user("canary-reader"));
    let mut finding = Finding::default();
    let faults = faults();
    for n in 0.. {
        if until.is_over() || n >= faults.len() * OPERATIONS.len() {
            break;
        }
        // Steps that visit each pair once: the numbers of faults and operations have no divisor in common.
        let (fault, operation) = (&faults[n % faults.len()], OPERATIONS[n % OPERATIONS.len()]);
        target.fault(json!({"operation": operation, "stream": FAULTY, "fault": fault, "times": 3})).await;
        ask(&target, &client, &token, n as u64, &mut finding).await;
    }
    for (place, text) in [("the log", target.log()), ("the audit log", target.audit())] {
        for line in text.lines() {
            target.secrets.search(&format!("{place}: {line}"), line.as_bytes());
        }
    }
    target.secrets.search("the metrics", target.metrics().await.as_bytes());
    finding
}

/// One of each call for the faulty camera.
async fn ask(target: &Target, client: &Client, token: &str, n: u64, finding: &mut Finding) {
    let (url, end) = (&target.url, now() - 300 - n);
    for what in [
        format!("clip.mp4?start={}&end={end}", end - 5),
        format!("clip.mp4?source=kvs&start={}&end={end}", end - 5),
        format!("snapshot.jpg?at={end}"),
        format!("fragments?start={}&end={end}", end - 5),
        String::new(),
    ] {
        finding.answered(&client.get(&format!("{url}/streams/{FAULTY}/{what}"), Some(token)).await);
    }
    let range = json!({"StartTimestamp": end - 10 - n, "EndTimestamp": end});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    for (container, mode) in [("MPEG_TS", "ON_DEMAND"), ("FRAGMENTED_MP4", "LIVE")] {
        let mut body = json!({"StreamName": FAULTY, "PlaybackMode": mode, "ContainerFormat": container});
        if mode == "ON_DEMAND" {
            body["HLSFragmentSelector"] = selector.clone();
        }
        let opened = client.post(&format!("{url}/getHLSStreamingSessionURL"), token, body.to_string()).await;
        finding.answered(&opened);
        let Some(master) = session_url(&opened).map(|address| absolute(url, &address)) else { continue };
        let base = master.rsplit_once('/').map_or("", |(base, _)| base).to_owned();
        finding.answered(&client.get(&master, None).await);
        let media = client.get(&format!("{base}/getHLSMediaPlaylist.m3u8?TrackNumber=1"), None).await;
        finding.answered(&media);
        let text = media.text().into_owned();
        if let Some(fragment) = text.lines().find(|line| line.contains("Fragment.")) {
            finding.answered(&client.get(&format!("{base}/{fragment}"), None).await);
        }
    }
}

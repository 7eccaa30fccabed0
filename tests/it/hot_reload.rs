//! A reload of the policies reaches those who are playing; one that is wrong changes nothing and says so.

use crate::harness::edge::AUDIENCE;
use crate::harness::{Edge, Served, Setup};
use serde_json::json;
use std::fs;
use std::time::{Duration, Instant};

const BOARD_ONLY: &str = "@id(\"board\")\npermit (principal in Group::\"board\", action, resource);\n\
    @id(\"investigators\")\npermit (principal in Group::\"investigators\", action, resource);\n";

#[tokio::test]
async fn a_changed_policy_file_stops_a_viewer_within_ten_seconds_segments_included() {
    let edge = Edge::start().await;
    let served = Served::start(&edge, "edge.toml", &[]).await;
    let bearer = format!("Bearer {}", edge.bob());
    let live = format!("{}/streams/cam-1/live.m3u8", served.url);
    let answer = edge.http.get(&live, &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let master = format!("{}{}", served.url, answer.location());
    let folder = master.rsplit_once('/').unwrap().0.to_owned();
    let playlist = format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let shown = edge.http.get(&playlist, &[]).await;
    assert_eq!(shown.status, 200, "{}", shown.text());
    let text = shown.text();
    let segment = text.lines().find(|line| line.starts_with("getMP4MediaFragment")).unwrap();
    let segment = format!("{folder}/{segment}");
    assert_eq!(edge.http.get(&segment, &[]).await.status, 200);
    fs::write(edge.path("policies.cedar"), BOARD_ONLY).unwrap();
    let changed = Instant::now();
    let mut cut = [None, None];
    while cut.contains(&None) {
        for (place, url) in [&playlist, &segment].into_iter().enumerate() {
            let answer = edge.http.get(url, &[]).await;
            match (answer.status, cut[place]) {
                (403, None) => cut[place] = Some(changed.elapsed()),
                (200, None) | (403, Some(_)) => {}
                (status, _) => panic!("{url}: {status} {}", answer.text()),
            }
        }
        assert!(changed.elapsed() < Duration::from_secs(60), "never");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("the playlist was refused after {:?}, a segment from the cache after {:?}", cut[0], cut[1]);
    // This is the promise itself, so the time is part of the test.
    assert!(cut.iter().all(|after| after.unwrap() < Duration::from_secs(10)), "{cut:?}");
    let metrics = edge.http.get(&format!("{}/metrics", served.admin), &[]).await.text();
    assert!(metrics.contains("kvs_edge_config_last_reload_successful 1"), "{metrics}");

    // A broken file is noticed as well, changes nothing, and says so in the log.
    fs::write(
        edge.path("policies.cedar"),
        "permit (principal, action, resource);\npermit (prinzipal, action);\n",
    )
    .unwrap();
    edge.until("the metric says that the reload failed", || async {
        let metrics = edge.http.get(&format!("{}/metrics", served.admin), &[]).await.text();
        metrics.contains("kvs_edge_config_last_reload_successful 0")
    })
    .await;
    edge.until("the log says why", || async {
        let log = fs::read_to_string(edge.path("stdout.log")).unwrap();
        log.contains("reload refused") && log.contains("policies.cedar:2:")
    })
    .await;
    assert_eq!(edge.http.get(&segment, &[]).await.status, 403, "the broken file would have permitted it");
}

#[tokio::test]
async fn a_bad_policy_file_is_refused_with_its_place_and_the_last_good_one_stays() {
    let edge = Setup::default().start().await;
    let reload = async || edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    let may = async |token: String| edge.get("/streams/cam-1", token).await.status;
    let good = "kvs_edge_config_last_reload_successful";
    assert_eq!((edge.metric(good, &[]).await, may(edge.bob()).await), (1.0, 200));
    let version = edge.running.as_ref().unwrap().app.gateway().policy().version().to_owned();
    for (text, place) in [
        ("permit (principal, action, resource)\n", "policies.cedar:"),
        ("\n  permit (prinzipal, action, resource);\n", "policies.cedar:2:"),
        ("permit (principal, action == Action::\"GetKlip\", resource);\n", "policies.cedar:1:"),
        ("permit (principal, action, resource)\nwhen { resource.nam == \"x\" };\n", "policies.cedar:2:"),
        ("permit (principal, action, resource in StreamSet::\"loby\");\n", "policies.cedar:1:"),
        ("permit (principal, action, resource)\nwhen { context.start_age < \"1\" };\n", "policies.cedar:2:"),
    ] {
        fs::write(edge.path("policies.cedar"), text).unwrap();
        let answer = reload().await;
        assert_eq!(answer.status, 422, "{text}: {}", answer.text());
        assert!(answer.text().contains(place), "{text}: {}", answer.text());
        assert_eq!(edge.metric(good, &[]).await, 0.0);
        assert_eq!((may(edge.bob()).await, may(edge.alice()).await), (200, 200), "{text}");
        assert_eq!(may(edge.token("eve", &[])).await, 403, "{text}");
        assert_eq!(edge.running.as_ref().unwrap().app.gateway().policy().version(), &version);
    }
    fs::write(edge.path("policies.cedar"), BOARD_ONLY).unwrap();
    assert_eq!(reload().await.status, 200);
    assert_eq!(edge.metric(good, &[]).await, 1.0);
    assert_eq!((may(edge.bob()).await, may(edge.token("ann", &["board"])).await), (403, 200));
    let now = edge.running.as_ref().unwrap().app.gateway().policy().version().to_owned();
    assert_ne!(now, version);
}

/// A token that is signed with a shared secret (RFC 7515, A.1).
fn shared(issuer: &str, secret: &str) -> String {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let exp = kvs_edge::kvs::Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 + 600;
    let claims =
        json!({"iss": issuer, "aud": AUDIENCE, "sub": "ann", "groups": ["investigators"], "exp": exp})
            .to_string();
    let text = format!("{}.{}", base64(br#"{"alg":"HS256","typ":"JWT"}"#), base64(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes());
    format!("{text}.{}", base64(tag.as_ref()))
}

#[tokio::test]
async fn a_leaked_secret_opens_nothing_once_its_file_has_another() {
    const OTHER: &str = "https://shared.test/";
    let more = format!(
        "[[issuer]]\nissuer = \"{OTHER}\"\naudience = [\"{AUDIENCE}\"]\nalgorithms = [\"HS256\"]\n\
         secret = \"file:shared\"\nclaims = {{ subject = \"/sub\", groups = \"/groups\" }}\n"
    );
    let edge = Edge::start().await;
    let (leaked, fresh) = ("leaked".repeat(8), "fresh!".repeat(8));
    fs::write(edge.path("shared"), &leaked).unwrap();
    let settings = fs::read_to_string(edge.path("edge.toml")).unwrap();
    fs::write(edge.path("edge.toml"), format!("{settings}\n{more}")).unwrap();
    let served = Served::start(&edge, "edge.toml", &[]).await;
    let status = async |secret: &str| {
        let bearer = format!("Bearer {}", shared(OTHER, secret));
        edge.http.get(&format!("{}/streams/cam-1", served.url), &[("authorization", &bearer)]).await.status
    };
    assert_eq!((status(&leaked).await, status(&fresh).await), (200, 401));
    fs::write(edge.path("shared"), &fresh).unwrap();
    edge.until("the new secret is in force", async || status(&fresh).await == 200).await;
    assert_eq!(status(&leaked).await, 401);
}

#[tokio::test]
async fn a_reload_that_is_refused_late_leaves_the_calls_and_their_sessions_as_they_were() {
    let edge = Edge::start().await;
    let reload = async || edge.http.post(&format!("{}/reload", edge.admin), &[], String::new()).await;
    let master = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let folder = master.rsplit_once('/').unwrap().0.to_owned();
    let playlist = format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let segment = async || {
        let text = edge.http.get(&playlist, &[]).await.text();
        text.lines().find(|line| line.starts_with("getMP4MediaFragment")).expect("a segment").to_owned()
    };
    let shown = format!("{folder}/{}", segment().await);
    assert_eq!(edge.http.get(&shown, &[]).await.status, 200);
    let opened = edge.reached_by("GetHLSStreamingSessionURL").await;
    let good = fs::read_to_string(edge.path("edge.toml")).unwrap();
    // Everything is good but what is opened last, and the calls to KVS would have to be built anew.
    let audit_nowhere = |text: &str| text.replace("file:audit.log", "file:nowhere/audit.log");
    let other_entry = |text: &str| text.replace("name = \"main\"", "name = \"other\"");
    let no_secret = |text: &str| text.replace("file:secret-key", "file:no-such-key");
    for (bad, problem) in [
        (audit_nowhere(&other_entry(&good)), "log.audit"),
        (no_secret(&other_entry(&good)), "aws[0].secret_access_key"),
    ] {
        fs::write(edge.path("edge.toml"), bad).unwrap();
        let answer = reload().await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(answer.text().contains(problem), "{}", answer.text());
        assert_eq!(edge.http.get(&shown, &[]).await.status, 200);
        segment().await;
    }
    fs::write(edge.path("edge.toml"), good).unwrap();
    let answer = reload().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(edge.http.get(&shown, &[]).await.status, 200);
    segment().await;
    // The same session all along: neither the refused settings nor the old ones after them opened another.
    assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, opened);
    let lines = fs::read_to_string(edge.path("audit.log")).unwrap();
    let starts = lines.lines().filter(|line| line.contains("\"playback_start\"")).count();
    assert_eq!(starts, 1, "{lines}");
}

/// A self-signed certificate and its key, as PEM.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test]
async fn a_certificate_that_is_renewed_in_two_files_is_no_error_in_between() {
    let edge = Edge::start().await;
    let (file, key_file) = (edge.path("tls.crt"), edge.path("tls.key"));
    let write = |path: &std::path::Path, text: &str| fs::write(path, text).unwrap();
    let (old, new) = (certificate(), certificate());
    write(&file, &old.0);
    write(&key_file, &old.1);
    let quoted = |path: &std::path::Path| format!("\"{}\"", path.display());
    let (file_setting, key_setting) = (quoted(&file), quoted(&key_file));
    let tls = [
        ("KVS_EDGE__SERVER__TLS__CERTIFICATE", &*file_setting),
        ("KVS_EDGE__SERVER__TLS__KEY", &*key_setting),
    ];
    let served = Served::start(&edge, "edge.toml", &tls).await;
    let log = || fs::read_to_string(edge.path("stdout.log")).unwrap();
    write(&file, &new.0);
    edge.until("the other file is waited for", || async { log().contains("waiting for the other file") })
        .await;
    write(&key_file, &new.1);
    edge.until("the new certificate is in force", || async { log().contains("reloaded") }).await;
    assert!(!log().contains("\"ERROR\"") && !log().contains("ERROR "), "{}", log());
    let plain = edge.http.get(&served.url, &[]).await;
    assert_eq!(plain.status, 400);
    assert!(plain.message().contains("use https://"), "{}", plain.text());
}

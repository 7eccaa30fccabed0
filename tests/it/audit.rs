//! The audit log: who was let see what, what they watched, and nothing without it where it is required.

use crate::harness::program::binary;
use crate::harness::{Answer, Edge, Setup, run};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last line may still be on its way.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn decisions_denials_and_watching_leave_their_lines_and_no_secret_does() {
    let mut edge = Edge::start().await;
    let file = edge.path("audit.log");
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 90;
    let clip = json!({"StreamName": "cam-1", "ClipFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": end - 10, "EndTimestamp": end}}});
    let allowed = edge.call("/getClip", edge.alice(), &clip).await;
    assert_eq!(allowed.status, 200);
    // From the cache, and written down all the same.
    assert_eq!(edge.call("/getClip", edge.alice(), &clip).await.status, 200);
    let denied = edge.call("/getClip", edge.bob(), &clip).await;
    assert_eq!(denied.status, 403);
    let master = edge.play("/streams/cam-1/live.m3u8", edge.bob()).await;
    let folder = master.rsplit_once('/').unwrap().0;
    let mut bytes = 0;
    for _ in 0..2 {
        let playlist =
            edge.http.get(&format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1"), &[]).await.text();
        for segment in playlist.lines().filter(|line| line.starts_with("getMP4MediaFragment")) {
            bytes += edge.http.get(&format!("{folder}/{segment}"), &[]).await.body.len();
        }
    }
    assert!(bytes > 50_000, "{bytes}");
    edge.until("three decisions, a denial and a start are written", || async { lines(&file).len() >= 5 })
        .await;
    let secrets = [edge.alice(), edge.bob()].map(|token| token.rsplit_once('.').unwrap().0.to_owned());
    let capability = folder.rsplit_once('/').unwrap().1.to_owned();
    edge.running.take().unwrap().drain().await;
    edge.until("the end is written", || async {
        lines(&file).iter().any(|line| line["event"] == "playback_end")
    })
    .await;
    let all = lines(&file);
    let decided: Vec<_> = all.iter().filter(|line| line["event"] == "decision").collect();
    assert_eq!(decided.len(), 4, "a player's repeated decisions are none: {all:#?}");
    let first = decided[0];
    assert_eq!(first["request_id"], allowed.header("x-request-id").unwrap());
    assert_eq!(
        (&first["decision"], &first["sub"], &first["action"]),
        (&json!("permit"), &json!("alice"), &json!("GetClip"))
    );
    assert_eq!(
        (&first["stream"], &first["iss"], &first["ip"]),
        (&json!("cam-1"), &json!("https://login.test/"), &json!("127.0.0.1"))
    );
    assert!(first["policies"][0].as_str().unwrap().starts_with("investigators (policies.cedar:2"), "{first}");
    assert_eq!(first["policy_version"].as_str().unwrap().len(), 12);
    for (key, millis) in [("from", (end - 10) * 1000), ("to", end * 1000)] {
        assert_eq!(first[key], Timestamp::from_millis(millis).to_string(), "{first}");
    }
    let refused = decided.iter().find(|line| line["decision"] == "deny").unwrap();
    assert_eq!((&refused["sub"], &refused["reason"]), (&json!("bob"), &json!("no_permit")), "{refused}");
    assert_eq!(refused["request_id"], denied.header("x-request-id").unwrap());
    let of = |event: &str| {
        all.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("{event}: {all:#?}"))
    };
    let (start, end) = (of("playback_start"), of("playback_end"));
    assert_eq!(
        (&start["sub"], &start["stream"], &start["mode"]),
        (&json!("bob"), &json!("cam-1"), &json!("LIVE"))
    );
    assert_eq!((&end["viewing"], &end["protocol"]), (&start["viewing"], &json!("hls")));
    assert!(end["bytes"].as_u64().unwrap() >= bytes as u64, "{end} {bytes}");
    assert!(end["from"].as_str().unwrap() < end["to"].as_str().unwrap(), "the footage is told: {end}");
    let text = fs::read_to_string(&file).unwrap();
    for secret in [&secrets[0], &secrets[1], &capability] {
        assert!(!text.contains(secret.as_str()), "a token or a capability is in the audit log");
    }
}

#[tokio::test]
async fn what_is_required_and_cannot_be_written_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("logs");
    fs::create_dir(&place).unwrap();
    let file = place.join("audit.log");
    let audit = format!("{{ to = \"file:{}\", required = true }}", file.display());
    let edge = Setup::default().setting("LOG__AUDIT", audit).start().await;
    let master = edge.play("/streams/cam-1/live.m3u8", edge.bob()).await;
    assert_eq!(edge.http.get(&master, &[]).await.status, 200);
    // The folder goes: not even root can write into a file that has no place. The sink looks once a second.
    fs::rename(&place, folder.path().join("away")).unwrap();
    let status = async || edge.get("/streams/cam-1", edge.alice()).await.status;
    edge.until("requests are refused", || async { status().await == 503 }).await;
    let refused = edge.call("/describeStream", edge.alice(), &json!({"StreamName": "cam-1"})).await;
    assert_eq!((refused.status, refused.kind()), (503, "ServiceUnavailableException"));
    assert_eq!(refused.message(), "requests are refused while the audit log cannot be written");
    assert_eq!(edge.get("/streams/cam-1/live.m3u8", edge.bob()).await.status, 503, "no new viewer");
    assert_eq!(edge.http.get(&master, &[]).await.status, 503, "nor those who watch already");
    let ready = edge.http.get(&format!("{}/readyz", edge.admin), &[]).await;
    assert!(ready.status == 503 && ready.text().contains("audit log"), "{}", ready.text());
    fs::rename(folder.path().join("away"), &place).unwrap();
    edge.until("requests are served again", || async { status().await == 200 }).await;
    assert_eq!(edge.http.get(&format!("{}/readyz", edge.admin), &[]).await.status, 200);
    assert!(lines(&file).iter().all(|line| line["event"].is_string()), "no line is half");
}

#[tokio::test]
async fn what_is_not_required_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("logs");
    fs::create_dir(&place).unwrap();
    let audit = format!("file:{}", place.join("audit.log").display());
    let edge = Setup::default().setting("LOG__AUDIT", audit).start().await;
    fs::remove_dir_all(&place).unwrap();
    let gone = async || {
        edge.get("/streams/cam-1", edge.alice()).await;
        edge.running.as_ref().unwrap().app.gateway().audit().sink.trouble().is_some()
    };
    edge.until("the sink is in trouble", gone).await;
    for _ in 0..5 {
        assert_eq!(edge.get("/streams/cam-1", edge.alice()).await.status, 200);
    }
    fs::create_dir(&place).unwrap();
    // The one that met the trouble and five since, some of them perhaps told together.
    let told = || {
        let count = |line: &Value| line["repeats"].as_u64().unwrap_or(1);
        lines(&place.join("audit.log")).iter().map(count).sum::<u64>()
    };
    edge.until("what was kept is written", || async { told() >= 6 }).await;
}

#[tokio::test]
async fn check_says_what_serve_would_and_leaves_no_log_behind() {
    let edge = Edge::start().await;
    let check = async |audit: &str| {
        let mut check = tokio::process::Command::new(binary());
        check
            .args(["check", "--config", edge.path("edge.toml").to_str().unwrap()])
            .env("KVS_EDGE__LOG__AUDIT", audit);
        run(&mut check).await
    };
    let good = check("file:checked.log").await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(!edge.path("checked.log").exists());
    let bad = check("file:no/such/folder/audit.log").await;
    let said = String::from_utf8_lossy(&bad.stderr).into_owned() + &String::from_utf8_lossy(&bad.stdout);
    assert_eq!(bad.status.code(), Some(2), "{said}");
    assert!(said.contains("log.audit"), "{said}");
}

/// Each refusal by policy, by name, by capability; and nothing is told as shown that was not.
#[tokio::test]
async fn what_is_refused_is_told_with_what_it_was_about_and_what_was_not_shown_is_not_told_as_shown() {
    let setup = Setup::default()
        .setting("PLAYBACK__BIND", "address")
        .setting("SERVER__TRUSTED_PROXIES", "[\"127.0.0.1\"]");
    let mut edge = setup.start().await;
    let file = edge.path("audit.log");
    let arn = "arn:aws:kinesisvideo:eu-west-1:999988887777:stream/cam-1/1720751492346";
    let elsewhere = edge.call("/describeStream", edge.alice(), &json!({"StreamARN": arn})).await;
    assert_eq!(elsewhere.status, 403);
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 60;
    let list = json!({"StreamName": "cam-1", "MaxResults": 2, "FragmentSelector": {
        "FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": end - 20, "EndTimestamp": end}}});
    let listed = edge.call("/listFragments", edge.alice(), &list).await.json();
    let numbers: Vec<&Value> =
        listed["Fragments"].as_array().unwrap().iter().map(|found| &found["FragmentNumber"]).collect();
    let media = json!({"StreamName": "cam-1", "Fragments": numbers});
    let media = edge.call("/getMediaForFragmentList", edge.alice(), &media).await;
    assert_eq!(media.status, 200);
    // Somebody else shows bob's URL.
    let master = edge.play("/streams/cam-1/live.m3u8", edge.bob()).await;
    let stolen = edge.http.get(&master, &[("x-forwarded-for", "192.0.2.7")]).await;
    assert_eq!(stolen.status, 403);
    // Bob asks for what is not there.
    let folder = master.rsplit_once('/').unwrap().0;
    assert_eq!(edge.http.get(&master, &[]).await.status, 200);
    let playlist =
        edge.http.get(&format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1"), &[]).await.text();
    let segment = playlist.lines().find(|line| line.starts_with("getMP4MediaFragment")).unwrap();
    let (number, rest) = segment.split_once('&').unwrap();
    let other = if number.ends_with('7') { "8" } else { "7" };
    let missing = format!("{folder}/{}{other}&{rest}", &number[..number.len() - 1]);
    let missing = edge.http.get(&missing, &[]).await;
    assert_eq!(missing.status, 404, "{}", missing.text());
    edge.running.take().unwrap().drain().await;
    let all = lines(&file);
    let of = |answer: &Answer| {
        let id = answer.header("x-request-id").unwrap();
        let told = all.iter().find(|line| line["request_id"] == id);
        told.unwrap_or_else(|| panic!("{id}: {all:#?}"))
    };
    let told = of(&elsewhere);
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("not_served")), "{told}");
    assert_eq!((&told["sub"], &told["action"]), (&json!("alice"), &json!("DescribeStream")));
    let told = of(&media);
    assert!(told["from"].is_string() && told["to"].is_string(), "{told}");
    assert_eq!((&told["region"], &told["account"]), (&json!("eu-west-1"), &json!("123456789012")), "{told}");
    let told = of(&stolen);
    assert_eq!((&told["reason"], &told["ip"]), (&json!("capability"), &json!("192.0.2.7")), "{told}");
    assert_eq!((&told["sub"], &told["stream"]), (&json!("bob"), &json!("cam-1")));
    let end = all.iter().find(|line| line["event"] == "playback_end").unwrap_or_else(|| panic!("{all:#?}"));
    assert_eq!((&end["bytes"], &end["to"]), (&json!(0), &Value::Null), "nothing was shown: {end}");
}

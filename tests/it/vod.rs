//! Archived footage is packaged from stored fragments, without a session at KVS: for any number of viewers each
//! fragment is fetched once, and nothing outside of a capability's range is found.

use crate::harness::{Answer, Edge, Setup, tool};
use crate::playback::{beside, load, map, media, presented};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

fn vod(kind: &str, start: u64, end: u64) -> String {
    format!("/streams/cam-1/vod.{kind}?start={start}&end={end}")
}

async fn no_session(edge: &Edge) {
    assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, 0);
    assert_eq!(edge.reached_by("GetDASHStreamingSessionURL").await, 0);
}

/// How many fragments were fetched from KVS, each once.
fn each_fetched_once(reached: &Value) -> usize {
    let resources = reached["resources"].as_object().unwrap();
    let fragments: Vec<_> = resources.iter().filter(|(name, _)| name.starts_with("fragment ")).collect();
    for (name, times) in &fragments {
        assert_eq!(**times, 1, "{name} was fetched more than once");
    }
    fragments.len()
}

/// The addresses of a track of HLS: those of segments, and the init segment.
async fn track(edge: &Edge, master: &str, number: u8) -> (Vec<String>, String) {
    let playlist = beside(master, &format!("getHLSMediaPlaylist.m3u8?TrackNumber={number}"));
    let text = load(edge, &playlist).await.text();
    let segments = media(&text).iter().map(|uri| beside(master, uri)).collect();
    (segments, beside(master, map(&text).unwrap()))
}

/// ffprobe counts the frames of a segment without complaint.
async fn frames(edge: &Edge, init: &Answer, segment: &Answer) -> usize {
    let file = edge.path("segment.mp4");
    std::fs::write(&file, [&init.body[..], &segment.body[..]].concat()).unwrap();
    let counted =
        ["-v", "error", "-count_frames", "-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"];
    let said = tool("ffprobe", &[&counted[..], &[file.to_str().unwrap()]].concat()).await;
    said.trim().trim_end_matches(',').parse().unwrap_or_else(|_| panic!("{said}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_plays_over_hls_and_dash_without_a_session_and_each_fragment_is_fetched_once() {
    let edge = Edge::start().await;
    let (start, end) = (now() - 7200, now() - 3600);
    let mut segments = Vec::new();
    for viewer in ["alice", "carol", "dave"] {
        let url = edge.play(&vod("m3u8", start, end), edge.token(viewer, &["investigators"])).await;
        let master = load(&edge, &url).await.text();
        assert!(master.contains("CODECS=\"avc1.") && master.contains(",mp4a.40.2\""), "{master}");
        for number in [1, 2] {
            let (listed, init) = track(&edge, &url, number).await;
            // A fragment each 2.048 s.
            assert!(listed.len().abs_diff(1758) <= 2, "{}", listed.len());
            let init = load(&edge, &init).await;
            for place in [0, 1, 2, 900, 901, listed.len() - 1] {
                let segment = load(&edge, &listed[place]).await;
                assert!(frames(&edge, &init, &segment).await >= 10);
                segments.push((place, number, segment.body));
            }
        }
    }
    // The same bytes for all of them.
    let distinct: HashSet<_> = segments.iter().map(|(place, number, _)| (place, number)).collect();
    let bytes: HashSet<_> = segments.iter().map(|(_, _, body)| body).collect();
    assert_eq!((segments.len(), distinct.len(), bytes.len()), (36, 12, 12));
    let url = edge.play(&vod("mpd", start, end), edge.alice()).await;
    let manifest = load(&edge, &url).await.text();
    assert!(manifest.contains("type=\"static\"") && !manifest.contains("://127"), "{manifest}");
    let first = manifest.split(" t=\"").nth(1).unwrap().split('"').next().unwrap();
    let (video, sound) = (beside(&url, &format!("v1-{first}.m4s")), beside(&url, &format!("a1-{first}.m4s")));
    // The same segment, whichever the protocol; its time is its address.
    assert!(
        bytes.contains(&load(&edge, &video).await.body) && bytes.contains(&load(&edge, &sound).await.body)
    );
    assert_eq!(presented(&load(&edge, &video).await.body), first.parse::<u64>().unwrap() * 90);
    no_session(&edge).await;
    let reached = edge.reached().await;
    let fetched = each_fetched_once(&reached);
    let calls = reached["total"]["GetMediaForFragmentList"]["requests"].as_u64().unwrap();
    assert!(fetched <= 60 && calls <= 10, "{fetched} fragments in {calls} calls");
    assert_eq!(edge.metric("kvs_edge_upstream_throttled_total", &[]).await, 0.0);
    let sent = async |layout: &str| edge.metric("kvs_edge_packaged_bytes_total", &[layout]).await;
    let segments: usize = segments.iter().map(|(_, _, body)| body.len()).sum();
    assert!(sent("layout=\"hls\"").await >= segments as f64 && sent("layout=\"dash\"").await > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_plays_on_makes_one_call_for_several_fragments() {
    let edge = Edge::start().await;
    let url = edge.play(&vod("m3u8", now() - 600, now() - 300), edge.alice()).await;
    let ((video, _), (sound, _)) = (track(&edge, &url, 1).await, track(&edge, &url, 2).await);
    let count = 64;
    for place in 0..count {
        load(&edge, &video[place]).await;
        load(&edge, &sound[place]).await;
    }
    let reached = edge.reached().await;
    let calls = reached["total"]["GetMediaForFragmentList"]["requests"].as_u64().unwrap();
    assert!(each_fetched_once(&reached) >= count && calls <= 1 + count as u64 / 6, "{calls}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_outside_of_the_range_is_not_found_and_not_asked_for() {
    let edge = Edge::start().await;
    let (start, end) = (now() - 900, now() - 600);
    let url = edge.play(&vod("m3u8", start, end), edge.alice()).await;
    let wider = edge.play(&vod("m3u8", start - 60, end + 60), edge.alice()).await;
    let (inside, _) = track(&edge, &url, 1).await;
    let (all, init) = track(&edge, &wider, 1).await;
    let name = |address: &String| address.rsplit_once('/').unwrap().1.to_owned();
    let inside: HashSet<String> = inside.iter().map(name).collect();
    let outside: Vec<String> = all.iter().map(name).filter(|name| !inside.contains(name)).collect();
    assert!(outside.len() > 50 && inside.len() > 140, "{} {}", outside.len(), inside.len());
    let before = edge.reached_by("GetMediaForFragmentList").await;
    for name in outside.iter().map(String::as_str).chain([
        name(&init).as_str(),
        "v1-0.m4s",
        "v1-1.m4s",
        "a1-253402300799999.m4s",
    ]) {
        let answer = edge.http.get(&beside(&url, name), &[]).await;
        assert_eq!((answer.status, answer.kind()), (404, "ResourceNotFoundException"), "{name}");
    }
    for name in ["v1-01.m4s", "v2-1.m4s", "v1-1.ts"] {
        assert_eq!(edge.http.get(&beside(&url, name), &[]).await.status, 404, "{name}");
    }
    let between = inside.iter().next().unwrap();
    let digits: u64 = between[3..between.len() - 4].parse().unwrap();
    let answer = edge.http.get(&beside(&url, &format!("v1-{}.m4s", digits + 1)), &[]).await;
    assert_eq!(answer.status, 404);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, before);
    // Nothing recorded, in KVS's words.
    let nothing = edge.get(&vod("m3u8", 1_500_000_000, 1_500_000_600), edge.alice()).await;
    assert_eq!((nothing.status, nothing.kind()), (404, "ResourceNotFoundException"), "{}", nothing.text());
    assert_eq!(nothing.message(), "No fragments found in the stream for the streaming request.");
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_judges_each_segment_by_its_own_time() {
    let setup = Setup {
        policies: r#"
            permit (principal in Group::"investigators", action in [Action::"View", Action::"Describe"], resource)
            when { context.start_age <= 300 };"#
            .to_owned(),
        ..Setup::default()
    };
    let edge = setup.start().await;
    for kind in ["m3u8", "mpd"] {
        let (start, end) = (now() - 296, now() - 100);
        let url = edge.play(&vod(kind, start, end), edge.alice()).await;
        // Both protocols have the same addresses.
        let hls = edge.play(&vod("m3u8", start, end), edge.alice()).await;
        let (listed, _) = track(&edge, &hls, 1).await;
        let at = |address: &String| beside(&url, address.rsplit_once('/').unwrap().1);
        let (first, last) = (at(&listed[0]), at(&listed[listed.len() - 1]));
        load(&edge, &first).await;
        edge.until("the first segment leaves the window", || async {
            edge.http.get(&first, &[]).await.status == 403
        })
        .await;
        load(&edge, &last).await;
    }
    let audit = std::fs::read_to_string(edge.path("audit.log")).unwrap();
    assert!(audit.contains("deny") || audit.contains("refused") || audit.contains("no_policy"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_http_of_the_good_kind() {
    let edge = Edge::start().await;
    let url = edge.play(&vod("m3u8", now() - 600, now() - 300), edge.alice()).await;
    let (listed, init) = track(&edge, &url, 1).await;
    for address in [&listed[3], &init] {
        let whole = load(&edge, address).await;
        let etag = whole.header("etag").unwrap().to_owned();
        assert!(etag.starts_with('"'), "{etag}");
        assert_eq!(whole.header("content-length"), Some(whole.body.len().to_string().as_str()));
        assert_eq!(whole.header("content-type"), Some("video/mp4"));
        let keep = whole.header("cache-control").unwrap();
        assert!(keep.starts_with("private, max-age=") && keep.ends_with(", immutable"), "{keep}");
        assert!(whole.header("cache-status").unwrap().starts_with("kvs-edge"));
        let known = edge.http.get(address, &[("if-none-match", etag.as_str())]).await;
        assert_eq!((known.status, known.body.len()), (304, 0));
        let part = edge.http.get(address, &[("range", "bytes=5-104"), ("if-range", etag.as_str())]).await;
        assert_eq!((part.status, &part.body[..]), (206, &whole.body[5..105]));
        let expected = format!("bytes 5-104/{}", whole.body.len());
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
        let other = edge.http.get(address, &[("range", "bytes=5-104"), ("if-range", "\"other\"")]).await;
        assert_eq!((other.status, &other.body), (200, &whole.body));
        let far = edge.http.get(address, &[("range", "bytes=99999999-")]).await;
        assert_eq!(far.status, 416);
        let head = edge.http.send("HEAD", address, &[], String::new()).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), whole.header("content-length"));
        assert_eq!(head.header("etag"), Some(etag.as_str()));
    }
    let again = load(&edge, &listed[3]).await;
    assert_eq!(again.header("cache-status"), Some("kvs-edge; hit"));
    // Another process makes the same, and the playlist too.
    let (_second, address) = edge.another().await;
    let moved = |url: &str| url.replace(&edge.url, &address);
    let there = load(&edge, &moved(&listed[3])).await;
    assert_eq!((there.header("etag"), &there.body), (again.header("etag"), &again.body));
    let playlist = beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    assert_eq!(load(&edge, &moved(&playlist)).await.body, load(&edge, &playlist).await.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_hours_are_one_playlist_of_packaged_segments() {
    let mut setup = Setup::default();
    setup.emulator.retention_hours = 48;
    setup.emulator.history_hours = 47;
    let edge = setup.start().await;
    let end = now() - 90;
    let start = end - 30 * 3600;
    let url = edge.play(&vod("m3u8", start, end), edge.alice()).await;
    let (listed, _) = track(&edge, &url, 1).await;
    let expected = (30.0 * 3600.0 / 2.048) as usize;
    assert!(listed.len().abs_diff(expected) <= 2, "{} of {expected}", listed.len());
    let text = load(&edge, &beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1")).await.text();
    assert_eq!((text.matches("#EXT-X-DISCONTINUITY").count(), text.matches("#EXT-X-MAP").count()), (0, 1));
    assert!(text.len() / listed.len() < 45, "{} bytes a segment", text.len() / listed.len());
    let play = ["-v", "error", "-xerror", "-i", &url, "-t", "12", "-f", "null", "-"];
    assert_eq!(tool("ffmpeg", &play).await, "");
    let manifest = edge.play(&vod("mpd", start, end), edge.alice()).await;
    assert!(load(&edge, &manifest).await.text().contains("mediaPresentationDuration=\"PT10"));
    no_session(&edge).await;
    assert_eq!(edge.metric("kvs_edge_upstream_throttled_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_calls_keep_their_number_of_fragments_and_what_they_want_shown() {
    let edge = Edge::start().await;
    let (start, end) = (now() - 7200, now() - 60);
    let range = json!({"StartTimestamp": start, "EndTimestamp": end});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let hls = async |more: Value| {
        let mut call =
            json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": selector});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = edge.call("/getHLSStreamingSessionURL", edge.alice(), &call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let url =
            answer.json()["HLSStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", &edge.url);
        load(&edge, &beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1")).await.text()
    };
    // KVS's defaults: the oldest thousand, a discontinuity ahead of each.
    let text = hls(json!({})).await;
    assert_eq!((media(&text).len(), text.matches("#EXT-X-DISCONTINUITY").count()), (1000, 1000));
    let text = hls(json!({"MaxMediaPlaylistFragmentResults": 7, "DiscontinuityMode": "NEVER",
        "DisplayFragmentTimestamp": "ALWAYS"}))
    .await;
    let shown =
        (media(&text).len(), text.matches("#EXT-X-DISCONTINUITY").count(), text.matches("DATE-TIME").count());
    assert_eq!(shown, (7, 0, 7));
    let call = json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "DASHFragmentSelector": selector,
        "MaxManifestFragmentResults": 5, "DisplayFragmentTimestamp": "ALWAYS", "DisplayFragmentNumber": "ALWAYS"});
    let answer = edge.call("/getDASHStreamingSessionURL", edge.alice(), &call).await;
    let url =
        answer.json()["DASHStreamingSessionURL"].as_str().unwrap().replace("http://edge.test", &edge.url);
    let manifest = load(&edge, &url).await.text();
    assert_eq!(
        (manifest.matches(" kvs:ts=").count(), manifest.matches(" kvs:fn=").count()),
        (10, 10),
        "{manifest}"
    );
    no_session(&edge).await;
}

/// Where IAM has no GetMediaForFragmentList, or no ListFragments, KVS's sessions play, and it is said once.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_read_fragments_a_session_plays() {
    for operation in ["GetMediaForFragmentList", "ListFragments"] {
        let edge = Edge::start().await;
        let denied =
            json!({"kind": "status", "status": 403, "type": "AccessDeniedException", "message": "no"});
        edge.fault(json!({"operation": operation, "fault": denied, "times": 1000})).await;
        for minutes in [10, 20, 30] {
            let end = now() - minutes * 60;
            let url = edge.play(&vod("m3u8", end - 120, end), edge.alice()).await;
            let (listed, init) = track(&edge, &url, 1).await;
            assert!(listed[0].contains("getMP4MediaFragment.mp4"), "{operation}: {}", listed[0]);
            let (init, segment) = (load(&edge, &init).await, load(&edge, &listed[0]).await);
            assert!(frames(&edge, &init, &segment).await >= 10, "{operation}");
        }
        let refused = edge.metric("kvs_edge_package_refusals_total", &["reason=\"access_denied\""]).await;
        assert_eq!(refused, 1.0, "{operation}");
        assert!(edge.reached_by(operation).await <= 2, "{operation} is not asked for again and again");
        assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, 3, "{operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_archive_is_kvss_if_the_settings_say_so_and_ts_always_is() {
    let edge = Setup::default().setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    let url = edge.play(&vod("m3u8", now() - 600, now() - 500), edge.alice()).await;
    let (listed, _) = track(&edge, &url, 1).await;
    assert!(listed[0].contains("getMP4MediaFragment.mp4?FragmentNumber="), "{}", listed[0]);
    load(&edge, &listed[0]).await;
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 0);
    assert_eq!(edge.http.get(&beside(&url, "v1-1.m4s"), &[]).await.status, 404);
    let edge = Edge::start().await;
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": now() - 600, "EndTimestamp": now() - 500}});
    let call = json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "ContainerFormat": "MPEG_TS",
        "HLSFragmentSelector": selector});
    assert_eq!(edge.call("/getHLSStreamingSessionURL", edge.alice(), &call).await.status, 200);
    assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_packaged_footage_is_listed_and_audited() {
    let edge = Edge::start().await;
    let mut watched = Vec::new();
    for viewer in ["alice", "carol"] {
        let token = edge.token(viewer, &["investigators"]);
        let url = edge.play(&vod("m3u8", now() - 600, now() - 300), &token).await;
        let (listed, _) = track(&edge, &url, 1).await;
        watched.push(load(&edge, &listed[5]).await.body.len());
    }
    let sessions = edge.http.get(&format!("{}/sessions", edge.admin), &[]).await.json();
    let listed = sessions.as_array().unwrap();
    let viewers: u64 = listed.iter().map(|session| session["viewers"].as_u64().unwrap()).sum();
    let bytes: u64 = listed.iter().map(|session| session["bytes"].as_u64().unwrap()).sum();
    assert_eq!(viewers, 2, "{sessions}");
    assert!(bytes >= watched.iter().sum::<usize>() as u64, "{sessions}");
    assert_eq!((listed[0]["mode"].as_str(), listed[0]["open"].as_bool()), (Some("ON_DEMAND"), Some(false)));
    assert_eq!(edge.metric("kvs_edge_viewers_active", &["stream=\"cam-1\""]).await, 2.0);
    let audit = std::fs::read_to_string(edge.path("audit.log")).unwrap();
    assert_eq!(audit.lines().filter(|line| line.contains("\"playback_start\"")).count(), 2, "{audit}");
}

/// Changes fields of the producer of cam-1, or the codec.
async fn producer(edge: &Edge, change: Value) {
    let url = format!("{}/_emulator/streams/cam-1", edge.emulator.url());
    let answer = edge.http.post(&url, &[], json!({"producer": change}).to_string()).await;
    assert!(answer.status < 300, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_producers_make_is_decoded_whole_over_hls_and_dash() {
    for (change, sound) in [
        (json!({"container": "sdk", "timing": "jitter"}), Some("aac")),
        (json!({"sound": "alaw"}), Some("flac")),
        (json!({"video": "h265", "timecodes": "relative"}), Some("aac")),
        (json!({"zero_length": true, "timing": "varied"}), Some("aac")),
        (json!({"run_seconds": 20, "settings_change": true}), Some("aac")),
        (json!({"overlaps": true, "container": "sdk"}), Some("aac")),
        (json!({"recording": "motion", "timing": "jitter", "sound": "none"}), None),
    ] {
        let edge = Edge::start().await;
        producer(&edge, change.clone()).await;
        // Motion is recorded every few minutes.
        let start = if sound.is_some() { 400 } else { 2400 };
        for kind in ["m3u8", "mpd"] {
            let url = edge.play(&vod(kind, now() - start, now() - 200), edge.alice()).await;
            // Every packet is read and decoded, without a message.
            let counted =
                ["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames"];
            let said = tool("ffprobe", &[&counted[..], &["-of", "csv=p=0", &url]].concat()).await;
            let frames = |line: &str| line.split_once(',').and_then(|(_, n)| n.parse::<u32>().ok());
            let lines: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
            assert!(
                lines.iter().all(|line| frames(line).is_some_and(|n| n > 100)),
                "{change} {kind}: {said}"
            );
            assert!(sound.is_none_or(|sound| said.contains(sound)), "{change} {kind}: {said}");
        }
        no_session(&edge).await;
        assert_eq!(edge.metric("kvs_edge_package_refusals_total", &[]).await, 0.0, "{change}");
    }
}

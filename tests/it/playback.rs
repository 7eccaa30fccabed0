//! Playback that any player likes: every combination of what KVS offers, archives longer than KVS lists, restarts
//! that nobody notices, and the HTTP around playlists.

use crate::harness::{Answer, Edge, Setup, tool};
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::Duration;

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

/// The address of a session that a call asked for, on the port the test listens on.
async fn session(edge: &Edge, protocol: &str, parameters: Value) -> String {
    let path = format!("/get{protocol}StreamingSessionURL");
    let answer = edge.call(&path, edge.alice(), &parameters).await;
    assert_eq!(answer.status, 200, "{parameters}: {}", answer.text());
    let url = answer.json()[format!("{protocol}StreamingSessionURL")].as_str().unwrap().to_owned();
    url.replace("http://edge.test", &edge.url)
}

pub async fn load(edge: &Edge, url: &str) -> Answer {
    let answer = edge.http.get(url, &[]).await;
    assert_eq!(answer.status, 200, "{url}: {}", answer.text());
    answer
}

pub fn beside(url: &str, uri: &str) -> String {
    format!("{}/{uri}", url.rsplit_once('/').unwrap().0)
}

/// The value of a tag.
pub fn tag(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.parse().ok())
}

pub fn media(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
}

pub fn map(text: &str) -> Option<&str> {
    text.split("#EXT-X-MAP:URI=\"").nth(1)?.split('"').next()
}

fn range(mode: &str) -> Option<Value> {
    let end = now() - 60;
    match mode {
        "LIVE" => None,
        "LIVE_REPLAY" => Some(json!({"StartTimestamp": end - 40})),
        _ => Some(json!({"StartTimestamp": end - 40, "EndTimestamp": end})),
    }
}

async fn quiet(edge: &Edge, stream: &str) {
    let url = format!("{}/_emulator/streams/{stream}", edge.emulator.url());
    let answer = edge.http.post(&url, &[], json!({"audio": false}).to_string()).await;
    assert!(answer.status < 300, "{}", answer.text());
}

/// LIVE, LIVE_REPLAY, ON_DEMAND; fMP4, TS; video alone or with audio; both clocks; three discontinuity modes.
#[tokio::test(flavor = "multi_thread")]
async fn every_combination_over_hls_opens_lists_and_plays() {
    let edge = Edge::start().await;
    quiet(&edge, "cam-2").await;
    let mut combinations = 0;
    for mode in ["LIVE", "LIVE_REPLAY", "ON_DEMAND"] {
        for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
            for (stream, tracks) in [("cam-1", 2), ("cam-2", 1)] {
                for clock in ["SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"] {
                    for discontinuity in ["ALWAYS", "NEVER", "ON_DISCONTINUITY"] {
                        let mut selector = json!({"FragmentSelectorType": clock});
                        if let Some(range) = range(mode) {
                            selector["TimestampRange"] = range;
                        }
                        let parameters = json!({"StreamName": stream, "PlaybackMode": mode, "ContainerFormat": container,
                            "DiscontinuityMode": discontinuity, "HLSFragmentSelector": selector});
                        let what = format!("{mode} {container} {stream} {clock} {discontinuity}");
                        // One of each kind is decoded, too.
                        let decoded = clock == "SERVER_TIMESTAMP" && discontinuity == "ALWAYS";
                        hls(&edge, parameters, &what, tracks, decoded).await;
                        combinations += 1;
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 72);
    assert_eq!(edge.metric("kvs_edge_upstream_throttled_total", &[]).await, 0.0);
}

async fn hls(edge: &Edge, parameters: Value, what: &str, tracks: usize, decoded: bool) {
    let (ended, always) = (what.starts_with("ON_DEMAND"), what.ends_with("ALWAYS"));
    let transport = what.contains("MPEG_TS");
    let url = session(edge, "HLS", parameters).await;
    let master = load(edge, &url).await.text();
    let renditions = usize::from(master.contains("#EXT-X-MEDIA:")) + media(&master).len();
    assert_eq!(renditions, if transport { 1 } else { tracks }, "{what}: {master}");
    for track in 1..=renditions {
        let playlist = beside(&url, &format!("getHLSMediaPlaylist.m3u8?TrackNumber={track}"));
        let text = load(edge, &playlist).await.text();
        let listed = media(&text);
        assert!(text.starts_with("#EXTM3U\n") && !listed.is_empty(), "{what}: {text}");
        assert_eq!(text.contains("#EXT-X-ENDLIST"), ended, "{what}: {text}");
        assert_eq!(text.contains("#EXT-X-MAP"), !transport, "{what}: {text}");
        assert!(!text.contains("SessionToken") && !text.contains("://"), "{what}: {text}");
        if always {
            assert!(text.matches("#EXT-X-DISCONTINUITY\n").count() >= listed.len(), "{what}: {text}");
        }
        let first = load(edge, &beside(&url, &listed[0])).await;
        assert!(first.body.len() > 1000 && !first.broken, "{what}");
        if decoded {
            let mut bytes = Vec::new();
            if let Some(init) = map(&text) {
                bytes.extend_from_slice(&load(edge, &beside(&url, init)).await.body);
            }
            bytes.extend_from_slice(&first.body);
            decodes(edge, &bytes, what).await;
        }
    }
}

/// ffprobe counts the frames of a fragment without complaint.
async fn decodes(edge: &Edge, bytes: &[u8], what: &str) {
    let file = edge.path("fragment");
    std::fs::write(&file, bytes).unwrap();
    let counted = [
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=codec_name,nb_read_frames",
        "-of",
        "csv=p=0",
    ];
    let told = tool("ffprobe", &[&counted[..], &[file.to_str().unwrap()]].concat()).await;
    let frames =
        |line: &str| line.rsplit(',').next().is_some_and(|n| n.parse::<u32>().is_ok_and(|n| n >= 10));
    let frames = told.lines().filter(|line| !line.is_empty()).all(frames);
    assert!(frames && told.contains(','), "{what}: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_combination_over_dash_opens_lists_and_plays() {
    let edge = Edge::start().await;
    quiet(&edge, "cam-2").await;
    for mode in ["LIVE", "LIVE_REPLAY", "ON_DEMAND"] {
        for (stream, tracks) in [("cam-1", 2), ("cam-2", 1)] {
            for clock in ["SERVER_TIMESTAMP", "PRODUCER_TIMESTAMP"] {
                for shown in ["ALWAYS", "NEVER"] {
                    let what = format!("{mode} {stream} {clock} {shown}");
                    let mut selector = json!({"FragmentSelectorType": clock});
                    if let Some(range) = range(mode) {
                        selector["TimestampRange"] = range;
                    }
                    let parameters = json!({"StreamName": stream, "PlaybackMode": mode, "DASHFragmentSelector": selector,
                        "DisplayFragmentTimestamp": shown, "DisplayFragmentNumber": shown});
                    let url = session(&edge, "DASH", parameters).await;
                    let text = load(&edge, &url).await.text();
                    assert_eq!(text.matches("<AdaptationSet").count(), tracks, "{what}: {text}");
                    assert_eq!(
                        text.contains("kvs:ts=") && text.contains("kvs:fn="),
                        shown == "ALWAYS",
                        "{what}: {text}"
                    );
                    assert_eq!(text.contains("type=\"static\""), mode == "ON_DEMAND", "{what}: {text}");
                    for track in manifest(&text) {
                        let init = load(&edge, &beside(&url, &track.init)).await;
                        let first = load(&edge, &beside(&url, &track.media[0].0)).await;
                        let bytes = [&init.body[..], &first.body[..]].concat();
                        if shown == "ALWAYS" && clock == "SERVER_TIMESTAMP" {
                            decodes(&edge, &bytes, &what).await;
                        }
                        if mode != "ON_DEMAND" {
                            // The media says what the manifest says: seconds since 1970.
                            assert_eq!(presented(&first.body), track.media[0].1 * 16, "{what}");
                        }
                    }
                }
            }
        }
    }
}

struct Track {
    init: String,
    /// Address, and time in the manifest's milliseconds.
    media: Vec<(String, u64)>,
}

/// The tracks of a manifest of one period.
fn manifest(text: &str) -> Vec<Track> {
    let attribute = |element: &str, name: &str| {
        let value = element.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
        Some(value.replace("&amp;", "&"))
    };
    let templates =
        text.split("<SegmentTemplate").skip(1).map(|rest| rest.split("</SegmentTemplate>").next().unwrap());
    let track = |template: &str| {
        let media = attribute(template, "media").unwrap();
        let first: u64 = attribute(template, "startNumber").map_or(1, |number| number.parse().unwrap());
        let (mut segments, mut next, mut number) = (Vec::new(), 0, first);
        for s in template.split("<S").skip(1).filter(|s| s.starts_with(' ')) {
            let value = |name: &str| attribute(s, name).map(|value| value.parse::<u64>().unwrap());
            next = value("t").unwrap_or(next);
            for _ in 0..=value("r").unwrap_or(0) {
                let address = media.replace("$Time$", &next.to_string());
                segments.push((address.replace("$Number$", &number.to_string()), next));
                next += value("d").unwrap();
                number += 1;
            }
        }
        Track { init: attribute(template, "initialization").unwrap(), media: segments }
    };
    templates.map(track).collect()
}

/// `tfdt` of a fragment.
pub fn presented(bytes: &[u8]) -> u64 {
    let at = bytes.windows(4).position(|kind| kind == b"tfdt").unwrap() + 8;
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Thirty hours: more than KVS's 24, and more than its 5,000 fragments ten times over.
#[tokio::test(flavor = "multi_thread")]
async fn an_archive_longer_than_kvs_lists_is_one_playlist() {
    let mut setup = Setup::default();
    setup.emulator.retention_hours = 48;
    setup.emulator.history_hours = 47;
    let edge = setup.setting("PLAYBACK__ARCHIVE", "kvs").start().await;
    let end = now() - 90;
    let start = end - 30 * 3600;
    let url = edge.play(&format!("/streams/cam-1/vod.m3u8?start={start}&end={end}"), edge.alice()).await;
    let playlist = beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let text = load(&edge, &playlist).await.text();
    let listed = media(&text);
    // A fragment each 2.048 s, each once.
    let expected = (30.0 * 3600.0 / 2.048) as usize;
    assert!(listed.len().abs_diff(expected) <= 2, "{} of {expected}", listed.len());
    let distinct: std::collections::HashSet<_> = listed.iter().collect();
    assert_eq!(distinct.len(), listed.len());
    assert!(text.contains("#EXT-X-ENDLIST") && tag(&text, "#EXT-X-MEDIA-SEQUENCE") == Some(0));
    // Its beginning, its end, and both sides of where KVS's playlists were joined.
    let joints: Vec<_> =
        text.match_indices("#EXT-X-DISCONTINUITY\n").map(|(at, _)| media(&text[..at]).len()).collect();
    assert!(joints.len() >= 9, "{joints:?}");
    for place in [0, joints[0] - 1, joints[0], joints[5], listed.len() - 1] {
        let fragment = load(&edge, &beside(&url, &listed[place])).await;
        assert!(fragment.body.len() > 1000, "{place}");
    }
    // Behind a joint, with the init segment that stands there.
    let behind = text.split("#EXT-X-DISCONTINUITY\n").nth(1).unwrap();
    let init = load(&edge, &beside(&url, map(behind).unwrap())).await;
    let first = load(&edge, &beside(&url, &listed[joints[0]])).await;
    decodes(&edge, &[&init.body[..], &first.body[..]].concat(), "behind a joint").await;
    // Its beginning in a player. (ffmpeg 5 cannot seek in HLS of fMP4, of one session neither.)
    let play = ["-v", "error", "-xerror", "-i", &url, "-t", "12", "-f", "null", "-"];
    assert_eq!(tool("ffmpeg", &play).await, "");
    assert_eq!(edge.metric("kvs_edge_upstream_throttled_total", &[]).await, 0.0);
    // What no playlist of ours holds is the caller's to shorten.
    let bearer = edge.alice();
    let far =
        edge.get(&format!("/streams/cam-1/vod.m3u8?start={}&end={end}", end - 70 * 86_400), &bearer).await;
    assert_eq!((far.status, far.kind()), (400, "InvalidArgumentException"), "{}", far.text());
    assert!(far.message().contains("62 days"), "{}", far.message());
}

/// Numbers, times and periods before and after a restart are those of one stream, to the byte where nothing moved.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_is_not_seen_in_playlists_and_manifests() {
    let edge = Edge::start().await;
    let hls = edge.play("/streams/cam-1/live.m3u8", edge.alice()).await;
    let always = json!({"StreamName": "cam-1", "PlaybackMode": "LIVE", "DiscontinuityMode": "ALWAYS"});
    let always = session(&edge, "HLS", always).await;
    let dash = edge.play("/streams/cam-1/live.mpd", edge.alice()).await;
    let lists = [
        beside(&hls, "getHLSMediaPlaylist.m3u8?TrackNumber=1"),
        beside(&hls, "getHLSMediaPlaylist.m3u8?TrackNumber=2"),
        beside(&always, "getHLSMediaPlaylist.m3u8?TrackNumber=1"),
    ];
    let mut before = Vec::new();
    for _ in 0..3 {
        before.clear();
        for list in &lists {
            before.push(load(&edge, list).await.text());
        }
        before.push(load(&edge, &dash).await.text());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let old = manifest(&before[3]);
    let (second, address) = edge.another().await;
    let moved = |url: &str| url.replace(&edge.url, &address);
    for (list, before) in lists.iter().zip(&before) {
        let after = load(&edge, &moved(list)).await.text();
        let sequence = |text: &str| tag(text, "#EXT-X-MEDIA-SEQUENCE").unwrap();
        assert!(sequence(&after) >= sequence(before), "{before}\n{after}");
        // What both list has the same number in both.
        let numbered = |text: &str| media(text).into_iter().zip(sequence(text)..).collect::<Vec<_>>();
        let both = numbered(&after).into_iter().filter(|item| numbered(before).contains(item)).count();
        assert!(both >= 3, "{before}\n{after}");
        let discontinuities = tag(&after, "#EXT-X-DISCONTINUITY-SEQUENCE").unwrap_or(0);
        assert!(discontinuities < 1 << 16, "{after}");
        // Addresses from before lead on.
        for uri in media(before).iter().rev().take(2) {
            load(&edge, &moved(&beside(list, uri))).await;
        }
        load(&edge, &moved(&beside(list, map(before).unwrap()))).await;
    }
    // A fragment of the old manifest, asked for before the new process has seen any.
    let first = &old[0].media.last().unwrap();
    let fragment = load(&edge, &moved(&beside(&dash, &first.0))).await;
    assert_eq!(presented(&fragment.body), first.1 * 16);
    let after = load(&edge, &moved(&dash)).await.text();
    let period = |text: &str| text.split("<Period ").nth(1).unwrap().split('>').next().unwrap().to_owned();
    assert_eq!(period(&before[3]), period(&after));
    assert_eq!((before[3].matches("<Period").count(), after.matches("<Period").count()), (1, 1));
    let published = |text: &str| text.split("publishTime=\"").nth(1).unwrap()[..24].to_owned();
    assert!(published(&after) >= published(&before[3]), "{after}");
    for (old, new) in old.iter().zip(manifest(&after)) {
        assert_eq!(old.init, new.init);
        assert!(
            new.media.iter().filter(|media| old.media.contains(media)).count() >= 3,
            "{}\n{after}",
            before[3]
        );
    }
    second.drain().await;
}

#[tokio::test]
async fn playlists_are_packed_for_who_asks_and_media_is_not() {
    let edge = Setup::default().setting("SERVER__CORS_ORIGINS", "[\"https://app.test\"]").start().await;
    let end = now() - 90;
    let url =
        edge.play(&format!("/streams/cam-1/vod.m3u8?start={}&end={end}", end - 600), edge.alice()).await;
    let playlist = beside(&url, "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let plain = load(&edge, &playlist).await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary").is_some()), (None, true));
    let ask = |headers: Vec<(&'static str, String)>, url: String| {
        let http = edge.http.clone();
        async move {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            http.get(&url, &headers).await
        }
    };
    let gzip = || ("accept-encoding", "br, gzip;q=0.8".to_owned());
    let packed = ask(vec![gzip()], playlist.clone()).await;
    assert_eq!((packed.status, packed.header("content-encoding")), (200, Some("gzip")));
    assert!(packed.body.len() * 5 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed.body[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    let (one, other) = (plain.header("etag").unwrap().to_owned(), packed.header("etag").unwrap().to_owned());
    assert_ne!(one, other);
    for (headers, status) in [
        (vec![gzip(), ("if-none-match", other.clone())], 304),
        (vec![gzip(), ("if-none-match", one.clone())], 200),
        (vec![("if-none-match", format!("\"x\", W/{one}"))], 304),
        (vec![("if-none-match", other)], 200),
    ] {
        let answer = ask(headers.clone(), playlist.clone()).await;
        assert_eq!((answer.status, answer.body.is_empty()), (status, status == 304), "{headers:?}");
    }
    let fragment = ask(vec![gzip()], beside(&url, &media(&plain.text())[0])).await;
    assert_eq!((fragment.status, fragment.header("content-encoding")), (200, None));
    // Players of DASH set their clock by this.
    let dash = edge.play("/streams/cam-1/live.mpd", edge.alice()).await;
    let head = edge.http.send("HEAD", &dash, &[("origin", "https://app.test")], String::new()).await;
    assert_eq!((head.status, head.header("access-control-allow-origin")), (200, Some("https://app.test")));
    let date = httpdate::parse_http_date(head.header("date").unwrap()).unwrap();
    assert!(date.elapsed().map_or(true, |since| since < Duration::from_secs(60)));
    assert!(head.header("access-control-expose-headers").unwrap().split(", ").any(|name| name == "date"));
}

#[tokio::test]
async fn a_bound_playback_url_works_for_whom_it_was_made_for() {
    let edge = Setup::default()
        .setting("PLAYBACK__BIND", "cookie")
        .setting("SERVER__PUBLIC_URL", "https://edge.test")
        .start()
        .await;
    let bearer = format!("Bearer {}", edge.alice());
    let url = format!("{}/streams/cam-1/live.m3u8", edge.url);
    let answer = edge.http.get(&url, &[("authorization", &bearer)]).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let cookies: Vec<_> =
        answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap().to_owned()).collect();
    let paths = [
        "/hls/",
        "/dash/",
        "/clip/",
        "/image/",
        "/streams/",
        "/getHLSStreamingSessionURL",
        "/getDASHStreamingSessionURL",
    ];
    assert_eq!(cookies.len(), paths.len(), "{cookies:?}");
    for (cookie, path) in cookies.iter().zip(paths) {
        for part in ["HttpOnly", "Secure", "SameSite=None", &format!("Path={path};")] {
            assert!(cookie.contains(part), "{cookie}");
        }
    }
    let pair = cookies[0].split(';').next().unwrap();
    let location = answer.location();
    assert!(location.split('/').nth(3).unwrap().len() < 1024, "{location}");
    let playlist = format!("{}{}", edge.url, beside(&location, "getHLSMediaPlaylist.m3u8?TrackNumber=1"));
    assert_eq!(edge.http.get(&playlist, &[("cookie", pair)]).await.status, 200);
    let bare = edge.http.get(&playlist, &[]).await;
    assert_eq!((bare.status, bare.kind()), (403, "NotAuthorizedException"), "{}", bare.text());
    let name = pair.split('=').next().unwrap();
    let other = edge.http.get(&playlist, &[("cookie", &format!("{name}=somebody-else"))]).await;
    assert_eq!(other.status, 403);
    // Asked for again with the cookie, it stays.
    let again = edge.http.get(&url, &[("authorization", &bearer), ("cookie", pair)]).await;
    assert!(again.headers.get_all("set-cookie").iter().all(|set| set.to_str().unwrap().starts_with(pair)));

    let edge = Setup::default()
        .setting("PLAYBACK__BIND", "address")
        .setting("SERVER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]")
        .start()
        .await;
    let bearer = format!("Bearer {}", edge.alice());
    let url = format!("{}/streams/cam-1/live.m3u8", edge.url);
    let from = |address: &'static str| ("x-forwarded-for", address);
    let answer = edge.http.get(&url, &[("authorization", &bearer), from("192.0.2.1")]).await;
    assert_eq!(answer.status, 302, "{}", answer.text());
    let playlist = beside(&answer.location(), "getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let playlist = format!("{}{playlist}", edge.url);
    assert_eq!(edge.http.get(&playlist, &[from("192.0.2.1")]).await.status, 200);
    assert_eq!(edge.http.get(&playlist, &[from("192.0.2.2")]).await.status, 403);
}

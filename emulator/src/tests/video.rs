//! ffmpeg decodes everything without a warning.

use super::client::{Kvs, ago};
use super::*;
use http::Method;
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::process::Command;

/// Runs ffmpeg, which must succeed without a warning, and gives the number of decoded packets.
async fn decode(arguments: &[&str]) -> usize {
    let output = Command::new("ffmpeg")
        .args(["-hide_banner", "-nostdin", "-loglevel", "warning", "-xerror"])
        .args(arguments)
        .args(["-f", "framehash", "-"])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("ffmpeg is installed");
    // ffmpeg reads the init fragment again at each reload of a live playlist and warns about it.
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints: Vec<&str> = said.lines().filter(|line| !line.contains("duplicated MOOV")).collect();
    assert!(output.status.success() && complaints.is_empty(), "{arguments:?}: {complaints:?}");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.starts_with('#')).count()
}

fn on_demand(seconds: f64, extra: Value) -> Value {
    let range = json!({"StartTimestamp": ago(seconds + 20.0), "EndTimestamp": ago(20.0)});
    let mut body = json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector":
        {"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range}});
    for (name, value) in extra.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn without_quotas(config: &mut Config) {
    config.quotas = false;
}

#[tokio::test]
async fn on_demand_decodes_over_three_loops_in_both_containers() {
    let kvs = Kvs::start(without_quotas).await;
    // 130 s are more than three loops, so that the join is crossed.
    for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
        let url = kvs.open(on_demand(130.0, json!({"ContainerFormat": container}))).await;
        let frames = decode(&["-i", &url]).await;
        let fragments = (frames + 32) / 64;
        assert!((63..=64).contains(&fragments), "{container}: {frames} frames");
    }
}

#[tokio::test]
async fn on_demand_by_server_time_with_a_discontinuity_at_each_fragment_decodes() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(80.0), "EndTimestamp": ago(20.0)});
    let body = on_demand(
        1.0,
        json!({"HLSFragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}}),
    );
    let url = kvs.open(body).await;
    assert!(decode(&["-i", &url]).await > 28 * 64);
}

/// What real producers make. The message about channels is of every G.711 file without a channel mask.
#[tokio::test]
async fn whatever_a_producer_makes_decodes_in_every_container() {
    let sdk = Producer::sdk();
    let producers = [
        ("sdk", sdk),
        ("b", Producer { video: VideoCodec::H264BFrames, sound: SoundCodec::Aac48k, ..sdk }),
        ("h265", Producer { video: VideoCodec::H265, ..sdk }),
        ("alaw", Producer { sound: SoundCodec::Alaw, ..sdk }),
        ("mulaw", Producer { sound: SoundCodec::Mulaw, container: Container::File, ..sdk }),
        ("varied", Producer { timing: Timing::Varied, ..sdk }),
        ("silent", Producer { sound: SoundCodec::None, ..sdk }),
        ("relative", Producer { timecodes: Timecodes::RelativeWithoutStart, ..sdk }),
    ];
    let kvs = Kvs::start(|config| {
        without_quotas(config);
        config.streams = producers.iter().map(|(name, _)| (*name).to_owned()).collect();
        config.producers = producers.map(|(name, it)| (name.to_owned(), it)).into();
    })
    .await;
    for (name, it) in producers {
        let (from, to) = (ago(60.0), ago(30.0));
        let range = |name: &str, from: f64, to: f64| {
            json!({"FragmentSelectorType": name,
                "TimestampRange": {"StartTimestamp": from, "EndTimestamp": to}})
        };
        let body = json!({"StreamName": name, "FragmentSelector": range("SERVER_TIMESTAMP", from, to)});
        let listed = kvs.call("/listFragments", body).await.json();
        let mut rows = listed["Fragments"].as_array().unwrap().clone();
        rows.sort_by_key(|row| row["FragmentNumber"].as_str().unwrap().to_owned());
        for row in &rows[..3.min(rows.len())] {
            let body = json!({"StreamName": name, "Fragments": [row["FragmentNumber"]]});
            let chunk = kvs.call("/getMediaForFragmentList", body).await.body;
            assert!(decodes(&chunk, &it).await > 0, "{name}");
            assert_eq!(row["FragmentSizeInBytes"].as_u64().unwrap(), chunk.len() as u64, "{name}");
        }
        let time = |row: &Value| row["ProducerTimestamp"].as_f64().unwrap();
        let times = range("PRODUCER_TIMESTAMP", time(&rows[0]), time(&rows[rows.len() - 1]));
        let body = |selector: &str| json!({"StreamName": name, "PlaybackMode": "ON_DEMAND", selector: times});
        let clip = kvs.call("/getClip", body("ClipFragmentSelector")).await;
        let unsupported = "UnsupportedStreamMediaTypeException";
        if it.sound == SoundCodec::Mulaw {
            assert_eq!(clip.kind(), unsupported);
        } else {
            assert!(decodes(&clip.body, &it).await > 300, "{name}");
        }
        for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
            let mut body = body("HLSFragmentSelector");
            body["ContainerFormat"] = json!(container);
            let reply = kvs.call("/getHLSStreamingSessionURL", body).await;
            let transport_stream = container == "MPEG_TS";
            if it.sound.is_g711() || it.video == VideoCodec::H265 && transport_stream {
                assert_eq!(reply.kind(), unsupported, "{name} {container}");
            } else {
                let reply = reply.json();
                let url = reply["HLSStreamingSessionURL"].as_str().unwrap();
                assert!(decode(&["-i", url]).await > 300, "{name} {container}");
            }
        }
    }
}

/// The packets of a file that ffmpeg decodes without a message but one.
async fn decodes(bytes: &[u8], producer: &Producer) -> usize {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let path = file.path().to_str().unwrap();
    // Without a hint ffmpeg says that it guesses the channels of G.711.
    let hint: &[&str] = if producer.sound.is_g711() { &["-guess_layout_max", "0"] } else { &[] };
    decode(&[hint, &["-i", path]].concat()).await
}

#[tokio::test]
async fn live_decodes() {
    let kvs = Kvs::start(without_quotas).await;
    for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
        let url = kvs.open(json!({"StreamName": "cam-2", "ContainerFormat": container})).await;
        let frames = decode(&["-i", &url, "-t", "8"]).await;
        assert!((230..=260).contains(&frames), "{container}: {frames}");
    }
}

#[tokio::test]
async fn a_clip_is_an_ordinary_file_and_the_same_each_time() {
    let kvs = Kvs::start(|config| {
        without_quotas(config);
        config.clip_creation_time = Some(1_700_000_000_000);
    })
    .await;
    let range = json!({"StartTimestamp": ago(90.0), "EndTimestamp": ago(20.0)});
    let body = json!({"StreamName": "cam-3", "ClipFragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}});
    let clip = kvs.call("/getClip", body.clone()).await;
    assert_eq!(clip.headers["content-type"], "video/mp4");
    assert_eq!(clip.body, kvs.call("/getClip", body).await.body);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &clip.body).unwrap();
    let frames = decode(&["-i", file.path().to_str().unwrap()]).await;
    assert!((33 * 64..=35 * 64).contains(&frames), "{frames}");
    assert!(clip.body.windows(17).any(|w| w == b"USP Video Handler"));
}

#[tokio::test]
async fn each_matroska_chunk_is_a_file_of_its_own() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(50.0)});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let listed =
        kvs.call("/listFragments", json!({"StreamName": "cam-1", "FragmentSelector": selector})).await.json();
    let number = &listed["Fragments"][0]["FragmentNumber"];
    let media =
        kvs.call("/getMediaForFragmentList", json!({"StreamName": "cam-1", "Fragments": [number]})).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &media.body).unwrap();
    assert_eq!(decode(&["-i", file.path().to_str().unwrap()]).await, 64);
}

#[tokio::test]
async fn dash_decodes() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(120.0), "EndTimestamp": ago(20.0)});
    let body = json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "DisplayFragmentNumber": "ALWAYS",
        "DASHFragmentSelector": {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}});
    let reply = kvs.call("/getDASHStreamingSessionURL", body).await.json();
    let frames = decode(&["-i", reply["DASHStreamingSessionURL"].as_str().unwrap()]).await;
    assert!((48 * 64..=49 * 64).contains(&frames), "{frames}");
}

/// The window of a live manifest slides with each new fragment. ffmpeg's reader of such manifests then goes
/// on from a wrong fragment, because it takes a number of the session for a position in the list. So the
/// test reads the manifest by the standard, and ffmpeg decodes the fragments.
#[tokio::test]
async fn live_dash_decodes_and_slides() {
    let kvs = Kvs::start(without_quotas).await;
    let live = kvs.call("/getDASHStreamingSessionURL", json!({"StreamName": "cam-1"})).await.json();
    let url = live["DASHStreamingSessionURL"].as_str().unwrap();
    let first = dash_tracks(&kvs.get(url).await.text());
    assert_eq!(first.len(), 2);
    for track in &first {
        assert!(track.times.len() >= 3, "{track:?}");
        let mut media = kvs.get(&beside(url, &track.init)).await.body.to_vec();
        for number in (track.number..).take(track.times.len()) {
            let name = track.media.replace("$Number$", &number.to_string());
            let fragment = kvs.get(&beside(url, &name)).await;
            assert_eq!(fragment.status, 200, "{name}");
            media.extend_from_slice(&fragment.body);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), media).unwrap();
        assert_eq!(decode(&["-i", file.path().to_str().unwrap()]).await, track.times.len() * 32);
    }
    let later = loop {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let later = dash_tracks(&kvs.get(url).await.text());
        if later[0].number > first[0].number {
            break later;
        }
    };
    for (before, after) in first.iter().zip(&later) {
        let slid = usize::try_from(after.number - before.number).unwrap();
        let kept = before.times.len().saturating_sub(slid);
        assert_eq!(before.times[before.times.len() - kept..], after.times[..kept], "{before:?} {after:?}");
    }
}

/// One track of a manifest.
#[derive(Debug)]
struct DashTrack {
    init: String,
    media: String,
    /// The number of the first fragment listed.
    number: u64,
    /// When each fragment begins.
    times: Vec<u64>,
}

fn dash_tracks(manifest: &str) -> Vec<DashTrack> {
    let attribute = |text: &str, name: &str| {
        let (_, rest) = text.split_once(&format!(" {name}=\"")).unwrap_or_else(|| panic!("{name} in {text}"));
        rest.split('"').next().unwrap_or_default().replace("&amp;", "&")
    };
    let sets = manifest.split("<AdaptationSet").skip(1);
    sets.map(|set| DashTrack {
        init: attribute(set, "initialization"),
        media: attribute(set, "media"),
        number: attribute(set, "startNumber").parse().unwrap(),
        times: set
            .split("<S")
            .skip(1)
            .filter(|s| s.starts_with(' '))
            .map(|s| attribute(s, "t").parse().unwrap())
            .collect(),
    })
    .collect()
}

/// The URL of a resource that a manifest refers to.
fn beside(url: &str, name: &str) -> String {
    format!("{}/{name}", url.rsplit_once('/').unwrap().0)
}

#[tokio::test]
async fn a_gap_is_a_discontinuity_and_a_new_codec_a_new_map() {
    let kvs = Kvs::start(without_quotas).await;
    let gap = json!({"gap": {"from": ago(60.0), "to": ago(50.0)}, "codec_change_at": ago(40.0)});
    assert_eq!(kvs.admin(Method::POST, "streams/cam-1", gap).await.status, 200);
    let body = on_demand(
        60.0,
        json!({"DiscontinuityMode": "ON_DISCONTINUITY", "DisplayFragmentTimestamp": "ALWAYS"}),
    );
    let url = kvs.open(body).await.replace("MasterPlaylist.m3u8", "MediaPlaylist.m3u8");
    let playlist = kvs.get(&format!("{url}&TrackNumber=1")).await.text();
    let count = |needle: &str| playlist.matches(needle).count();
    assert_eq!(count("#EXT-X-DISCONTINUITY\n"), 2, "{playlist}");
    assert_eq!((count("SequenceNumber=0"), count("SequenceNumber=1")), (1, 1), "{playlist}");
    let range = json!({"StartTimestamp": ago(80.0), "EndTimestamp": ago(20.0)});
    let clip = json!({"StreamName": "cam-1", "ClipFragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}});
    assert_eq!(kvs.call("/getClip", clip).await.kind(), "InvalidCodecPrivateDataException");
}

#[tokio::test]
async fn pictures_have_the_size_and_format_asked_for() {
    let kvs = Kvs::start(without_quotas).await;
    for (format, extra) in [
        ("JPEG", json!({})),
        ("JPEG", json!({"WidthPixels": 161, "HeightPixels": 77, "FormatConfig": {"JPEGQuality": "60"}})),
        ("PNG", json!({"WidthPixels": 700, "HeightPixels": 400})),
    ] {
        let mut body = json!({
            "StreamName": "cam-1", "ImageSelectorType": "SERVER_TIMESTAMP", "Format": format,
            "StartTimestamp": ago(60.0), "EndTimestamp": ago(55.0), "SamplingInterval": 3000});
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        let images = kvs.call("/getImages", body).await.json();
        let content = images["Images"][1]["ImageContent"].as_str().unwrap_or_else(|| panic!("{images}"));
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, content).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let probe = Command::new("ffprobe")
            .args(["-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0"])
            .arg(file.path())
            .output()
            .await
            .unwrap();
        assert!(probe.stderr.is_empty(), "{}", String::from_utf8_lossy(&probe.stderr));
        let codec = if format == "PNG" { "png" } else { "mjpeg" };
        let (width, height) =
            (extra["WidthPixels"].as_u64().unwrap_or(640), extra["HeightPixels"].as_u64().unwrap_or(360));
        assert_eq!(String::from_utf8_lossy(&probe.stdout).trim(), format!("{codec},{width},{height}"));
    }
}

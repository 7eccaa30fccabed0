//! Signatures, shapes, errors, paging, quotas: what a client receives.

use super::client::{Kvs, ago};
use super::*;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

fn without_quotas(config: &mut Config) {
    config.quotas = false;
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_counted() {
    let mut kvs = Kvs::start(without_quotas).await;
    let body = json!({"StreamName": "cam-1"});
    assert_eq!(kvs.call("/describeStream", body.clone()).await.status, 200);
    kvs.secret_key.push('x');
    let reply = kvs.call("/describeStream", body.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.kind().as_str()), (403, "InvalidSignatureException"));
    kvs.secret_key.pop();
    kvs.region = "us-east-1".into();
    let reply = kvs.call("/describeStream", body.clone()).await;
    assert_eq!((reply.status.as_u16(), reply.kind().as_str()), (403, "InvalidSignatureException"));
    kvs.region = "eu-west-1".into();
    kvs.time = Some(SystemTime::now() - Duration::from_secs(1000));
    let reply = kvs.call("/describeStream", body.clone()).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
    kvs.time = None;
    let mut bare = kvs.signed(&kvs.emulator.url(), "/describeStream", body.to_string());
    bare.headers_mut().remove("authorization");
    let reply = kvs.try_send(bare).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.kind().as_str()), (403, "MissingAuthenticationTokenException"));
    let requests = kvs.requests().await;
    assert_eq!(requests["total"]["DescribeStream"]["requests"], 5);
    assert_eq!(requests["total"]["DescribeStream"]["failed"], 4);
    assert_eq!(
        requests["streams"]["cam-1"]["DescribeStream"]["requests"], 1,
        "only requests with a valid signature"
    );
    assert!(requests["clients_headers_seen"].as_array().unwrap().contains(&json!("x-amz-date")));
}

#[tokio::test]
async fn the_control_plane_answers_as_captured() {
    let kvs = Kvs::start(without_quotas).await;
    let described = kvs.call("/describeStream", json!({"StreamName": "cam-1"})).await;
    let text = described.text();
    assert!(text.starts_with(r#"{"StreamInfo":{"CreationTime":1."#) && text.contains("E9,"), "{text}");
    assert!(text.contains(r#""DeviceName":null,"IngestionConfiguration":null,"KmsKeyId":"#), "{text}");
    let arn = described.json()["StreamInfo"]["StreamARN"].as_str().unwrap().to_owned();
    let by_arn = kvs.call("/describeStream", json!({"StreamARN": arn})).await;
    assert_eq!(by_arn.json(), described.json());
    let endpoint =
        kvs.call("/getDataEndpoint", json!({"StreamARN": arn, "APIName": "GET_CLIP", "New": 1})).await;
    assert_eq!(endpoint.json()["DataEndpoint"], json!(kvs.emulator.url()));
    let unknown = kvs.call("/describeStream", json!({"StreamName": "nobody"})).await;
    assert_eq!((unknown.status.as_u16(), unknown.kind().as_str()), (404, "ResourceNotFoundException"));
    assert!(unknown.headers["x-amzn-errortype"].to_str().unwrap().contains(":http://"));
    assert_eq!(unknown.text(), r#"{"Message":"The requested stream is not found or not active."}"#);
    let tags = json!({"tags": {"site": "north"}});
    kvs.admin(Method::POST, "streams/cam-2", tags).await;
    let listed = kvs.call("/listTagsForStream", json!({"StreamName": "cam-2"})).await;
    assert_eq!(listed.json(), json!({"NextToken": null, "Tags": {"site": "north"}}));
}

#[tokio::test]
async fn streams_are_listed_in_pages() {
    let names: Vec<String> = (0..25).map(|n| format!("cam-{n:02}")).collect();
    let kvs = Kvs::start(|config| config.streams = names.clone()).await;
    let mut seen = Vec::new();
    let mut token = Value::Null;
    loop {
        let page = kvs.call("/listStreams", json!({"NextToken": token})).await.json();
        let list = page["StreamInfoList"].as_array().unwrap();
        assert!(list.len() <= 10);
        seen.extend(list.iter().map(|info| info["StreamName"].as_str().unwrap().to_owned()));
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    assert_eq!(seen, names);
    let condition = json!({"ComparisonOperator": "BEGINS_WITH", "ComparisonValue": "cam-1"});
    let some = kvs.call("/listStreams", json!({"StreamNameCondition": condition, "MaxResults": 10000})).await;
    assert_eq!(some.json()["StreamInfoList"].as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn a_wrong_path_is_ninety_bytes_of_success() {
    let kvs = Kvs::start(without_quotas).await;
    for path in ["/GetClip", "/getclip", "/", "/hls/v1/getHLSmasterPlaylist.m3u8"] {
        let reply = kvs.call(path, json!({})).await;
        assert_eq!((reply.status.as_u16(), reply.body.len()), (200, 90), "{path}");
    }
}

#[tokio::test]
async fn planes_can_be_apart() {
    let kvs = Kvs::start(|config| config.separate_data_plane = true).await;
    let body = json!({"StreamName": "cam-1", "APIName": "LIST_FRAGMENTS"});
    let data =
        kvs.call("/getDataEndpoint", body.clone()).await.json()["DataEndpoint"].as_str().unwrap().to_owned();
    assert_ne!(data, kvs.emulator.url());
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(10.0)});
    let list = json!({"StreamName": "cam-1", "FragmentSelector":
        {"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range}});
    assert_eq!(kvs.call("/listFragments", list.clone()).await.body.len(), 90);
    assert_eq!(kvs.call_at(&data, "/getDataEndpoint", body).await.body.len(), 90);
    let listed = kvs.call_at(&data, "/listFragments", list).await.json();
    assert!(listed["Fragments"].as_array().unwrap().len() >= 24);
}

#[tokio::test]
async fn fragments_are_listed_unordered_in_pages_without_overlap() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(600.0), "EndTimestamp": ago(10.0)});
    let selector = json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range});
    let mut numbers = Vec::new();
    let mut body = json!({"StreamName": "cam-1", "FragmentSelector": selector, "MaxResults": 50});
    loop {
        let reply = kvs.call("/listFragments", body.clone()).await;
        let page = reply.json();
        assert!(reply.text().contains("E9"), "{}", reply.text());
        numbers.extend(
            page["Fragments"]
                .as_array()
                .unwrap()
                .iter()
                .map(|f| f["FragmentNumber"].as_str().unwrap().to_owned()),
        );
        match page["NextToken"].as_str() {
            Some(token) => body = json!({"StreamName": "cam-1", "NextToken": token, "MaxResults": 50}),
            None => break,
        }
    }
    // 590 s hold 288 or 289 starts.
    let count = numbers.len();
    assert!((288..=289).contains(&count), "{count}");
    assert!(!numbers.is_sorted(), "KVS does not sort");
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
    let broken = kvs.call("/listFragments", json!({"StreamName": "cam-1"})).await;
    assert_eq!((broken.status.as_u16(), broken.kind().as_str()), (500, "InternalFailure"));
}

#[tokio::test]
async fn ranges_are_inclusive_to_the_millisecond() {
    let kvs = Kvs::start(without_quotas).await;
    let count = async |start: f64, end: f64| {
        let range = json!({"StartTimestamp": start, "EndTimestamp": end});
        let selector = json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range});
        let reply =
            kvs.call("/listFragments", json!({"StreamName": "cam-1", "FragmentSelector": selector})).await;
        reply.json()["Fragments"].as_array().unwrap().len()
    };
    let slot = (ago(60.0) / 2.048).floor() * 2.048;
    assert_eq!(count(slot, slot + 2.048).await, 2);
    assert_eq!(count(slot + 0.001, slot + 2.048).await, 1);
    assert_eq!(count(slot, slot + 2.047).await, 1);
}

#[tokio::test]
async fn quotas_are_kept_and_throttles_counted() {
    let kvs = Kvs::start(|_| {}).await;
    let body = json!({"StreamName": "cam-1", "APIName": "GET_CLIP"});
    let mut last = None;
    for _ in 0..8 {
        last = Some(kvs.call("/getDataEndpoint", body.clone()).await);
    }
    let last = last.unwrap();
    assert_eq!((last.status.as_u16(), last.kind().as_str()), (400, "ClientLimitExceededException"));
    assert!(last.text().contains("GetDataEndpoint API for resource 'cam-1'"), "{}", last.text());
    assert!(kvs.requests().await["streams"]["cam-1"]["GetDataEndpoint"]["throttled"].as_u64().unwrap() >= 1);
    let other = kvs.call("/getDataEndpoint", json!({"StreamName": "cam-2", "APIName": "GET_CLIP"})).await;
    assert_eq!(other.status, 200, "buckets are per stream");
}

#[tokio::test]
async fn media_comes_in_the_order_asked_for_and_what_is_missing_in_band() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(10.0)});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let listed =
        kvs.call("/listFragments", json!({"StreamName": "cam-1", "FragmentSelector": selector})).await.json();
    let numbers: Vec<&str> = listed["Fragments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["FragmentNumber"].as_str().unwrap())
        .collect();
    let missing = "91343852333185057105875891022195998207386831087";
    let wanted = json!([numbers[3], missing, numbers[0]]);
    let media =
        kvs.call("/getMediaForFragmentList", json!({"StreamName": "cam-1", "Fragments": wanted})).await;
    assert_eq!((media.status.as_u16(), media.headers["content-type"].as_bytes()), (200, &b"video/webm"[..]));
    assert!(media.headers.get("content-length").is_none(), "streamed");
    let text = media.text();
    let at = |needle: &str| text.find(needle).unwrap();
    assert!(at(numbers[3]) < at("FRAGMENT_NOT_FOUND") && at(missing) < at(numbers[0]));
    let foreign =
        kvs.call("/getMediaForFragmentList", json!({"StreamName": "cam-2", "Fragments": [numbers[0]]})).await;
    assert_eq!((foreign.status.as_u16(), foreign.kind().as_str()), (400, "InvalidArgumentException"));
    assert!(foreign.text().contains("Fragment numbers are invalid :"));
}

#[tokio::test]
async fn images_come_twenty_five_to_a_page_and_begin_with_nothing() {
    let kvs = Kvs::start(without_quotas).await;
    let start = (ago(200.0) / 2.048).floor() * 2.048 + 1.0;
    let body = json!({"StreamName": "cam-1", "ImageSelectorType": "PRODUCER_TIMESTAMP", "Format": "JPEG",
        "StartTimestamp": start, "EndTimestamp": start + 60.0, "SamplingInterval": 1000, "MaxResults": 100});
    let page = kvs.call("/getImages", body.clone()).await.json();
    let images = page["Images"].as_array().unwrap();
    assert_eq!(images.len(), 25);
    assert_eq!(images[0]["Error"], "NO_MEDIA");
    assert!(images[24]["ImageContent"].as_str().unwrap().starts_with("/9j/"));
    assert!(page["NextToken"].is_string());
    let mut long = body.clone();
    long["EndTimestamp"] = json!(start + 301.0);
    assert_eq!(kvs.call("/getImages", long).await.kind(), "IllegalArgumentException");
}

#[tokio::test]
async fn sessions_end_and_say_so() {
    let kvs = Kvs::start(|config| {
        config.max_session_seconds = Some(1);
        config.canary = Some("CANARY-4711".into());
    })
    .await;
    let url = kvs.open(json!({"StreamName": "cam-1"})).await;
    let token = url.split_once("SessionToken=").unwrap().1;
    assert!(session::is_token(token) && token.contains("CANARY-4711"));
    let escaped = url.replace('~', "%7E");
    assert_eq!(kvs.get(&escaped).await.status, 200);
    assert_eq!(kvs.get(url.strip_suffix('~').unwrap()).await.status, 400);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let last = loop {
        let reply = kvs.get(&url).await;
        if reply.status == 403 || tokio::time::Instant::now() > deadline {
            break reply;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert_eq!((last.status.as_u16(), last.kind().as_str()), (403, "NotAuthorizedException"));
    assert!(last.text().contains("Streaming session token is expired"));
}

#[tokio::test]
async fn what_a_session_may_be_is_checked() {
    let kvs = Kvs::start(without_quotas).await;
    let kind = async |body: Value| kvs.call("/getHLSStreamingSessionURL", body).await.kind();
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(10.0)});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    for bad in [
        json!({}),
        json!({"StreamName": "cam-1", "Expires": 299}),
        json!({"StreamName": "cam-1", "Expires": 43201}),
        json!({"StreamName": "cam-1", "PlaybackMode": "ON-DEMAND"}),
        json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND"}),
        json!({"StreamName": "cam-1", "HLSFragmentSelector": selector}),
        json!({"StreamName": "cam-1", "MaxMediaPlaylistFragmentResults": 5001}),
    ] {
        assert_eq!(kind(bad.clone()).await, "InvalidArgumentException", "{bad}");
    }
    let future = json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP",
        "TimestampRange": {"StartTimestamp": ago(-60.0), "EndTimestamp": ago(-120.0)}});
    let body = json!({"StreamName": "cam-1", "PlaybackMode": "ON_DEMAND", "HLSFragmentSelector": future});
    assert_eq!(kind(body).await, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_session_is_for_one_player() {
    // 5 playlists and 20 fragments a second.
    let kvs = Kvs::start(|_| {}).await;
    let url = kvs.open(json!({"StreamName": "cam-1"})).await;
    let media = format!("{}&TrackNumber=1", url.replace("MasterPlaylist", "MediaPlaylist"));
    let playlist = kvs.get(&media).await.text();
    let segment = playlist.lines().find(|line| line.starts_with("getMP4Media")).unwrap();
    let segment = format!("{}/{segment}", url.rsplit_once('/').unwrap().0);
    for (url, most) in [(&media, 12), (&segment, 60)] {
        let mut throttled = false;
        for _ in 0..most {
            let reply = kvs.get(url).await;
            if reply.status == 400 {
                assert_eq!(reply.kind(), "ClientLimitExceededException");
                throttled = true;
                break;
            }
        }
        assert!(throttled, "{url}");
    }
    let requests = kvs.requests().await;
    let name = segment.rsplit_once('/').unwrap().1;
    let (number, _) = name.split_once('&').unwrap();
    let seen = requests["resources"][format!("{number}&TrackNumber=1")].as_u64().unwrap();
    assert!(seen > 20, "{requests:#}");
    assert_eq!(requests["streams"]["cam-1"]["GetMP4MediaFragment"]["throttled"], 1);
}

#[tokio::test]
async fn five_connections_of_media_and_no_more() {
    let kvs = Kvs::start(|_| {}).await;
    let range = json!({"StartTimestamp": ago(60.0), "EndTimestamp": ago(10.0)});
    let selector = json!({"FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": range});
    let list = json!({"StreamName": "cam-1", "FragmentSelector": selector});
    let listed = kvs.call("/listFragments", list).await.json();
    let body = json!({"StreamName": "cam-1", "Fragments": [listed["Fragments"][0]["FragmentNumber"]]});
    let slow = json!({"operation": "GetMediaForFragmentList", "times": 5,
        "fault": {"kind": "trickle", "bytes_per_second": 10}});
    kvs.fault(slow).await;
    let kvs = Arc::new(kvs);
    let slow: Vec<_> = (0..5)
        .map(|_| {
            let (kvs, body) = (kvs.clone(), body.clone());
            tokio::spawn(async move { kvs.call("/getMediaForFragmentList", body).await })
        })
        .collect();
    let bytes = async || kvs.requests().await["total"]["GetMediaForFragmentList"]["bytes"].as_u64();
    while bytes().await.unwrap_or(0) < 5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sixth = kvs.call("/getMediaForFragmentList", body.clone()).await;
    assert_eq!((sixth.status.as_u16(), sixth.kind().as_str()), (400, "ConnectionLimitExceededException"));
    slow.iter().for_each(tokio::task::JoinHandle::abort);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while kvs.call("/getMediaForFragmentList", body.clone()).await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "connections must be given back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn live_replay_starts_at_the_start_and_grows_to_its_end() {
    let kvs = Kvs::start(without_quotas).await;
    let range = json!({"StartTimestamp": ago(600.0), "EndTimestamp": ago(589.0)});
    let selector = json!({"FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": range});
    let body = json!({"StreamName": "cam-1", "PlaybackMode": "LIVE_REPLAY", "HLSFragmentSelector": selector,
        "MaxMediaPlaylistFragmentResults": 3});
    let url = kvs.open(body).await.replace("MasterPlaylist", "MediaPlaylist") + "&TrackNumber=1";
    let first = kvs.get(&url).await.text();
    assert!(first.contains("#EXT-X-MEDIA-SEQUENCE:0\n") && first.matches("#EXTINF").count() == 3, "{first}");
    assert!(!first.contains("ENDLIST") && !first.contains("PLAYLIST-TYPE"), "{first}");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let last = loop {
        let next = kvs.get(&url).await.text();
        if next.contains("#EXT-X-ENDLIST") {
            break next;
        }
        assert!(tokio::time::Instant::now() < deadline, "{next}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    assert!(
        last.contains("#EXT-X-MEDIA-SEQUENCE:2\n") || last.contains("#EXT-X-MEDIA-SEQUENCE:3\n"),
        "{last}"
    );
    assert_eq!(last.matches("#EXTINF").count(), 3);
}

#[tokio::test]
async fn a_stream_has_the_producer_of_its_configuration() {
    let kvs = Kvs::start(|config| {
        config.producers =
            [("cam-2".to_owned(), Producer { sound: SoundCodec::None, ..Producer::default() })].into()
    })
    .await;
    for (name, media_type) in [("cam-1", "video/h264,audio/aac"), ("cam-2", "video/h264")] {
        let described = kvs.call("/describeStream", json!({"StreamName": name})).await.json();
        assert_eq!(described["StreamInfo"]["MediaType"], media_type);
        let playlist = kvs.get(&kvs.open(json!({"StreamName": name})).await).await.text();
        assert_eq!(playlist.contains("mp4a"), name == "cam-1", "{playlist}");
    }
}

#[tokio::test]
async fn a_producer_changes_on_request_and_unknown_words_are_named() {
    let kvs = Kvs::start(without_quotas).await;
    let media_type = async || {
        let info = kvs.call("/describeStream", json!({"StreamName": "cam-1"})).await.json();
        info["StreamInfo"]["MediaType"].as_str().unwrap().to_owned()
    };
    let change = |producer: Value| kvs.admin(Method::POST, "streams/cam-1", json!({"producer": producer}));
    assert_eq!(media_type().await, "video/h264,audio/aac");
    let reply = change(json!({"video": "h265", "container": "sdk", "timing": "varied"})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(change(json!({"sound": "alaw"})).await.status, 200, "the other fields stay");
    assert_eq!(media_type().await, "video/h265,audio/alaw");
    for (wrong, named) in [
        (json!({"video": "h266"}), "unknown variant `h266`, expected one of `h264`, `h264_b_frames`, `h265`"),
        (json!({"codec": "h265"}), "unknown field `codec`"),
        (json!({"run_seconds": -1}), "run_seconds"),
    ] {
        let reply = change(wrong).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text().contains(named) || named == "run_seconds", "{}", reply.text());
    }
    assert_eq!(media_type().await, "video/h265,audio/alaw", "a refused change changes nothing");
}

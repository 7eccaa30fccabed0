//! Clips of any length, packaged from stored fragments: their length, ranges and entity tag, what they cost
//! KVS, and what they refuse.

use crate::harness::{Answer, Edge, Setup};
use bytes::Bytes;
use kvs_edge::kvs::Timestamp;
use kvs_edge_emulator as emulator;
use serde_json::json;

fn now() -> u64 {
    Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000
}

async fn ask(edge: &Edge, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask_at(edge, &edge.url, method, path, headers).await
}

/// Asks the gateway at this address.
async fn ask_at(edge: &Edge, url: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", edge.alice());
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend_from_slice(headers);
    edge.http.send(method, &format!("{url}{path}"), &all, String::new()).await
}

/// Settled footage of cam-1 that ends so many seconds ago.
fn clip(file: &str, seconds: u64, ago: u64) -> String {
    let end = now() - ago;
    format!("/streams/cam-1/{file}start={}&end={end}", end - seconds)
}

const FILES: [&str; 3] = ["clip.mp4?", "clip.mp4?format=plain&", "clip.mkv?"];

#[tokio::test]
async fn a_clip_of_hours_says_its_length_and_keeps_it() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?", 2 * 3600, 600);
    let whole = ask(&edge, "GET", &path, &[]).await;
    assert_eq!((whole.status, whole.broken), (200, false), "{}", whole.text());
    assert_eq!(whole.header("content-length").unwrap(), whole.body.len().to_string());
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    assert_eq!(whole.header("cache-control"), Some("private, no-cache"));
    let (start, end) = whole.header("kvs-edge-range").unwrap().split_once('/').unwrap();
    let name = whole.header("content-disposition").unwrap();
    assert_eq!(name, format!("attachment; filename=\"cam-1_{start}_{end}.mp4\"").replace(':', "-"));
    // KVS's clips end at 200 fragments.
    let seconds = |text: &str| Timestamp::parse(text).unwrap().millis() / 1000;
    assert!((7200..7210).contains(&(seconds(end) - seconds(start))), "{start} {end}");
    assert_eq!(edge.reached_by("GetClip").await, 0);
    assert_eq!(edge.reached_by("GetHLSStreamingSessionURL").await, 0);
}

#[tokio::test]
async fn every_file_of_a_range_costs_kvs_its_fragments_once() {
    let edge = Edge::start().await;
    let (end, mut fetched) = (now() - 300, Vec::new());
    for file in FILES {
        let path = format!("/streams/cam-1/{file}start={}&end={end}", end - 600);
        let whole = ask(&edge, "GET", &path, &[]).await;
        assert_eq!(whole.status, 200, "{}", whole.text());
        let again = ask(&edge, "GET", &path, &[]).await;
        assert_eq!((again.header("etag"), &again.body), (whole.header("etag"), &whole.body));
        assert_eq!(again.header("cache-status"), Some("kvs-edge; hit"));
        fetched.push(edge.reached_by("GetMediaForFragmentList").await);
    }
    assert!(fetched[0] >= 1);
    assert_eq!(fetched[1..], [fetched[0]; 2]);
    for layout in ["fragmented", "plain", "matroska"] {
        let label = format!("layout=\"{layout}\"");
        assert!(edge.metric("kvs_edge_packaged_bytes_total", &[&label]).await > 0.0, "{layout}");
    }
}

#[tokio::test]
async fn head_says_what_get_would_without_fetching_the_range() {
    let edge = Edge::start().await;
    for file in FILES {
        edge.forget_reached().await;
        let path = clip(file, 1800, 300);
        let before = edge.metric("kvs_edge_upstream_bytes_total", &["GetMediaForFragmentList"]).await;
        let head = ask(&edge, "HEAD", &path, &[]).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        // The first fragment decides the header of the file.
        assert!(edge.reached_by("GetMediaForFragmentList").await <= 1);
        let after = edge.metric("kvs_edge_upstream_bytes_total", &["GetMediaForFragmentList"]).await;
        let bytes = after - before;
        let get = ask(&edge, "GET", &path, &[]).await;
        for name in ["content-length", "etag", "content-type", "kvs-edge-range", "accept-ranges"] {
            assert_eq!(head.header(name), get.header(name), "{name}");
        }
        assert!(bytes < get.body.len() as f64 / 10.0, "{bytes} bytes for a HEAD");
    }
}

#[tokio::test]
async fn any_range_is_a_part_of_the_same_bytes_in_every_replica_and_after_a_restart() {
    let edge = Edge::start().await;
    let (other, other_url) = edge.another().await;
    for file in FILES {
        let path = clip(file, 300, 300);
        let whole = ask(&edge, "GET", &path, &[]).await;
        let etag = whole.header("etag").unwrap().to_owned();
        let length = whole.body.len();
        for (from, to) in [(0, 99), (1000, 5000), (length / 3, length / 2), (length - 700, length - 1)] {
            let range = format!("bytes={from}-{to}");
            let part =
                ask_at(&edge, &other_url, "GET", &path, &[("range", &range), ("if-range", &etag)]).await;
            assert_eq!(part.status, 206, "{file} {range}");
            assert_eq!(part.header("content-range").unwrap(), format!("bytes {from}-{to}/{length}"));
            assert_eq!(part.header("etag"), Some(etag.as_str()));
            assert_eq!(part.body, whole.body.slice(from..=to), "{file} {range}");
        }
        let suffix = ask_at(&edge, &other_url, "GET", &path, &[("range", "bytes=-500")]).await;
        assert_eq!((suffix.status, &suffix.body), (206, &whole.body.slice(length - 500..)));
        let beyond = ask(&edge, "GET", &path, &[("range", "bytes=99999999999-")]).await;
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range").unwrap(), format!("bytes */{length}"));
        let another = ask(&edge, "GET", &path, &[("range", "bytes=0-9"), ("if-range", "\"x\"")]).await;
        assert_eq!((another.status, another.body.len()), (200, length));
        let known = ask(&edge, "GET", &path, &[("if-none-match", &etag)]).await;
        assert_eq!((known.status, known.body.len()), (304, 0));
    }
    other.drain().await;
}

#[tokio::test]
async fn a_range_needs_the_fragments_that_it_touches_and_no_others() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?", 3 * 3600, 300);
    let head = ask(&edge, "HEAD", &path, &[]).await;
    let length: u64 = head.header("content-length").unwrap().parse().unwrap();
    let before = edge.metric("kvs_edge_upstream_bytes_total", &["GetMediaForFragmentList"]).await;
    let range = format!("bytes={}-{}", length / 2, length / 2 + 20_000);
    let part = ask(&edge, "GET", &path, &[("range", &range)]).await;
    assert_eq!((part.status, part.body.len()), (206, 20_001));
    let fetched = edge.metric("kvs_edge_upstream_bytes_total", &["GetMediaForFragmentList"]).await - before;
    assert!(fetched < 200_000.0, "{fetched} bytes for a range of 20,001");
}

#[tokio::test]
async fn without_an_end_the_address_is_completed_and_an_end_in_the_future_is_refused() {
    let edge = Edge::start().await;
    let start = now() - 60;
    let open = format!("/streams/cam-1/clip.mp4?start={start}&trim=exact");
    let answer = ask(&edge, "GET", &open, &[]).await;
    assert_eq!(answer.status, 302);
    assert!(answer.header("location").unwrap().starts_with("http://edge.test/streams/"));
    let location = answer.location();
    assert!(location.starts_with(&format!("{open}&end=")), "{location}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let clip = ask(&edge, "GET", &location, &[]).await;
    assert_eq!(clip.status, 200, "{}", clip.text());
    let again = ask(&edge, "GET", &location, &[]).await;
    assert_eq!(again.header("content-length"), clip.header("content-length"));
    let ahead = ask(&edge, "GET", &format!("{open}&end={}", now() + 600), &[]).await;
    assert_eq!((ahead.status, ahead.kind()), (400, "InvalidArgumentException"));
    assert!(ahead.message().contains("end is in the future: it is 20"), "{}", ahead.message());
}

#[tokio::test]
async fn nothing_in_the_range_is_not_found_and_the_nearest_footage_is_named() {
    let edge = Edge::start().await;
    edge.fault(json!({"operation": "ListFragments", "fault": {"kind": "no_data"}})).await;
    let answer = ask(&edge, "GET", &clip("clip.mp4?", 20, 900), &[]).await;
    assert_eq!((answer.status, answer.kind()), (404, "ResourceNotFoundException"));
    assert!(answer.message().contains("nothing is recorded of cam-1 from 20"), "{}", answer.message());
}

#[tokio::test]
async fn policy_judges_what_is_delivered() {
    let setup = Setup {
        policies: r#"permit (principal, action in Action::"Download", resource)
            when { context.start_age <= 3600 && context.duration <= 600 };
            permit (principal, action in Action::"Describe", resource);"#
            .to_owned(),
        ..Setup::default()
    };
    let edge = setup.start().await;
    let at =
        |start: u64, seconds: u64| format!("/streams/cam-1/clip.mp4?start={start}&end={}", start + seconds);
    let begins = |answer: &Answer| {
        let (start, end) = answer.header("kvs-edge-range").unwrap().split_once('/').unwrap();
        (Timestamp::parse(start).unwrap().millis(), Timestamp::parse(end).unwrap().millis())
    };
    // The fragment that covers the start begins before what is permitted, and the last one ends behind it.
    let start = now() - 3590;
    let answer = ask(&edge, "GET", &at(start, 600), &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (from, to) = begins(&answer);
    assert!(to - from <= 600_000, "{from} {to}");
    let short = ask(&edge, "GET", &at(now() - 1800, 60), &[]).await;
    let (from, _) = begins(&short);
    assert!(from <= (now() - 1800) * 1000);
    // Nothing is said of footage that the caller may not have.
    edge.fault(json!({"operation": "ListFragments", "fault":
        {"kind": "missing", "from": now() - 4000, "to": now()}}))
        .await;
    purge(&edge).await;
    let nothing = ask(&edge, "GET", &at(now() - 1800, 60), &[]).await;
    assert_eq!(nothing.status, 404, "{}", nothing.text());
    assert!(!nothing.message().contains("nearest"), "{}", nothing.message());
    edge.clear_faults().await;
    for denied in [at(now() - 3700, 60), at(now() - 3000, 700)] {
        assert_eq!(ask(&edge, "GET", &denied, &[]).await.status, 403);
    }
}

#[tokio::test]
async fn a_fragment_that_kvs_does_not_give_breaks_the_clip_and_is_not_kept() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?", 600, 300);
    // The first fragment comes; of those that follow it, KVS refuses one each time.
    let fault =
        json!({"operation": "GetMediaForFragmentList", "fault": {"kind": "in_band_error"}, "skip": 1});
    edge.fault(fault).await;
    let broken = ask(&edge, "GET", &path, &[]).await;
    assert_eq!((broken.status, broken.broken), (200, true));
    edge.clear_faults().await;
    let etag = broken.header("etag").unwrap().to_owned();
    let range = format!("bytes={}-", broken.body.len());
    let rest = ask(&edge, "GET", &path, &[("range", &range), ("if-range", &etag)]).await;
    assert_eq!((rest.status, rest.broken), (206, false), "{}", rest.text());
    let whole = ask(&edge, "GET", &path, &[]).await;
    assert_eq!(whole.header("etag"), Some(etag.as_str()));
    let joined: Bytes = [&broken.body[..], &rest.body[..]].concat().into();
    assert_eq!(joined, whole.body, "what came before the break is good");
}

#[tokio::test]
async fn kvs_makes_the_clip_if_it_is_asked_to() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?source=kvs&", 20, 300);
    let answer = ask(&edge, "GET", &path, &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(edge.reached_by("GetClip").await, 1);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 0);
}

/// Removes everything that is kept of cam-1.
async fn purge(edge: &Edge) {
    let arn = ask(edge, "GET", "/streams/cam-1", &[]).await.json()["arn"].as_str().unwrap().to_owned();
    let url = format!("{}/cache/purge?stream={arn}", edge.admin);
    let purged = edge.http.post(&url, &[], String::new()).await;
    assert_eq!(purged.status, 200, "{}", purged.text());
}

#[tokio::test]
async fn a_range_of_too_many_fragments_is_refused_with_the_end_that_could_be_asked_for() {
    let camera = emulator::Producer { timing: emulator::Timing::Jitter, ..emulator::Producer::sdk() };
    let mut setup = Setup::default();
    setup.emulator.producers.insert("cam-1".to_owned(), camera);
    let edge = setup.start().await;
    let answer = ask(&edge, "HEAD", &clip("clip.mp4?", 23 * 3600, 600), &[]).await;
    assert_eq!(answer.status, 400);
    let answer = ask(&edge, "GET", &clip("clip.mp4?", 23 * 3600, 600), &[]).await;
    let message = answer.message();
    assert!(message.contains("a clip at most 65535, which end at 20"), "{message}");
}

/// The server time in seconds of the fragment of a clip that begins nearest to its middle.
async fn middle(edge: &Edge, path: &str) -> f64 {
    let list = ask(edge, "GET", &path.replace("clip.mp4", "fragments"), &[]).await.json();
    let rows = list["fragments"].as_array().unwrap();
    let start = rows[rows.len() / 2]["server_start"].as_str().unwrap();
    Timestamp::parse(start).unwrap().millis() as f64 / 1000.0
}

#[tokio::test]
async fn footage_that_is_gone_in_mid_clip_breaks_the_body_and_the_resume_says_so() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?", 600, 300);
    let at = middle(&edge, &path).await;
    let gone = json!({"kind": "missing", "from": at - 0.5, "to": at + 0.5});
    edge.fault(json!({"operation": "GetMediaForFragmentList", "fault": gone})).await;
    let broken = ask(&edge, "GET", &path, &[]).await;
    assert_eq!((broken.status, broken.broken), (200, true));
    let length: usize = broken.header("content-length").unwrap().parse().unwrap();
    assert!(broken.body.len() > length / 3 && broken.body.len() < length * 2 / 3, "{}", broken.body.len());
    // Once the list says so too, the clip is another one, and the resume begins anew.
    edge.fault(json!({"operation": "ListFragments", "fault": gone})).await;
    purge(&edge).await;
    let etag = broken.header("etag").unwrap();
    let range = format!("bytes={}-", broken.body.len());
    let resumed = ask(&edge, "GET", &path, &[("range", &range), ("if-range", etag)]).await;
    assert_eq!((resumed.status, resumed.broken), (200, false), "{}", resumed.text());
    assert_ne!(resumed.header("etag"), Some(etag));
    assert!(resumed.body.len() < length);
}

#[tokio::test]
async fn a_fragment_that_appears_between_two_ranges_changes_the_entity_tag() {
    let edge = Edge::start().await;
    let path = clip("clip.mp4?", 60, 10);
    let at = middle(&edge, &path).await;
    purge(&edge).await;
    let late = json!({"kind": "missing", "from": at - 0.5, "to": at + 0.5});
    edge.fault(json!({"operation": "ListFragments", "fault": late})).await;
    let before = ask(&edge, "GET", &path, &[("range", "bytes=0-9999")]).await;
    assert_eq!(before.status, 206, "{}", before.text());
    let etag = before.header("etag").unwrap();
    edge.clear_faults().await;
    // Footage younger than `cache.settle` is listed anew within seconds.
    edge.until("the list has changed", || async {
        let after = ask(&edge, "GET", &path, &[("range", "bytes=10000-19999"), ("if-range", etag)]).await;
        after.status == 200 && after.header("etag") != Some(etag)
    })
    .await;
}

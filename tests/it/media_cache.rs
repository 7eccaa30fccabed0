//! One fetch, any number of readers, nothing ever half: the media cache through the running edge.

use crate::harness::{Answer, Edge, Setup};
use http_body_util::BodyExt;
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Settled footage of a camera.
fn clip(stream: &str, seconds: u64) -> String {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    format!("/streams/{stream}/clip.mp4?source=kvs&start={}&end={end}", end - seconds)
}

fn fault(operation: &str, fault: Value, times: u64) -> Value {
    json!({"operation": operation, "fault": fault, "times": times})
}

async fn together(edge: &Edge, path: &str, tokens: &[String]) -> Vec<Answer> {
    let mut asking = tokio::task::JoinSet::new();
    for token in tokens {
        let (http, url, bearer) =
            (edge.http.clone(), format!("{}{path}", edge.url), format!("Bearer {token}"));
        asking.spawn(async move { http.get(&url, &[("authorization", &bearer)]).await });
    }
    asking.join_all().await
}

/// Fragments of a camera that have settled.
async fn numbers(edge: &Edge, count: usize) -> Vec<String> {
    numbers_of(edge, 60, count).await
}

/// The first so many of that many seconds.
async fn numbers_of(edge: &Edge, seconds: u64, count: usize) -> Vec<String> {
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let list =
        edge.get(&format!("/streams/cam-1/fragments?start={}&end={end}", end - seconds), edge.alice()).await;
    let json = list.json();
    let rows = json["fragments"].as_array().unwrap();
    rows.iter().take(count).map(|row| row["number"].as_str().unwrap().to_owned()).collect()
}

async fn media(edge: &Edge, numbers: &[&str]) -> Answer {
    let body = json!({"StreamName": "cam-1", "Fragments": numbers});
    edge.call("/getMediaForFragmentList", edge.alice(), &body).await
}

#[tokio::test]
async fn two_hundred_who_ask_at_once_cost_one_request_and_get_equal_bytes() {
    let edge = Edge::start().await;
    edge.fault(fault("GetClip", json!({"kind": "trickle", "bytes_per_second": 400_000}), 1)).await;
    let tokens: Vec<_> =
        (0..200).map(|who| edge.token(&format!("viewer-{who}"), &["investigators"])).collect();
    let answers = together(&edge, &clip("cam-1", 20), &tokens).await;
    for answer in &answers {
        assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
        assert_eq!(answer.body, answers[0].body);
    }
    assert!(answers[0].body.len() > 50_000);
    assert_eq!(edge.reached_by("GetClip").await, 1);
    assert_eq!(edge.metric("kvs_edge_requests_total", &["cache=\"miss\""]).await, 1.0);
}

#[tokio::test]
async fn a_reader_who_stalls_holds_nobody_else_back() {
    let edge = Edge::start().await;
    let path = clip("cam-1", 30);
    edge.fault(fault("GetClip", json!({"kind": "trickle", "bytes_per_second": 1_000_000}), 1)).await;
    let request = http::Request::get(format!("{}{path}", edge.url))
        .header("authorization", format!("Bearer {}", edge.alice()))
        .body(bytes::Bytes::new())
        .unwrap();
    let client = kvs_edge::net::client::Client::new(kvs_edge::net::client::Options {
        allow_http: true,
        ..Default::default()
    })
    .unwrap();
    let minute = std::time::Duration::from_secs(60);
    let limits =
        kvs_edge::net::client::Limits { first_byte: minute, between_bytes: minute, whole: minute * 2 };
    let stalled = client.send(request, &limits).await.unwrap();
    let mut body = stalled.into_body();
    let first = body.frame().await.unwrap().unwrap();
    // From here on it reads nothing until all the others are done.
    let answers = together(&edge, &path, &vec![edge.alice(); 49]).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body));
    assert_eq!(edge.reached_by("GetClip").await, 1);
    let rest = body.collect().await.unwrap().to_bytes();
    let all = [first.into_data().unwrap(), rest].concat();
    assert_eq!(all, answers[0].body);
}

#[tokio::test]
async fn a_fetch_that_breaks_aborts_its_readers_and_leaves_nothing_behind() {
    for kind in ["reset", "truncate"] {
        let edge = Edge::start().await;
        let path = clip("cam-1", 20);
        edge.fault(json!([
            {"operation": "GetClip", "fault": {"kind": kind, "after_bytes": 30_000}, "times": 1},
            {"operation": "GetClip", "fault": {"kind": "trickle", "bytes_per_second": 200_000}, "times": 1}
        ]))
        .await;
        let broken = together(&edge, &path, &vec![edge.alice(); 8]).await;
        let whole = edge.get(&path, edge.alice()).await;
        assert_eq!((whole.status, whole.broken), (200, false), "{kind}");
        for answer in broken {
            let short = answer.body.len() < whole.body.len();
            assert!(answer.broken == short, "{kind}: a short body that looks whole: {}", answer.body.len());
            assert!(answer.broken || answer.body == whole.body, "{kind}");
        }
        assert_eq!(edge.get(&path, edge.alice()).await.body, whole.body);
    }
}

#[tokio::test]
async fn who_may_is_asked_before_what_is_held_and_the_entry_is_everybodys() {
    let edge = Edge::start().await;
    let path = clip("cam-1", 10);
    assert_eq!(edge.get(&path, edge.alice()).await.status, 200);
    assert_eq!(edge.get(&path, edge.bob()).await.status, 403);
    let anonymous = edge.http.get(&format!("{}{path}", edge.url), &[]).await;
    assert_eq!(anonymous.status, 401);
    let carol = edge.get(&path, edge.token("carol", &["investigators"])).await;
    assert_eq!((carol.status, carol.header("cache-status")), (200, Some("kvs-edge; hit")));
    assert_eq!(edge.reached_by("GetClip").await, 1);
}

#[tokio::test]
async fn a_purge_reaches_memory_and_disk_and_other_streams_stay() {
    let setup = Setup { more: DISK.to_owned(), ..Setup::default() };
    let edge = setup.start().await;
    let (one, other) = (clip("cam-1", 10), clip("cam-2", 10));
    for path in [&one, &other] {
        assert_eq!(edge.get(path, edge.alice()).await.status, 200);
    }
    let arn = edge.get("/streams/cam-1", edge.alice()).await.json()["arn"].as_str().unwrap().to_owned();
    let purged =
        edge.http.post(&format!("{}/cache/purge?stream={arn}", edge.admin), &[], String::new()).await;
    assert!(purged.json()["purged"].as_u64().unwrap() >= 1, "{}", purged.text());
    assert!(edge.get(&one, edge.alice()).await.header("cache-status").unwrap().contains("fwd"));
    assert_eq!(edge.get(&other, edge.alice()).await.header("cache-status"), Some("kvs-edge; hit"));
    assert_eq!(edge.reached_by("GetClip").await, 3);
}

const DISK: &str = "[cache.disk]\npath = \"disk\"\nsize = \"256MiB\"\n";

#[tokio::test]
async fn the_disk_outlives_the_edge() {
    let folder = tempfile::tempdir().unwrap();
    let disk =
        format!("[cache.disk]\npath = \"{}\"\nsize = \"256MiB\"\n", folder.path().join("disk").display());
    let path = clip("cam-1", 10);
    let mut first = Setup { more: disk.clone(), ..Setup::default() }.start().await;
    // The second world's cameras are the first one's, so the stream's ARN is too.
    let whole = first.get(&path, first.alice()).await;
    let list = numbers(&first, 3).await;
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let fragments = media(&first, &list).await;
    assert_eq!((whole.status, fragments.status), (200, 200), "{}", fragments.text());
    let name = |edge: &Edge| format!("{}/metrics", edge.admin);
    let arn = first.get("/streams/cam-1", first.alice()).await.json()["arn"].clone();
    first
        .until("all is written", || async {
            let text = first.http.get(&name(&first), &[]).await.text();
            text.lines()
                .filter(|line| line.starts_with("kvs_edge_cache_bytes{") && line.contains("disk"))
                .any(|line| {
                    line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() >= whole.body.len() as f64
                })
        })
        .await;
    first.running.take().unwrap().drain().await;
    let second = Setup { more: disk, ..Setup::default() }.start().await;
    assert_eq!(second.get("/streams/cam-1", second.alice()).await.json()["arn"], arn);
    let again = second.get(&path, second.alice()).await;
    assert_eq!((again.header("cache-status"), &again.body), (Some("kvs-edge; hit"), &whole.body));
    assert_eq!(second.reached_by("GetClip").await, 0);
    let fragments_again = media(&second, &list).await;
    assert_eq!(fragments_again.body, fragments.body);
    assert_eq!(second.reached_by("GetMediaForFragmentList").await, 0);
}

#[tokio::test]
async fn a_list_of_fragments_asks_kvs_only_for_those_that_are_not_held() {
    let edge = Edge::start().await;
    let numbers = numbers(&edge, 6).await;
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let two = media(&edge, &all[1..3]).await;
    assert_eq!((two.status, two.header("content-type")), (200, Some("video/webm")), "{}", two.text());
    edge.forget_reached().await;
    assert_eq!(media(&edge, &all[1..3]).await.body, two.body);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 0);
    // In the order of the request, with one of them twice.
    let mixed = media(&edge, &[all[0], all[2], all[1], all[2], all[5]]).await;
    assert!(!mixed.broken);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 1);
    let mut expected = Vec::new();
    for number in [all[0], all[2], all[1], all[2], all[5]] {
        expected.extend_from_slice(&media(&edge, &[number]).await.body);
    }
    assert_eq!(mixed.body, expected);
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 1);
}

#[tokio::test]
async fn those_who_want_the_same_fragments_at_once_share_one_call() {
    let edge = Edge::start().await;
    let numbers = numbers(&edge, 8).await;
    edge.fault(fault("GetMediaForFragmentList", json!({"kind": "delay", "millis": 300}), 1)).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let (http, url, token) = (edge.http.clone(), edge.url.clone(), format!("Bearer {}", edge.alice()));
        let body = json!({"StreamName": "cam-1", "Fragments": &numbers}).to_string();
        asking.spawn(async move {
            http.post(&format!("{url}/getMediaForFragmentList"), &[("authorization", &token)], body).await
        });
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|answer| answer.status == 200 && !answer.broken));
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(edge.reached_by("GetMediaForFragmentList").await, 1);
}

#[tokio::test]
async fn a_fragment_that_is_not_there_is_a_404_alone_and_a_broken_body_behind_others() {
    let edge = Edge::start().await;
    let numbers = numbers(&edge, 2).await;
    let absent = "91343852333181432392682062607743920146264161793";
    let alone = media(&edge, &[absent]).await;
    assert_eq!((alone.status, alone.kind()), (404, "ResourceNotFoundException"), "{}", alone.text());
    let behind = media(&edge, &[&numbers[0], absent, &numbers[1]]).await;
    assert_eq!((behind.status, behind.broken), (200, true));
    let first = media(&edge, &[&numbers[0]]).await;
    assert_eq!(behind.body, first.body);
    // What KVS sent in its place has not been kept.
    edge.forget_reached().await;
    assert_eq!(media(&edge, &[absent]).await.status, 404);
    assert!(edge.reached_by("GetMediaForFragmentList").await >= 1);
}

#[tokio::test]
async fn a_list_that_breaks_under_way_is_asked_for_from_there_on() {
    let edge = Edge::start().await;
    let numbers = numbers(&edge, 6).await;
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    let reset = json!({"kind": "reset", "after_bytes": 60_000});
    edge.fault(fault("GetMediaForFragmentList", reset, 1)).await;
    let answer = media(&edge, &all).await;
    assert_eq!((answer.status, answer.broken), (200, false));
    let mut expected = Vec::new();
    for number in all {
        expected.extend_from_slice(&media(&edge, &[number]).await.body);
    }
    assert_eq!(answer.body, expected);
}

/// A client with a small window that has sent its request and takes nothing yet.
async fn stalled_client(edge: &Edge, fragments: &[&str]) -> tokio::net::TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let address = edge.url.strip_prefix("http://").unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    let body = json!({"StreamName": "cam-1", "Fragments": fragments}).to_string();
    let head = format!(
        "POST /getMediaForFragmentList HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        edge.alice(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.readable().await.unwrap();
    stream
}

#[tokio::test]
async fn a_stalled_reader_of_a_list_holds_back_neither_who_shares_it_nor_who_comes_after() {
    let edge = Edge::start().await;
    let numbers = numbers_of(&edge, 300, 100).await;
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    assert_eq!(all.len(), 100);
    let mut stalled = stalled_client(&edge, &all).await;
    // It began the call; these two ride along to its end while it reads nothing.
    let (one, other) = tokio::join!(media(&edge, &all), media(&edge, &all[50..]));
    for answer in [&one, &other] {
        assert_eq!((answer.status, answer.broken), (200, false), "{}", answer.text());
    }
    assert!(one.body.ends_with(&other.body) && one.body.len() > 1_000_000);
    let after = media(&edge, &all).await;
    assert_eq!((after.header("cache-status"), &after.body), (Some("kvs-edge; hit"), &one.body));
    // And it gets every byte when it wakes up.
    let mut late = Vec::new();
    stalled.read_to_end(&mut late).await.unwrap();
    assert!(late.starts_with(b"HTTP/1.1 200") && late.ends_with(b"0\r\n\r\n"));
    assert!(late.len() > one.body.len());
}

#[tokio::test]
async fn counting_what_a_list_lacks_is_no_hit() {
    let edge = Edge::start().await;
    let numbers = numbers(&edge, 4).await;
    let all: Vec<&str> = numbers.iter().map(String::as_str).collect();
    media(&edge, &all).await;
    let hits = || edge.metric("kvs_edge_cache_requests_total", &["tier=\"memory\"", "result=\"hit\""]);
    let before = hits().await;
    assert_eq!(media(&edge, &all).await.header("cache-status"), Some("kvs-edge; hit"));
    assert_eq!(hits().await - before, 4.0);
}

#[tokio::test]
async fn a_purge_lets_a_fetch_under_way_finish_for_its_reader_and_keeps_nothing_of_it() {
    let edge = Edge::start().await;
    let path = clip("cam-1", 20);
    edge.fault(fault("GetClip", json!({"kind": "trickle", "bytes_per_second": 150_000}), 1)).await;
    let (http, url, bearer) =
        (edge.http.clone(), format!("{}{path}", edge.url), format!("Bearer {}", edge.alice()));
    let reading = tokio::spawn(async move { http.get(&url, &[("authorization", &bearer)]).await });
    edge.until("the fetch is under way", || async {
        edge.metric("kvs_edge_cache_bytes", &["tier=\"filling\""]).await > 0.0
    })
    .await;
    let purged = edge
        .http
        .post(&format!("{}/cache/purge?stream={}", edge.admin, arn(&edge, "cam-1").await), &[], String::new())
        .await;
    assert_eq!(purged.status, 200, "{}", purged.text());
    let after = edge.get(&path, edge.alice()).await;
    let reading = reading.await.unwrap();
    assert_eq!((reading.status, reading.broken, &reading.body), (200, false, &after.body));
    assert!(after.header("cache-status").unwrap().contains("fwd"));
    assert_eq!(edge.reached_by("GetClip").await, 2);
    assert_eq!(edge.get(&path, edge.alice()).await.header("cache-status"), Some("kvs-edge; hit"));
}

async fn arn(edge: &Edge, stream: &str) -> String {
    edge.get(&format!("/streams/{stream}"), edge.alice()).await.json()["arn"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_list_that_kvs_refuses_is_refused_whatever_of_it_is_held() {
    let edge = Edge::start().await;
    let held = numbers(&edge, 2).await;
    assert_eq!(media(&edge, &[&held[0]]).await.status, 200);
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let path = format!("/streams/cam-2/fragments?start={}&end={end}", end - 30);
    let foreign =
        edge.get(&path, edge.alice()).await.json()["fragments"][0]["number"].as_str().unwrap().to_owned();
    let alone = media(&edge, &[&foreign]).await;
    assert_eq!(alone.status, 400, "{}", alone.text());
    for list in [[&held[0], &foreign], [&foreign, &held[0]], [&held[1], &foreign]] {
        let answer = media(&edge, &list.map(String::as_str)).await;
        assert_eq!((answer.status, answer.kind()), (alone.status, alone.kind()), "{list:?}");
    }
}

//! Every byte is counted: what left, aborted transfers included, and what KVS bills.

use crate::harness::Edge;
use kvs_edge::kvs::Timestamp;
use serde_json::{Value, json};
use std::fs;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A GET over a socket of its own that reads at most so many body bytes and then resets; how many it got.
async fn one(edge: &Edge, path: &str, token: &str, at_most: usize) -> usize {
    let mut socket = TcpStream::connect(edge.url.strip_prefix("http://").unwrap()).await.unwrap();
    let bearer = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    let head = format!("GET {path} HTTP/1.1\r\nHost: edge\r\n{bearer}Connection: close\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let (mut received, mut piece) = (Vec::new(), [0; 16 << 10]);
    let mut body = None;
    loop {
        if let Some(at) = body
            && received.len() - at >= at_most
        {
            break;
        }
        let read = socket.read(&mut piece).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        received.extend_from_slice(&piece[..read]);
        body = body.or_else(|| received.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4));
    }
    let at = body.unwrap();
    let text = String::from_utf8_lossy(&received[..at]).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200") || text.starts_with("http/1.1 206"), "{text}");
    if text.contains("transfer-encoding: chunked") { dechunked(&received[at..]) } else { received.len() - at }
}

/// How many body bytes there are in chunks, the last of which may be cut.
fn dechunked(mut rest: &[u8]) -> usize {
    let mut body = 0;
    while let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        rest = &rest[line + 2..];
        body += size.min(rest.len());
        rest = &rest[(size + 2).min(rest.len())..];
    }
    body
}

/// The same over HTTP/2, in parallel on one connection; what each got.
async fn two(edge: &Edge, asks: Vec<(String, usize)>, token: &str) -> Vec<usize> {
    let socket = TcpStream::connect(edge.url.strip_prefix("http://").unwrap()).await.unwrap();
    let (mut send, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut readers = Vec::new();
    for (path, at_most) in asks {
        send = send.ready().await.unwrap();
        let request = http::Request::get(format!("{}{path}", edge.url))
            .header("authorization", format!("Bearer {token}"))
            .body(())
            .unwrap();
        let (answer, _) = send.send_request(request, true).unwrap();
        readers.push(tokio::spawn(async move {
            let mut body = answer.await.unwrap().into_body();
            let mut got = 0;
            while let Some(Ok(data)) = body.data().await {
                got += data.len();
                if got >= at_most {
                    break; // dropping the body resets the stream
                }
                body.flow_control().release_capacity(data.len()).unwrap();
            }
            got
        }));
    }
    let mut got = Vec::new();
    for reader in readers {
        got.push(reader.await.unwrap());
    }
    drop(send);
    let _ = connection.await;
    got
}

/// The most that the kernel keeps for a connection, both ends together.
fn kernel() -> f64 {
    let most = |file: &str| -> f64 {
        let text = fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).unwrap();
        text.split_whitespace().last().unwrap().parse().unwrap()
    };
    most("tcp_wmem") + most("tcp_rmem")
}

/// What hyper and the listener may hold of one body beside the kernel: its write buffer and one piece.
const HELD: f64 = (256 + 64) as f64 * 1024.0;

#[tokio::test]
async fn outgoing_bytes_are_what_clients_got_and_upstream_bytes_what_the_emulator_sent() {
    let edge = Edge::start().await;
    let token = edge.alice();
    let end = Timestamp::from(kvs_edge::base::clock::now()).millis() / 1000 - 120;
    let clip = |n: u64, length: u64| {
        format!("/streams/cam-1/clip.mp4?source=kvs&start={}&end={}", end - 40 * n - length, end - 40 * n)
    };
    let master = edge.play("/streams/cam-1/live.m3u8", &token).await;
    let folder = master.strip_prefix(&edge.url).unwrap().rsplit_once('/').unwrap().0.to_owned();
    let playlist = format!("{folder}/getHLSMediaPlaylist.m3u8?TrackNumber=1");
    let text = edge.http.get(&format!("{}{playlist}", edge.url), &[]).await.body;
    let segments: Vec<String> = std::str::from_utf8(&text)
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("getMP4MediaFragment"))
        .map(|line| format!("{folder}/{line}"))
        .collect();
    assert!(!segments.is_empty());
    let before: f64 = edge.metric("kvs_edge_outgoing_bytes_total", &[]).await;
    let all = usize::MAX;
    let mut got = 0;
    let (mut aborted, mut slack) = (0, 0.0);
    // Read to the end, by HTTP/1.1 and HTTP/2: clips, a range, segments, playlists, pictures, lists, errors none.
    let mut asks: Vec<(String, usize)> = vec![
        (clip(0, 30), all),
        (clip(0, 30), all),
        (playlist.clone(), all),
        ("/streams/cam-1/snapshot.jpg".to_owned(), all),
        (format!("/streams/cam-1/snapshot.jpg?at={end}"), all),
        (format!("/streams/cam-1/fragments?start={}&end={end}", end - 30), all),
        ("/streams".to_owned(), all),
    ];
    asks.extend(segments.iter().map(|path| (path.clone(), all)));
    for (path, most) in &asks {
        got += Box::pin(one(&edge, path, token_for(path, &token), *most)).await;
    }
    let by_two = asks.iter().filter(|(path, _)| !path.starts_with("/hls")).cloned().collect();
    got += two(&edge, by_two, &token).await.into_iter().sum::<usize>();
    edge.until("all are counted", || async { edge.metric("kvs_edge_requests_in_flight", &[]).await == 0.0 })
        .await;
    let left = edge.metric("kvs_edge_outgoing_bytes_total", &[]).await - before;
    assert_eq!(left, got as f64, "whole transfers are counted to the byte");

    // Aborted: from the cache at full speed, and from KVS at a trickle, by both protocols.
    let long = clip(3, 39);
    let length = Box::pin(one(&edge, &long, &token, all)).await;
    got += length;
    for share in [10, 3, 2] {
        got += Box::pin(one(&edge, &long, &token, length / share)).await;
        aborted += 1;
    }
    let reads = [10, 3, 2].map(|share| (long.clone(), length / share)).to_vec();
    got += two(&edge, reads, &token).await.into_iter().sum::<usize>();
    aborted += 3;
    slack += 6.0 * (kernel() + HELD);
    let trickle = json!({"kind": "trickle", "bytes_per_second": 400_000});
    for n in 5..7 {
        edge.fault(json!({"operation": "GetClip", "fault": trickle, "times": 1})).await;
        got += Box::pin(one(&edge, &clip(n, 30), &token, 60_000)).await;
        aborted += 1;
        slack += 100_000.0; // a quarter of a second of it
    }
    edge.until("all are counted", || async { edge.metric("kvs_edge_requests_in_flight", &[]).await == 0.0 })
        .await;
    let left = edge.metric("kvs_edge_outgoing_bytes_total", &[]).await - before;
    let over = left - got as f64;
    println!("{got} bytes received, {left} counted: {over} more over {aborted} aborted transfers");
    assert!((0.0..=slack).contains(&over), "{over} of at most {slack}");
    assert!(over < (length * 6) as f64, "less than if aborted ones counted whole");

    // What KVS bills: everything it sent that we took off the wire.
    let sent = edge.reached().await["total"].clone();
    let (mut total, mut counted) = (0.0, 0.0);
    for (operation, count) in sent.as_object().unwrap() {
        let bytes = count["bytes"].as_f64().unwrap();
        let ours = edge.metric("kvs_edge_upstream_bytes_total", &[&format!("api=\"{operation}\"")]).await;
        (total, counted) = (total + bytes, counted + ours);
        if operation == "GetClip" {
            // Two of them were given up on the way; what was in the kernel then was sent and not received.
            assert!((0.0..=200_000.0).contains(&(bytes - ours)), "{operation}: {bytes} sent, {ours} counted");
        } else {
            assert_eq!(ours, bytes, "{operation}");
        }
    }
    println!("{total} bytes sent by KVS, {counted} counted");
    let names: Value = sent.as_object().unwrap().keys().cloned().collect();
    for name in ["GetClip", "GetImages", "GetMP4MediaFragment", "GetHLSMediaPlaylist", "ListFragments"] {
        assert!(names.as_array().unwrap().contains(&json!(name)), "{name} in {names}");
    }
}

/// Playback addresses come with their capability; a token beside it would be a second credential.
fn token_for<'a>(path: &str, token: &'a str) -> &'a str {
    if path.starts_with("/hls") { "" } else { token }
}

//! HTTP/2 without TLS, and peers that abuse it.

use super::*;
use h2::client::{ResponseFuture, SendRequest};
use std::sync::atomic::Ordering::Relaxed;

/// A client and the task that runs its connection; the task ends when the connection does.
async fn connect(edge: &Edge) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let (send, connection) = h2::client::handshake(edge.connect().await).await.unwrap();
    (send.ready().await.unwrap(), tokio::spawn(connection))
}

fn get(send: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("http://a{path}")).body(()).unwrap();
    send.send_request(request, true).unwrap().0
}

#[tokio::test]
async fn requests_are_answered_and_odd_ones_refused() {
    let edge = Edge::start(Limits::default()).await;
    let (mut send, _connection) = connect(&edge).await;
    let mut body = get(&mut send, "/").await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "127.0.0.1 Two None None");
    for (path, status) in [("/a%2fb", 400), ("//", 400), (&*format!("/{}", "x".repeat(9000)), 414)] {
        assert_eq!(get(&mut send, path).await.unwrap().status(), status, "{path:.20}");
    }
    let headers = Request::get("http://a/").header("x", "x".repeat(17 << 10)).body(()).unwrap();
    let refused = send.send_request(headers, true).unwrap().0.await.unwrap();
    assert_eq!(refused.status(), 431);
    assert_eq!(get(&mut send, "/").await.unwrap().status(), 200, "the connection goes on");
}

/// Header blocks by hand: h2's client would cut the fragment off itself.
fn request_with(stream: u8, path: &str) -> Vec<u8> {
    // GET, http, authority `a`, and the path as a literal that is not indexed.
    let block = [&[0x82, 0x86, 0x01, 1, b'a', 0x04, path.len() as u8][..], path.as_bytes()].concat();
    [&[0, 0, block.len() as u8, 1, 0x5, 0, 0, 0, stream][..], &block].concat()
}

/// The statuses of responses, as h2 writes them: indexed, as those of the static table.
async fn statuses(socket: &mut TcpStream, wanted: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    while statuses.len() < wanted {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            statuses.push(match payload.iter().find(|byte| **byte & 0xe0 != 0x20) {
                Some(0x88) => 200,
                Some(0x8c) => 400,
                other => panic!("{other:?}"),
            });
        }
    }
    statuses
}

#[tokio::test]
async fn a_path_with_a_fragment_is_refused_as_in_http1() {
    let edge = Edge::start(Limits::default()).await;
    let mut socket = edge.connect().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut seen, mut stream) = (Vec::new(), 1);
    for path in ["/", "/#f", "/", "/a?b=c#d", "/#", "/a?b=c"] {
        socket.write_all(&request_with(stream, path)).await.unwrap();
        seen.extend(statuses(&mut socket, 1).await);
        stream += 2;
    }
    assert_eq!(seen, [200, 400, 200, 400, 400, 200]);
    assert_eq!(edge.metrics.rejections(Rejection::Strict), 3);
    assert!(edge.exchange(b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n").await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_header_block_has_its_bound() {
    let edge = Edge::start(Limits::default()).await;
    let (mut send, _connection) = connect(&edge).await;
    let mut request = Request::get("http://a/");
    for n in 0..40 {
        request = request.header(format!("x-{n}"), "x".repeat(1 << 10));
    }
    let answer = send.send_request(request.body(()).unwrap(), true).unwrap().0.await;
    assert!(answer.is_err() || answer.is_ok_and(|a| a.status() == 431));
}

#[tokio::test]
async fn rapid_resets_end_the_connection_and_nobody_else() {
    let edge = Edge::start(Limits::default()).await;
    let (mut other, _connection) = connect(&edge).await;
    let (mut send, connection) = connect(&edge).await;
    for _ in 0..2_000 {
        let Ok(ready) = send.ready().await else { break };
        send = ready;
        let request = Request::get("http://a/wait").body(()).unwrap();
        let Ok((_, mut stream)) = send.send_request(request, true) else { break };
        // Long enough that the request has begun, so that it is not refused unseen.
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
    }
    assert!(connection.await.unwrap().is_err());
    assert_eq!(get(&mut other, "/").await.unwrap().status(), 200);
}

/// Slower than h2's own guard against resets of unseen requests, so that ours is the one that acts.
#[tokio::test]
async fn requests_that_are_begun_and_given_up_are_counted() {
    let edge = Edge::start(Limits { h2_early_resets: 20, ..Limits::default() }).await;
    let (mut send, connection) = connect(&edge).await;
    for _ in 0..30 {
        let Ok(ready) = send.ready().await else { break };
        send = ready;
        let request = Request::get("http://a/endless").body(()).unwrap();
        let Ok((answer, mut stream)) = send.send_request(request, true) else { break };
        if answer.await.is_err() {
            break;
        }
        stream.send_reset(h2::Reason::CANCEL);
    }
    let _ = connection.await.unwrap(); // ended, one way or the other
    edge.rejects(Rejection::RapidReset).await;
}

#[tokio::test]
async fn who_opens_no_window_is_cut() {
    let edge = Edge::start(quick()).await;
    let (mut send, connection) = connect(&edge).await;
    // The answer's body is never asked for, so its window stays shut.
    let _held = get(&mut send, "/endless").await.unwrap();
    let _ = connection.await.unwrap(); // ended, one way or the other
    edge.rejects(Rejection::WriteStall).await;
}

#[tokio::test]
async fn with_the_connection_its_requests_end() {
    let edge = Edge::start(Limits::default()).await;
    let (mut send, connection) = connect(&edge).await;
    let _held = (get(&mut send, "/wait"), get(&mut send, "/wait"));
    while edge.waiting.load(Relaxed) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    edge.drain.advance(Phase::Ended);
    let _ = connection.await.unwrap();
    while edge.waiting.load(Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_idle_connection_is_told_to_go() {
    let edge = Edge::start(quick()).await;
    let (mut send, connection) = connect(&edge).await;
    assert_eq!(get(&mut send, "/").await.unwrap().status(), 200);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    let edge = Edge::start(Limits::default()).await;
    let (mut send, connection) = connect(&edge).await;
    let request = Request::post("http://a/echo").body(()).unwrap();
    let (answer, mut body) = send.send_request(request, false).unwrap();
    edge.until(|m| m.connections() == 1).await;
    edge.drain.advance(Phase::Closing);
    while send.clone().ready().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await; // until GOAWAY is there
    }
    body.send_data("hello".into(), true).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    assert_eq!(answer.data().await.unwrap().unwrap(), "hello");
    drop((send, answer, body));
    connection.await.unwrap().unwrap();
    edge.serving.await.unwrap();
}

#[tokio::test]
async fn after_its_last_request_a_connection_goes() {
    let edge = Edge::start(Limits { requests_per_connection: 3, ..Limits::default() }).await;
    let (mut send, connection) = connect(&edge).await;
    for _ in 0..3 {
        assert_eq!(get(&mut send, "/").await.unwrap().status(), 200);
    }
    connection.await.unwrap().unwrap();
}

/// A frame: length, type, flags, stream, content.
fn frame(kind: u8, flags: u8, stream: u32, content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), content].concat()
}

/// Sends the preface, then `flood` again and again; how many times before the server had enough.
async fn flood(edge: &Edge, first: Vec<u8>, flood: Vec<u8>) -> usize {
    let mut stream = edge.connect().await;
    let settings = frame(4, 0, 0, &[]);
    let start = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings, &first].concat();
    stream.write_all(&start).await.unwrap();
    for n in 0..100_000 {
        if stream.write_all(&flood).await.is_err() {
            return n;
        }
    }
    panic!("it was never refused");
}

#[tokio::test]
async fn a_head_that_goes_on_for_ever_is_refused() {
    let edge = Edge::start(Limits::default()).await;
    // Literal headers that are not kept, in CONTINUATION frames without an end.
    let header = [&[0x00, 0x01, b'x', 0x7f, 0x81, 0x07][..], &[b'y'; 256]].concat();
    let head = frame(1, 0, 1, &[0x82, 0x84, 0x86, 0x41, 0x01, b'a']);
    let sent = flood(&edge, head.clone(), frame(9, 0, 1, &header)).await;
    assert!(sent < 50_000, "{sent}");
    let sent = flood(&edge, head, frame(9, 0, 1, &[])).await;
    assert!(sent < 50_000, "{sent}");
    edge.until(|m| m.connections() == 0).await;
}

/// Reading one answer does not buy time for another.
#[tokio::test]
async fn who_reads_one_answer_and_shuts_out_another_is_cut() {
    let edge = Edge::start(quick()).await;
    let (mut send, connection) = connect(&edge).await;
    let _held = get(&mut send, "/endless").await.unwrap();
    let reading = tokio::spawn(async move {
        loop {
            let Ok(ready) = send.ready().await else { break };
            send = ready;
            let Ok(answer) = get(&mut send, "/").await else { break };
            drop(answer.into_body().data().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let _ = connection.await.unwrap(); // ended, one way or the other
    reading.await.unwrap();
    edge.rejects(Rejection::WriteStall).await;
}

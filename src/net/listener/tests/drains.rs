//! How a listener ends.

use super::*;
use crate::net::forwarded::{Trust, TrustedProxy};

#[tokio::test]
async fn in_the_grace_work_is_taken_and_then_connections_go() {
    let edge = Edge::start(Limits::default()).await;
    let mut idle = edge.connect().await;
    idle.write_all(GET).await.unwrap();
    read_answer(&mut idle).await;
    edge.drain.advance(Phase::Grace);
    assert!(edge.exchange(GET_LAST).await.starts_with("HTTP/1.1 200"));
    let mut busy = edge.connect().await;
    busy.write_all(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    edge.until(|m| m.connections() == 2).await;

    edge.drain.advance(Phase::Closing);
    assert_eq!(read_all(&mut idle).await, "", "idle connections leave");
    assert!(TcpStream::connect(edge.address).await.is_err(), "nothing new is accepted");
    busy.write_all(b"hello").await.unwrap();
    let answer = read_all(&mut busy).await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("hello"),
        "work under way is finished: {answer}"
    );
    edge.serving.await.unwrap();
}

#[tokio::test]
async fn a_request_on_an_idle_connection_is_answered_once_more() {
    let edge = Edge::start(Limits::default()).await;
    let mut stream = edge.connect().await;
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    edge.drain.advance(Phase::Closing);
    while TcpStream::connect(edge.address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It leaves within two seconds; most likely it is still there.
    if stream.write_all(GET).await.is_ok() {
        let answer = read_all(&mut stream).await;
        assert!(answer.is_empty() || answer.contains("connection: close"), "{answer}");
    }
    edge.serving.await.unwrap();
}

#[tokio::test]
async fn the_end_cuts_what_is_left() {
    let edge = Edge::start(Limits::default()).await;
    let mut stuck = edge.connect().await;
    stuck.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut silent = edge.connect().await;
    edge.until(|m| m.connections() == 2).await;
    edge.drain.run(Duration::ZERO, Duration::from_millis(50), std::future::pending()).await;
    assert_eq!(read_all(&mut stuck).await + &read_all(&mut silent).await, "");
    edge.serving.await.unwrap();
    assert_eq!(edge.metrics.connections(), 0);
}

#[tokio::test]
async fn dropping_the_listener_cuts_everybody() {
    let edge = Edge::start(Limits::default()).await;
    let mut stuck = edge.connect().await;
    stuck.write_all(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    edge.until(|m| m.connections() == 1).await;
    edge.serving.abort();
    assert_eq!(read_all(&mut stuck).await, "");
    edge.until(|m| m.connections() == 0).await;
}

#[tokio::test]
async fn a_unix_socket_serves_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.sock");
    for (trusted, client) in [(&[][..], "127.0.0.1"), (&[TrustedProxy::Unix][..], "203.0.113.7")] {
        let bound = bind(&[ListenAddress::Unix(path.clone())]).await.unwrap();
        let (_drain, signal) = drain::channel();
        let handler = |request, peer| handle(Limits::default(), request, peer);
        let trust = Arc::new(Trust::new(trusted, Header::XForwardedFor));
        // Peers have no address by which they could be counted.
        let limits = Limits { connections_per_address: 1, ..Limits::default() };
        let options = ListenerOptions { trust, ..ListenerOptions::plain(limits) };
        let serving = tokio::spawn(serve(bound, options, handler, signal));
        let _held = tokio::net::UnixStream::connect(&path).await.unwrap();
        let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
        stream
            .write_all(
                b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n",
            )
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&format!("{client} One None None")), "{answer}");
        serving.abort();
        let _ = serving.await; // its file is gone then
    }
}

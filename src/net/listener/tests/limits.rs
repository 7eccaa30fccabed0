//! Peers that take too long, too much or too many.

use super::*;

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let edge = Edge::start(quick()).await;
    for beginning in [
        &b""[..],
        b"G",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let before = edge.metrics.rejections(Rejection::HeaderTimeout);
        let answer = edge.exchange(beginning).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        edge.until(|m| m.rejections(Rejection::HeaderTimeout) == before + 1).await;
    }
    edge.until(|m| m.connections() == 0).await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut() {
    let edge = Edge::start(quick()).await;
    let mut stream = edge.connect().await;
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: ".iter().chain(std::iter::repeat(&b'a')) {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edge.rejects(Rejection::HeaderTimeout).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_without_blame() {
    let edge = Edge::start(quick()).await;
    let mut stream = edge.connect().await;
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(read_all(&mut stream).await, "");
    for reason in Rejection::ALL {
        assert_eq!(edge.metrics.rejections(reason), 0, "{reason:?}");
    }
}

#[tokio::test]
async fn a_connection_that_slept_goes_on() {
    let edge = Edge::start(Limits::default()).await;
    let mut stream = edge.connect().await;
    let mut other = edge.connect().await;
    for piece in [1, 5, GET.len()] {
        for bytes in GET.chunks(piece) {
            stream.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
        other.write_all(GET).await.unwrap();
        read_answer(&mut other).await;
        tokio::time::sleep(Duration::from_millis(1_700)).await; // long enough to be parked
    }
    other.write_all(b"GET / HTTP/1.1\nHost: a\r\n\r\n").await.unwrap();
    assert!(read_all(&mut other).await.starts_with("HTTP/1.1 400"), "woken up, it is as strict as before");
    edge.drain.advance(Phase::Closing);
    assert_eq!(read_all(&mut stream).await, "", "asleep, it leaves when told to");
    edge.serving.await.unwrap();
}

#[tokio::test]
async fn a_sleeping_connection_has_its_time_too() {
    let edge = Edge::start(Limits { keep_alive_idle: Span::seconds(2), ..Limits::default() }).await;
    let mut stream = edge.connect().await;
    stream.write_all(GET).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(read_all(&mut stream).await, "");
    edge.until(|m| m.connections() == 0).await;
}

#[tokio::test]
async fn a_second_head_that_never_ends_is_cut() {
    let edge = Edge::start(Limits { keep_alive_idle: Span::seconds(3600), ..quick() }).await;
    let mut stream = edge.connect().await;
    stream.write_all(&[GET, b"GET /"].concat()).await.unwrap();
    read_answer(&mut stream).await;
    assert_eq!(read_all(&mut stream).await, "");
    edge.rejects(Rejection::HeaderTimeout).await;
}

#[tokio::test]
async fn who_never_reads_is_cut() {
    let edge = Edge::start(quick()).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    edge.rejects(Rejection::WriteStall).await;
    edge.until(|m| m.connections() == 0).await;
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut() {
    let limits = Limits {
        write_stall: Span::seconds(3600),
        write_minimum: ByteSize(1 << 30),
        write_window: Span(Duration::from_millis(300)),
        ..quick()
    };
    let edge = Edge::start(limits).await;
    let mut stream = edge.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut buffer = vec![0; 1 << 16];
    while edge.metrics.rejections(Rejection::WriteMinimum) == 0 {
        let _ = stream.read(&mut buffer).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_time() {
    let idle = Span(Duration::from_millis(100));
    let edge =
        Edge::start(Limits { body_size: ByteSize(1024), body_read_idle: idle, ..Limits::default() }).await;
    let head = |length: usize| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    // The answer arrives although the body was not read: the connection lingers.
    let mut large = head(1 << 20).into_bytes();
    large.resize(large.len() + (1 << 20), b'x');
    let answer = edge.exchange(&large).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let answer = edge.exchange(head(10).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn the_last_request_of_a_connection_says_so() {
    let edge = Edge::start(Limits { requests_per_connection: 2, ..Limits::default() }).await;
    let mut stream = edge.connect().await;
    stream.write_all(GET).await.unwrap();
    assert!(!read_answer(&mut stream).await.contains("connection: close"));
    stream.write_all(GET).await.unwrap();
    assert!(read_all(&mut stream).await.contains("connection: close"));
}

#[tokio::test]
async fn an_old_connection_ends_in_good_order() {
    let edge =
        Edge::start(Limits { connection_age: Span(Duration::from_millis(300)), ..Limits::default() }).await;
    let mut stream = edge.connect().await;
    let mut answers = 0;
    loop {
        stream.write_all(GET).await.unwrap();
        let answer = read_answer(&mut stream).await;
        answers += 1;
        if answer.contains("connection: close") {
            break;
        }
    }
    assert!(answers > 1);
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_by_address() {
    let edge = Edge::start(Limits { connections_total: 3, ..Limits::default() }).await;
    let held: Vec<_> = [edge.connect().await, edge.connect().await, edge.connect().await].into();
    edge.until(|m| m.connections() == 3).await;
    assert_eq!(edge.exchange(b"").await, "");
    assert_eq!(edge.metrics.rejections(Rejection::ConnectionsTotal), 1);
    drop(held);
    edge.until(|m| m.connections() == 0).await;
    assert!(edge.exchange(GET_LAST).await.starts_with("HTTP/1.1 200"));

    let edge = Edge::start(Limits { connections_per_address: 1, ..Limits::default() }).await;
    let mut held = edge.connect().await;
    held.write_all(GET).await.unwrap();
    read_answer(&mut held).await;
    assert_eq!(edge.exchange(b"").await, "");
    assert_eq!(edge.metrics.rejections(Rejection::ConnectionsPerAddress), 1);
}

#[tokio::test]
async fn short_of_memory_new_requests_are_turned_away() {
    let edge = Edge::start(Limits { memory: Some(ByteSize(1)), ..Limits::default() }).await;
    let mut answer = edge.exchange(GET_LAST).await;
    while !answer.starts_with("HTTP/1.1 503 ") {
        answer = edge.exchange(GET_LAST).await; // nobody has looked yet
    }
    for part in
        ["retry-after: 2\r\n", "x-amz-retry-after: 2000\r\n", "ThrottlingException", "connection: close"]
    {
        assert!(answer.contains(part), "{answer}");
    }
    assert_eq!(edge.metrics.rejections(Rejection::Overload), 1);
}

/// An async function keeps more than one thinks, and every idle connection pays for it.
#[tokio::test]
async fn a_connection_is_small() {
    let handler = |request, peer| handle(Limits::default(), request, peer);
    let shared = Arc::new(context::ListenerContext::new(ListenerOptions::plain(Limits::default()), handler));
    let slot = shared.table.admit().unwrap();
    let (one, _other) = tokio::net::UnixStream::pair().unwrap();
    let size = size_of_val(&connection::serve(shared, slot, socket::Socket::Unix(one), None));
    assert!(size < 4096, "{size}");
}

//! Requests that two readers might read differently are refused, and the connection is closed.

use super::*;

#[tokio::test]
async fn ordinary_requests_share_a_connection() {
    let edge = Edge::start(Limits::default()).await;
    let mut stream = edge.connect().await;
    for _ in 0..3 {
        stream.write_all(GET).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1 One None None"),
            "{answer}"
        );
    }
    let two = [GET, GET_LAST].concat();
    stream.write_all(&two).await.unwrap();
    let both = read_all(&mut stream).await;
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    for body in [
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\n\
         Content-Length: 5\r\n\r\nhello",
    ] {
        let answer = edge.exchange(body.as_bytes()).await;
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    }
}

/// After each of these a second, good request follows, which a smuggler would hide in the first: nobody may
/// answer it.
#[tokio::test]
async fn odd_requests_are_refused_and_closed() {
    let edge = Edge::start(Limits::default()).await;
    let big = "x".repeat(17 << 10);
    let huge = "x".repeat(40 << 10);
    let long = "x".repeat(9 << 10);
    let many = "a: b\r\n".repeat(70);
    for (status, request) in [
        // framing
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        ),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        (
            400,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4,4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4 4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd"),
        (400, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        // line ends, folds, control characters
        (400, "GET / HTTP/1.1\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
        // the request line
        (400, "GET /\r\n\r\n"),
        (400, "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n"),
        (501, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (417, "GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\n\r\n"),
        // host and path
        (400, "GET / HTTP/1.1\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a%2fb HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a\\b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a;b HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET //a HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1.1.1.1\r\n\r\n"),
        // sizes
        (414, &format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (431, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {big}\r\n\r\n")),
        (431, &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {huge}\r\n\r\n")),
        (431, &format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
    ] {
        let answer = edge.exchange(&[request.as_bytes(), GET_LAST].concat()).await;
        let shown: String = request.chars().take(90).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?} -> {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?} -> {answer:?}");
        assert!(!answer.contains("127.0.0.1"), "{shown:?} reached the handler: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{shown:?} -> {answer:?}");
    }
    assert_eq!(edge.metrics.rejections(Rejection::UrlTooLong), 1);
    assert_eq!(edge.metrics.rejections(Rejection::HeadersTooLarge), 3);
    assert!(
        edge.metrics.rejections(Rejection::Malformed) > 25 && edge.metrics.rejections(Rejection::Strict) > 10
    );
}

/// The same bytes in small pieces: what was not clear in one piece must not slip through between two.
#[tokio::test]
async fn pieces_make_no_difference() {
    let edge = Edge::start(Limits::default()).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
    ] {
        for step in [1, 7] {
            let mut stream = edge.connect().await;
            stream.set_nodelay(true).unwrap();
            for piece in request.as_bytes().chunks(step) {
                if stream.write_all(piece).await.is_err() {
                    break; // refused already
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let answer = read_all(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?} by {step} -> {answer:?}");
        }
    }
}

#[tokio::test]
async fn own_answers_look_like_kvs() {
    let edge = Edge::start(Limits::default()).await;
    let answer = edge.exchange(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    for part in [
        "x-amzn-errortype: InvalidArgumentException\r\n",
        "cache-control: no-store\r\n",
        "content-type: application/json\r\n",
        "\r\n\r\n{\"Message\":\"the method is not supported\"}",
    ] {
        assert!(answer.contains(part), "{answer}");
    }
}

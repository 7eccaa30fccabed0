//! Answers that are given before the request's body has come.

use super::*;

/// A request whose handler does not look at the body.
fn post(framing: &str) -> Vec<u8> {
    format!("POST /ignored HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").into_bytes()
}

fn closes(answer: &str) -> bool {
    answer.lines().any(|line| line.eq_ignore_ascii_case("connection: close"))
}

#[tokio::test]
async fn a_body_that_has_not_come_makes_the_answer_the_last_one_and_is_read_on() {
    let edge = Edge::start(Limits::default()).await;
    for framing in ["Content-Length: 600000", "Transfer-Encoding: chunked"] {
        let mut client = edge.connect().await;
        client.write_all(&post(framing)).await.unwrap();
        let answer = read_answer(&mut client).await;
        assert!(closes(&answer), "{framing}: {answer}");
        // Nothing that is still sent meets a reset.
        for _ in 0..10 {
            client.write_all(&[b'x'; 50_000]).await.unwrap();
        }
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0, "{framing}");
    }
}

#[tokio::test]
async fn what_is_read_on_is_bounded() {
    let edge = Edge::start(Limits::default()).await;
    let mut client = edge.connect().await;
    client.write_all(&post("Content-Length: 600000000")).await.unwrap();
    read_answer(&mut client).await;
    let mut sent = 0_u64;
    while client.write_all(&[b'x'; 65_536]).await.is_ok() {
        sent += 65_536;
        assert!(sent < 64 << 20, "it reads without end");
    }
}

#[tokio::test]
async fn a_body_that_came_with_its_head_leaves_the_connection_open() {
    let edge = Edge::start(Limits::default()).await;
    let mut client = edge.connect().await;
    let request = [&post("Content-Length: 5")[..], b"12345"].concat();
    for _ in 0..3 {
        client.write_all(&request).await.unwrap();
        assert!(!closes(&read_answer(&mut client).await));
    }
    // The next request has begun, and its body has not come: that is not the first one's.
    client.write_all(&[&request[..], &post("Content-Length: 9")].concat()).await.unwrap();
    assert!(!closes(&read_answer(&mut client).await));
    assert!(closes(&read_answer(&mut client).await));
}

//! What a store may answer. The real ones are asked in `tests/it/fleet_s3.rs`; here are the answers that a
//! healthy one does not give.

use super::*;
use crate::net::body::Broken;
use crate::setting::SecretSource;
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that gives these answers, one for each request and connection; and the bucket it serves.
async fn serving(answers: Vec<String>) -> (S3, tempfile::TempDir, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
            while !text.windows(4).any(|end| end == b"\r\n\r\n") {
                let read = stream.read(&mut buffer).await.unwrap();
                text.extend_from_slice(&buffer[..read]);
            }
            requests.push(String::from_utf8(text).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(b"AKTEST").unwrap();
        Some(SecretSource::File(path))
    };
    let config = Config {
        endpoint_url: Some(format!("http://{address}")),
        access_key_id: secret("id"),
        secret_access_key: secret("secret"),
        ..Config::new("media", "eu-west-1")
    };
    let client = Client::new(Options::default()).unwrap();
    let s3 = S3::open(&config, "cache.shared.s3", &client, metrics()).await.unwrap();
    (s3, folder, server)
}

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

async fn get(answers: &[String], range: Range<u64>) -> Result<(u64, Vec<u8>), Error> {
    let (s3, _folder, _server) = serving(answers.to_vec()).await;
    let object = s3.get("a/b", Some(range)).await?;
    Ok((object.length, object.bytes()))
}

#[tokio::test]
async fn a_range_is_understood_in_every_way_that_stores_answer_it() {
    let partial = answer("206 Partial Content", "content-range: bytes 2-4/10\r\n", "cde");
    assert_eq!(get(&[partial], 2..5).await.unwrap(), (10, b"cde".to_vec()));
    // rclone's.
    let ok = answer("200 OK", "content-range: bytes 2-4/10\r\n", "cde");
    assert_eq!(get(&[ok], 2..5).await.unwrap(), (10, b"cde".to_vec()));
    let whole = answer("200 OK", "", "abcdefghij");
    assert_eq!(get(std::slice::from_ref(&whole), 2..5).await.unwrap(), (10, b"cde".to_vec()));
    assert_eq!(get(std::slice::from_ref(&whole), 8..50).await.unwrap(), (10, b"ij".to_vec()));
    let clipped = answer("206 Partial Content", "content-range: bytes 8-9/10\r\n", "ij");
    assert_eq!(get(&[clipped], 8..50).await.unwrap(), (10, b"ij".to_vec()));
}

#[tokio::test]
async fn what_was_not_asked_for_is_an_error() {
    for wrong in [
        answer("206 Partial Content", "content-range: bytes 3-5/10\r\n", "def"),
        answer("206 Partial Content", "content-range: bytes 2-3/10\r\n", "cd"),
        answer("206 Partial Content", "content-range: bytes 2-4/10\r\n", "cd"),
        answer("206 Partial Content", "content-range: bytes 2-4/*\r\n", "cde"),
        answer("206 Partial Content", "", "cde"),
        answer("200 OK", "", "ab"),
    ] {
        assert!(matches!(get(std::slice::from_ref(&wrong), 2..5).await, Err(Error::Answer(_))), "{wrong}");
    }
    let endless = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabcdefghij".to_owned();
    assert!(matches!(get(&[endless], 2..5).await, Err(Error::Answer(_))), "a cut would look like its end");
    let cut = answer("206 Partial Content", "content-range: bytes 2-4/10\r\n", "cde").replace("cde", "c");
    assert!(matches!(get(&[cut], 2..5).await, Err(Error::Broken(Broken::Cut(_)))));
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let xml = |code: &str| format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
    let refused = |status: &str, code: &str| answer(status, "", &xml(code));
    assert!(matches!(get(&[refused("404 Not Found", "NoSuchKey")], 0..1).await, Err(Error::Missing)));
    assert!(matches!(get(&[answer("404 Not Found", "", "")], 0..1).await, Err(Error::Missing)));
    for (status, code) in [("404 Not Found", "NoSuchBucket"), ("403 Forbidden", "SignatureDoesNotMatch")] {
        let refused = get(&[refused(status, code)], 0..1).await;
        assert!(matches!(refused, Err(Error::Refused { code: ref shown, .. }) if shown == code));
    }
    for status in ["503 Slow Down", "500 Oops", "429 Too Many Requests"] {
        let trouble = get(&[refused(status, "SlowDown")], 0..1).await;
        assert!(matches!(trouble, Err(Error::Trouble { ref code, .. }) if code == "SlowDown"), "{status}");
    }
    let odd = get(&[answer("503 Slow Down", "", "<Code>a b\r\n</Code>")], 0..1).await;
    assert!(matches!(odd, Err(Error::Trouble { ref code, .. }) if code.is_empty()));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_late() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (s3, _folder, server) = serving(Vec::new()).await;
    server.await.unwrap();
    assert!(matches!(s3.get("a/b", None).await, Err(Error::Client(_))), "nothing listens there any more");
    drop(listener);
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        endpoint_url: Some(format!("http://{}", silent.local_addr().unwrap())),
        ..Config::new("media", "eu-west-1")
    };
    let address = config.address().unwrap();
    assert!(address.is_plain() && address.is_loopback());
    let mut bucket = Arc::into_inner(s3.0).unwrap();
    bucket.address = address;
    let error = S3(Arc::new(bucket)).get("a/b", None).await.err().unwrap();
    assert!(error.is_late(), "{error}");
}

#[tokio::test]
async fn a_request_is_signed_with_the_digest_of_its_body() {
    let (s3, _folder, server) =
        serving(vec![answer("200 OK", "", ""), answer("204 No Content", "", "")]).await;
    s3.put("a/b", Bytes::from_static(b"abc")).await.unwrap();
    s3.delete("a/b").await.unwrap();
    let requests = server.await.unwrap();
    assert!(requests[0].starts_with("PUT /media/kvs-edge/a/b HTTP/1.1\r\n"), "{requests:?}");
    // echo -n abc | sha256sum
    let digest = "x-amz-content-sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert!(requests[0].contains(digest) && requests[0].contains("content-length: 3"), "{requests:?}");
    assert!(requests[1].starts_with("DELETE /media/kvs-edge/a/b HTTP/1.1\r\n"), "{requests:?}");
}

#[test]
fn ranges_of_objects_are_read_strictly() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(text).unwrap());
        content_range(&headers)
    };
    assert_eq!(read("bytes 0-99/1000"), Some((0..100, 1000)));
    for wrong in
        ["bytes 0-1000/1000", "bytes 5-4/10", "bytes */10", "items 0-1/10", "bytes 0-1/*", "bytes 0-"]
    {
        assert_eq!(read(wrong), None, "{wrong}");
    }
}

//! The client against servers that follow a script.

use super::connect::is_local;
use super::*;
use crate::net::body::Broken;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that reads one request per connection and then follows a script.
async fn server(script: Vec<Step>) -> http::Uri {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let _ = socket.read(&mut head).await;
            for step in &script {
                match step {
                    Step::Write(text) => drop(socket.write_all(text.as_bytes()).await),
                    Step::Pause(length) => tokio::time::sleep(*length).await,
                    Step::Hang => std::future::pending().await,
                }
            }
        }
    });
    uri
}

#[derive(Clone)]
enum Step {
    Write(&'static str),
    Pause(Duration),
    Hang,
}
use Step::{Hang, Pause, Write};

const SHORT: Duration = Duration::from_millis(80);

fn client() -> Client {
    Client::new(Options { allow_http: true, ..Options::default() }).unwrap()
}

fn limits() -> Limits {
    Limits { first_byte: SHORT * 10, between_bytes: SHORT, whole: SHORT * 4 }
}

fn get(uri: http::Uri) -> Request<Bytes> {
    Request::get(uri).body(Bytes::new()).unwrap()
}

async fn body_of(script: Vec<Step>) -> Result<Bytes, Broken> {
    let uri = server(script).await;
    let response = client().send(get(uri), &limits()).await.expect("a head");
    Ok(response.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn a_whole_body_is_whole() {
    let length = body_of(vec![Write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")]).await;
    assert_eq!(length.unwrap(), "hello");
    let chunks = vec![Write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")];
    assert_eq!(body_of(chunks).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_that_ends_early_is_broken_never_short() {
    for script in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhello",
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello",
    ] {
        let broken = body_of(vec![Write(script)]).await.unwrap_err();
        assert!(matches!(broken, Broken::Cut(_)), "{script:?} gave {broken}");
    }
}

#[tokio::test]
async fn a_stalled_body_is_broken_and_so_is_an_endless_trickle() {
    let stalled = vec![Write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello"), Hang];
    assert!(matches!(body_of(stalled).await, Err(Broken::Stalled(_))));
    let mut trickle = vec![Write("HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n")];
    trickle.extend(std::iter::repeat_n([Pause(SHORT / 4), Write("x")], 100).flatten());
    assert!(matches!(body_of(trickle).await, Err(Broken::TooLong(_))));
}

#[tokio::test]
async fn a_slow_reader_is_not_the_servers_stall() {
    let uri = server(vec![Write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")]).await;
    let long = Limits { whole: Duration::from_secs(60), ..limits() };
    let response = client().send(get(uri), &long).await.unwrap();
    tokio::time::sleep(SHORT * 3).await;
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
}

#[tokio::test]
async fn errors_say_how_far_it_came() {
    let send = async |uri: http::Uri| client().send(get(uri), &limits()).await.map(drop).unwrap_err();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nobody = format!("http://{closed}/").parse().unwrap();
    assert!(matches!(send(nobody).await, Error::Connect(_)));
    assert!(matches!(send("http://no-such-host.invalid/".parse().unwrap()).await, Error::Connect(_)));
    assert!(matches!(send(server(vec![]).await).await, Error::Reset(_)));
    assert!(matches!(send(server(vec![Write("SSH-2.0-x\r\n\r\n")]).await).await, Error::Garbled(_)));
    assert!(matches!(send(server(vec![Hang]).await).await, Error::Late(_)));
    assert!(matches!(send("/path".parse().unwrap()).await, Error::Refused(_)));
    let strict = Client::new(Options::default()).unwrap();
    let plain = get("http://127.0.0.1:1/".parse().unwrap());
    assert!(matches!(strict.send(plain, &limits()).await.map(drop), Err(Error::Refused(_))));
}

#[tokio::test]
async fn a_handshake_that_hangs_counts_as_connecting() {
    let uri = server(vec![Hang]).await;
    let options = Options { connect_timeout: SHORT, ..Options::default() };
    let uri = format!("https://{}/", uri.authority().unwrap()).parse().unwrap();
    let error = Client::new(options).unwrap().send(get(uri), &limits()).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Connect(_)), "{error}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_like_any_other() {
    let uri = server(vec![Write(
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    assert_eq!(client().send(get(uri), &limits()).await.unwrap().status(), 302);
}

#[tokio::test]
async fn a_small_document_is_fetched_whole_or_refused_for_its_size() {
    let uri = server(vec![Write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"keys\":[]}")]).await;
    let fetched = client().fetch(get(uri.clone()), 11, &limits()).await.unwrap();
    assert_eq!(fetched.body(), "{\"keys\":[]}");
    assert_eq!(client().fetch(get(uri), 10, &limits()).await.unwrap_err(), Error::TooLarge(10));
}

#[tokio::test]
async fn whoever_drops_the_body_closes_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: http::Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let closed = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let _ = socket.read(&mut head).await;
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await.unwrap();
        socket.read(&mut head).await.unwrap_or(0)
    });
    let response = client().send(get(uri), &limits()).await.unwrap();
    drop(response);
    assert_eq!(closed.await.unwrap(), 0, "the server reads the end");
}

#[tokio::test]
async fn a_name_that_must_not_be_local_never_leads_to_this_machine() {
    let uri = server(vec![Write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]).await;
    let by_name =
        |name: &str| -> http::Uri { format!("http://{name}:{}/", uri.port_u16().unwrap()).parse().unwrap() };
    let options =
        Options { allow_http: true, must_not_be_local: |name| name == "localhost", ..Options::default() };
    let client = Client::new(options).unwrap();
    let error = client.send(get(by_name("localhost")), &limits()).await.map(drop).unwrap_err();
    assert!(matches!(error, Error::Connect(why) if why.contains("no address that may be")));
    let trusting = Client::new(Options { allow_http: true, ..Options::default() }).unwrap();
    assert!(trusting.send(get(by_name("localhost")), &limits()).await.is_ok());
    for local in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "::ffff:127.0.0.1"] {
        assert!(is_local(local.parse().unwrap()), "{local}");
    }
    for other in ["10.0.0.1", "52.1.2.3", "fd00:ec2::254", "2600::1"] {
        assert!(!is_local(other.parse().unwrap()), "{other}");
    }
}

/// hyper reads the head and the start of the body into one buffer, and its header values are slices of that.
/// One that is kept would keep the whole buffer.
#[tokio::test]
async fn a_header_that_is_kept_does_not_keep_the_buffer_that_it_was_read_into() {
    let head = "HTTP/1.1 200 OK\r\netag: \"1\"\r\ncontent-type: video/mp4\r\ncontent-length: 5\r\n\r\nhello";
    let uri = server(vec![Write(head)]).await;
    let mut response = client().send(get(uri), &limits()).await.unwrap();
    let body = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    // What lies this far ahead of the body is the head as it was read.
    let read = body.as_ptr().addr() - (head.len() - "hello".len())..body.as_ptr().addr();
    assert_eq!(response.headers().len(), 3);
    for (name, value) in response.headers() {
        assert!(!read.contains(&value.as_bytes().as_ptr().addr()), "{name} is a slice of the buffer");
    }
    assert_eq!(response.headers()["content-type"], "video/mp4");
}

#[tokio::test]
async fn every_request_says_that_it_comes_from_kvs_edge() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri: http::Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    for own in [None, Some("aws-sdk-rust/1.3")] {
        let mut request = get(uri.clone());
        if let Some(own) = own {
            request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(own));
        }
        let asking = tokio::spawn(async move { client().fetch(request, 1 << 10, &Limits::default()).await });
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = socket.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
        let wanted = format!("user-agent: kvs-edge/{}\r\n", env!("CARGO_PKG_VERSION"));
        assert!(head.contains(&wanted) && head.matches("user-agent").count() == 1, "{head}");
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        asking.await.unwrap().unwrap();
    }
}

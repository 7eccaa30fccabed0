//! Requests through a proxy that notes what it was asked.

use super::*;
use crate::net::client::{Client, Error, Limits, Options};
use bytes::Bytes;
use http::Request;
use std::collections::BTreeMap;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn of(variables: &[(&str, &str)]) -> Result<Proxies, String> {
    let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Proxies::of_environment(|name| variables.get(name).map(|value| (*value).to_owned()))
}

fn through(proxies: &Proxies, to: &str) -> Option<String> {
    Some(proxies.intercept(&to.parse().unwrap())?.uri().to_string())
}

#[test]
fn an_environment_names_proxies_and_exceptions() {
    let proxies = of(&[
        ("https_proxy", "proxy.corp:3128"),
        ("HTTP_PROXY", "http://plain.corp:8080"),
        ("NO_PROXY", "internal.corp, 10.0.0.0/8"),
    ])
    .unwrap();
    assert_eq!(through(&proxies, "https://kvs.example/").as_deref(), Some("http://proxy.corp:3128/"));
    assert_eq!(through(&proxies, "http://kvs.example/").as_deref(), Some("http://plain.corp:8080/"));
    for direct in ["https://internal.corp/", "https://a.internal.corp/", "https://10.1.2.3/"] {
        assert_eq!(through(&proxies, direct), None, "{direct}");
    }
    assert_eq!(through(&of(&[]).unwrap(), "https://kvs.example/"), None);
    assert_eq!(through(&of(&[("HTTPS_PROXY", " ")]).unwrap(), "https://kvs.example/"), None);
    let all = of(&[("ALL_PROXY", "http://proxy.corp:1")]).unwrap();
    assert!(through(&all, "https://a.example/").is_some() && through(&all, "http://a.example/").is_some());
}

#[test]
fn this_machine_and_its_link_are_never_proxied() {
    let proxies = of(&[("ALL_PROXY", "http://proxy.corp:3128")]).unwrap();
    for direct in [
        "http://127.0.0.1:4567/",
        "http://127.8.9.1/",
        "http://localhost:8080/",
        "https://kvs.localhost./",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/v2/credentials",
        "http://[fe80::1]/",
    ] {
        assert_eq!(through(&proxies, direct), None, "{direct}");
    }
    assert!(through(&proxies, "https://10.0.0.1/").is_some(), "a private network may be behind the proxy");
    assert!(through(&proxies, "https://localhost.example/").is_some());
}

#[test]
fn a_wrong_variable_is_named_and_its_value_is_not_shown() {
    for (value, says) in [
        ("socks5://u:secret@proxy:1080", "only http:// is supported"),
        ("https://u:secret@proxy:1080", "only http:// is supported"),
        ("http://", "write http://HOST:PORT"),
        ("http://se cret", "write http://HOST:PORT"),
    ] {
        let error = of(&[("HTTPS_PROXY", value)]).unwrap_err();
        assert!(error.contains("HTTPS_PROXY") && error.contains(says), "{error}");
        assert!(!error.contains("secret") && !error.contains("se cret"), "{error}");
    }
}

/// A proxy that notes the head of each request and gives one answer to all.
async fn proxy(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let noted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = socket.read(&mut head).await.unwrap_or(0);
            noted.lock().unwrap().push(String::from_utf8_lossy(&head[..length]).into_owned());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (format!("http://user:pass%21@{address}"), heads)
}

async fn fetch(proxy: &str, to: &str) -> Result<http::Response<Bytes>, Error> {
    let proxies = of(&[("ALL_PROXY", proxy)]).unwrap();
    let client = Client::new(Options { allow_http: true, ..Options::default() }).unwrap().through(proxies);
    client.fetch(Request::get(to).body(Bytes::new()).unwrap(), 1 << 10, &Limits::default()).await
}

/// `user:pass!` in Base64.
const BASIC: &str = "proxy-authorization: Basic dXNlcjpwYXNzIQ==";

#[tokio::test]
async fn an_http_address_is_asked_of_the_proxy_whole() {
    let (address, heads) = proxy("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let answer = fetch(&address, "http://keys.example/jwks?a=b").await.unwrap();
    assert_eq!(answer.body(), "hello");
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET http://keys.example/jwks?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains(&BASIC.to_ascii_lowercase()), "{head}");
}

#[tokio::test]
async fn an_https_address_is_reached_by_a_tunnel() {
    let (address, heads) = proxy("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    let error = fetch(&address, "https://kvs.example/getClip").await.unwrap_err();
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("CONNECT kvs.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains(&BASIC.to_ascii_lowercase()), "{head}");
    assert!(!head.contains("getClip"), "the path is not for the proxy: {head}");
    let Error::Connect(text) = error else { panic!("{error}") };
    assert!(text.contains("through the proxy") && text.contains("HTTPS_PROXY"), "{text}");
}

#[tokio::test]
async fn the_credentials_of_the_proxy_stay_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let direct = format!("http://{}/", listener.local_addr().unwrap());
    let reading = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        let length = socket.read(&mut head).await.unwrap();
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        String::from_utf8_lossy(&head[..length]).into_owned()
    });
    fetch("http://user:pass@proxy.invalid:1", &direct).await.unwrap();
    let head = reading.await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get / http/1.1") && !head.contains("proxy-authorization"), "{head}");
}

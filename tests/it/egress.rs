//! Everything outgoing through a company's proxy: keys by a tunnel, KVS by whole addresses, and the proxy's
//! password nowhere else.

use crate::harness::program::binary;
use crate::harness::{Edge, Served, Setup};
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Names that only the proxy can resolve.
const KVS: &str = "kvs.corp.example:4567";
const KEYS: &str = "keys.corp.example";

/// A key set behind TLS, with a certificate that `ca.crt` in this folder vouches for.
async fn key_server(folder: &std::path::Path, keys: String) -> SocketAddr {
    let certified = rcgen::generate_simple_self_signed([KEYS.to_owned()]).unwrap();
    fs::write(folder.join("ca.crt"), certified.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let private = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certified.cert.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let _ = socket.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", keys.len());
            let _ = socket.write_all((head + &keys).as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    address
}

/// A proxy that knows where the two names are; the first lines of what it was asked, and what it was told of the
/// client.
async fn proxy(kvs: SocketAddr, keys: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(forward(client, kvs, keys, noted.clone()));
        }
    });
    (address, asked)
}

async fn forward(mut client: TcpStream, kvs: SocketAddr, keys: SocketAddr, noted: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    noted.lock().unwrap().push(head.clone());
    if head.starts_with(&format!("CONNECT {KEYS}:443 ")) {
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let mut server = TcpStream::connect(keys).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    } else {
        // One request a connection is enough of a proxy here.
        let head = head.replacen(&format!("http://{KVS}"), "", 1);
        let head = head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        let mut server = TcpStream::connect(kvs).await.unwrap();
        server.write_all(head.as_bytes()).await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}

#[tokio::test]
async fn keys_and_kvs_are_reached_through_the_proxy_of_the_environment() {
    let mut setup = Setup::default();
    setup.emulator.public_endpoint = Some(format!("http://{KVS}"));
    let edge = setup.start().await;
    let key_server = key_server(edge.folder.path(), edge.issuer.jwks()).await;
    let emulator: SocketAddr = edge.emulator.url().trim_start_matches("http://").parse().unwrap();
    let (proxy, asked) = proxy(emulator, key_server).await;
    let settings = fs::read_to_string(edge.path("edge.toml")).unwrap();
    let settings = settings
        .replace(&edge.emulator.url(), &format!("http://{KVS}"))
        .replace("\"file:jwks.json\"", &format!("\"https://{KEYS}/jwks.json\"\nca = \"file:ca.crt\""));
    fs::write(edge.path("behind.toml"), settings).unwrap();
    let proxy = format!("http://edge:proxy-password@{proxy}");
    let environment = [("HTTPS_PROXY", proxy.as_str()), ("http_proxy", proxy.as_str())];
    let served = Served::start(&edge, "behind.toml", &environment).await;

    let bearer = format!("Bearer {}", edge.alice());
    let url = format!("{}/streams/cam-1/snapshot.jpg", served.url);
    let answer = edge.http.get(&url, &[("authorization", &bearer)]).await;
    assert_eq!(
        answer.status,
        200,
        "{} {}",
        answer.text(),
        fs::read_to_string(edge.path("stdout.log")).unwrap()
    );

    let asked = asked.lock().unwrap().clone();
    let by_tunnel = asked.iter().filter(|head| head.starts_with(&format!("CONNECT {KEYS}:443 "))).count();
    let by_address = asked.iter().filter(|head| head.starts_with(&format!("POST http://{KVS}/"))).count();
    assert!(by_tunnel >= 1 && by_address >= 2, "{asked:#?}");
    // `edge:proxy-password` in Base64.
    let authorization = "basic zwrnztpwcm94es1wyxnzd29yza==";
    assert!(asked.iter().all(|head| head.to_ascii_lowercase().contains(authorization)), "{asked:#?}");
    let log = fs::read_to_string(edge.path("stdout.log")).unwrap();
    assert!(!log.contains("proxy-password") && !log.to_ascii_lowercase().contains(authorization), "{log}");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_is_refused_at_the_start_without_its_password() {
    let edge = Edge::start().await;
    let mut check = Command::new(binary());
    check.args(["check", "--config", edge.path("edge.toml").to_str().unwrap()]);
    let output =
        check.env("HTTPS_PROXY", "socks5://edge:proxy-password@10.0.0.1:1080").output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("HTTPS_PROXY") && text.contains("http://"), "{text}");
    assert!(!text.contains("proxy-password"), "{text}");
}

//! TLS: protocols, names, client certificates, and certificates that change.

use super::*;
use crate::net::tls;
use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use tempfile::TempDir;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long the brief client certificate is valid.
const BRIEF: Duration = Duration::from_secs(8);

/// A certificate for each name, signed by itself, and a CA with two clients.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.issue("one.example", "one.example");
        files.issue("two.example", "two.example");
        let authority = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(files.path("ca.crt"), params.self_signed(&authority).unwrap().pem()).unwrap();
        let issuer = rcgen::Issuer::new(params, authority);
        for (name, expires) in [("client", None), ("brief", Some(std::time::SystemTime::now() + BRIEF))] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut client = rcgen::CertificateParams::new(vec![]).unwrap();
            client.distinguished_name = rcgen::DistinguishedName::new();
            client.distinguished_name.push(rcgen::DnType::CommonName, "probe");
            client.not_after = expires.map_or(client.not_after, Into::into);
            let certificate = client.signed_by(&key, &issuer).unwrap().pem();
            std::fs::write(files.path(&format!("{name}.crt")), certificate).unwrap();
            std::fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        files
    }

    fn issue(&self, file: &str, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(self.path(&format!("{file}.crt")), made.cert.pem()).unwrap();
        std::fs::write(self.path(&format!("{file}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, client_ca: bool) -> tls::Config {
        let mut config: tls::Config = toml::from_str(
            "certificate = 'one.example.crt'\nkey = 'one.example.key'\n\
             more = [{ certificate = 'two.example.crt', key = 'two.example.key' }]",
        )
        .unwrap();
        config.client_ca = client_ca.then(|| "ca.crt".into());
        config.resolve(self.folder.path());
        config
    }

    fn certificate(&self, name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path(name)).unwrap()
    }
}

async fn edge(config: &tls::Config) -> (Edge, Arc<ArcSwap<rustls::ServerConfig>>) {
    let swap = Arc::new(ArcSwap::new(tls::load(config).unwrap().config));
    let options = ListenerOptions { tls: Some(swap.clone()), ..ListenerOptions::plain(quick()) };
    (Edge::with(options).await, swap)
}

/// Connects as a client that trusts exactly the certificate in `file`.
async fn connect(
    edge: &Edge,
    files: &Files,
    file: &str,
    name: &str,
    protocol: &[u8],
    identity: Option<(&Path, &Path)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let config = client(files, file, protocol, identity);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config).connect(name, edge.connect().await).await
}

fn client(
    files: &Files,
    file: &str,
    protocol: &[u8],
    identity: Option<(&Path, &Path)>,
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(files.certificate(file)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

async fn ask(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(GET_LAST).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await; // how the peer closes does not matter here
    answer
}

#[tokio::test]
async fn the_protocol_is_agreed_on() {
    let files = Files::new();
    let (edge, _) = edge(&files.config(false)).await;
    let stream = connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", None).await.unwrap();
    assert!(ask(stream).await.ends_with("127.0.0.1 One Some(\"TLSv1_3\") None"));
    let stream = connect(&edge, &files, "one.example.crt", "one.example", b"h2", None).await.unwrap();
    let (send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://one.example/").body(()).unwrap();
    let answer = send.ready().await.unwrap().send_request(request, true).unwrap().0.await.unwrap();
    let body = answer.into_body().data().await.unwrap().unwrap();
    assert_eq!(body, "127.0.0.1 Two Some(\"TLSv1_3\") None");
}

#[tokio::test]
async fn the_certificate_fits_the_name_and_can_be_swapped() {
    let files = Files::new();
    let (edge, swap) = edge(&files.config(false)).await;
    for name in ["one.example", "two.example"] {
        connect(&edge, &files, &format!("{name}.crt"), name, b"http/1.1", None).await.unwrap();
    }
    let mut held = connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", None).await.unwrap();
    std::fs::copy(files.path("one.example.crt"), files.path("old.crt")).unwrap();
    files.issue("one.example", "one.example");
    swap.store(tls::load(&files.config(false)).unwrap().config);
    assert!(connect(&edge, &files, "old.crt", "one.example", b"http/1.1", None).await.is_err());
    connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", None).await.unwrap();
    held.write_all(GET).await.unwrap();
    assert_eq!(held.read_u8().await.unwrap(), b'H', "connections that are open go on");
}

#[tokio::test]
async fn clients_show_a_certificate_when_asked_to() {
    let files = Files::new();
    let (edge, _) = edge(&files.config(true)).await;
    let (certificate, key) = (files.path("client.crt"), files.path("client.key"));
    let own = Some((&*certificate, &*key));
    let stream = connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", own).await.unwrap();
    assert!(ask(stream).await.ends_with("Some(\"TLSv1_3\") Some(\"CN=probe\")"));
    let (certificate, key) = (files.path("two.example.crt"), files.path("two.example.key"));
    for identity in [None, Some((&*certificate, &*key))] {
        // With TLS 1.3 a client learns of the refusal when it first reads.
        if let Ok(stream) =
            connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", identity).await
        {
            assert_eq!(ask(stream).await, "");
        }
    }
    edge.until(|m| m.rejections(Rejection::Handshake) == 2).await;
}

#[tokio::test]
async fn browsers_are_told_to_stay_with_https_over_tls_only() {
    let files = Files::new();
    let swap = Arc::new(ArcSwap::new(tls::load(&files.config(false)).unwrap().config));
    let hsts = files.config(false).hsts();
    let plain = ListenerOptions { hsts: hsts.clone(), ..ListenerOptions::plain(quick()) };
    let plain = Edge::with(plain).await;
    let secure = ListenerOptions { tls: Some(swap), hsts, ..ListenerOptions::plain(quick()) };
    let secure = Edge::with(secure).await;
    let stream = connect(&secure, &files, "one.example.crt", "one.example", b"http/1.1", None).await.unwrap();
    assert!(ask(stream).await.contains("strict-transport-security: max-age=31536000\r\n"));
    let mut stream =
        connect(&secure, &files, "one.example.crt", "one.example", b"http/1.1", None).await.unwrap();
    stream.write_all(b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut refusal = vec![0; 1024];
    let length = stream.read(&mut refusal).await.unwrap();
    let refusal = String::from_utf8_lossy(&refusal[..length]).into_owned();
    assert!(refusal.contains("501") && refusal.contains("strict-transport-security"), "{refusal}");
    assert!(!plain.exchange(GET_LAST).await.contains("strict-transport-security"));
}

#[tokio::test]
async fn a_client_certificate_that_has_expired_meanwhile_is_refused() {
    let files = Files::new();
    let secret = crate::net::tls_tickets::TicketSecret::new(zeroize::Zeroizing::new([7; 32]));
    let loaded = tls::load(&files.config(true)).unwrap().with_tickets(vec![secret]);
    let swap = Arc::new(ArcSwap::new(loaded.config));
    let edge = Edge::with(ListenerOptions { tls: Some(swap), ..ListenerOptions::plain(quick()) }).await;
    let (certificate, key) = (files.path("brief.crt"), files.path("brief.key"));
    let config = client(&files, "one.example.crt", b"http/1.1", Some((&*certificate, &*key)));
    let connect = async || {
        let name = ServerName::try_from("one.example").unwrap();
        TlsConnector::from(config.clone()).connect(name, edge.connect().await).await.unwrap()
    };
    assert!(ask(connect().await).await.contains("CN=probe"));
    let resumed = connect().await;
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert!(ask(resumed).await.contains("CN=probe"), "it is valid still, and known");
    tokio::time::sleep(BRIEF).await;
    let resumed = connect().await;
    assert_eq!(resumed.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
    assert_eq!(ask(resumed).await, "");
    edge.rejects(Rejection::Handshake).await;
}

#[tokio::test]
async fn a_handshake_has_its_time() {
    let files = Files::new();
    let (edge, _) = edge(&files.config(false)).await;
    assert_eq!(edge.exchange(b"\x16\x03\x01").await, "");
    edge.rejects(Rejection::HandshakeTimeout).await;
}

#[tokio::test]
async fn plain_http_at_a_port_with_tls_is_answered_in_words() {
    let files = Files::new();
    let (edge, _) = edge(&files.config(false)).await;
    for request in [GET_LAST, b"POST /getClip HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{\"a\":1}.."] {
        let mut stream = edge.connect().await;
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("this port speaks TLS: use https://"), "{answer}");
    }
    edge.rejects(Rejection::Handshake).await;
    // A handshake comes through as before, and what is neither is no HTTP.
    assert!(connect(&edge, &files, "one.example.crt", "one.example", b"http/1.1", None).await.is_ok());
    let mut stream = edge.connect().await;
    stream.write_all(b"\x00nonsense").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await; // how it is closed does not matter
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

//! Sessions that are resumed: by any number of clients, at any replica, and only under the rules of the first
//! handshake.

use super::*;
use rustls::client::Resumption;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection, SupportedProtocolVersion};
use zeroize::Zeroizing;

struct World {
    folder: tempfile::TempDir,
    roots: RootCertStore,
}

impl World {
    /// A server's certificate, and two authorities with one client each.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["one.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join("one.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("one.key"), made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        for name in ["a", "b"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            let authority = params.self_signed(&key).unwrap().pem();
            std::fs::write(folder.path().join(format!("ca-{name}.crt")), authority).unwrap();
            let issuer = rcgen::Issuer::new(params, key);
            let key = rcgen::KeyPair::generate().unwrap();
            let client = rcgen::CertificateParams::new(vec![]).unwrap().signed_by(&key, &issuer).unwrap();
            std::fs::write(folder.path().join(format!("client-{name}.crt")), client.pem()).unwrap();
            std::fs::write(folder.path().join(format!("client-{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder, roots }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What a process serves with: the files, read anew, and these secrets.
    fn server(&self, client_ca: Option<&str>, secrets: &[u8]) -> Arc<rustls::ServerConfig> {
        let config = Config {
            certificate: self.path("one.crt"),
            key: self.path("one.key"),
            client_ca: client_ca.map(|name| self.path(name)),
            hsts: a_year(),
            more: vec![],
        };
        let secrets = secrets.iter().map(|byte| TicketSecret::new(Zeroizing::new([*byte; 32])));
        load(&config).unwrap().with_tickets(secrets.collect()).config
    }

    /// A client that remembers its own sessions.
    fn client(
        &self,
        identity: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut client = match identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let certificate = chain(&self.path(&format!("{name}.crt"))).unwrap();
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(certificate, key).unwrap()
            }
        };
        client.resumption = Resumption::in_memory_sessions(4);
        Arc::new(client)
    }
}

/// A connection to its end: how its handshake was, and whether the server knows a client certificate.
fn connect(
    server: &Arc<rustls::ServerConfig>,
    client: &Arc<ClientConfig>,
) -> Result<(HandshakeKind, bool), rustls::Error> {
    let name = "one.example".try_into().unwrap();
    let mut client = ClientConnection::new(client.clone(), name).unwrap();
    let mut server = ServerConnection::new(server.clone()).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() || server.wants_write() {
        bytes.clear();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut sent = &bytes[..];
        while !sent.is_empty() {
            server.read_tls(&mut sent).unwrap();
            server.process_new_packets()?;
        }
        bytes.clear();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut sent = &bytes[..];
        while !sent.is_empty() {
            client.read_tls(&mut sent).unwrap();
            client.process_new_packets()?;
        }
    }
    Ok((server.handshake_kind().unwrap(), server.peer_certificates().is_some()))
}

fn is_resumed(kind: HandshakeKind) -> bool {
    kind == HandshakeKind::Resumed
}

#[test]
fn any_number_of_clients_resume() {
    let world = World::new();
    let server = world.server(None, &[1]);
    let clients: Vec<_> = (0..2_000).map(|_| world.client(None, rustls::ALL_VERSIONS)).collect();
    for client in &clients {
        assert!(!is_resumed(connect(&server, client).unwrap().0));
    }
    let resumed = clients.iter().filter(|client| is_resumed(connect(&server, client).unwrap().0)).count();
    assert_eq!(resumed, 2_000);
}

#[test]
fn another_process_with_the_same_secrets_resumes_and_one_without_does_not() {
    let world = World::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = world.client(None, &[version]);
        assert!(!is_resumed(connect(&world.server(None, &[1]), &client).unwrap().0));
        assert!(is_resumed(connect(&world.server(None, &[1]), &client).unwrap().0), "{version:?}");
        assert!(is_resumed(connect(&world.server(None, &[2, 1]), &client).unwrap().0), "secrets rotate");
        assert!(is_resumed(connect(&world.server(None, &[2]), &client).unwrap().0), "{version:?}");
        assert!(!is_resumed(connect(&world.server(None, &[3]), &client).unwrap().0), "{version:?}");
    }
}

#[test]
fn a_resumed_session_keeps_the_rule_for_client_certificates() {
    let world = World::new();
    let (open, closed) = (world.server(None, &[1]), world.server(Some("ca-a.crt"), &[1]));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let stranger = world.client(None, &[version]);
        connect(&open, &stranger).unwrap();
        assert!(is_resumed(connect(&open, &stranger).unwrap().0));
        assert!(connect(&closed, &stranger).is_err(), "a ticket from elsewhere stands for no certificate");
        let client = world.client(Some("client-a"), &[version]);
        assert_eq!(connect(&closed, &client).unwrap(), (HandshakeKind::Full, true));
        assert_eq!(connect(&closed, &client).unwrap(), (HandshakeKind::Resumed, true));
        let again = world.server(Some("ca-a.crt"), &[1]);
        assert_eq!(connect(&again, &client).unwrap(), (HandshakeKind::Resumed, true));
        // The authority was replaced: its clients' tickets end with it.
        assert!(connect(&world.server(Some("ca-b.crt"), &[1]), &client).is_err());
    }
}

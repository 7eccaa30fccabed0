//! TLS towards clients: certificates from files, chosen by name, with ALPN for HTTP/2 and HTTP/1.1, and
//! client certificates when wanted.
//!
//! [`load`] reads everything and gives a whole new server configuration, or says what is wrong; `app` watches
//! the files and swaps the result, with tickets of the secrets that replicas share ([`super::tls_tickets`]).
//! rustls' defaults hold: TLS 1.2 and 1.3, no renegotiation, no early data.

use super::certificate::Certificate;
use super::tls_tickets::{TicketSecret, Tickets};
use crate::kvs::Timestamp;
use crate::setting::Span;
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use http::HeaderValue;
use prometheus::{Gauge, Registry};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `[server.tls]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The certificate chain, PEM, the server's own first.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// When set, clients must show a certificate signed by one of these, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// For how long browsers that were here call this host by HTTPS only (`Strict-Transport-Security`, RFC
    /// 6797); `0s` is not at all. Applies to all ports of the host.
    #[serde(default = "a_year")]
    pub hsts: Span,
    /// More certificates; each is used for the names in it, the first one for all others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Pair>,
}

fn a_year() -> Span {
    Span::seconds(365 * 24 * 3600)
}

/// One more certificate with its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Config {
    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        for path in self.paths() {
            *path = folder.join(&*path);
        }
    }

    /// The value of `Strict-Transport-Security`, if it is sent.
    #[must_use]
    pub fn hsts(&self) -> Option<HeaderValue> {
        let seconds = self.hsts.0.as_secs();
        let value = (seconds > 0).then(|| HeaderValue::from_str(&format!("max-age={seconds}")));
        value.and_then(Result::ok)
    }

    /// Every file to watch.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.clone().paths().into_iter().map(|path| path.clone()).collect()
    }

    fn paths(&mut self) -> Vec<&mut PathBuf> {
        let mut paths = vec![&mut self.certificate, &mut self.key];
        paths.extend(self.client_ca.as_mut());
        paths.extend(self.more.iter_mut().flat_map(|pair| [&mut pair.certificate, &mut pair.key]));
        paths
    }
}

/// What the files hold, ready to use.
pub struct LoadedTls {
    /// For the listener.
    pub config: Arc<rustls::ServerConfig>,
    /// When the first of the certificates expires.
    pub expires: Timestamp,
    /// A digest of the certificates that a client's must be signed by.
    clients: [u8; 32],
}

impl LoadedTls {
    /// The same, whose sessions are resumed by tickets of these secrets. Without any, up to 256 sessions are
    /// remembered by this process alone.
    #[must_use]
    pub fn with_tickets(mut self, secrets: Vec<TicketSecret>) -> Self {
        if !secrets.is_empty() {
            let mut config = rustls::ServerConfig::clone(&self.config);
            config.ticketer = Arc::new(Tickets::new(secrets, self.clients));
            self.config = Arc::new(config);
        }
        self
    }
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or is not what it should be.
    #[error("{}: {problem}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A key is that of another certificate: perhaps only one of the two has been renewed yet.
    #[error("{}: does not belong to the certificate {}: {problem}", key.display(), certificate.display())]
    Pair {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificate.
        certificate: PathBuf,
        /// What rustls says.
        problem: String,
    },
    /// The files are readable but do not fit together.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Error {
    fn file(file: &Path, problem: impl Into<String>) -> Self {
        Self::File { file: file.to_owned(), problem: problem.into() }
    }
}

/// Reads all files. An expired certificate is no error here: the metric shows it, and clients refuse it.
///
/// # Errors
/// Which file is missing, unreadable or empty, or does not belong to its certificate.
pub fn load(config: &Config) -> Result<LoadedTls, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let first = Named::load(&config.certificate, &config.key, &provider)?;
    let more = config.more.iter().map(|pair| Named::load(&pair.certificate, &pair.key, &provider));
    let more = more.collect::<Result<Vec<_>, _>>()?;
    let expires = more.iter().fold(first.expires, |least, named| least.min(named.expires));

    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let mut clients = [0; 32];
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let chain = chain(file)?;
            clients = digest_of(&chain);
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(file, chain)?), provider)
                    .build()
                    .map_err(|e| Error::file(file, e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut server = builder.with_cert_resolver(Arc::new(ByName { first, more }));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(LoadedTls { config: Arc::new(server), expires, clients })
}

/// The certificates in force. Their expiry is `kvs_edge_tls_certificate_expiry_timestamp_seconds`, 0 without
/// TLS.
pub struct Certificates {
    current: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    expiry: Gauge,
}

impl Certificates {
    /// Starts with what was loaded; `None` is a listener without TLS.
    ///
    /// # Errors
    /// The metric's name is taken.
    pub fn register(registry: &Registry, loaded: Option<LoadedTls>) -> Result<Self, prometheus::Error> {
        let name = "kvs_edge_tls_certificate_expiry_timestamp_seconds";
        let expiry = Gauge::new(name, "When the first of our certificates expires; 0 without TLS")?;
        registry.register(Box::new(expiry.clone()))?;
        let certificates =
            Self { current: loaded.as_ref().map(|l| Arc::new(ArcSwap::new(l.config.clone()))), expiry };
        certificates.renew(loaded);
        Ok(certificates)
    }

    /// The configuration for the listener, which sees every renewal.
    #[must_use]
    pub fn current(&self) -> Option<Arc<ArcSwap<rustls::ServerConfig>>> {
        self.current.clone()
    }

    /// Puts other certificates into force for new connections. TLS cannot be turned on or off while
    /// serving: then nothing happens, and the answer is `false`.
    pub fn renew(&self, loaded: Option<LoadedTls>) -> bool {
        match (&self.current, loaded) {
            (Some(current), Some(loaded)) => {
                self.expiry.set((loaded.expires.millis() / 1000) as f64);
                current.store(loaded.config);
                true
            }
            (None, None) => true,
            _ => false,
        }
    }
}

/// Of certificates in their order.
fn digest_of(chain: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut digest = digest::Context::new(&digest::SHA256);
    for certificate in chain {
        digest.update(&(certificate.len() as u64).to_be_bytes());
        digest.update(certificate);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

fn roots(file: &Path, chain: Vec<CertificateDer<'static>>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in chain {
        roots.add(certificate).map_err(|e| Error::file(file, e.to_string()))?;
    }
    Ok(roots)
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| Error::file(file, format!("cannot be read as PEM certificates: {e}")))?;
    if certificates.is_empty() {
        return Err(Error::file(file, "holds no `BEGIN CERTIFICATE` block"));
    }
    Ok(certificates)
}

/// A certificate, its key, and the names it is for.
#[derive(Debug)]
struct Named {
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    expires: Timestamp,
}

impl Named {
    fn load(
        certificate: &Path,
        key: &Path,
        provider: &rustls::crypto::CryptoProvider,
    ) -> Result<Self, Error> {
        let chain = chain(certificate)?;
        let own = Certificate::read(&chain[0])
            .ok_or_else(|| Error::file(certificate, "its first certificate is malformed"))?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|e| Error::file(key, format!("cannot be read as a PEM private key: {e}")))?;
        let key = CertifiedKey::from_der(chain, secret, provider).map_err(|e| Error::Pair {
            key: key.to_owned(),
            certificate: certificate.to_owned(),
            problem: e.to_string(),
        })?;
        Ok(Self { key: Arc::new(key), names: own.names, expires: own.expires })
    }

    fn is_for(&self, wanted: &str) -> bool {
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(rest) => wanted
                .split_once('.')
                .is_some_and(|(label, tail)| !label.is_empty() && tail.eq_ignore_ascii_case(rest)),
            None => name.eq_ignore_ascii_case(wanted),
        })
    }
}

/// Chooses the certificate by the name in the client's hello; the first one when none fits.
#[derive(Debug)]
struct ByName {
    first: Named,
    more: Vec<Named>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let fitting = hello.server_name().and_then(|wanted| {
            std::iter::once(&self.first).chain(&self.more).find(|named| named.is_for(wanted))
        });
        Some(fitting.unwrap_or(&self.first).key.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, names: &[&str]) -> Pair {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (certificate, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Pair { certificate, key }
    }

    #[test]
    fn files_are_loaded_and_chosen_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let one = write(folder.path(), "one", &["one.example"]);
        let two = write(folder.path(), "two", &["two.example", "*.two.example"]);
        let mut config = Config {
            certificate: "one.crt".into(),
            key: "one.key".into(),
            client_ca: None,
            hsts: a_year(),
            more: vec![two.clone()],
        };
        config.resolve(folder.path());
        assert_eq!(config.files(), [one.certificate, one.key, two.certificate.clone(), two.key.clone()]);
        let loaded = load(&config).unwrap();
        assert_eq!(loaded.config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert!(loaded.expires > Timestamp::from_millis(1_700_000_000_000));
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let named = Named::load(&two.certificate, &two.key, &provider).unwrap();
        assert!(named.is_for("TWO.example") && named.is_for("a.two.example"));
        assert!(
            !named.is_for("a.b.two.example") && !named.is_for("one.example") && !named.is_for(".two.example")
        );
    }

    #[test]
    fn browsers_are_told_to_stay_with_https_unless_that_is_turned_off() {
        let read = |more: &str| -> Option<HeaderValue> {
            let config: Config = toml::from_str(&format!("certificate = 'c'\nkey = 'k'\n{more}")).unwrap();
            config.hsts()
        };
        assert_eq!(read("").unwrap(), "max-age=31536000");
        assert_eq!(read("hsts = '1d'").unwrap(), "max-age=86400");
        assert_eq!(read("hsts = '0s'"), None);
    }

    #[test]
    fn renewal_tells_the_new_end_and_cannot_turn_tls_on() {
        let folder = tempfile::tempdir().unwrap();
        let Pair { certificate, key } = write(folder.path(), "one", &["one.example"]);
        let config = Config { certificate, key, client_ca: None, hsts: a_year(), more: vec![] };
        let load = || Some(load(&config).unwrap());
        let certificates = Certificates::register(&Registry::new(), load()).unwrap();
        let before = certificates.current().unwrap().load_full();
        assert!(certificates.expiry.get() > 1.7e9);
        assert!(certificates.renew(load()) && !certificates.renew(None));
        assert!(!Arc::ptr_eq(&before, &certificates.current().unwrap().load_full()));
        let plain = Certificates::register(&Registry::new(), None).unwrap();
        assert!(plain.renew(None) && !plain.renew(load()) && plain.current().is_none());
        assert_eq!(plain.expiry.get(), 0.0);
    }

    #[test]
    fn what_is_wrong_is_said_by_file() {
        let folder = tempfile::tempdir().unwrap();
        let one = write(folder.path(), "one", &["one.example"]);
        let two = write(folder.path(), "two", &["two.example"]);
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let fails = |certificate: &Path, key: &Path, ca: Option<&Path>| {
            let (certificate, key) = (certificate.to_owned(), key.to_owned());
            let config =
                Config { certificate, key, client_ca: ca.map(Path::to_owned), hsts: a_year(), more: vec![] };
            load(&config).map(|_| ()).unwrap_err().to_string()
        };
        assert!(fails(&one.certificate, &two.key, None).contains("does not belong"));
        assert!(fails(&empty, &one.key, None).contains("empty: holds no"));
        assert!(fails(&one.certificate, &empty, None).contains("private key"));
        assert!(fails(Path::new("/nowhere"), &one.key, None).starts_with("/nowhere"));
        assert!(fails(&one.certificate, &one.key, Some(&empty)).contains("empty"));
    }
}

#[cfg(test)]
#[path = "tests/tls_resumption.rs"]
mod resumption;

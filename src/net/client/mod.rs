//! The pooled HTTP/1.1 client that everything leaves through: calls to KVS, key sets, metadata endpoints.
//!
//! Beyond hyper's pool it limits the time to connect, TLS handshake included, to the first byte, between
//! bytes, and of the whole exchange. A body that ends early, stalls or has no marked end is an error, never a
//! shorter body (law 4). Redirects are not followed, and plain HTTP is used only where it is allowed.
//!
//! Every request carries the same `User-Agent`, whoever made it.
//!
//! HTTP/1.1 only: KVS speaks nothing else, and one connection per transfer keeps a slow one from delaying
//! others. Names are resolved for every new connection and idle ones are closed, so that DNS changes take
//! effect.
//!
//! The headers of a response share no memory with the connection, so what is kept of them costs its own
//! length.
//!
//! Signing, retries and quotas belong to `upstream`.

mod connect;
mod error;
mod options;
mod proxy;
mod timed_body;

pub use error::Error;
pub use options::{Limits, Options};

use super::body::ByteStream;
use bytes::{Bytes, BytesMut};
use connect::{CheckedResolver, TimeLimited};
use error::{chain, sort};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use proxy::{Proxies, ProxyConnector};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use timed_body::TimedBody;
use tokio::time::Instant;

/// What every outgoing request carries: some firewalls refuse requests without it.
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("kvs-edge/", env!("CARGO_PKG_VERSION")));

type Connector = TimeLimited<HttpsConnector<ProxyConnector<HttpConnector<CheckedResolver>>>>;

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct Client {
    pool: legacy::Client<Connector, Full<Bytes>>,
    tls: ClientConfig,
    options: Options,
    proxies: Proxies,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Makes a pool that trusts the system's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are
    /// honoured) and goes through the proxies of the environment, see [`Proxies::of_environment`]. Without
    /// any certificates, plain HTTP still works where it is allowed, and every TLS handshake fails.
    ///
    /// # Errors
    /// [`Error::Tls`] if TLS cannot be set up at all, [`Error::Proxy`] if the environment names no proxy that
    /// can be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        Self::with_roots(options, system_roots())
    }

    /// The same, trusting these certificates, in PEM, beside the system's.
    ///
    /// # Errors
    /// As [`Client::new`], and [`Error::Tls`] if there is no certificate in `pem`.
    pub fn trusting_also(options: Options, pem: &[u8]) -> Result<Self, Error> {
        let certificates = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| Error::Tls(error.to_string()))?;
        let mut roots = system_roots();
        if roots.add_parsable_certificates(certificates).0 == 0 {
            return Err(Error::Tls("there is no certificate in PEM".to_owned()));
        }
        Self::with_roots(options, roots)
    }

    /// The same, trusting exactly these roots.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_roots(options: Options, roots: RootCertStore) -> Result<Self, Error> {
        let proxies = Proxies::of_environment(|name| std::env::var(name).ok()).map_err(Error::Proxy)?;
        let tls = tls_versions()?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::over(options, tls, proxies))
    }

    /// Another pool with the same trust and proxies; reading the system's certificates takes long.
    #[must_use]
    pub fn sibling(&self, options: Options) -> Self {
        Self::over(options, self.tls.clone(), self.proxies.clone())
    }

    /// The same through these proxies.
    #[cfg(test)]
    fn through(self, proxies: Proxies) -> Self {
        Self::over(self.options, self.tls, proxies)
    }

    fn over(options: Options, tls: ClientConfig, proxies: Proxies) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver {
            system: GaiResolver::new(),
            must_not_be_local: options.must_not_be_local,
        });
        tcp.enforce_http(false); // or https:// is refused before TLS
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(options.connect_timeout));
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone());
        let https = if options.allow_http { https.https_or_http() } else { https.https_only() };
        let inner =
            https.enable_http1().wrap_connector(ProxyConnector { direct: tcp, proxies: proxies.clone() });
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(options.idle)
            .pool_max_idle_per_host(options.per_host)
            .pool_timer(TokioTimer::new()) // without it idle connections stay
            .timer(TokioTimer::new())
            .http1_max_buf_size(256 << 10)
            .build(TimeLimited { inner, limit: options.connect_timeout });
        Self { pool, tls, options, proxies }
    }

    /// Sends a request with an absolute URI and waits for the response's head. Dropping the future, or later
    /// the body, cancels the exchange and closes its connection.
    ///
    /// # Errors
    /// Says how far it came: [`Error::Connect`] means that nothing was sent.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        limits: &Limits,
    ) -> Result<Response<ByteStream>, Error> {
        let started = Instant::now();
        let response = self.head(request, limits.first_byte).await?;
        let timed = TimedBody::over(response, started, limits.between_bytes, limits.whole);
        Ok(timed.map(BodyExt::boxed_unsync))
    }

    /// Sends a request and collects a small response, such as a key set. A body that ends by closing the
    /// connection is accepted here, because a small document that was cut does not parse.
    ///
    /// # Errors
    /// As [`Client::send`]; [`Error::Broken`] and [`Error::TooLarge`] for the body.
    pub async fn fetch(
        &self,
        request: Request<Bytes>,
        max_bytes: usize,
        limits: &Limits,
    ) -> Result<Response<Bytes>, Error> {
        let exchange = async {
            let (parts, body) = self.head(request, limits.first_byte).await?.into_parts();
            let bytes = collect(body, max_bytes).await?;
            Ok(Response::from_parts(parts, bytes))
        };
        tokio::time::timeout(limits.whole, exchange).await.unwrap_or(Err(Error::Late(limits.whole)))
    }

    async fn head(&self, mut request: Request<Bytes>, limit: Duration) -> Result<Response<Incoming>, Error> {
        match request.uri().scheme_str() {
            Some("https") => {}
            Some("http") if self.options.allow_http => {}
            Some("http") => return Err(Error::Refused("plain http is not allowed here")),
            _ => return Err(Error::Refused("only absolute http and https addresses can be called")),
        }
        // Replaces that of AWS's SDK, which SigV4 leaves out of what it signs.
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = self.proxies.authorization(request.uri()) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
        }
        match tokio::time::timeout(limit, self.pool.request(request.map(Full::new))).await {
            Err(_) => Err(Error::Late(limit)),
            Ok(Err(error)) => Err(sort(&error)),
            Ok(Ok(response)) => Ok(detached(response)),
        }
    }
}

/// The response with header values of its own. hyper's are slices of the buffer that the response was read
/// into, which has up to 256 KiB and stays for as long as one of its slices is kept.
fn detached(mut response: Response<Incoming>) -> Response<Incoming> {
    for value in response.headers_mut().values_mut() {
        if let Ok(mut own) = HeaderValue::from_bytes(value.as_bytes()) {
            own.set_sensitive(value.is_sensitive());
            *value = own;
        }
    }
    // A reason phrase of the server's own words is a slice too.
    response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
    response
}

/// The root certificates of the system; none is a warning, since plain HTTP may be all that is needed.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let consequence = "https fails until ca-certificates is installed";
        tracing::warn!(errors = ?found.errors, "no root certificates: {consequence}");
    }
    roots
}

/// TLS 1.2 and later with the one crypto library of the tree.
fn tls_versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Tls(e.to_string()))
}

async fn collect(mut body: Incoming, max_bytes: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::Broken(chain(&e)))?;
        let Ok(chunk) = frame.into_data() else { continue };
        if bytes.len() + chunk.len() > max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests;

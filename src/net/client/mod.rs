//! The pooled HTTP/1.1 client that everything leaves through: calls to KVS, key sets, metadata endpoints.
//!
//! What it promises beyond hyper's pool: a bound on connecting that includes the TLS handshake, on the wait for the
//! first byte, between bytes and on the whole exchange; a body that ends early, stalls or cannot prove its end is
//! [`Broken`], never short (law 4); redirects are never followed; plain HTTP goes out only where it was allowed.
//! HTTP/1.1 only: KVS speaks nothing else, and one connection per transfer keeps a slow one from holding up others.
//! Names are resolved again for every new connection and idle ones are let go, so that DNS changes are followed.
//!
//! Signing, retries and quotas are `upstream`'s.

mod connect;
mod watched;

use super::body::ByteStream;
use bytes::{Bytes, BytesMut};
use connect::{Bounded, Wary};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use watched::Watched;

/// How a client connects and keeps connections.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether `http://` is allowed at all; an emulator and metadata endpoints need it.
    pub allow_http: bool,
    /// Bound on name resolution, TCP and TLS handshake together.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// How many unused connections are kept per host.
    pub per_host: usize,
    /// Names that must never lead to this machine or its link: what resolves to such an address is not connected
    /// to, whatever DNS says. Private networks are allowed, since VPC endpoints live there.
    pub distrust: fn(&str) -> bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_http: false,
            connect_timeout: Duration::from_secs(3),
            idle: Duration::from_secs(20),
            per_host: 64,
            distrust: |_| false,
        }
    }
}

/// How long each phase of one exchange may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From sending to the response's head, connecting included.
    pub first_byte: Duration,
    /// Between two chunks of the body, while somebody waits for the next one.
    pub between_bytes: Duration,
    /// From sending to the body's end.
    pub whole: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            between_bytes: Duration::from_secs(15),
            whole: Duration::from_secs(30),
        }
    }
}

/// Why there is no response.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// No connection: name not found, refused, timed out, handshake failed. Nothing was sent.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The connection broke before the response's head. The request may have been acted upon.
    #[error("the connection broke before an answer: {0}")]
    Reset(String),
    /// What came back is not HTTP, or its head is too large.
    #[error("the answer is not HTTP: {0}")]
    Garbled(String),
    /// No response within the bound.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The request itself cannot be sent: not absolute, or plain HTTP where that is not allowed.
    #[error("{0}")]
    Refused(&'static str),
    /// The body broke; only from [`Client::fetch`].
    #[error("{0}")]
    Broken(String),
    /// The body is larger than allowed; only from [`Client::fetch`].
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The system's root certificates cannot be used; only from [`Client::new`].
    #[error("TLS: {0}")]
    Tls(String),
}

/// A pool of connections. Clones share it.
#[derive(Clone)]
pub struct Client {
    pool: legacy::Client<Bounded<HttpsConnector<HttpConnector<Wary>>>, Full<Bytes>>,
    tls: ClientConfig,
    allow_http: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Makes a pool that trusts the system's root certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    /// Without any, plain HTTP still works where it is allowed, and every TLS handshake fails.
    ///
    /// # Errors
    /// [`Error::Tls`] if TLS cannot be set up at all.
    pub fn new(options: Options) -> Result<Self, Error> {
        let tls = match tls_versions()?.with_native_roots() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::warn!(%error, "no root certificates: https fails until ca-certificates is installed");
                tls_versions()?.with_root_certificates(RootCertStore::empty())
            }
        };
        Ok(Self::over(options, tls.with_no_client_auth()))
    }

    /// Makes a pool that trusts exactly these roots.
    ///
    /// # Errors
    /// [`Error::Tls`] if TLS cannot be set up at all.
    pub fn with_roots(options: Options, roots: RootCertStore) -> Result<Self, Error> {
        Ok(Self::over(options, tls_versions()?.with_root_certificates(roots).with_no_client_auth()))
    }

    /// Another pool with the same trust; reading the system's certificates takes its time.
    #[must_use]
    pub fn sibling(&self, options: Options) -> Self {
        Self::over(options, self.tls.clone())
    }

    fn over(options: Options, tls: ClientConfig) -> Self {
        let mut tcp =
            HttpConnector::new_with_resolver(Wary { system: GaiResolver::new(), distrust: options.distrust });
        tcp.enforce_http(false); // or https:// is refused before TLS
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        tcp.set_connect_timeout(Some(options.connect_timeout));
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls.clone());
        let https = if options.allow_http { https.https_or_http() } else { https.https_only() };
        let inner = https.enable_http1().wrap_connector(tcp);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(options.idle)
            .pool_max_idle_per_host(options.per_host)
            .pool_timer(TokioTimer::new()) // without it idle connections stay
            .timer(TokioTimer::new())
            .http1_max_buf_size(256 << 10)
            .build(Bounded { inner, limit: options.connect_timeout });
        Self { pool, tls, allow_http: options.allow_http }
    }

    /// Sends a request with an absolute URI and waits for the response's head. Dropping the future, or later the
    /// body, cancels the exchange and closes its connection.
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
        let watched = Watched::over(response, started, limits.between_bytes, limits.whole);
        Ok(watched.map(BodyExt::boxed_unsync))
    }

    /// Sends a request and collects a small response, such as a key set. Here a body that ends by closing the
    /// connection is taken: small documents prove themselves by parsing.
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

    async fn head(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Incoming>, Error> {
        match request.uri().scheme_str() {
            Some("https") => {}
            Some("http") if self.allow_http => {}
            Some("http") => return Err(Error::Refused("plain http is not allowed here")),
            _ => return Err(Error::Refused("only absolute http and https addresses can be asked")),
        }
        match tokio::time::timeout(limit, self.pool.request(request.map(Full::new))).await {
            Err(_) => Err(Error::Late(limit)),
            Ok(Err(error)) => Err(why(&error)),
            Ok(Ok(response)) => Ok(response),
        }
    }
}

/// TLS 1.2 and later with the one crypto library of the tree.
fn tls_versions() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Tls(e.to_string()))
}

/// Sorts hyper's errors by how far the exchange came.
fn why(error: &legacy::Error) -> Error {
    let text = chain(error);
    if error.is_connect() {
        return Error::Connect(text);
    }
    match error.source().and_then(|source| source.downcast_ref::<hyper::Error>()) {
        Some(source) if source.is_parse() || source.is_parse_too_large() => Error::Garbled(text),
        _ => Error::Reset(text),
    }
}

/// An error with its causes on one line; hyper's own texts say little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
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

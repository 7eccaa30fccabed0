//! The pooled HTTP/1.1 client that everything leaves through: calls to KVS, key sets, metadata endpoints.
//!
//! What it promises beyond hyper's pool: a bound on connecting that includes the TLS handshake, on the wait for the
//! first byte, between bytes and on the whole exchange; a body that ends early, stalls or cannot prove its end is
//! [`Broken`], never short (law 4); redirects are never followed; plain HTTP goes out only where it was allowed.
//! HTTP/1.1 only: KVS speaks nothing else, and one connection per transfer keeps a slow one from holding up others.
//! Names are resolved again for every new connection and idle ones are let go, so that DNS changes are followed.
//!
//! Signing, retries and quotas are `upstream`'s.

use super::body::{Broken, ByteStream};
use bytes::{Bytes, BytesMut};
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error as _;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

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
        let ends_by_closing = ends_by_closing(&response);
        let left = length(&response);
        Ok(response.map(|inner| {
            let body = Watched {
                inner,
                between: limits.between_bytes,
                whole: limits.whole,
                deadline: started + limits.whole,
                timer: Box::pin(tokio::time::sleep_until(started + limits.whole)),
                waiting: false,
                left,
                ends_by_closing,
                done: false,
            };
            body.boxed_unsync()
        }))
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

fn length<B: Body>(response: &Response<B>) -> Option<u64> {
    response.body().size_hint().exact()
}

/// True if neither a length nor chunking tells where the body ends, so that a cut looks like an end.
fn ends_by_closing<B: Body>(response: &Response<B>) -> bool {
    length(response).is_none() && !response.headers().contains_key(header::TRANSFER_ENCODING)
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

/// A response body under watch: every wait and the whole are bounded, and its end is checked.
struct Watched {
    inner: Incoming,
    between: Duration,
    whole: Duration,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    /// True while somebody waits for a chunk. A reader that does not ask is not the other side's stall.
    waiting: bool,
    /// Announced bytes that have not come yet.
    left: Option<u64>,
    ends_by_closing: bool,
    done: bool,
}

impl Watched {
    fn broken(&mut self, why: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.done = true;
        Poll::Ready(Some(Err(why)))
    }

    fn end(&mut self) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.left {
            Some(left) if left > 0 => self.broken(Broken::Cut(format!("{left} announced bytes are missing"))),
            _ if self.ends_by_closing => {
                self.broken(Broken::Cut("its end is not marked, so it cannot be told from a cut".into()))
            }
            _ => {
                self.done = true;
                Poll::Ready(None)
            }
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                if let (Some(left), Some(chunk)) = (&mut this.left, frame.data_ref()) {
                    *left = left.saturating_sub(chunk.len() as u64);
                }
                // An endless trickle never waits long, yet must end.
                if Instant::now() >= this.deadline {
                    return this.broken(Broken::TooLong(this.whole));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.broken(Broken::Cut(chain(&error))),
            Poll::Ready(None) => this.end(),
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    let next = (Instant::now() + this.between).min(this.deadline);
                    this.timer.as_mut().reset(next);
                }
                std::task::ready!(this.timer.as_mut().poll(cx));
                if Instant::now() >= this.deadline {
                    this.broken(Broken::TooLong(this.whole))
                } else {
                    this.broken(Broken::Stalled(this.between))
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.left == Some(0) && self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// A connector whose whole work is bounded, TLS included; hyper's own bound ends with TCP.
#[derive(Clone)]
struct Bounded<C> {
    inner: C,
    limit: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> tower_service::Service<http::Uri> for Bounded<C>
where
    C: tower_service::Service<http::Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: http::Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(done) => done,
                Err(_) => Err(format!("no connection within {limit:?}").into()),
            }
        })
    }
}

/// The system's resolver, minus addresses that a distrusted name must not have.
#[derive(Clone)]
struct Wary {
    system: GaiResolver,
    distrust: fn(&str) -> bool,
}

impl tower_service::Service<Name> for Wary {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        tower_service::Service::poll_ready(&mut self.system, cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let distrusted = (self.distrust)(name.as_str());
        let found = tower_service::Service::call(&mut self.system, name);
        Box::pin(async move {
            let found: Vec<_> = found.await?.filter(|at| !distrusted || !is_local(at.ip())).collect();
            if found.is_empty() {
                return Err(std::io::Error::other("the name has no address that may be connected to"));
            }
            Ok(found.into_iter())
        })
    }
}

/// True for this machine and its link, where metadata services are.
fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests;

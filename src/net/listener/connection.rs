//! The life of one connection: who it is, TLS, which HTTP, requests, the end.

use super::Terms;
use super::monitored_socket::{AHEAD, Guarded};
use super::limits::Limits;
use super::metrics::Rejection;
use super::peer::{ConnectionMemory, Http, Link, Peer};
use super::connection_state::{Order, Pulse, Stage};
use super::early_response::Refusal;
use super::response_body::{Content, Flight, Reply};
use super::http1_framing::Screen;
use super::socket::Socket;
use super::connection_table::{Seat, Watch};
use crate::net::certificate::Certificate;
use crate::net::piece::Piece;
use crate::net::{proxy_protocol, strict};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const PREFACE: &[u8; AHEAD] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What all connections of a listener share.
pub(super) struct Shared<H> {
    pub(super) terms: Terms,
    pub(super) watch: Arc<Watch>,
    handler: H,
    sizes: strict::Sizes,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl<H> Shared<H> {
    pub(super) fn new(terms: Terms, handler: H) -> Self {
        let limits = &terms.limits;
        Self {
            watch: Arc::new(Watch::new(limits.clone(), terms.metrics.clone())),
            handler,
            sizes: strict::Sizes {
                url: limits.url.as_usize(),
                one_header: limits.one_header.as_usize(),
                header_count: limits.header_count,
            },
            http1: http1(limits),
            http2: http2(limits),
            terms,
        }
    }
}

/// hyper's own head timeout stays off: the watch keeps it, together with all other times, without a timer per request.
fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(limits.header_block.as_usize())
        .max_buf_size(limits.buffer.as_usize().max(limits.header_block.as_usize()));
    if limits.header_count > 100 {
        builder.max_headers(limits.header_count); // up to hyper's own 100 the strict check counts
    }
    builder
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let size = |size: crate::setting::ByteSize| u32::try_from(size.0).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(size(limits.header_block))
        .max_concurrent_streams(limits.h2_streams)
        .initial_stream_window_size(size(limits.h2_stream_window))
        .initial_connection_window_size(size(limits.h2_connection_window))
        .max_frame_size(size(limits.h2_frame))
        .max_send_buf_size(limits.buffer.as_usize())
        .max_pending_accept_reset_streams(limits.h2_pending_resets)
        .max_local_error_reset_streams(limits.h2_error_resets);
    builder
}

/// Serves a connection to its end, or until it is cut.
pub(super) async fn attend<H, F, B>(
    shared: Arc<Shared<H>>,
    mut seat: Seat,
    socket: Socket,
    peer: Option<SocketAddr>,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let pulse = seat.pulse().clone();
    let connection = pin!(welcome(shared, &mut seat, &pulse, socket, peer));
    let _ = pulse.attend(connection).await;
}

async fn welcome<H, F, B>(
    shared: Arc<Shared<H>>,
    seat: &mut Seat,
    pulse: &Arc<Pulse>,
    mut socket: Socket,
    peer: Option<SocketAddr>,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let terms = &shared.terms;
    let mut address = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let mut trusted = peer.is_none() || terms.trust.trusts(address);
    if terms.proxy_protocol {
        let header = if trusted { proxy_protocol::read(&mut socket).await.ok() } else { None };
        match header {
            // Behind the PROXY protocol is the client himself, unless he is a trusted proxy too.
            Some(Some(behind)) => {
                address = behind;
                trusted = terms.trust.trusts(address);
            }
            Some(None) => {}
            None => return terms.metrics.reject(Rejection::ProxyProtocol),
        }
    }
    if !trusted && !seat.claim(address) {
        return;
    }
    let mut link = Link {
        address,
        socket: peer,
        http: Http::One,
        tls: None,
        certificate_subject: None,
        trust: trusted.then(|| terms.trust.clone()),
        memory: ConnectionMemory::default(),
    };
    let secured = terms.tls.as_ref().filter(|_| peer.is_some());
    match secured {
        None => talk(shared, pulse, socket, link).await,
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.load_full());
            // In a box: a connection without TLS should not carry the room that a handshake takes.
            match Box::pin(acceptor.accept(socket)).await {
                Ok(stream) => {
                    describe(&mut link, &stream);
                    Box::pin(talk(shared, pulse, stream, link)).await;
                }
                Err(_) => terms.metrics.reject(Rejection::Handshake),
            }
        }
    }
}

/// Notes what TLS knows about the peer.
fn describe(link: &mut Link, stream: &TlsStream<Socket>) {
    let session = stream.get_ref().1;
    link.tls = session.protocol_version().and_then(|version| version.as_str());
    link.http = if session.alpn_protocol() == Some(b"h2") { Http::Two } else { Http::One };
    let first = session.peer_certificates().and_then(|chain| chain.first());
    link.certificate_subject = first.and_then(|der| Certificate::read(der)).map(|c| c.subject.into());
}

/// Speaks HTTP/1 or HTTP/2.
async fn talk<T, H, F, B>(shared: Arc<Shared<H>>, pulse: &Arc<Pulse>, mut io: T, mut link: Link)
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    pulse.enter(Stage::Open);
    let mut ahead = [0; AHEAD];
    let mut taken = 0;
    if link.tls.is_none() {
        (taken, link.http) = match guess(&mut io, pulse, &mut ahead).await {
            Some(guessed) => guessed,
            None => return,
        };
    }
    let http = link.http;
    let link = Arc::new(link);
    let screen = (http == Http::One).then(Screen::new);
    let guarded = Guarded::new(io, &ahead[..taken], screen, pulse.clone());
    let builders = shared.clone();
    let notes = pulse.clone();
    let whose = link.clone();
    let service = service_fn(move |request| answer(&shared, &notes, &whose, request));
    let ended = match http {
        Http::One => one(&builders.http1, TokioIo::new(guarded), service, &link, pulse).await,
        Http::Two => {
            let connection = builders.http2.serve_connection(TokioIo::new(guarded), service);
            two(Box::pin(connection).as_mut(), pulse).await
        }
    };
    if pulse.refused() || ended.as_ref().is_err_and(|e| e.is_parse() && !e.is_parse_too_large()) {
        builders.terms.metrics.reject(Rejection::Malformed);
    } else if ended.is_err_and(|e| e.is_parse_too_large()) {
        builders.terms.metrics.reject(Rejection::HeadersTooLarge);
    }
}

/// Reads until it is clear whether HTTP/2 is spoken without having been agreed on. `None`: there is nothing to serve.
async fn guess<T: AsyncRead + Unpin>(
    io: &mut T,
    pulse: &Pulse,
    ahead: &mut [u8; AHEAD],
) -> Option<(usize, Http)> {
    let mut taken = 0;
    loop {
        let mut reading = pin!(io.read(&mut ahead[taken..]));
        let read = std::future::poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Pending if pulse.order() == Order::Leave => Poll::Ready(Ok(0)),
            other => other,
        });
        match read.await {
            Ok(0) | Err(_) => return None,
            Ok(read) => taken += read,
        }
        pulse.head(true);
        if ahead[..taken] != PREFACE[..taken] {
            return Some((taken, Http::One));
        }
        if taken == AHEAD {
            pulse.head(false);
            return Some((taken, Http::Two));
        }
    }
}

/// Runs an HTTP/1 connection. While it does nothing for a while it is parked: hyper's state and its buffers go, and
/// are made anew when the peer sends something.
async fn one<T, S, B>(
    builder: &http1::Builder,
    mut io: TokioIo<Guarded<T>>,
    mut service: S,
    link: &Link,
    pulse: &Pulse,
) -> hyper::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        // In a box, so that it takes no room in the task while it is not there.
        let mut connection = Box::new(builder.serve_connection(io, service));
        let mut asked = false;
        let ended = std::future::poll_fn(|context| {
            loop {
                if !asked && pulse.order() >= Order::Leave {
                    asked = true;
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                match Pin::new(&mut *connection).poll(context) {
                    Poll::Ready(ended) => return Poll::Ready(Some(ended)),
                    Poll::Pending if !asked && pulse.order() >= Order::Leave => {}
                    Poll::Pending if pulse.may_park() => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        if let Some(ended) = ended.await {
            return ended;
        }
        // What is not named here goes now, hyper's buffer above all.
        let http1::Parts { io: freed, service: again, .. } = connection.into_parts();
        (io, service) = (freed, again);
        link.memory.forget();
        let stirs = io.inner().at_rest() && rest(io.inner_mut(), pulse).await;
        pulse.unpark();
        if !stirs {
            // The peer has gone or is to leave. Whether he hears of it is his affair.
            let _ = io.inner_mut().shutdown().await;
            return Ok(());
        }
    }
}

/// Waits until the peer sends something; `false` if he ended or is to leave.
async fn rest<T: AsyncRead + Unpin>(io: &mut Guarded<T>, pulse: &Pulse) -> bool {
    let stirs = std::future::poll_fn(|context| match io.poll_stir(context) {
        Poll::Pending if pulse.order() >= Order::Leave => Poll::Ready(false),
        other => other,
    });
    let stirs = stirs.await;
    pulse.head(stirs);
    stirs
}

/// Runs an HTTP/2 connection, and asks it to end when the watch or the service says so.
async fn two<T, S, B, E>(
    mut connection: Pin<&mut http2::Connection<T, S, E>>,
    pulse: &Pulse,
) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    let mut asked = false;
    std::future::poll_fn(|context| {
        loop {
            if !asked && pulse.order() >= Order::Retire {
                asked = true;
                connection.as_mut().graceful_shutdown();
            }
            match connection.as_mut().poll(context) {
                Poll::Pending if !asked && pulse.order() >= Order::Retire => {}
                other => return other,
            }
        }
    })
    .await
}

/// One request: strict first, then the handler; the last one of an HTTP/1 connection says so.
fn answer<H, F, B>(
    shared: &Shared<H>,
    pulse: &Arc<Pulse>,
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Reply<B>>, Infallible>> + Send + 'static + use<H, F, B>
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
{
    let count = pulse.begin();
    let mut flight = Flight::new(pulse.clone(), count);
    if *request.method() == Method::HEAD {
        flight.land();
    }
    let mut last = count >= shared.terms.limits.requests_per_connection;
    if last && link.http == Http::Two {
        pulse.give(Order::Retire);
    }
    last |= shared.watch.closing() || pulse.order() != Order::Stay;
    let answering = match strict::check(&request, &shared.sizes) {
        Ok(()) if shared.watch.short() => Err(Refusal::Overload),
        Ok(()) => {
            let peer = Peer::of(link, request.headers());
            Ok((shared.handler)(request, peer))
        }
        Err(violation) => Err(Refusal::Strict(violation)),
    };
    if let Err(refusal) = &answering {
        shared.terms.metrics.reject(refusal.reason());
        last = true;
    }
    let says_last = last && link.http == Http::One;
    async move {
        let mut response = match answering {
            Ok(future) => future.await.map(Content::Handler),
            Err(refusal) => refusal.response().map(|bytes| Content::Own(Some(bytes))),
        };
        if says_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|content| Reply::new(content, flight)))
    }
}

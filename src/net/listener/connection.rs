//! One connection from accept to close: address, TLS, HTTP version.

use super::connection_state::{ConnectionState, Instruction, Stage};
use super::connection_table::ConnectionSlot;
use super::context::ListenerContext;
use super::http1_framing::FramingCheck;
use super::http2_paths::PathCheck;
use super::metrics::Rejection;
use super::monitored_socket::{AHEAD, InputCheck, MonitoredSocket};
use super::peer::{ConnectionInfo, Http, Peer};
use super::plain_http;
use super::protocol::{serve_http1, serve_http2};
use super::request::answer;
use super::socket::Socket;
use crate::base::clock;
use crate::kvs::Timestamp;
use crate::net::certificate::Certificate;
use crate::net::chunk_list::ChunkList;
use crate::net::proxy_protocol;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const PREFACE: &[u8; AHEAD] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end, or until it is instructed to close.
pub(super) async fn serve<H, F, B>(
    shared: Arc<ListenerContext<H>>,
    mut slot: ConnectionSlot,
    socket: Socket,
    peer: Option<SocketAddr>,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let state = slot.state().clone();
    let connection = pin!(identify(shared, &mut slot, &state, socket, peer));
    let _ = state.run(connection).await;
}

async fn identify<H, F, B>(
    shared: Arc<ListenerContext<H>>,
    slot: &mut ConnectionSlot,
    state: &Arc<ConnectionState>,
    mut socket: Socket,
    peer: Option<SocketAddr>,
) where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let options = &shared.options;
    let mut address = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip().to_canonical());
    let mut trusted = match peer {
        Some(_) => options.trust.trusts(address),
        None => options.trust.trusts_unix(),
    };
    if options.proxy_protocol {
        let header = if trusted { proxy_protocol::read(&mut socket).await.ok() } else { None };
        match header {
            // The PROXY protocol names the client, which may be a trusted proxy itself.
            Some(Some(behind)) => {
                address = behind;
                trusted = options.trust.trusts(address);
            }
            Some(None) => {}
            None => return options.metrics.reject(Rejection::ProxyProtocol),
        }
    }
    // Peers on a Unix socket have no address to be counted by.
    let counted = !trusted && (peer.is_some() || options.proxy_protocol);
    if counted && !slot.count_address(address) {
        return;
    }
    let mut info = ConnectionInfo {
        address,
        socket: peer,
        http: Http::One,
        tls: None,
        certificate_subject: None,
        trust: trusted.then(|| options.trust.clone()),
    };
    let secured = options.tls.as_ref().filter(|_| peer.is_some());
    match secured {
        None => serve_http(shared, state, socket, info).await,
        Some(_) if plain_http::begins(&socket).await => {
            options.metrics.reject(Rejection::Handshake);
            // Boxed, as the handshake is.
            Box::pin(plain_http::refuse(socket, state)).await;
        }
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.load_full());
            // Boxed: a connection without TLS should not hold the memory that a handshake takes.
            match Box::pin(acceptor.accept(socket)).await {
                Ok(stream) => {
                    if !note_tls(&mut info, &stream, Timestamp::from(clock::now())) {
                        return options.metrics.reject(Rejection::Handshake);
                    }
                    Box::pin(serve_http(shared, state, stream, info)).await;
                }
                Err(_) => options.metrics.reject(Rejection::Handshake),
            }
        }
    }
}

/// Notes what the TLS handshake says about the peer. False if its certificate has expired: a resumed session
/// has that of its first handshake, which may be long ago.
fn note_tls(info: &mut ConnectionInfo, stream: &TlsStream<Socket>, now: Timestamp) -> bool {
    let session = stream.get_ref().1;
    info.tls = session.protocol_version().and_then(|version| version.as_str());
    info.http = if session.alpn_protocol() == Some(b"h2") { Http::Two } else { Http::One };
    let first = session.peer_certificates().and_then(|chain| chain.first());
    let certificate = first.and_then(|der| Certificate::read(der));
    let valid = certificate.as_ref().is_none_or(|certificate| now <= certificate.expires);
    info.certificate_subject = certificate.map(|certificate| certificate.subject.into());
    valid
}

/// Detects the HTTP version and serves it.
async fn serve_http<T, H, F, B>(
    shared: Arc<ListenerContext<H>>,
    state: &Arc<ConnectionState>,
    mut io: T,
    mut info: ConnectionInfo,
) where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    state.enter(Stage::Open);
    let mut ahead = [0; AHEAD];
    let mut taken = 0;
    if info.tls.is_none() {
        (taken, info.http) = match detect_protocol(&mut io, state, &mut ahead).await {
            Some(detected) => detected,
            None => return,
        };
    }
    let http = info.http;
    let info = Arc::new(info);
    let check = match http {
        Http::One => InputCheck::Framing(FramingCheck::new()),
        Http::Two => InputCheck::Paths(Box::new(PathCheck::new(shared.longest_block()))),
    };
    let monitored = MonitoredSocket::new(io, &ahead[..taken], check, state.clone());
    let builders = shared.clone();
    let state_of_request = state.clone();
    let info_of_request = info.clone();
    let service = service_fn(move |request| answer(&shared, &state_of_request, &info_of_request, request));
    let ended = match http {
        Http::One => serve_http1(&builders.http1, TokioIo::new(monitored), service, state).await,
        Http::Two => {
            let connection = builders.http2.serve_connection(TokioIo::new(monitored), service);
            serve_http2(Box::pin(connection).as_mut(), state).await
        }
    };
    if state.refused() || ended.as_ref().is_err_and(|e| e.is_parse() && !e.is_parse_too_large()) {
        builders.options.metrics.reject(Rejection::Malformed);
    } else if ended.is_err_and(|e| e.is_parse_too_large()) {
        builders.options.metrics.reject(Rejection::HeadersTooLarge);
    }
}

/// Reads until it is clear whether the peer speaks HTTP/2 without ALPN ("prior knowledge", RFC 9113 section
/// 3.3). `None`: there is nothing to serve.
async fn detect_protocol<T: AsyncRead + Unpin>(
    io: &mut T,
    state: &ConnectionState,
    ahead: &mut [u8; AHEAD],
) -> Option<(usize, Http)> {
    let mut taken = 0;
    loop {
        let mut reading = pin!(io.read(&mut ahead[taken..]));
        let read = std::future::poll_fn(|context| match reading.as_mut().poll(context) {
            Poll::Pending if state.instruction() == Instruction::Finish => Poll::Ready(Ok(0)),
            other => other,
        });
        match read.await {
            Ok(0) | Err(_) => return None,
            Ok(read) => taken += read,
        }
        state.head_partial(true);
        if ahead[..taken] != PREFACE[..taken] {
            return Some((taken, Http::One));
        }
        if taken == AHEAD {
            state.head_partial(false);
            return Some((taken, Http::Two));
        }
    }
}

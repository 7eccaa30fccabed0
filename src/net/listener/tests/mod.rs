//! The listener over real sockets, spoken to byte by byte.

mod drains;
mod early_answers;
mod http2;
mod limits;
mod odd_requests;
mod proxies;
mod secure;

use super::*;
use crate::net::body::{Broken, ByteStream, whole};
use crate::net::drain::{self, Drain};
use crate::net::forwarded::{Header, Network};
use crate::net::request_body;
use crate::setting::{ByteSize, Span};
use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A listener with a handler for tests; dropping it ends it.
struct Edge {
    address: SocketAddr,
    metrics: Metrics,
    drain: Drain,
    /// Requests to `/wait` under way.
    waiting: Arc<AtomicUsize>,
    serving: tokio::task::JoinHandle<()>,
}

/// Limits that tests can wait for.
fn quick() -> Limits {
    let short = Span(Duration::from_millis(300));
    Limits {
        header_read: short,
        tls_handshake: short,
        keep_alive_idle: short,
        write_stall: short,
        ..Limits::default()
    }
}

impl Edge {
    async fn start(limits: Limits) -> Self {
        Self::with(ListenerOptions::plain(limits)).await
    }

    async fn with(options: ListenerOptions) -> Self {
        let bound = bind(&[ListenAddress::Tcp("127.0.0.1:0".to_owned())]).await.unwrap();
        let address = bound.addresses()[0];
        let (drain, signal) = drain::channel();
        let metrics = options.metrics.clone();
        let limits = options.limits.clone();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let handler = move |request: Request<Incoming>, peer| {
            let counted = (request.uri().path() == "/wait").then(|| Counted::new(&counted));
            let handled = handle(limits.clone(), request, peer);
            async move {
                let _counted = counted;
                handled.await
            }
        };
        let serving = tokio::spawn(serve(bound, options, handler, signal));
        Self { address, metrics, drain, waiting, serving }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }

    /// Waits until it is so; the test runner ends what never becomes so.
    async fn until(&self, so: impl Fn(&Metrics) -> bool) {
        while !so(&self.metrics) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn rejects(&self, reason: Rejection) {
        self.until(|metrics| metrics.rejections(reason) > 0).await;
    }
}

/// What the server sends until it closes or resets.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

/// One answer with a known length, leaving the connection as it is.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut received = Vec::new();
    loop {
        let byte = stream.read_u8().await.unwrap();
        received.push(byte);
        if received.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(received).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head + &String::from_utf8_lossy(&body)
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const GET_LAST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// `/`: who is asking. `/echo`: the body. `/endless`: bytes for ever. `/wait`: never.
async fn handle(limits: Limits, request: Request<Incoming>, peer: Peer) -> Response<ByteStream> {
    match request.uri().path() {
        "/echo" => match request_body::read(request.into_body(), &limits).await {
            Ok(body) => Response::new(whole(body)),
            Err(error) => {
                let mut response = Response::new(whole(error.to_string().into()));
                *response.status_mut() = match error {
                    request_body::Error::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::REQUEST_TIMEOUT,
                };
                response
            }
        },
        "/endless" => Response::new(ByteStream::new(Endless)),
        "/wait" => std::future::pending().await,
        _ => {
            let connection = &peer.connection;
            let who = format!(
                "{} {:?} {:?} {:?}",
                peer.address, connection.http, connection.tls, connection.certificate_subject
            );
            Response::new(whole(who.into()))
        }
    }
}

/// One more, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Broken;
    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 16 << 10])))))
    }
}

//! Runs hyper's HTTP/1 and HTTP/2 connections, and follows the instructions of the connection's state.

use super::connection_state::{ConnectionState, Instruction};
use super::monitored_socket::MonitoredSocket;
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

/// Serves HTTP/1. After a second without a request the connection is parked: hyper's state and buffers are
/// freed, and made anew when the peer sends something.
pub(super) async fn serve_http1<T, S, B>(
    builder: &http1::Builder,
    mut io: TokioIo<MonitoredSocket<T>>,
    mut service: S,
    state: &ConnectionState,
) -> hyper::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    loop {
        // Boxed, so that a parked connection does not hold its memory.
        let mut connection = Box::new(builder.serve_connection(io, service));
        let mut told_to_finish = false;
        let ended = std::future::poll_fn(|context| {
            loop {
                if !told_to_finish && state.instruction() >= Instruction::Finish {
                    told_to_finish = true;
                    Pin::new(&mut *connection).graceful_shutdown();
                }
                match Pin::new(&mut *connection).poll(context) {
                    Poll::Ready(ended) => return Poll::Ready(Some(ended)),
                    Poll::Pending if !told_to_finish && state.instruction() >= Instruction::Finish => {}
                    Poll::Pending if state.may_park() => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        if let Some(ended) = ended.await {
            return ended;
        }
        // The parts that are not named here are freed now, above all hyper's buffer.
        let http1::Parts { io: freed, service: again, .. } = connection.into_parts();
        (io, service) = (freed, again);
        let continues = io.inner().is_idle() && wait_for_bytes(io.inner_mut(), state).await;
        state.unpark();
        if !continues {
            // The peer has closed, or the connection has to finish. An error changes nothing.
            let _ = io.inner_mut().shutdown().await;
            return Ok(());
        }
    }
}

/// Waits until the peer sends something; `false` if it closes or the connection has to finish.
async fn wait_for_bytes<T: AsyncRead + Unpin>(io: &mut MonitoredSocket<T>, state: &ConnectionState) -> bool {
    let continues = std::future::poll_fn(|context| match io.poll_first_bytes(context) {
        Poll::Pending if state.instruction() >= Instruction::Finish => Poll::Ready(false),
        other => other,
    });
    let continues = continues.await;
    state.head_partial(continues);
    continues
}

/// Serves HTTP/2, and shuts it down gracefully when instructed.
pub(super) async fn serve_http2<T, S, B, E>(
    mut connection: Pin<&mut http2::Connection<T, S, E>>,
    state: &ConnectionState,
) -> hyper::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    let mut told_to_finish = false;
    std::future::poll_fn(|context| {
        loop {
            if !told_to_finish && state.instruction() >= Instruction::LastRequest {
                told_to_finish = true;
                connection.as_mut().graceful_shutdown();
            }
            match connection.as_mut().poll(context) {
                Poll::Pending if !told_to_finish && state.instruction() >= Instruction::LastRequest => {}
                other => return other,
            }
        }
    })
    .await
}

//! The emulator's rim: accepts connections and speaks HTTP/1.1 on them, kept alive.
//!
//! A connection can be reset on purpose: `Wire` is a socket that, once told to, is closed with RST instead of FIN.

use super::api::{self, Reset};
use super::operation::Plane;
use super::world::World;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An idle connection is kept this long.
const IDLE: Duration = Duration::from_secs(60);

/// Opens the data plane at a new port of this address and closes the old one, connections included.
///
/// # Errors
/// When no port can be had.
pub(super) fn move_data_plane(world: &Arc<World>, ip: IpAddr) -> std::io::Result<()> {
    let listener = std::net::TcpListener::bind((ip, 0))?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    world.set_endpoint(format!("http://{}", listener.local_addr()?));
    world.set_data_plane(Some(tokio::spawn(serve(listener, Plane::Data, world.clone()))));
    Ok(())
}

/// Accepts until dropped; connections end with it.
pub(super) async fn serve(listener: TcpListener, plane: Plane, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, plane, world.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await, // out of files: must not spin
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, plane: Plane, world: Arc<World>) {
    let _ = stream.set_nodelay(true);
    let reset = Reset::default();
    let wire = Wire { stream, reset: reset.0.clone() };
    let service = service_fn(move |request| {
        let (world, reset) = (world.clone(), reset.clone());
        async move { api::handle(&world, plane, peer, &reset, request).await }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(wire), service)
        .await;
}

struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(())); // no FIN before the RST
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

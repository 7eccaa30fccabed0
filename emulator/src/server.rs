//! Accepts connections and speaks HTTP/1.1 on them, kept alive.

use super::api;
use super::operation::Plane;
use super::reset::{Reset, ResettableStream};
use super::state::EmulatorState;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

/// How long an idle connection stays open.
const IDLE: Duration = Duration::from_secs(60);

/// Serves the newest of the listeners. The one before is closed with its connections.
pub(super) async fn serve_newest(
    mut listeners: UnboundedReceiver<TcpListener>,
    plane: Plane,
    state: Arc<EmulatorState>,
) {
    let mut current = JoinSet::new();
    while let Some(listener) = listeners.recv().await {
        current.shutdown().await;
        current.spawn(serve(listener, plane, state.clone()));
    }
}

/// Accepts until dropped; its connections end with it.
pub(super) async fn serve(listener: TcpListener, plane: Plane, state: Arc<EmulatorState>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, plane, state.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await, // out of files: must not spin
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, plane: Plane, state: Arc<EmulatorState>) {
    let _ = stream.set_nodelay(true);
    let reset = Reset::default();
    let stream = ResettableStream::new(stream, reset.clone());
    let service = service_fn(move |request| {
        let (state, reset) = (state.clone(), reset.clone());
        async move { api::handle(&state, plane, peer, &reset, request).await }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

//! The listener: accepts connections, does TLS, HTTP/1 and HTTP/2, enforces limits, and drains.
//!
//! The handler, a function from request and [`Peer`] to response, gives requests their meaning. hyper does
//! the protocol. Around it, `monitored_socket` and `http1_framing` check the input, `connection_state` holds
//! what each connection does, and `connection_table` with `timeouts` enforces every time limit on all of
//! them.

mod config;
mod connection;
mod connection_state;
mod connection_table;
mod context;
mod early_response;
mod hpack;
mod http1_framing;
mod http2_paths;
mod limits;
mod memory_limit;
mod metrics;
mod monitored_socket;
mod peer;
mod plain_http;
mod protocol;
mod request;
mod response_body;
mod socket;
#[cfg(test)]
mod tests;
mod timeouts;

pub use config::{ListenAddress, ServerConfig};
pub use context::ListenerOptions;
pub use limits::Limits;
pub use metrics::{Metrics, Rejection};
pub use peer::{ConnectionInfo, Http, Peer};
pub use socket::{Bound, Error, bind};

use super::chunk_list::ChunkList;
use super::drain::{Phase, Signal};
use connection_table::ConnectionTable;
use context::ListenerContext;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket::ListeningSocket;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

/// How long to wait when no connection can be accepted: out of file descriptors, most likely.
const BREATH: Duration = Duration::from_millis(50);
/// At the end, how long closed connections may take to end their tasks.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Serves until the drain is over. In its phase `Closing` nothing new is accepted, and connections end as
/// they become idle. Returns when all have ended, or at `Ended`, when the rest is closed. Dropping the future
/// closes them all.
pub async fn serve<H, F, B>(bound: Bound, options: ListenerOptions, handler: H, mut drain: Signal)
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let shared = Arc::new(ListenerContext::new(options, handler));
    let table = shared.table.clone();
    let _close = CloseOnDrop(table.clone());
    let life = async {
        tokio::select! {
            biased;
            () = drain.reached(Phase::Closing) => {}
            () = accept(bound.sockets, shared) => {}
        }
        table.start_closing();
        tokio::select! {
            () = table.wait_until_empty() => {}
            () = drain.reached(Phase::Ended) => {
                table.close_all();
                let _ = tokio::time::timeout(LAST_MOMENT, table.wait_until_empty()).await;
            }
        }
    };
    tokio::select! {
        () = life => {}
        () = sweep(&table) => {}
    }
}

struct CloseOnDrop(Arc<ConnectionTable>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close_all();
    }
}

async fn sweep(table: &ConnectionTable) {
    let mut sweep_interval = tokio::time::interval(table.sweep_interval());
    sweep_interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        sweep_interval.tick().await;
        table.check_memory();
        table.sweep();
    }
}

async fn accept<H, F, B>(sockets: Vec<ListeningSocket>, shared: Arc<ListenerContext<H>>)
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut turn = 0;
    loop {
        // Each socket takes its turn to be polled first, so that a busy one does not starve the others.
        turn = (turn + 1) % sockets.len().max(1);
        let accepted = std::future::poll_fn(|context| {
            let (before, from) = sockets.split_at(turn);
            for socket_of in from.iter().chain(before) {
                if let Poll::Ready(accepted) = socket_of.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok((socket, peer)) => {
                if let Some(slot) = shared.table.admit() {
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "its slot in the connection table owns it"
                    )]
                    tokio::spawn(connection::serve(shared.clone(), slot, socket, peer));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                shared.table.close_idle();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Whether accepting failed because of the connection, not because of the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

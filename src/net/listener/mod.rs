//! The listener: accepts connections, speaks TLS, HTTP/1 and HTTP/2, keeps peers to their limits, and ends in good
//! order when the process drains.
//!
//! What a request means is the handler's, a function from request and [`Peer`] to response. hyper does the protocol;
//! around it stand a guard on the socket (`guarded`, `screen`), notes on what each connection does (`pulse`), and one
//! watch over all of them (`watch`, `verdict`) that keeps every time limit.

mod config;
mod connection;
mod monitored_socket;
mod limits;
mod memory_limit;
mod metrics;
mod peer;
mod connection_state;
mod early_response;
mod response_body;
mod http1_framing;
mod socket;
#[cfg(test)]
mod tests;
mod timeouts;
mod connection_table;

pub use config::{Place, ServerConfig};
pub use limits::Limits;
pub use metrics::{Metrics, Rejection};
pub use peer::{Http, Link, Peer};
pub use socket::{Bound, Error, bind};

use super::drain::{Phase, Signal};
use super::forwarded::Trust;
use super::piece::Piece;
use arc_swap::ArcSwap;
use connection::Shared;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use socket::Door;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use connection_table::Watch;

/// Under which terms a listener serves.
#[derive(Clone)]
pub struct Terms {
    /// What a peer may take.
    pub limits: Limits,
    /// For TLS; swap it to change certificates. Unix sockets never speak TLS.
    pub tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    /// Whom to believe about the client's address.
    pub trust: Arc<Trust>,
    /// Whether connections of trusted proxies begin with a PROXY protocol header; all others are refused then.
    pub proxy_protocol: bool,
    /// What is counted.
    pub metrics: Metrics,
}

impl Terms {
    /// Plain HTTP with these limits, nobody trusted, nothing counted.
    #[must_use]
    pub fn plain(limits: Limits) -> Self {
        Self { limits, tls: None, trust: Arc::default(), proxy_protocol: false, metrics: Metrics::unseen() }
    }
}

/// How long to wait when no connection can be accepted: out of file descriptors, most likely.
const BREATH: Duration = Duration::from_millis(50);
/// At the end, how long cut connections may take to let go.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Serves until the drain is over: in its phase `Closing` nothing new is accepted and connections end as they fall
/// idle; returns when all are gone, or at `Ended`, when the rest is cut. Dropping the future cuts everybody.
pub async fn serve<H, F, B>(bound: Bound, terms: Terms, handler: H, mut drain: Signal)
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let shared = Arc::new(Shared::new(terms, handler));
    let watch = shared.watch.clone();
    let _cut = CutOnDrop(watch.clone());
    let life = async {
        tokio::select! {
            biased;
            () = drain.reached(Phase::Closing) => {}
            () = accept(bound.doors, shared) => {}
        }
        watch.close();
        tokio::select! {
            () = watch.empty() => {}
            () = drain.reached(Phase::Ended) => {
                watch.cut();
                let _ = tokio::time::timeout(LAST_MOMENT, watch.empty()).await; // they have no say any more
            }
        }
    };
    tokio::select! {
        () = life => {}
        () = sweep(&watch) => {}
    }
}

struct CutOnDrop(Arc<Watch>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        self.0.cut();
    }
}

async fn sweep(watch: &Watch) {
    let mut rhythm = tokio::time::interval(watch.rhythm());
    rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rhythm.tick().await;
        watch.look_at_memory();
        watch.sweep();
    }
}

async fn accept<H, F, B>(doors: Vec<Door>, shared: Arc<Shared<H>>)
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut turn = 0;
    loop {
        // Each door has its turn to be asked first, so that a busy one does not shut the others out.
        turn = (turn + 1) % doors.len().max(1);
        let accepted = std::future::poll_fn(|context| {
            let (before, from) = doors.split_at(turn);
            for door in from.iter().chain(before) {
                if let Poll::Ready(accepted) = door.poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        });
        match accepted.await {
            Ok((socket, peer)) => {
                if let Some(seat) = shared.watch.seat() {
                    tokio::spawn(connection::attend(shared.clone(), seat, socket, peer));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                shared.watch.make_room();
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Whether accepting failed because of the connection, not because of us.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

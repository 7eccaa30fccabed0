//! Health, readiness, metrics and the operations of a running process, on a listener of their own.
//!
//! It listens on loopback unless configured otherwise. It has no authentication: access to its address is
//! access to it. What it shows and does is implemented by `app`, as an [`Admin`].

mod config;
mod hosts;
mod operations;
mod pages;

pub use config::Config;
pub use operations::Admin;

use crate::net::drain::{self, Phase, Signal};
use crate::net::listener::{self, Bound, Limits, ListenerOptions};
use crate::setting::{ByteSize, Span};
use hosts::Hosts;
use std::sync::Arc;

/// Serves operators until the drain is over. Unlike the public listener it serves while connections drain,
/// when `/readyz` and `/metrics` are needed most.
///
/// Run it on a runtime of its own: what operators look at goes through everything that there is, such as all
/// series of metrics, and must neither hold up clients nor wait for them.
pub async fn serve<A: Admin>(bound: Bound, config: &Config, admin: Arc<A>, mut program: Signal) {
    let hosts = Arc::new(Hosts::of(config));
    // A drain of its own, which goes from running to ended without the phases between.
    let (own_drain, signal) = drain::channel();
    let answering = listener::serve(
        bound,
        ListenerOptions::plain(limits()),
        move |request, peer| {
            let (admin, hosts) = (admin.clone(), hosts.clone());
            async move {
                // No web page reaches a Unix socket, and names mean nothing there.
                let hosts = peer.connection.socket.map(|_| &*hosts);
                pages::answer(&*admin, hosts, request).await
            }
        },
        signal,
    );
    tokio::select! {
        () = answering => {}
        () = program.reached(Phase::Ended) => own_drain.advance(Phase::Ended),
    }
}

/// Few connections and short times. Writes keep their defaults, because a scrape with a thousand streams
/// takes long.
fn limits() -> Limits {
    Limits {
        connections_total: 256,
        connections_per_address: 64,
        keep_alive_idle: Span::seconds(120),
        memory: Some(ByteSize(0)), // operators look most closely when memory is short
        ..Limits::default()
    }
}

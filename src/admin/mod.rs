//! Health, readiness, metrics and the operations of a running process, on a listener of their own.
//!
//! It listens on loopback unless configured otherwise. It has no authentication: access to its address is
//! access to it. What it shows and does is implemented by `app`, as an [`Admin`].

mod config;
mod operations;
mod pages;

pub use config::Config;
pub use operations::Admin;

use crate::net::drain::{self, Phase, Signal};
use crate::net::listener::{self, Bound, Limits, ListenerOptions};
use crate::setting::{ByteSize, Span};
use std::sync::Arc;

/// Serves operators until the drain is over. Unlike the public listener it serves while connections drain,
/// when `/readyz` and `/metrics` are needed most.
pub async fn serve<A: Admin>(bound: Bound, admin: Arc<A>, mut program: Signal) {
    // A drain of its own, which goes from running to ended without the phases between.
    let (own_drain, signal) = drain::channel();
    let answering = listener::serve(
        bound,
        ListenerOptions::plain(limits()),
        move |request, _| {
            let admin = admin.clone();
            async move { pages::answer(&*admin, request).await }
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

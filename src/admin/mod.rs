//! Health, readiness, metrics and the few things an operator does to a running process, on a listener of their own.
//!
//! It stands on loopback unless configured otherwise and asks nobody who he is: who reaches it may use it. What it
//! shows comes from whoever assembles the program, as an [`Admin`].

mod config;
mod pages;

pub use config::Config;

use crate::net::drain::Signal;
use crate::net::listener::{self, Bound, Limits, Terms};
use crate::setting::{ByteSize, Span};
use prometheus::proto::MetricFamily;
use std::future::Future;
use std::sync::Arc;

/// What the assembled program shows and does.
pub trait Admin: Send + Sync + 'static {
    /// What keeps the process from being ready; nothing: it is. KVS being down is no reason.
    fn readiness(&self) -> Vec<String>;
    /// Every metric.
    fn gather(&self) -> Vec<MetricFamily>;
    /// Who watches what, without secrets.
    fn sessions(&self) -> serde_json::Value;
    /// The settings in force as TOML, without secrets.
    fn config(&self) -> String;
    /// Forgets all media of a stream, on every tier; how many entries that were.
    ///
    /// # Errors
    /// What is wrong with the ARN, or which tier could not be reached.
    fn purge(&self, stream: &str) -> impl Future<Output = Result<usize, String>> + Send;
    /// Reads the settings again and puts them into force, whole or not at all.
    ///
    /// # Errors
    /// Why the old ones stay.
    fn reload(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// Fetches footage into the cache ahead of its viewers, as the request's JSON says; what is under way.
    ///
    /// # Errors
    /// What is wrong with the wish.
    fn warm(&self, wish: serde_json::Value)
    -> impl Future<Output = Result<serde_json::Value, String>> + Send;
    /// What is being fetched ahead, and what was lately.
    fn warming(&self) -> serde_json::Value;
}

/// Serves operators until the drain is over. Unlike the public listener it keeps answering while connections drain:
/// `/readyz` and `/metrics` are wanted most then.
pub async fn serve<A: Admin>(bound: Bound, admin: Arc<A>, drain: Signal) {
    let (still_there, lasting) = crate::net::drain::channel();
    let answering = listener::serve(
        bound,
        Terms::plain(limits()),
        move |request, _| {
            let admin = admin.clone();
            async move { pages::answer(&*admin, request).await }
        },
        lasting,
    );
    let mut drain = drain;
    tokio::select! {
        () = answering => {}
        () = drain.reached(crate::net::drain::Phase::Ended) => still_there.advance(crate::net::drain::Phase::Ended),
    }
}

/// Few peers, little patience; a scrape of a thousand streams takes its time, so writes keep their default.
fn limits() -> Limits {
    Limits {
        connections_total: 256,
        connections_per_address: 64,
        keep_alive_idle: Span::seconds(120),
        memory: Some(ByteSize(0)), // operators look most closely when memory is short
        ..Limits::default()
    }
}

//! Begins the record of each request: its id, its trace, its client.

use super::metrics::Metrics;
use super::record::Record;
use crate::net::listener::Peer;
use crate::telemetry::spans::Tracer;
use crate::telemetry::trace::{self, Trace};
use http::header;
use std::sync::Arc;

/// So much of a `User-Agent` is logged, in characters.
const USER_AGENT: usize = 200;

/// A request whose body has not been read.
pub type Incoming = http::Request<hyper::body::Incoming>;

/// What records are begun with.
pub struct Recorder {
    /// Our own numbers.
    pub metrics: Metrics,
    /// Whether access lines are written.
    pub access_log: bool,
    /// Spans of requests, if a collector is configured.
    pub tracer: Option<Arc<Tracer>>,
}

impl Recorder {
    /// The record of a request that has just arrived. Ids and traces are taken from trusted proxies only.
    pub fn begin(&self, request: &Incoming, peer: &Peer) -> Box<Record> {
        let trusted = peer.is_trusted_proxy();
        let given = if trusted { trace::request_id_of(request.headers()) } else { None };
        let id = given.unwrap_or_else(trace::request_id);
        let mut record = Box::new(Record::new(&self.metrics, id, peer.address, request.version()));
        record.logged = self.access_log;
        record.tls = peer.connection.tls;
        let parent = Trace::read(request.headers());
        record.trace(parent, self.tracer.as_ref().and_then(|tracer| tracer.begin(parent, trusted)));
        if self.access_log {
            let agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
            record.user_agent = agent.map(|agent| agent.chars().take(USER_AGENT).collect::<String>().into());
        }
        record
    }
}

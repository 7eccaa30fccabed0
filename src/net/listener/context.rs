//! What all connections of a listener use: its options, handler, limits and protocol builders.

use super::connection_table::ConnectionTable;
use super::limits::Limits;
use super::metrics::Metrics;
use crate::net::forwarded::Trust;
use crate::net::request_checks;
use arc_swap::ArcSwap;
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::sync::Arc;

/// How a listener serves.
#[derive(Clone)]
pub struct ListenerOptions {
    /// Bounds on sizes, counts and times.
    pub limits: Limits,
    /// For TLS; swap it to change certificates. Unix sockets never speak TLS.
    pub tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    /// `Strict-Transport-Security` of responses over TLS.
    pub hsts: Option<HeaderValue>,
    /// Which proxies are trusted to give the client's address.
    pub trust: Arc<Trust>,
    /// Whether connections of trusted proxies begin with a PROXY protocol header; all others are refused
    /// then.
    pub proxy_protocol: bool,
    /// Where connections and rejections are counted.
    pub metrics: Metrics,
}

impl ListenerOptions {
    /// Plain HTTP with these limits, no trusted proxies, and metrics that are not shown.
    #[must_use]
    pub fn plain(limits: Limits) -> Self {
        let (tls, hsts, trust) = (None, None, Arc::default());
        Self { limits, tls, hsts, trust, proxy_protocol: false, metrics: Metrics::unseen() }
    }
}

/// What all connections of a listener use.
pub(super) struct ListenerContext<H> {
    pub(super) options: ListenerOptions,
    pub(super) table: Arc<ConnectionTable>,
    pub(super) handler: H,
    pub(super) sizes: request_checks::Sizes,
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<TokioExecutor>,
}

impl<H> ListenerContext<H> {
    pub(super) fn new(options: ListenerOptions, handler: H) -> Self {
        let limits = &options.limits;
        Self {
            table: Arc::new(ConnectionTable::new(limits.clone(), options.metrics.clone())),
            handler,
            sizes: request_checks::Sizes {
                url: limits.url.as_usize(),
                one_header: limits.one_header.as_usize(),
                header_count: limits.header_count,
            },
            http1: http1(limits),
            http2: http2(limits),
            options,
        }
    }
}

impl<H> ListenerContext<H> {
    /// The longest encoded header block of HTTP/2: no longer than twice the bound of its text, since the
    /// longest codes of ordinary text have 13 bits.
    pub(super) fn longest_block(&self) -> usize {
        self.options.limits.header_block.as_usize().saturating_mul(2)
    }
}

/// hyper's own head timeout is off: the table of connections enforces it with all other times, without a
/// timer per request.
fn http1(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(limits.header_block.as_usize())
        .max_buf_size(limits.buffer.as_usize().max(limits.header_block.as_usize()));
    if limits.header_count > 100 {
        builder.max_headers(limits.header_count); // up to hyper's own 100 the strict check counts
    }
    builder
}

fn http2(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let size = |size: crate::setting::ByteSize| u32::try_from(size.0).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(size(limits.header_block))
        .max_concurrent_streams(limits.h2_streams)
        .initial_stream_window_size(size(limits.h2_stream_window))
        .initial_connection_window_size(size(limits.h2_connection_window))
        .max_frame_size(size(limits.h2_frame))
        .max_send_buf_size(limits.buffer.as_usize())
        .max_pending_accept_reset_streams(limits.h2_pending_resets)
        .max_local_error_reset_streams(limits.h2_error_resets);
    builder
}

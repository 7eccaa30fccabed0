//! One request of a connection: checked, handled, answered.
//!
//! A response that is made before the request's body has come is the last one of an HTTP/1 connection: where
//! the next request begins is known only when the rest of the body has come, which nobody reads.

use super::connection_state::{ConnectionState, Instruction};
use super::context::ListenerContext;
use super::early_response::EarlyResponse;
use super::peer::{ConnectionInfo, Http, Peer};
use super::response_body::{Content, RequestInProgress, TrackedBody};
use crate::net::chunk_list::ChunkList;
use crate::net::request_checks::{self, Violation};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;

/// Answers one request: first the checks, then the handler. The last response of an HTTP/1 connection says
/// `close`.
pub(super) fn answer<H, F, B>(
    shared: &ListenerContext<H>,
    state: &Arc<ConnectionState>,
    connection: &Arc<ConnectionInfo>,
    mut request: Request<Incoming>,
) -> impl Future<Output = Result<Response<TrackedBody<B>>, Infallible>> + Send + 'static + use<H, F, B>
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<ChunkList>,
{
    let count = state.begin();
    let mut in_progress = RequestInProgress::new(state.clone(), count);
    if *request.method() == Method::HEAD {
        in_progress.complete();
    }
    let mut last = count >= shared.options.limits.requests_per_connection;
    if last && connection.http == Http::Two {
        state.instruct(Instruction::LastRequest);
    }
    last |= shared.table.is_closing() || state.instruction() != Instruction::Continue;
    // A chunked body can be complete in hyper's buffer and still unread.
    let is_chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let had_fragment = connection.http == Http::Two && state.take_cut_path(target.as_bytes());
    if connection.trust.is_some() {
        request_checks::drop_underscores(request.headers_mut());
    }
    let checked =
        if had_fragment { Err(Violation::Target) } else { request_checks::check(&request, &shared.sizes) };
    let answering = match checked {
        Ok(()) if shared.table.memory_is_short() => Err(EarlyResponse::Overload),
        Ok(()) => {
            let peer = Peer::of(connection, request.headers());
            // In a box: hyper moves the future of a request about before it is first polled, and every open
            // connection has room for one.
            Ok(Box::pin((shared.handler)(request, peer)))
        }
        Err(violation) => Err(EarlyResponse::Check(violation)),
    };
    if let Err(refusal) = &answering {
        shared.options.metrics.reject(refusal.reason());
        last = true;
    }
    let (state, is_http1) = (state.clone(), connection.http == Http::One);
    let hsts = shared.options.hsts.clone().filter(|_| connection.tls.is_some());
    async move {
        let mut response = match answering {
            Ok(future) => future.await.map(Content::Handler),
            Err(refusal) => refusal.response().map(|bytes| Content::Own(Some(bytes))),
        };
        let unread = state.awaits_body(count) || is_chunked && response.status().is_client_error();
        if is_http1 && (last || unread) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(hsts) = hsts {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        Ok(response.map(|content| TrackedBody::new(content, in_progress)))
    }
}

//! One request of a connection: checked, handled, answered.

use super::connection_state::{ConnectionState, Instruction};
use super::context::ListenerContext;
use super::early_response::EarlyResponse;
use super::peer::{Http, Link, Peer};
use super::response_body::{Content, RequestInProgress, TrackedBody};
use crate::net::piece::Piece;
use crate::net::strict;
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
    link: &Arc<Link>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<TrackedBody<B>>, Infallible>> + Send + 'static + use<H, F, B>
where
    H: Fn(Request<Incoming>, Peer) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + Unpin + 'static,
    B::Data: Into<Piece>,
{
    let count = state.begin();
    let mut in_progress = RequestInProgress::new(state.clone(), count);
    if *request.method() == Method::HEAD {
        in_progress.complete();
    }
    let mut last = count >= shared.terms.limits.requests_per_connection;
    if last && link.http == Http::Two {
        state.instruct(Instruction::LastRequest);
    }
    last |= shared.table.is_closing() || state.instruction() != Instruction::Continue;
    let answering = match strict::check(&request, &shared.sizes) {
        Ok(()) if shared.table.memory_is_short() => Err(EarlyResponse::Overload),
        Ok(()) => {
            let peer = Peer::of(link, request.headers());
            Ok((shared.handler)(request, peer))
        }
        Err(violation) => Err(EarlyResponse::Strict(violation)),
    };
    if let Err(refusal) = &answering {
        shared.terms.metrics.reject(refusal.reason());
        last = true;
    }
    let says_last = last && link.http == Http::One;
    async move {
        let mut response = match answering {
            Ok(future) => future.await.map(Content::Handler),
            Err(refusal) => refusal.response().map(|bytes| Content::Own(Some(bytes))),
        };
        if says_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|content| TrackedBody::new(content, in_progress)))
    }
}

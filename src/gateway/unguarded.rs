//! The path of a request without asking who sends it or whether he may. Exists in tests only: what authentication and
//! authorization cost is the difference (`app/cost.rs`).

use super::authenticate::Authenticated;
use super::error::Error;
use super::{Ask, Body, Cors, Gateway, Incoming, Record, Reply, Route, finish, refusal};
use crate::caller::Caller;
use crate::net::listener::Peer;
use crate::policy::{Permit, Scene};
use http::{Method, StatusCode};
use std::sync::Arc;

impl Gateway {
    /// As [`Gateway::handle`], for a page that everybody may see, in the name of `nobody`.
    pub async fn handle_unguarded(
        &self,
        request: Incoming,
        peer: &Peer,
        nobody: &Arc<Caller>,
    ) -> http::Response<Body> {
        let mut record = self.record(&request, peer);
        let preflight = Cors::is_preflight(request.method(), request.headers());
        let origin = self.cors.origin(request.headers());
        let head_only = request.method() == Method::HEAD;
        let reply = if preflight {
            Reply::empty(StatusCode::NO_CONTENT)
        } else {
            match self.answer_unguarded(request, nobody, &mut record).await {
                Ok(reply) => reply,
                Err(error) => refusal::reply(&error, &mut record),
            }
        };
        let mut reply = if head_only { reply.without_body() } else { reply };
        self.cors.apply(origin.as_ref(), &mut reply.headers, preflight);
        finish(reply, record)
    }

    async fn answer_unguarded(
        &self,
        request: Incoming,
        nobody: &Arc<Caller>,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let (parts, body) = request.into_parts();
        let route = Route::find(&parts.method, parts.uri.path())?;
        let now = record.at;
        let who = Authenticated::Person(nobody.clone());
        let wanted = self.read(&route, &who, &parts, body, now).await?;
        record.asked(&wanted);
        record.step("read");
        let located = wanted.stream().map(|stream| self.upstream.locate(stream)).transpose()?;
        let scene = Scene { now, source_ip: record.client, stream: None };
        let permit = Permit::unasked(nobody.clone(), wanted);
        let allowance = self.admit(self.callers.of(permit.caller(), &self.rates), record)?;
        let (located, scene, steps) = (located.as_ref(), &scene, record.steps());
        let ask = Ask { permit, located, scene, parts: &parts, now, allowance, steps };
        match route {
            Route::Page(page) => Box::pin(self.page(page, ask, record)).await,
            _ => panic!("only pages are asked for without a guard"),
        }
    }
}

//! The path of a request without asking who sends it or whether he may. Exists in tests only: what authentication and
//! authorization cost is the difference (`app/cost.rs`).

use super::authenticate::Authenticated;
use super::error::Error;
use super::{Ask, Body, Gateway, Incoming, Record, Reply, Route, finish, refusal};
use crate::caller::Caller;
use crate::kvs::Timestamp;
use crate::net::listener::Peer;
use crate::policy::{Permit, Scene};
use std::net::IpAddr;
use std::sync::Arc;

impl Gateway {
    /// A permit as the guarded path would get it, for [`Gateway::handle_unguarded`] to use again and again.
    pub async fn permitted(&self, request: crate::kvs::Request, caller: Arc<Caller>, from: IpAddr) -> Permit {
        let located = self.upstream.locate(request.stream().unwrap()).unwrap();
        let reads = self.policy.reads();
        let scene = self.scene(Some(&located), reads, from, Timestamp::now()).await.ok().unwrap();
        self.policy.permit(caller, request, &scene).unwrap()
    }

    /// What a page is asked for by this address.
    pub fn asked_by(&self, uri: &http::Uri) -> crate::kvs::Request {
        let Ok(Route::Page(page)) = Route::find(&http::Method::GET, uri.path()) else {
            panic!("a page: {uri}")
        };
        let query = super::read::Query::from(uri.query().unwrap_or_default());
        let call = super::read::read_page(&page, &query, Timestamp::now()).ok().unwrap();
        crate::kvs::Request::Call(call)
    }

    /// As [`Gateway::handle`], for a page that everybody may see.
    pub async fn handle_unguarded(
        &self,
        request: Incoming,
        peer: &Peer,
        permit: &Permit,
    ) -> http::Response<Body> {
        let mut record = self.record(&request, peer);
        let origin = self.cors.origin(request.headers());
        let mut reply = match self.answer_unguarded(request, permit, &mut record).await {
            Ok(reply) => reply,
            Err(error) => refusal::reply(&error, &mut record),
        };
        self.cors.apply(origin.as_ref(), &mut reply.headers, false);
        finish(reply, record)
    }

    async fn answer_unguarded(
        &self,
        request: Incoming,
        permit: &Permit,
        record: &mut Record,
    ) -> Result<Reply, Error> {
        let (parts, body) = request.into_parts();
        let route = Route::find(&parts.method, parts.uri.path())?;
        let now = record.at;
        let nobody = Authenticated::Person(permit.caller().clone());
        let wanted = self.read(&route, &nobody, &parts, body, now).await?;
        record.asked(&wanted);
        let located = wanted.stream().map(|stream| self.upstream.locate(stream)).transpose()?;
        let scene = Scene { now, source_ip: record.client, stream: None };
        let allowance = self.admit(permit.caller(), record)?;
        let steps = record.steps();
        let ask = Ask { permit: permit.clone(), located, scene, parts: &parts, now, allowance, steps };
        match route {
            Route::Page(page) => Box::pin(self.page(page, ask, record)).await,
            _ => panic!("only pages are asked for without a guard"),
        }
    }
}

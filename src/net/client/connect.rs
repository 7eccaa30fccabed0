//! Connecting within a time limit, and never to an address that the name must not have.

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// A connector with a time limit that includes TLS; hyper's own limit ends with TCP.
#[derive(Clone)]
pub(super) struct TimeLimited<C> {
    pub(super) inner: C,
    pub(super) limit: Duration,
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<C> tower_service::Service<http::Uri> for TimeLimited<C>
where
    C: tower_service::Service<http::Uri, Error = BoxError>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, to: http::Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(to), self.limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(done) => done,
                Err(_) => Err(format!("no connection within {limit:?}").into()),
            }
        })
    }
}

/// The system's resolver, minus local addresses of names that must not have one.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    pub(super) system: GaiResolver,
    pub(super) must_not_be_local: fn(&str) -> bool,
}

impl tower_service::Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        tower_service::Service::poll_ready(&mut self.system, cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let is_bound = (self.must_not_be_local)(name.as_str());
        let found = tower_service::Service::call(&mut self.system, name);
        Box::pin(async move {
            let found: Vec<_> = found.await?.filter(|at| !is_bound || !is_local(at.ip())).collect();
            if found.is_empty() {
                return Err(std::io::Error::other("the name has no address that may be connected to"));
            }
            Ok(found.into_iter())
        })
    }
}

/// Whether an address is this machine or its link, where metadata services are.
pub(super) fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

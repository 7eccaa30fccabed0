//! Outgoing connections through the proxy that the environment names: a tunnel for https, absolute addresses
//! for http, as curl does. This machine and its link are never reached through a proxy.

use super::connect::is_local;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which addresses are reached through which proxy. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies(Option<Arc<Matcher>>);

/// The variables that name proxies, each with its other spelling.
const VARIABLES: [[&str; 2]; 3] =
    [["HTTPS_PROXY", "https_proxy"], ["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]];
const EXCEPT: [&str; 2] = ["NO_PROXY", "no_proxy"];

impl Proxies {
    /// The proxies of an environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and `NO_PROXY` with the
    /// hosts, domains and networks that are reached directly.
    ///
    /// # Errors
    /// A value that is no address of an HTTP proxy, with the variable and what to write. The value is not
    /// shown; it may hold a password.
    pub(super) fn of_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let value = |names: [&'static str; 2]| {
            let found = names.into_iter().find_map(|name| Some((name, variable(name)?)));
            found.filter(|(_, value)| !value.trim().is_empty())
        };
        let mut proxies = [String::new(), String::new(), String::new()];
        for (proxy, names) in proxies.iter_mut().zip(VARIABLES) {
            if let Some((name, value)) = value(names) {
                *proxy = checked(name, value.trim())?;
            }
        }
        let [https, http, all] = proxies;
        if https.is_empty() && http.is_empty() && all.is_empty() {
            return Ok(Self::default());
        }
        let except = value(EXCEPT).map_or_else(String::new, |(_, value)| value);
        let matcher = Matcher::builder().https(https).http(http).all(all).no(except).build();
        Ok(Self(Some(Arc::new(matcher))))
    }

    /// The proxy for an address; `None`: it is reached directly.
    fn intercept(&self, to: &Uri) -> Option<Intercept> {
        let matcher = self.0.as_ref().filter(|_| !is_here(to))?;
        matcher.intercept(to)
    }

    /// What a request for an http address says to its proxy about the client, if it has to.
    pub(super) fn authorization(&self, to: &Uri) -> Option<HeaderValue> {
        let plain = to.scheme_str() == Some("http");
        self.intercept(to).filter(|_| plain)?.basic_auth().cloned()
    }
}

/// An address of an HTTP proxy; a host and a port alone are one.
fn checked(name: &str, value: &str) -> Result<String, String> {
    let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let wrong = || format!("the variable {name} is not the address of a proxy; write http://HOST:PORT");
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    match uri.scheme_str() {
        Some("http") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(address),
        Some("http") | None => Err(wrong()),
        Some(other) => {
            Err(format!("the variable {name} names a proxy of kind {other}; only http:// is supported"))
        }
    }
}

/// Whether an address is this machine or its link, by its text: metadata services and emulators.
fn is_here(to: &Uri) -> bool {
    let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<IpAddr>() {
        Ok(address) => is_local(address),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

/// A connector that goes through a proxy where there is one.
#[derive(Clone)]
pub(super) struct ProxyConnector<C> {
    pub(super) direct: C,
    pub(super) proxies: Proxies,
}

impl<C> Service<Uri> for ProxyConnector<C>
where
    C: Service<Uri> + Clone + Send + 'static,
    C::Response: Connection + Read + Write + Unpin + Send + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = Proxied<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Some(proxy) = self.proxies.intercept(&to) else {
            let connecting = self.direct.call(to);
            return Box::pin(async move {
                Ok(Proxied { io: connecting.await.map_err(Into::into)?, forwards: false })
            });
        };
        if to.scheme_str() == Some("http") {
            let connecting = self.direct.call(proxy.uri().clone());
            return Box::pin(async move {
                let io = connecting.await.map_err(|error| of_proxy(error.into()))?;
                Ok(Proxied { io, forwards: true })
            });
        }
        let mut tunnel = Tunnel::new(proxy.uri().clone(), self.direct.clone());
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let connecting = tunnel.call(to);
        Box::pin(async move {
            let io = connecting.await.map_err(|error| of_proxy(error.into()))?;
            Ok(Proxied { io, forwards: false })
        })
    }
}

/// Says that the proxy is at fault, not the address behind it.
fn of_proxy(error: BoxError) -> BoxError {
    format!("through the proxy of HTTPS_PROXY or HTTP_PROXY: {}", super::error::chain(&*error)).into()
}

/// A connection, to its address or to a proxy that forwards requests.
pub(super) struct Proxied<I> {
    io: I,
    /// The proxy reads whole addresses from the requests.
    forwards: bool,
}

impl<I: Connection> Connection for Proxied<I> {
    fn connected(&self) -> Connected {
        self.io.connected().proxy(self.forwards)
    }
}

impl<I: Read + Unpin> Read for Proxied<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: Write + Unpin> Write for Proxied<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
#[path = "tests/proxy.rs"]
mod tests;

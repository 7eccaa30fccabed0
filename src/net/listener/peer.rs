//! The peer of a connection, as far as the network layer knows it.

use crate::net::forwarded::Trust;
use http::HeaderMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The HTTP that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Http {
    /// HTTP/1.0 or HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

impl Http {
    /// As the access log shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::One => "HTTP/1.1",
            Self::Two => "HTTP/2",
        }
    }
}

/// What is known of a connection, the same for all its requests.
#[derive(Debug)]
pub struct ConnectionInfo {
    /// The peer, or the client that the PROXY protocol names; loopback on a Unix socket.
    pub address: IpAddr,
    /// The other end of the socket; none on a Unix socket.
    pub socket: Option<SocketAddr>,
    /// As negotiated by ALPN, or detected from the first bytes.
    pub http: Http,
    /// `TLSv1_3` or `TLSv1_2`; none without TLS.
    pub tls: Option<&'static str>,
    /// The subject of the client certificate, which was verified.
    pub certificate_subject: Option<Arc<str>>,
    /// Set when `address` is a trusted proxy.
    pub(super) trust: Option<Arc<Trust>>,
}

/// The sender of a request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client: the peer of the connection, or the one that trusted proxies name in the request's headers.
    pub address: IpAddr,
    /// The connection that it uses.
    pub connection: Arc<ConnectionInfo>,
}

impl Peer {
    pub(super) fn of(connection: &Arc<ConnectionInfo>, headers: &HeaderMap) -> Self {
        let address = match &connection.trust {
            None => connection.address,
            Some(trust) => trust.client(connection.address, headers),
        };
        Self { address, connection: connection.clone() }
    }

    /// A peer at `address` without a connection: for tests of the parts above the listener.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        let (socket, tls, certificate_subject, trust) = (None, None, None, None);
        let connection = ConnectionInfo { address, socket, http: Http::One, tls, certificate_subject, trust };
        Self { address, connection: Arc::new(connection) }
    }

    /// Whether a trusted proxy sent the request, so that its `x-request-id` and the like can be used.
    #[must_use]
    pub fn is_trusted_proxy(&self) -> bool {
        self.connection.trust.is_some()
    }
}

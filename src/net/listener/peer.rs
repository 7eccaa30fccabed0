//! Who is at the other end, as far as the network knows.

use crate::net::forwarded::Trust;
use http::HeaderMap;
use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

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
pub struct Link {
    /// The peer, or whom it speaks for by the PROXY protocol; loopback on a Unix socket.
    pub address: IpAddr,
    /// The other end of the socket; none on a Unix socket.
    pub socket: Option<SocketAddr>,
    /// What was agreed on by ALPN or guessed from the first bytes.
    pub http: Http,
    /// `TLSv1_3` or `TLSv1_2`; none without TLS.
    pub tls: Option<&'static str>,
    /// The subject of the client certificate, which was verified.
    pub certificate_subject: Option<Arc<str>>,
    /// Set when `address` is a trusted proxy, whose word on the client counts.
    pub(super) trust: Option<Arc<Trust>>,
    /// What the layer above remembers of it.
    pub memory: ConnectionMemory,
}

/// Something of the layer above that lives as long as the connection is in use. The listener knows nothing of it.
#[derive(Default)]
pub struct ConnectionMemory(Mutex<Option<Arc<dyn Any + Send + Sync>>>);

impl ConnectionMemory {
    /// What is remembered: a new `T` at first, and where something of another type was.
    pub fn of<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(kept)) = held.clone().map(Arc::downcast) {
            return kept;
        }
        let new = Arc::<T>::default();
        *held = Some(new.clone());
        new
    }

    /// The connection rests: what is remembered goes, once no request uses it.
    pub(super) fn forget(&self) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(last);
    }
}

impl fmt::Debug for ConnectionMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionMemory")
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client: the other end of the connection, or whom trusted proxies name in the request's headers.
    pub address: IpAddr,
    /// The connection he came by.
    pub link: Arc<Link>,
}

impl Peer {
    pub(super) fn of(link: &Arc<Link>, headers: &HeaderMap) -> Self {
        let address = match &link.trust {
            None => link.address,
            Some(trust) => trust.client(link.address, headers),
        };
        Self { address, link: link.clone() }
    }

    /// Somebody at `address`, without a connection: for tests of what lies above the listener.
    #[must_use]
    pub fn at(address: IpAddr) -> Self {
        let (socket, tls, certificate_subject, trust) = (None, None, None, None);
        let memory = ConnectionMemory::default();
        let link = Link { address, socket, http: Http::One, tls, certificate_subject, trust, memory };
        Self { address, link: Arc::new(link) }
    }

    /// Whether a trusted proxy sent the request, so that its `x-request-id` and the like may be taken over.
    #[must_use]
    pub fn is_trusted_proxy(&self) -> bool {
        self.link.trust.is_some()
    }
}

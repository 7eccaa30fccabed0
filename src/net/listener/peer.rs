//! Who is at the other end, as far as the network knows.

use crate::net::forwarded::Trust;
use http::HeaderMap;
use std::any::Any;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::{Deref, DerefMut};
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
pub struct ConnectionMemory(Mutex<Option<Box<dyn Any + Send>>>);

impl ConnectionMemory {
    /// What is remembered, for one request: a new `T` at first, and for a request that comes while another has it, as
    /// happens in HTTP/2.
    pub fn borrow<T: Default + Send + 'static>(&self) -> Lent<'_, T> {
        let kept = self.swap(None).and_then(|kept| kept.downcast().ok());
        Lent { of: self, kept: Some(kept.unwrap_or_default()) }
    }

    /// The connection rests: what is remembered goes.
    pub(super) fn forget(&self) {
        drop(self.swap(None));
    }

    fn swap(&self, kept: Option<Box<dyn Any + Send>>) -> Option<Box<dyn Any + Send>> {
        std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), kept)
    }
}

/// What is remembered of a connection, lent to one request. Given back when it is dropped; the last one counts.
pub struct Lent<'a, T: Send + 'static> {
    of: &'a ConnectionMemory,
    /// There until it is given back.
    kept: Option<Box<T>>,
}

impl<T: Send> Deref for Lent<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.kept.as_deref().expect("taken by `drop` only")
    }
}

impl<T: Send> DerefMut for Lent<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.kept.as_deref_mut().expect("taken by `drop` only")
    }
}

impl<T: Send + 'static> Drop for Lent<'_, T> {
    fn drop(&mut self) {
        let kept = self.kept.take().map(|kept| kept as Box<dyn Any + Send>);
        drop(self.of.swap(kept));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_after_the_other_finds_what_was_remembered_and_one_beside_another_finds_nothing() {
        let memory = ConnectionMemory::default();
        memory.borrow::<Vec<u8>>().push(1);
        let mut first = memory.borrow::<Vec<u8>>();
        first.push(2);
        assert!(memory.borrow::<Vec<u8>>().is_empty(), "beside another");
        drop(first);
        assert_eq!(*memory.borrow::<Vec<u8>>(), [1_u8, 2], "what was given back last counts");
        assert_eq!(*memory.borrow::<String>(), "", "of another type");
        memory.borrow::<Vec<u8>>().push(3);
        memory.forget();
        assert!(memory.borrow::<Vec<u8>>().is_empty());
    }
}

//! Where connections come from: TCP and Unix sockets, of our own or handed over by systemd.

use super::config::Place;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that the kernel holds for us until we accept them.
const BACKLOG: u32 = 4096;

/// Sockets that listen. Dropping it closes them and removes Unix sockets of our own making.
pub struct Bound {
    pub(super) doors: Vec<Door>,
}

/// Why we cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A place cannot be listened at.
    #[error("cannot listen at {place}: {reason}")]
    Bind {
        /// Where.
        place: String,
        /// Why not; not called `source`, because the message has it already.
        reason: io::Error,
    },
    /// `systemd` was asked for and handed nothing over.
    #[error("cannot listen at systemd: no socket was handed over (LISTEN_FDS); start by a .socket unit")]
    NothingHandedOver,
}

/// Listens at all places.
///
/// # Errors
/// The first place that does not work: taken, not permitted, no such address.
pub async fn bind(places: &[Place]) -> Result<Bound, Error> {
    let mut doors = Vec::new();
    for place in places {
        let failed = |reason| Error::Bind { place: place.to_string(), reason };
        match place {
            Place::Tcp(address) => doors.push(Door::Tcp(bind_tcp(address).await.map_err(failed)?)),
            Place::Unix(path) => doors.push(bind_unix(path.clone()).await.map_err(failed)?),
            Place::Systemd => {
                let handed = handed_over().map_err(failed)?;
                if handed.is_empty() {
                    return Err(Error::NothingHandedOver);
                }
                doors.extend(handed);
            }
        }
    }
    Ok(Bound { doors })
}

impl Bound {
    /// The TCP addresses, with the ports that were found for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = |door: &Door| match door {
            Door::Tcp(listener) => listener.local_addr().ok(),
            Door::Unix(..) => None,
        };
        self.doors.iter().filter_map(tcp).collect()
    }
}

pub(super) enum Door {
    Tcp(TcpListener),
    /// With its file, unless that is somebody else's.
    Unix(UnixListener, #[expect(dead_code, reason = "kept for its drop")] Option<OwnPath>),
}

/// A socket file that goes with its listener.
pub(super) struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Door {
    pub(super) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, peer)| {
                // Without it small answers wait for the peer's acknowledgement; nothing is lost when it fails.
                let _ = stream.set_nodelay(true);
                (Socket::Tcp(stream), Some(peer))
            }),
            Self::Unix(listener, _) => {
                listener.poll_accept(context).map_ok(|(stream, _)| (Socket::Unix(stream), None))
            }
        }
    }
}

async fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(e) => last = e,
        }
    }
    Err(last)
}

async fn bind_unix(path: PathBuf) -> io::Result<Door> {
    match UnixListener::bind(&path) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(&path).await.is_err() => {
            // Nobody is behind it: a process that was killed left it.
            std::fs::remove_file(&path)?;
            let listener = UnixListener::bind(&path)?;
            Ok(Door::Unix(listener, Some(OwnPath(path))))
        }
        other => other.map(|listener| Door::Unix(listener, Some(OwnPath(path)))),
    }
}

fn handed_over() -> io::Result<Vec<Door>> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut doors = Vec::new();
    for n in 0..handed.len() {
        // Whether it is a TCP or a Unix socket shows when taken as one; a refused try leaves it in place.
        if let Ok(Some(listener)) = handed.take_tcp_listener(n) {
            listener.set_nonblocking(true)?;
            doors.push(Door::Tcp(TcpListener::from_std(listener)?));
        } else if let Some(listener) = handed.take_unix_listener(n)? {
            listener.set_nonblocking(true)?;
            doors.push(Door::Unix(UnixListener::from_std(listener)?, None));
        }
    }
    Ok(doors)
}

/// A connection of either kind.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// The same call on whichever it is.
macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_bound_and_left_clean() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        let places = [Place::Tcp("127.0.0.1:0".to_owned()), Place::Unix(path.clone())];
        let bound = bind(&places).await.unwrap();
        assert_eq!(bound.addresses().len(), 1);
        assert_ne!(bound.addresses()[0].port(), 0);
        let taken = Place::Tcp(bound.addresses()[0].to_string());
        let refused = bind(std::slice::from_ref(&taken)).await.err().unwrap().to_string();
        assert!(refused.starts_with(&format!("cannot listen at {taken}: ")), "{refused}");
        assert!(bind(&[Place::Unix(path.clone())]).await.is_err(), "somebody is behind it");
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_socket_file_that_a_dead_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&[Place::Unix(path)]).await.unwrap();
    }

    #[tokio::test]
    async fn systemd_without_sockets_says_so() {
        assert!(matches!(bind(&[Place::Systemd]).await, Err(Error::NothingHandedOver)));
    }
}

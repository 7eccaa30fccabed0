//! Listening sockets: TCP and Unix, bound here or passed by systemd, and the connections they accept.

use super::config::ListenAddress;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// Connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 4096;

/// Sockets that listen. Dropping it closes them and removes the files of Unix sockets that were bound here.
pub struct Bound {
    pub(super) sockets: Vec<ListeningSocket>,
}

/// Why the listener cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen at {place}: {reason}")]
    Bind {
        /// Where.
        place: String,
        /// Why not; not called `source`, because the message has it already.
        reason: io::Error,
    },
    /// `systemd` is configured, but passed no socket.
    #[error("cannot listen at systemd: no socket was handed over (LISTEN_FDS); start by a .socket unit")]
    NothingHandedOver,
}

/// Listens on all addresses.
///
/// # Errors
/// The first address that does not work: in use, not permitted, not found.
pub async fn bind(places: &[ListenAddress]) -> Result<Bound, Error> {
    let mut sockets = Vec::new();
    for place in places {
        let failed = |reason| Error::Bind { place: place.to_string(), reason };
        match place {
            ListenAddress::Tcp(address) => {
                sockets.push(ListeningSocket::Tcp(bind_tcp(address).await.map_err(failed)?))
            }
            ListenAddress::Unix(path) => sockets.push(bind_unix(path.clone()).await.map_err(failed)?),
            ListenAddress::Systemd => {
                let handed = handed_over().map_err(failed)?;
                if handed.is_empty() {
                    return Err(Error::NothingHandedOver);
                }
                sockets.extend(handed);
            }
        }
    }
    Ok(Bound { sockets })
}

impl Bound {
    /// The TCP addresses, with the ports that were found for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = |door: &ListeningSocket| match door {
            ListeningSocket::Tcp(listener) => listener.local_addr().ok(),
            ListeningSocket::Unix(..) => None,
        };
        self.sockets.iter().filter_map(tcp).collect()
    }
}

pub(super) enum ListeningSocket {
    Tcp(TcpListener),
    /// With its file, if it was bound here.
    Unix(UnixListener, #[expect(dead_code, reason = "kept for its drop")] Option<OwnPath>),
}

/// A socket file that goes with its listener.
pub(super) struct OwnPath(PathBuf);

impl Drop for OwnPath {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl ListeningSocket {
    pub(super) fn poll_accept(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<(Socket, Option<SocketAddr>)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map_ok(|(stream, peer)| {
                // Without it small responses wait for the peer's acknowledgement. A failure costs only that.
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

/// Owner and group may connect, nobody else.
const UNIX_MODE: u32 = 0o660;

async fn bind_unix(path: PathBuf) -> io::Result<ListeningSocket> {
    if UnixStream::connect(&path).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // Only the file of a socket is replaced: one without a listener was left by a process that was killed.
    let left = std::fs::symlink_metadata(&path);
    if left.is_ok_and(|left| !left.file_type().is_socket()) {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there and is no socket"));
    }
    // A new socket has the mode that the umask leaves. It is bound in a folder that only this user may enter,
    // so that nobody connects before it has its own.
    let folder = private_folder(&path)?;
    let draft = folder.join("s");
    let placed = UnixListener::bind(&draft).and_then(|listener| {
        std::fs::set_permissions(&draft, Permissions::from_mode(UNIX_MODE))?;
        std::fs::rename(&draft, &path)?;
        Ok(listener)
    });
    if placed.is_err() {
        // There may be no file yet.
        let _ = std::fs::remove_file(&draft);
    }
    std::fs::remove_dir(&folder)?;
    Ok(ListeningSocket::Unix(placed?, Some(OwnPath(path))))
}

/// A new folder beside `path` for this user alone. Its name is short, because the kernel takes paths of
/// sockets of up to 107 bytes.
fn private_folder(path: &Path) -> io::Result<PathBuf> {
    let beside = path.parent().unwrap_or(Path::new("."));
    for n in 0..100_u32 {
        let folder = beside.join(format!(".{:x}{n}", std::process::id()));
        match DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| folder),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "its folder is full of folders that were left"))
}

fn handed_over() -> io::Result<Vec<ListeningSocket>> {
    let mut handed = listenfd::ListenFd::from_env();
    let mut sockets = Vec::new();
    for n in 0..handed.len() {
        // Taking it as a TCP socket fails if it is a Unix socket, and leaves it in place.
        if let Ok(Some(listener)) = handed.take_tcp_listener(n) {
            listener.set_nonblocking(true)?;
            sockets.push(ListeningSocket::Tcp(TcpListener::from_std(listener)?));
        } else if let Some(listener) = handed.take_unix_listener(n)? {
            listener.set_nonblocking(true)?;
            sockets.push(ListeningSocket::Unix(UnixListener::from_std(listener)?, None));
        }
    }
    Ok(sockets)
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

impl Socket {
    /// The first bytes, which stay to be read. A Unix socket shows none.
    pub(super) async fn peek(&self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(into).await,
            Self::Unix(_) => Ok(0),
        }
    }
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
        let places = [ListenAddress::Tcp("127.0.0.1:0".to_owned()), ListenAddress::Unix(path.clone())];
        let bound = bind(&places).await.unwrap();
        assert_eq!(bound.addresses().len(), 1);
        assert_ne!(bound.addresses()[0].port(), 0);
        let taken = ListenAddress::Tcp(bound.addresses()[0].to_string());
        let refused = bind(std::slice::from_ref(&taken)).await.err().unwrap().to_string();
        assert!(refused.starts_with(&format!("cannot listen at {taken}: ")), "{refused}");
        assert!(bind(&[ListenAddress::Unix(path.clone())]).await.is_err(), "somebody is behind it");
        let about = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, 0o660);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left there");
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        std::fs::write(&path, "mine").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for place in [&path, &link] {
            let refused = bind(&[ListenAddress::Unix(place.clone())]).await.err().unwrap().to_string();
            assert!(refused.contains("no socket"), "{refused}");
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_socket_file_that_a_dead_process_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("edge.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        bind(&[ListenAddress::Unix(path)]).await.unwrap();
    }

    #[tokio::test]
    async fn systemd_without_sockets_says_so() {
        assert!(matches!(bind(&[ListenAddress::Systemd]).await, Err(Error::NothingHandedOver)));
    }
}

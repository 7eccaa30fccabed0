//! A Kinesis Video Streams that runs on loopback, with real video.
//!
//! It answers the control plane, the six archived-media operations and the playback resources of
//! `docs/KVS.md`, verifies signatures, issues session tokens and lets them expire, enforces quotas, and
//! fails as a fault plan says. It is written from `docs/KVS.md` and uses nothing of kvs-edge, so that the
//! two cannot share a misreading. No media is stored: what a camera recorded at any instant is computed
//! (`archive`) from short recordings (`media`).
//!
//! The crate has no TLS, no command line, and does not read its settings from a file; `kvs-edge emulate`
//! does.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule is about kvs-edge: the emulator reads the clock in `clock`, and its tasks end with it"
)]

mod admin;
mod answer;
mod api;
mod archive;
mod authenticate;
mod body;
mod calls;
mod clock;
mod config;
mod counters;
mod credentials;
mod endpoint;
mod faults;
pub mod issuer;
mod json;
mod lock;
mod media;
mod members;
mod number;
mod operation;
mod playback;
mod quota;
mod reset;
mod server;
mod session;
mod signature;
mod state;
mod stream;
mod timeline;

pub use clock::Millis;
pub use config::{Account, Config};
pub use media::{Container, FragmentSize, Producer, Recorded, SoundCodec, Timecodes, Timing, VideoCodec};
use operation::Plane;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Why the emulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// Binds the address of `config` and serves until the result is dropped.
///
/// # Errors
/// The address is in use, or belongs to another machine.
pub async fn start(config: Config) -> Result<Emulator, Error> {
    let listener = bind(config.listen).await?;
    let address = local_address(&listener)?;
    let separate = config.separate_data_plane;
    let public = config.public_endpoint.clone();
    let state = Arc::new(state::EmulatorState::new(config, clock::now()));
    let mut tasks = JoinSet::new();
    if separate {
        let failed = |source| Error::Listen { address, source };
        let listeners = state.endpoint.open(address.ip()).map_err(failed)?;
        tasks.spawn(server::serve_newest(listeners, Plane::Data, state.clone()));
    } else {
        state.endpoint.set(format!("http://{address}"));
    }
    if let Some(public) = public {
        state.endpoint.set(public);
    }
    let plane = if separate { Plane::Control } else { Plane::Both };
    tasks.spawn(server::serve(listener, plane, state));
    Ok(Emulator { address, _tasks: tasks })
}

/// A running emulator. Dropping it stops it, connections included.
pub struct Emulator {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Emulator {
    /// The URL of its control plane, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it at once.
    pub fn stop(self) {}
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

fn local_address(listener: &TcpListener) -> Result<SocketAddr, Error> {
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    listener.local_addr().map_err(|source| Error::Listen { address: unknown, source })
}

#[cfg(test)]
mod tests;

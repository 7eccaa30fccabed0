//! The URL that GetDataEndpoint returns, and the listener of a data plane with a port of its own.

use super::lock::lock;
use std::net::IpAddr;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// The address of the data plane.
#[derive(Default)]
pub(super) struct Endpoint {
    url: Mutex<String>,
    /// Sends each new listener to the task that serves the data plane.
    listeners: Mutex<Option<mpsc::UnboundedSender<TcpListener>>>,
}

impl Endpoint {
    pub(super) fn url(&self) -> String {
        lock(&self.url).clone()
    }

    pub(super) fn set(&self, url: String) {
        *lock(&self.url) = url;
    }

    /// Gives the data plane a port of its own. Of the received listeners only the newest is to be served.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn open(&self, ip: IpAddr) -> std::io::Result<mpsc::UnboundedReceiver<TcpListener>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *lock(&self.listeners) = Some(sender);
        self.move_to_new_port(ip)?;
        Ok(receiver)
    }

    /// Binds another port and closes the old one, connections included.
    ///
    /// # Errors
    /// No port is free.
    pub(super) fn move_to_new_port(&self, ip: IpAddr) -> std::io::Result<()> {
        let listener = std::net::TcpListener::bind((ip, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        self.set(format!("http://{}", listener.local_addr()?));
        if let Some(listeners) = &*lock(&self.listeners) {
            // Without a receiver the emulator has stopped.
            let _ = listeners.send(listener);
        }
        Ok(())
    }
}

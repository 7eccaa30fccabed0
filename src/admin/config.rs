//! `[admin]`.

use crate::net::listener::ListenAddress;
use crate::setting::Mistake;
use serde::{Deserialize, Serialize};

/// `[admin]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the admin listener is: `host:port` or `unix:PATH`. Use loopback unless something else protects
    /// it.
    pub listen: ListenAddress,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: ListenAddress::Tcp("127.0.0.1:9090".to_owned()) }
    }
}

impl Config {
    /// Where to listen.
    #[must_use]
    pub fn places(&self) -> Vec<ListenAddress> {
        vec![self.listen.clone()]
    }

    /// All mistakes, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        if self.listen == ListenAddress::Systemd {
            let problem = "systemd hands its sockets to server.listen: write host:port or unix:PATH";
            return vec![Mistake::at("admin.listen", problem)];
        }
        Vec::new()
    }
}

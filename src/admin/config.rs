//! `[admin]`.

use crate::net::listener::Place;
use crate::setting::Mistake;
use serde::{Deserialize, Serialize};

/// `[admin]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where operators are served: `host:port` or `unix:PATH`; loopback unless something else guards it.
    pub listen: Place,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: Place::Tcp("127.0.0.1:9090".to_owned()) }
    }
}

impl Config {
    /// Where to listen.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        vec![self.listen.clone()]
    }

    /// Everything that cannot be, each at its key.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        if self.listen == Place::Systemd {
            let problem = "systemd hands its sockets to server.listen: write host:port or unix:PATH";
            return vec![Mistake::at("admin.listen", problem)];
        }
        Vec::new()
    }
}

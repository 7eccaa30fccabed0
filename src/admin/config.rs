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
    /// Names that it is called by, besides `localhost`, the name in `listen`, and every address. A request
    /// with another `Host` is refused, so that no web page reaches it by a name of its own.
    pub hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: ListenAddress::Tcp("127.0.0.1:9090".to_owned()), hosts: Vec::new() }
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
        let mut mistakes = Vec::new();
        if self.listen == ListenAddress::Systemd {
            let problem = "systemd hands its sockets to server.listen: write host:port or unix:PATH";
            mistakes.push(Mistake::at("admin.listen", problem));
        }
        for (n, host) in self.hosts.iter().enumerate() {
            if !is_host_name(host) {
                let problem =
                    format!("`{host}`: write the name of a host such as edge-1.example, without a port");
                mistakes.push(Mistake::at(format!("admin.hosts[{n}]"), problem));
            }
        }
        mistakes
    }
}

fn is_host_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_a_port() {
        let config: Config = toml::from_str("hosts = ['edge', 'edge-1.example']").unwrap();
        assert_eq!(config.check(), []);
        for bad in ["edge:9090", "http://edge", "", "*", "a/b"] {
            let config = Config { hosts: vec![bad.to_owned()], ..Config::default() };
            assert_eq!(config.check().len(), 1, "{bad}");
        }
    }
}

//! Which `Host` the admin listener is called by.
//!
//! A web page can make its own name resolve to a loopback address, and then its scripts may read what is
//! answered there (DNS rebinding). Such a request still names the page's host, so only known names are
//! served. An address in `Host` is no name that anybody could have pointed here.

use super::Config;
use crate::net::listener::ListenAddress;
use http::uri::Authority;
use std::net::IpAddr;

/// The names that are served.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    /// `localhost`, the name in `listen` if there is one, and the configured ones.
    pub(super) fn of(config: &Config) -> Self {
        let listens = match &config.listen {
            ListenAddress::Tcp(address) => address.rsplit_once(':').map(|(name, _)| name.to_owned()),
            ListenAddress::Unix(_) | ListenAddress::Systemd => None,
        };
        let known = ["localhost".to_owned()].into_iter().chain(listens);
        Self(known.chain(config.hosts.iter().cloned()).collect())
    }

    /// Whether a request with this `Host` is served. Without any, which only HTTP/1.0 allows, it is: no
    /// browser sends such a request.
    pub(super) fn serves(&self, host: Option<&str>) -> bool {
        let Some(host) = host else { return true };
        let Ok(authority) = host.parse::<Authority>() else { return false };
        let name = authority.host();
        let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        address.parse::<IpAddr>().is_ok() || self.0.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_known_names_are_served_and_no_other() {
        let listen = ListenAddress::Tcp("edge-1.internal:9090".to_owned());
        let hosts = Hosts::of(&Config { listen, hosts: vec!["edge".to_owned()] });
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "127.0.0.1:9090",
            "[::1]:9090",
            "10.1.2.3",
            "edge:9090",
            "edge-1.internal",
        ] {
            assert!(hosts.serves(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9090",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "edge.",
            "127.1",
            "0x7f000001",
            "",
            "edge-2.internal",
        ] {
            assert!(!hosts.serves(Some(host)), "{host}");
        }
        assert!(hosts.serves(None));
    }
}

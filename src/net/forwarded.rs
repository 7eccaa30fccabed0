//! The client's address behind proxies: trusted networks, and the one header that trusted proxies set.
//!
//! Only what a trusted proxy wrote counts. Proxies append, so the list is read from the right, and the first
//! address that is not itself a trusted proxy is the client. What cannot be read ends the search at the last
//! sure address.

use http::HeaderMap;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A network such as `10.0.0.0/8`; a plain address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads a network.
    ///
    /// # Errors
    /// Says how networks are written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write a network such as 10.0.0.0/8 or fd00::/8, or one address";
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| HOW)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) => digits.parse().ok().filter(|p| *p <= most).ok_or(HOW)?,
            None => most,
        };
        Ok(Self { address, prefix })
    }

    /// Whether `address` is in it. An IPv4-mapped IPv6 address is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(one)) => {
                same_start(net.to_bits().into(), one.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(one)) => same_start(net.to_bits(), one.to_bits(), 128, self.prefix),
            _ => false,
        }
    }
}

fn same_start(a: u128, b: u128, width: u32, prefix: u8) -> bool {
    let rest = width - u32::from(prefix);
    rest == 128 || a >> rest == b >> rest
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|how| D::Error::custom(format!("`{text}`: {how}")))
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A peer whose word about the client counts, as it is written in the settings: a network, or `unix`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrustedProxy {
    /// Whoever may connect to a Unix socket of the listener.
    Unix,
    /// Peers in this network.
    Network(Network),
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        if text == UNIX {
            return Ok(Self::Unix);
        }
        let network = Network::parse(&text);
        network.map(Self::Network).map_err(|how| D::Error::custom(format!("`{text}`: {how}, or {UNIX}")))
    }
}

impl Serialize for TrustedProxy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unix => to.serialize_str(UNIX),
            Self::Network(network) => network.serialize(to),
        }
    }
}

/// How peers on Unix sockets are written.
const UNIX: &str = "unix";

/// Which header the trusted proxies set. One only: a proxy passes on the other kind as the client wrote it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Header {
    /// `X-Forwarded-For: client, proxy`.
    #[default]
    XForwardedFor,
    /// RFC 7239: `Forwarded: for=client, for="[::1]:4711"`.
    Forwarded,
    /// None: proxies are trusted with the PROXY protocol only.
    None,
}

/// Which proxies are trusted, and which header they set.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    networks: Vec<Network>,
    unix: bool,
    header: Header,
}

/// At most this many hops are looked at.
const MOST_HOPS: usize = 32;

impl Trust {
    /// Trusts `header` when it comes from one of `proxies`.
    #[must_use]
    pub fn new(proxies: &[TrustedProxy], header: Header) -> Self {
        let network = |proxy: &TrustedProxy| match proxy {
            TrustedProxy::Network(network) => Some(*network),
            TrustedProxy::Unix => None,
        };
        let unix = proxies.contains(&TrustedProxy::Unix);
        Self { networks: proxies.iter().filter_map(network).collect(), unix, header }
    }

    /// Whether peers on Unix sockets are trusted proxies.
    #[must_use]
    pub fn trusts_unix(&self) -> bool {
        self.unix
    }

    /// Whether this address is a trusted proxy.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// The client behind `peer`, which must be a trusted proxy: check [`Trust::trusts`] once per connection.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            Header::XForwardedFor => ("x-forwarded-for", address),
            Header::Forwarded => ("forwarded", forwarded_for),
            Header::None => return peer,
        };
        let mut client = peer;
        let lines = headers.get_all(name).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
        for hop in hops.take(MOST_HOPS) {
            let Some(address) = read(hop.trim()) else { break };
            client = address;
            if !self.trusts(address) {
                break;
            }
        }
        client
    }
}

/// One `forwarded-element`: the value of its `for`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            let value = value.trim();
            found = Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value));
        }
    }
    address(found?)
}

/// An address with or without a port: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|with_port| with_port.ip()))
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> TrustedProxy {
        TrustedProxy::Network(Network::parse(text).unwrap())
    }

    #[test]
    fn peers_on_unix_sockets_are_trusted_where_they_are_named() {
        #[derive(Deserialize, Serialize)]
        struct Section {
            proxies: Vec<TrustedProxy>,
        }
        let section: Section = toml::from_str("proxies = ['10.0.0.0/8', 'unix']").unwrap();
        assert_eq!(section.proxies, [network("10.0.0.0/8"), TrustedProxy::Unix]);
        assert_eq!(toml::to_string(&section).unwrap(), "proxies = [\"10.0.0.0/8\", \"unix\"]\n");
        let trust = Trust::new(&section.proxies, Header::default());
        assert!(trust.trusts_unix() && trust.trusts([10, 1, 1, 1].into()));
        assert!(!Trust::new(&section.proxies[..1], Header::default()).trusts_unix());
        let error = toml::from_str::<Section>("proxies = ['Unix']").err().unwrap();
        assert!(error.message().contains("or unix"), "{error}");
    }

    fn client(header: Header, trusted: &[&str], lines: &[(&'static str, &str)]) -> String {
        let proxies: Vec<_> = trusted.iter().map(|n| network(n)).collect();
        let trust = Trust::new(&proxies, header);
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        trust.client("10.0.0.1".parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_rightmost_untrusted_address_is_the_client() {
        let x = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|l| ("x-forwarded-for", *l)).collect();
            client(Header::XForwardedFor, &["10.0.0.0/8"], &lines)
        };
        assert_eq!(x(&[]), "10.0.0.1");
        assert_eq!(x(&["203.0.113.7"]), "203.0.113.7");
        // What the client invented is left of it.
        assert_eq!(x(&["1.1.1.1, 203.0.113.7, 10.2.3.4"]), "203.0.113.7");
        assert_eq!(x(&["1.1.1.1", "203.0.113.7", "10.2.3.4"]), "203.0.113.7"); // several lines are one list
        assert_eq!(x(&["203.0.113.7:5000"]), "203.0.113.7");
        assert_eq!(x(&["[2001:db8::1]:5000"]), "2001:db8::1");
        assert_eq!(x(&["::ffff:203.0.113.7"]), "203.0.113.7");
        assert_eq!(x(&["10.9.9.9"]), "10.9.9.9"); // all are proxies: the farthest
        assert_eq!(x(&["203.0.113.7, nonsense, 10.2.3.4"]), "10.2.3.4"); // up to the last sure one
        assert_eq!(x(&["203.0.113.7, "]), "10.0.0.1");
    }

    #[test]
    fn only_the_header_that_proxies_set_counts() {
        let both = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=\"[2001:db8::2]:99\";proto=https, For=10.1.1.1"),
        ];
        assert_eq!(client(Header::Forwarded, &["10.0.0.0/8"], &both), "2001:db8::2");
        assert_eq!(client(Header::XForwardedFor, &["10.0.0.0/8"], &both), "6.6.6.6");
        assert_eq!(client(Header::None, &["10.0.0.0/8"], &both), "10.0.0.1");
        for odd in ["for=_hidden", "for=unknown", "proto=https", "for=1.1.1.1;for=2.2.2.2", "for"] {
            assert_eq!(
                client(Header::Forwarded, &["10.0.0.0/8"], &[("forwarded", odd)]),
                "10.0.0.1",
                "{odd}"
            );
        }
    }

    #[test]
    fn networks_are_read_and_shown() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("fd00::/8", "fd12::1", "fe80::1"),
            ("0.0.0.0/0", "8.8.8.8", "::1"),
            ("::/0", "2001:db8::1", "8.8.8.8"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ] {
            let network = Network::parse(network).unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(Network::parse(&network.to_string()).unwrap(), network);
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "example.com", "10.0.0/8"] {
            assert!(Network::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic_or_trust_a_stranger(line in "[ -~]{0,80}") {
            let trust = Trust::new(&[network("10.0.0.0/8")], Header::Forwarded);
            let mut headers = HeaderMap::new();
            headers.append("forwarded", line.parse().unwrap());
            let _ = trust.client("10.0.0.1".parse().unwrap(), &headers);
        }
    }
}

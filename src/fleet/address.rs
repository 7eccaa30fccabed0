//! Where a node of the store is: `rediss://user@host:6379/0`, and `redis`, `valkey`, `valkeys` likewise.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;

/// An address. It has no password: that is a setting of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// With TLS, by the scheme `rediss` or `valkeys`.
    pub tls: bool,
    /// The user to sign in as.
    pub user: Option<String>,
    /// A name or an IP address, the latter without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database of a standalone store.
    pub database: i64,
}

/// The port of both protocols.
const PORT: u16 = 6379;

impl Address {
    /// Reads an address.
    ///
    /// # Errors
    /// Says how addresses are written. The text is not repeated: a password may stand in it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write an address such as rediss://user@store.example:6379";
        let (scheme, rest) = text.split_once("://").ok_or(HOW)?;
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(HOW),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(u, p)| (Some(u), p));
        if user.is_some_and(|user| user.contains(':')) {
            return Err(
                "secrets are never written here: leave the password out and write password = \"env:NAME\"",
            );
        }
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(HOW)?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| HOW)?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("6379")).ok_or(HOW)?)
            }
            None => place.split_once(':').unwrap_or((place, "6379")),
        };
        let readable = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !readable(host) || user.is_some_and(|user| !readable(user)) {
            return Err(HOW);
        }
        let database: u8 = if path.is_empty() { 0 } else { path.parse().map_err(|_| HOW)? };
        Ok(Self {
            tls,
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port: port.parse().map_err(|_| HOW)?,
            database: i64::from(database),
        })
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let parsed = self.host.parse::<IpAddr>();
        self.host == "localhost" || parsed.is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "rediss://" } else { "redis://" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if self.port != PORT {
            write!(f, ":{}", self.port)?;
        }
        if self.database == 0 { Ok(()) } else { write!(f, "/{}", self.database) }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1"),
            ("valkeys://edge@h.example:7000/2", "rediss://edge@h.example:7000/2"),
            ("rediss://[::1]:6380", "rediss://[::1]:6380"),
            ("valkey://[::1]", "redis://[::1]"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).unwrap(), address);
        }
        assert!(Address::parse("redis://[::1]").unwrap().is_loopback());
        for bad in [
            "",
            "h",
            "http://h",
            "redis://",
            "redis://h:x",
            "redis://h/x",
            "redis://[x]",
            "redis://@h",
            "redis://a b",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }
}

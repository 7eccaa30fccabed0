//! `[server]`: addresses, public URL, TLS, trusted proxies, drain.

use crate::net::forwarded::{Header, Trust, TrustedProxy};
use crate::net::tls;
use crate::setting::{Mistake, Span};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// `[server]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen: one address or several.
    #[serde(deserialize_with = "one_or_many")]
    pub listen: Vec<ListenAddress>,
    /// What playback URLs and `getDataEndpoint` begin with: scheme, host and, if need be, port and a base
    /// path; no slash at its end.
    pub public_url: String,
    /// TLS, on TCP addresses. Without it the listener speaks plain HTTP.
    pub tls: Option<tls::Config>,
    /// Proxies that are trusted to give the client's address: networks, and `unix` for peers on Unix sockets.
    pub trusted_proxies: Vec<TrustedProxy>,
    /// The header in which they give it.
    pub forwarded: Header,
    /// Whether connections of trusted proxies begin with a PROXY protocol header, version 1 or 2. Others are
    /// refused.
    pub proxy_protocol: bool,
    /// Origins of web pages that are allowed to call from a browser, exactly as browsers write them. `*` lets
    /// any page read what a playback URL or a link opens, without cookies, and nothing else.
    pub cors_origins: Vec<String>,
    /// At the start of a drain, how long new work is still accepted while readiness already fails.
    pub drain_grace: Span,
    /// From the start of a drain to its end, whether or not connections are open.
    pub drain_timeout: Span,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp("127.0.0.1:8080".to_owned())],
            public_url: "http://127.0.0.1:8080".to_owned(),
            tls: None,
            trusted_proxies: Vec::new(),
            forwarded: Header::default(),
            proxy_protocol: false,
            cors_origins: Vec::new(),
            drain_grace: Span::seconds(5),
            drain_timeout: Span::seconds(30),
        }
    }
}

impl ServerConfig {
    /// Makes relative paths start at `folder`.
    pub fn resolve(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            tls.resolve(folder);
        }
        for place in &mut self.listen {
            if let ListenAddress::Unix(path) = place {
                *path = folder.join(&*path);
            }
        }
    }

    /// Which proxies are trusted to give the client's address.
    #[must_use]
    pub fn trust(&self) -> Trust {
        Trust::new(&self.trusted_proxies, self.forwarded)
    }

    /// All mistakes, each at its key. Files are not opened here.
    #[must_use]
    pub fn check(&self) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        let mut wrong = |key: &str, problem: String| mistakes.push(Mistake::at(key, problem));
        if self.listen.is_empty() {
            wrong("server.listen", "there is no place to listen: write \"127.0.0.1:8080\"".to_owned());
        }
        if let Err(problem) = public_url(&self.public_url) {
            wrong("server.public_url", problem);
        }
        if self.proxy_protocol && self.trusted_proxies.is_empty() {
            let problem = "no proxy is trusted to send it: name the proxies in server.trusted_proxies";
            wrong("server.proxy_protocol", problem.to_owned());
        }
        for (n, origin) in self.cors_origins.iter().enumerate() {
            if origin != "*" && !is_origin(origin) {
                let how = "an origin is scheme, host and port only, such as https://app.example.com or \
                           capacitor://localhost, with no slash at the end; \"*\" alone is any origin, for \
                           playback URLs and links only";
                wrong(&format!("server.cors_origins[{n}]"), format!("`{origin}`: {how}"));
            }
        }
        if self.drain_timeout.0 < self.drain_grace.0 {
            let problem =
                format!("{} is shorter than drain_grace ({})", self.drain_timeout, self.drain_grace);
            wrong("server.drain_timeout", problem);
        }
        mistakes
    }
}

fn public_url(text: &str) -> Result<(), String> {
    let how = "write where clients reach this server, such as https://video.example.com";
    let uri: http::Uri = text.parse().map_err(|e| format!("`{text}` is no URL ({e}): {how}"))?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    if !known || uri.host().is_none_or(str::is_empty) {
        return Err(format!("`{text}` needs http:// or https:// and a host: {how}"));
    }
    if text.ends_with('/') || uri.query().is_some() || text.contains(['#', '@']) {
        return Err(format!(
            "`{text}` must not have a user, a query, a fragment or a slash at its end: {how}"
        ));
    }
    Ok(())
}

/// Scheme and host as browsers write them. Applications have schemes of their own (`capacitor://localhost`);
/// pages of files have the origin `null`, which anybody can have.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    is_scheme
        && scheme != "file"
        && !host.is_empty()
        && host.parse::<http::uri::Authority>().is_ok()
        && !host.contains(['@', '*'])
}

/// An address to listen on: `host:port`, `unix:PATH`, or `systemd` (sockets passed at start).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListenAddress {
    /// `host:port`; port 0 is any free port.
    Tcp(String),
    /// A Unix socket, which its owner and group may connect to (mode 0660).
    Unix(PathBuf),
    /// Every socket that systemd passes.
    Systemd,
}

impl ListenAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// Says how addresses are written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write host:port such as 0.0.0.0:8080 or [::]:8080, unix:PATH, or systemd";
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(HOW) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(HOW)?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || port.parse::<u16>().is_err() || (host.contains(':') && !bracketed) {
            return Err(HOW);
        }
        Ok(Self::Tcp(text.to_owned()))
    }

    /// Host and port of a TCP address.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        let Self::Tcp(address) = self else { return None };
        let (host, port) = address.rsplit_once(':')?;
        Some((host.trim_start_matches('[').trim_end_matches(']'), port.parse().ok()?))
    }

    /// Whether other machines may reach it.
    #[must_use]
    pub fn is_public(&self) -> bool {
        self.host_and_port().is_some_and(|(host, _)| {
            let is_local = host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
            !is_local && !host.eq_ignore_ascii_case("localhost")
        })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => f.write_str("systemd"),
        }
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|how| D::Error::custom(format!("`{text}`: {how}")))
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ListenAddress>, D::Error> {
    struct Either;
    impl<'de> serde::de::Visitor<'de> for Either {
        type Value = Vec<ListenAddress>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one place to listen or a list of them, such as \"127.0.0.1:8080\"")
        }
        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let place = ListenAddress::parse(text).map_err(|how| E::custom(format!("`{text}`: {how}")))?;
            Ok(vec![place])
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut places = Vec::new();
            while let Some(place) = list.next_element()? {
                places.push(place);
            }
            Ok(places)
        }
    }
    from.deserialize_any(Either)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_section_is_read() {
        let config: ServerConfig = toml::from_str(
            "listen = '0.0.0.0:8443'\npublic_url = 'https://video.example.com'\n\
             tls = { certificate = 'tls.crt', key = 'tls.key', client_ca = 'ca.crt' }\n\
             trusted_proxies = ['10.0.0.0/8', 'unix']\ncors_origins = ['https://app.example.com']\n\
             drain_grace = '5s'\ndrain_timeout = '30s'",
        )
        .unwrap();
        assert_eq!(config.check(), []);
        assert_eq!(config.listen, [ListenAddress::Tcp("0.0.0.0:8443".to_owned())]);
        let again: ServerConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        let many: ServerConfig =
            toml::from_str("listen = ['[::]:80', 'unix:/run/edge.sock', 'systemd', 'localhost:0']").unwrap();
        assert_eq!(many.listen.len(), 4);
        assert_eq!(ServerConfig::default().check(), []);
    }

    #[test]
    fn mistakes_say_where_and_what_instead() {
        let config: ServerConfig = toml::from_str(
            "listen = []\npublic_url = 'video.example.com/'\nproxy_protocol = true\n\
             cors_origins = ['https://*.example.com', 'https://app.example.com/']\ndrain_grace = '40s'",
        )
        .unwrap();
        let keys: Vec<_> = config.check().into_iter().map(|m| format!("{:?}", m.place)).collect();
        assert_eq!(keys.len(), 6, "{keys:?}");
        for bad in ["8080", ":8080", "1.2.3.4:99999", "::1:80", "unix:"] {
            let error = toml::from_str::<ServerConfig>(&format!("listen = '{bad}'")).unwrap_err();
            assert!(error.message().contains("host:port"), "{error}");
        }
        for bad in ["ftp://x", "https://x/?a", "https://u@x", "https://", "https://x/#f"] {
            assert!(public_url(bad).is_err(), "{bad}");
        }
        assert_eq!(public_url("https://x.example/base"), Ok(()));
        for good in ["https://a.example:8443", "capacitor://localhost", "chrome-extension://abcdef"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "null",
            "*",
            "localhost",
            "://x",
            "HTTPS://a.example",
            "file://",
            "file://x",
            "a b://x",
            "https://u@x",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}

//! Where requests go: scheme, host and port; and the guard that decides which of those an answer may name.
//!
//! KVS names hosts in two places: the `DataEndpoint` of GetDataEndpoint and a session URL. Both are checked
//! here before anything is sent: https on port 443 to a data host of the region (docs/KVS.md 1.2), no IP
//! literals, no user names. An entry with `endpoint_url` may also be sent back to that very host, and on
//! loopback to any loopback port, which is where emulators listen. Refusals are reported without repeating
//! the host.

use super::shared_answers::SharedAnswer;
use crate::aws::hosts;
use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use std::net::IpAddr;

/// Scheme and authority, nothing else.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    plain: bool,
    authority: Authority,
}

/// Shows no host: it would end up in a log.
impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Origin")
    }
}

impl Origin {
    /// Reads `http[s]://host[:port]`; a path other than `/`, a query or a user name gives `None`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (origin, rest) = Self::split(text)?;
        matches!(rest.as_str(), "" | "/").then_some(origin)
    }

    /// Reads an absolute URL into its origin and the rest.
    pub(super) fn split(text: &str) -> Option<(Self, PathAndQuery)> {
        if text.len() > 4096 || text.contains(['#', '\\']) {
            return None;
        }
        let parts = text.parse::<Uri>().ok()?.into_parts();
        let plain = match parts.scheme?.as_str() {
            "http" => true,
            "https" => false,
            _ => return None,
        };
        let authority = parts.authority.filter(|a| !a.as_str().contains('@') && !a.host().is_empty())?;
        let rest = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Some((Self { plain, authority }, rest))
    }

    /// An https origin on the usual port.
    pub(super) fn https(host: &str) -> Option<Self> {
        Some(Self { plain: false, authority: host.parse().ok()? })
    }

    /// A full URI on this origin; `None` if `path_and_query` is not one.
    pub(super) fn uri(&self, path_and_query: &str) -> Option<Uri> {
        let scheme = if self.plain { Scheme::HTTP } else { Scheme::HTTPS };
        let rest = path_and_query.parse::<PathAndQuery>().ok()?;
        Uri::builder().scheme(scheme).authority(self.authority.clone()).path_and_query(rest).build().ok()
    }

    pub(super) fn host(&self) -> &str {
        self.authority.host()
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn is_loopback(&self) -> bool {
        let host = self.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host.ends_with(".localhost")
            || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl SharedAnswer for Origin {
    fn to_bytes(&self) -> Vec<u8> {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}", self.authority).into_bytes()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?)
    }
}

/// What an entry's KVS may send us to.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    region: String,
    endpoint: Option<Origin>,
}

impl Guard {
    pub(super) fn new(region: &str, endpoint: Option<Origin>) -> Self {
        Self { region: region.to_owned(), endpoint }
    }

    /// # Errors
    /// Says which rule is broken, without the host.
    pub(super) fn allow(&self, origin: &Origin) -> Result<(), &'static str> {
        if !origin.plain
            && matches!(origin.authority.port_u16(), None | Some(443))
            && hosts::is_data(origin.host(), &self.region)
        {
            return Ok(());
        }
        match &self.endpoint {
            Some(own) if own == origin => Ok(()),
            Some(own) if own.is_loopback() && origin.is_loopback() && own.plain == origin.plain => Ok(()),
            Some(_) => Err("KVS named a host that is neither a data host of the region nor endpoint_url's"),
            None if origin.plain => Err("KVS named a host without TLS"),
            None => Err("KVS named a host that is no data host of the region"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn origins_are_bare_addresses() {
        for good in ["https://h", "https://h/", "http://127.0.0.1:4567", "http://[::1]:80"] {
            assert!(Origin::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "h",
            "ftp://h",
            "https://",
            "https://u@h",
            "https://h/x",
            "https://h?q",
            "https://h#f",
            "//h",
        ] {
            assert!(Origin::parse(bad).is_none(), "{bad}");
        }
        let origin = Origin::parse("https://h:444").unwrap();
        assert_eq!(origin.uri("/getClip?a=b").unwrap(), "https://h:444/getClip?a=b");
        assert!(origin.uri("/a b").is_none());
        assert_eq!(format!("{origin:?}"), "Origin");
    }

    #[test]
    fn only_data_hosts_of_the_region_are_followed() {
        let guard = Guard::new("eu-west-1", None);
        let allowed = |url: &str| Origin::parse(url).is_some_and(|origin| guard.allow(&origin).is_ok());
        assert!(allowed("https://b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com"));
        assert!(allowed("https://b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com:443"));
        for bad in [
            "http://b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com",
            "https://b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com:8443",
            "https://b-0123abcd.kinesisvideo.us-east-1.amazonaws.com",
            "https://x@b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com",
            "https://127.0.0.1",
            "http://169.254.169.254",
            "https://[::1]",
            "https://2130706433",
            "https://evil.example",
        ] {
            assert!(!allowed(bad), "{bad}");
        }
    }

    #[test]
    fn an_emulator_may_name_itself_and_loopback_ports_but_not_the_network() {
        let guard = |own: &str| Guard::new("eu-west-1", Origin::parse(own));
        let allow = |own: &str, url: &str| guard(own).allow(&Origin::parse(url).unwrap()).is_ok();
        let loopback = "http://127.0.0.1:4567";
        assert!(allow(loopback, loopback));
        assert!(allow(loopback, "http://127.0.0.2:9999"));
        assert!(allow(loopback, "http://localhost:1"));
        assert!(allow(loopback, "https://b-0123abcd.kinesisvideo.eu-west-1.amazonaws.com"));
        for bad in [
            "http://10.0.0.1:4567",
            "http://169.254.169.254",
            "http://localhost.evil.example",
            "http://0.0.0.0:1",
        ] {
            assert!(!allow(loopback, bad), "{bad}");
        }
        let vpc = "http://emulator:4567";
        assert!(allow(vpc, vpc));
        for bad in
            ["http://emulator:4568", "http://127.0.0.1:4567", "http://other:4567", "https://emulator:4567"]
        {
            assert!(!allow(vpc, bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,60}") {
            if let Some((origin, rest)) = Origin::split(&text) { let _ = origin.uri(rest.as_str()); }
        }
    }
}

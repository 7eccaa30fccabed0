//! The settings of `[identity]`, and what is wrong with them.

use super::place_kind::PlaceKind;
use crate::setting::{ByteSize, Mistake};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `[identity]`: where a request may carry its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "snake_case")]
pub struct Config {
    /// The longest token accepted; at most 16 KiB. Clients and proxies on the way refuse long ones earlier.
    pub max_token: ByteSize,
    /// Headers that an access proxy sets and that hold a token, such as `Cf-Access-Jwt-Assertion`,
    /// `X-Amzn-Oidc-Data`, `X-Pomerium-Jwt-Assertion`. Only a proxy may be able to set them or not: the token
    /// in them is verified like any other.
    pub headers: Vec<String>,
    /// A cookie that holds a token, by its exact name. It counts for GET and HEAD, and for other methods only
    /// from kvs-edge's own pages, since a browser sends it along with what strangers' pages ask for.
    pub cookie: Option<String>,
    /// Requests without any credential are those of `User::"anonymous"`, for whom only policies count that
    /// permit something to it by name. A credential that is not good is refused as ever.
    pub anonymous: bool,
    /// Where the console goes to sign out of an access proxy, such as `/oauth2/sign_out`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_out: Option<String>,
    /// Which of several tokens in one request decides: all four kinds of places, the first one first. Empty:
    /// several are refused. A proxy that adds a token beside the caller's own needs it.
    pub order: Vec<PlaceKind>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_token: ByteSize(16 << 10),
            headers: Vec::new(),
            cookie: None,
            anonymous: false,
            sign_out: None,
            order: Vec::new(),
        }
    }
}

impl Config {
    /// Adds what is wrong, each with its key and what to write instead.
    pub fn check(&self, mistakes: &mut Vec<Mistake>) {
        let mut wrong = |key: String, problem: String| mistakes.push(Mistake::at(key, problem));
        if !(256..=16 << 10).contains(&self.max_token.0) {
            wrong("identity.max_token".into(), "write a size from 256 to 16KiB".into());
        }
        let mut seen = BTreeSet::from(TAKEN.map(str::to_owned));
        for (index, name) in self.headers.iter().enumerate() {
            let key = format!("identity.headers[{index}]");
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                wrong(key, format!("{name:?} is not a header's name"));
            } else if !seen.insert(name.to_ascii_lowercase()) {
                wrong(key, format!("{name:?} is read already; remove it"));
            }
        }
        if let Some(name) = &self.cookie
            && (name.is_empty() || !name.bytes().all(is_cookie_name_byte))
        {
            wrong("identity.cookie".into(), format!("{name:?} is not a cookie's name"));
        }
        if let Some(address) = &self.sign_out
            && !is_sign_out(address)
        {
            let how = "write a path of this site, such as /oauth2/sign_out, or an https:// URL";
            wrong("identity.sign_out".into(), how.into());
        }
        let mut kinds = self.order.clone();
        kinds.sort_unstable();
        if !kinds.is_empty() && kinds != PlaceKind::ALL {
            let all = "write all of \"security-token\", \"bearer\", \"headers\" and \"cookie\" once, the \
                       one that decides first";
            wrong("identity.order".into(), all.into());
        }
    }
}

/// Headers that have a meaning of their own.
const TAKEN: [&str; 4] = ["authorization", "x-amz-security-token", "cookie", "host"];

/// A path of the same site, or an address of another one; nothing that a browser could read otherwise.
fn is_sign_out(address: &str) -> bool {
    let path = address.starts_with('/') && !address.starts_with("//");
    let plain = address.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    plain && (path || address.starts_with("https://")) && address.parse::<http::Uri>().is_ok()
}

/// RFC 6265 4.1.1: a cookie's name is a token of RFC 9110.
fn is_cookie_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_sources_are_checked() {
        let bad: Config = toml::from_str(
            "max_token = '32KiB'\nheaders = ['X-A', 'x-a', 'Authorization', 'b d']\ncookie = 'a;b'\n\
             order = ['bearer', 'bearer', 'cookie', 'headers']",
        )
        .unwrap();
        let mut found = Vec::new();
        bad.check(&mut found);
        assert_eq!(found.len(), 6, "{found:?}");
        for (address, good) in [
            ("/oauth2/sign_out", true),
            ("https://team.cloudflareaccess.com/cdn-cgi/access/logout", true),
            ("//evil.example/", false),
            ("/\\evil.example/", false),
            ("javascript:alert(1)", false),
            ("http://proxy.example/", false),
            ("", false),
        ] {
            assert_eq!(is_sign_out(address), good, "{address}");
        }
        let mut found = Vec::new();
        Config::default().check(&mut found);
        assert!(found.is_empty());
        assert!(toml::from_str::<Config>("header = ['X-A']").is_err());
    }
}

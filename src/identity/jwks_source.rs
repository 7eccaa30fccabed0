//! Where an issuer's public keys are: a file or an address, as it is written in the settings.

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;
use std::path::PathBuf;

/// Where an issuer's public keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksSource {
    /// A file, watched.
    File(PathBuf),
    /// An address, read again and again.
    Url(Uri),
}

impl JwksSource {
    /// Reads the setting.
    ///
    /// # Errors
    /// Says how it is written.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const HOW: &str = "write https://…, or file:PATH";
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("https" | "http", _)) => {
                let url: Uri = text.parse().map_err(|_| "not a valid URL")?;
                match url.authority() {
                    None => Err(HOW),
                    Some(a) if a.as_str().contains('@') => {
                        Err("credentials in a URL end up in logs; remove them")
                    }
                    Some(_) => Ok(Self::Url(url)),
                }
            }
            _ => Err(HOW),
        }
    }
}

impl fmt::Display for JwksSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Url(url) => write!(f, "{url}"),
        }
    }
}

impl Serialize for JwksSource {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JwksSource {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).map_err(|how| D::Error::custom(format!("`{text}`: {how}")))
    }
}

/// Whether an address is on this machine, so that the way to it needs no TLS.
#[must_use]
pub fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_and_web_addresses_without_credentials_are_places() {
        for good in [
            "file:jwks.json",
            "file:/etc/jwks.json",
            "https://login.example.com/keys",
            "http://127.0.0.1:4000/",
        ] {
            assert_eq!(JwksSource::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "jwks.json", "/etc/jwks.json", "ftp://x/", "https://", "file:", "https://u:p@h/"] {
            assert!(JwksSource::parse(bad).is_err(), "{bad}");
        }
    }
}

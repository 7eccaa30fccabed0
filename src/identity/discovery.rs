//! OpenID Connect Discovery 1.0: where an issuer's keys are, by its own document.

use super::issuer_config::IssuerConfig;
use super::jwks_source::JwksSource;
use super::keys::{BYTE_ORDER_MARK, LONGEST};
use crate::kvs::strict;
use http::Uri;

/// Where the discovery document is (section 4.1), or where the settings say that it is.
pub(super) fn address(config: &IssuerConfig) -> Result<Uri, String> {
    if let Some(JwksSource::Url(url)) = &config.discovery_url {
        return Ok(url.clone());
    }
    let address = format!("{}/.well-known/openid-configuration", config.name().trim_end_matches('/'));
    address.parse().map_err(|_| format!("{address} is not a valid URL"))
}

/// The address of the keys in a document, which must name this issuer exactly (section 4.3).
pub(super) fn jwks_uri(document: &[u8], address: &Uri, config: &IssuerConfig) -> Result<Uri, String> {
    let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
    let members = strict::object(document).ok().filter(|_| document.len() <= LONGEST);
    let members = members.ok_or_else(|| format!("{address} is no discovery document"))?;
    let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
    if !text("issuer").is_some_and(|issuer| config.is_called(issuer)) {
        return Err(format!("{address} is about another issuer"));
    }
    let url = text("jwks_uri").and_then(|url| match JwksSource::parse(url) {
        Ok(JwksSource::Url(url)) => Some(url),
        _ => None,
    });
    let url = url.ok_or_else(|| format!("{address} names no usable jwks_uri"))?;
    config.may_fetch(&url).map_err(|why| format!("jwks_uri {url}: {why}"))?;
    Ok(url)
}

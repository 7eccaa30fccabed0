//! OpenID Connect Discovery 1.0: where an issuer's keys are and where people sign in, by its own document.

use super::issuer_config::IssuerConfig;
use super::jwks_source::JwksSource;
use super::keys::{BYTE_ORDER_MARK, LONGEST};
use crate::kvs::strict;
use http::Uri;
use serde_json::{Map, Value};

/// Where the discovery document is (section 4.1), or where the settings say that it is.
pub(super) fn address(config: &IssuerConfig) -> Result<Uri, String> {
    if let Some(JwksSource::Url(url)) = &config.discovery_url {
        return Ok(url.clone());
    }
    let address = format!("{}/.well-known/openid-configuration", config.name().trim_end_matches('/'));
    address.parse().map_err(|_| format!("{address} is not a valid URL"))
}

/// The address of the keys in a document.
pub(super) fn jwks_uri(document: &[u8], address: &Uri, config: &IssuerConfig) -> Result<Uri, String> {
    Document::read(document, address, config)?.url("jwks_uri")
}

/// What the document says of signing in (OpenID Connect Discovery 1.0 3, RP-Initiated Logout 1.0 2.1, RFC
/// 7009, RFC 9207).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInEndpoints {
    /// Where people sign in.
    pub authorization: Uri,
    /// Where a code and a refresh token become tokens.
    pub token: Uri,
    /// Where people sign out.
    pub end_session: Option<Uri>,
    /// Where a refresh token is given back.
    pub revocation: Option<Uri>,
    /// Whether a client may send its secret in `Authorization: Basic`, which is so if nothing is said.
    pub takes_basic: bool,
    /// Whether a client may send its secret in the form.
    pub takes_post: bool,
    /// Whether the issuer names itself when it sends people back: an answer without that is another's.
    pub names_itself: bool,
}

/// The endpoints of signing in in a document.
pub(super) fn sign_in_endpoints(
    document: &[u8],
    address: &Uri,
    config: &IssuerConfig,
) -> Result<SignInEndpoints, String> {
    let document = Document::read(document, address, config)?;
    let methods = document.members.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
    let takes = |name: &str| methods.is_some_and(|all| all.iter().any(|method| method == name));
    let supported = "authorization_response_iss_parameter_supported";
    Ok(SignInEndpoints {
        authorization: document.url("authorization_endpoint")?,
        token: document.url("token_endpoint")?,
        end_session: document.url("end_session_endpoint").ok(),
        revocation: document.url("revocation_endpoint").ok(),
        takes_basic: methods.is_none() || takes("client_secret_basic"),
        takes_post: takes("client_secret_post"),
        names_itself: document.members.get(supported) == Some(&Value::Bool(true)),
    })
}

/// A document that names this issuer exactly (section 4.3).
struct Document<'a> {
    members: Map<String, Value>,
    address: &'a Uri,
    config: &'a IssuerConfig,
}

impl<'a> Document<'a> {
    fn read(document: &[u8], address: &'a Uri, config: &'a IssuerConfig) -> Result<Self, String> {
        let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
        let members = strict::object(document).ok().filter(|_| document.len() <= LONGEST);
        let members = members.ok_or_else(|| format!("{address} is no discovery document"))?;
        let issuer = members.get("issuer").and_then(Value::as_str);
        if !issuer.is_some_and(|issuer| config.is_called(issuer)) {
            return Err(format!("{address} is about another issuer"));
        }
        Ok(Self { members, address, config })
    }

    /// An address in it: over TLS, or on this machine.
    fn url(&self, name: &str) -> Result<Uri, String> {
        let text = self.members.get(name).and_then(Value::as_str);
        let url = text.and_then(|url| match JwksSource::parse(url) {
            Ok(JwksSource::Url(url)) => Some(url),
            _ => None,
        });
        let url = url.ok_or_else(|| format!("{} names no usable {name}", self.address))?;
        self.config.may_fetch(&url).map_err(|why| format!("{name} {url}: {why}"))?;
        Ok(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: &str) -> Result<SignInEndpoints, String> {
        let config = toml::from_str("issuer = 'https://login.example.com'\naudience = ['a']").unwrap();
        sign_in_endpoints(document.as_bytes(), &"https://login.example.com/".parse().unwrap(), &config)
    }

    #[test]
    fn the_least_that_a_document_says_is_enough() {
        let found = read(
            r#"{"issuer": "https://login.example.com", "authorization_endpoint": "https://a.example/auth?x=1",
                "token_endpoint": "https://b.example/token", "end_session_endpoint": "http://c.example/out"}"#,
        )
        .unwrap();
        assert_eq!(found.authorization.to_string(), "https://a.example/auth?x=1");
        assert!(found.takes_basic && !found.takes_post && !found.names_itself);
        assert_eq!(found.end_session, None, "over plain http, nobody is sent there");
    }

    #[test]
    fn a_document_of_another_issuer_and_endpoints_over_plain_http_are_refused() {
        for (document, words) in [
            (r#"{"issuer": "https://login.example.com/"}"#, "another issuer"),
            (r#"{"issuer": "https://login.example.com"}"#, "authorization_endpoint"),
            (
                r#"{"issuer": "https://login.example.com", "authorization_endpoint": "http://a.example/"}"#,
                "plain http",
            ),
            (
                r#"{"issuer": "https://login.example.com", "authorization_endpoint": "javascript:alert(1)"}"#,
                "authorization_endpoint",
            ),
            ("<html>", "no discovery document"),
        ] {
            let problem = read(document).unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}

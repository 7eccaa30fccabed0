//! An issuer as the provider of sign-ins: its endpoints, requests to them, and its ID tokens.
//!
//! Tokens that are sent to kvs-edge are judged by [`Identity::verify`]. An ID token is another thing: it
//! tells the client that somebody has just signed in, so its audience is the client, and it repeats the
//! nonce of that sign-in (OpenID Connect Core 1.0 3.1.3.7).

use super::discovery::{self, SignInEndpoints};
use super::issuer_config::IssuerConfig;
use super::key_document::KeyAccess;
use super::token::Unverified;
use super::{Identity, claims, keys_for};
use crate::kvs::Timestamp;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;

impl Identity {
    /// Reads where people sign in with an issuer, by its discovery document.
    ///
    /// # Errors
    /// A sentence for the log.
    pub async fn sign_in_endpoints(&self, issuer: &IssuerConfig) -> Result<SignInEndpoints, String> {
        let access = KeyAccess::of(issuer).await?;
        let address = discovery::address(issuer)?;
        let response = access.get(&self.fetch, &address, None).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{address} answered {}", response.status()));
        }
        discovery::sign_in_endpoints(response.body(), &address, issuer)
    }

    /// Sends a request to an endpoint of an issuer, trusting the certificates that its keys are read with. No
    /// redirect is followed.
    ///
    /// # Errors
    /// A sentence for the log.
    pub async fn send_to(
        &self,
        issuer: &IssuerConfig,
        request: Request<Bytes>,
    ) -> Result<Response<Bytes>, String> {
        KeyAccess::of(issuer).await?.send(&self.fetch, request).await
    }

    /// Checks an ID token that an issuer gave to its client: signature, issuer, times, audience and, unless
    /// it came with a refresh, the nonce.
    ///
    /// # Errors
    /// A sentence for the log.
    pub async fn verify_id_token(
        &self,
        issuer: &IssuerConfig,
        token: &str,
        nonce: Option<&str>,
        now: Timestamp,
    ) -> Result<(), String> {
        let refused = |error: super::Error| format!("the ID token is not good: {error}");
        let token = Unverified::parse(token).map_err(refused)?;
        let client = issuer.client_id.as_deref().unwrap_or_default();
        let ours = |store: &&std::sync::Arc<super::KeyStore>| {
            store.config().name() == issuer.name() && store.config().client_id == issuer.client_id
        };
        let store = self.issuers.iter().find(ours).ok_or("the issuer is gone from the settings")?;
        let rules = store.config();
        if token.padded || !token.issuer().is_some_and(|name| rules.is_called(name)) {
            return Err("the ID token is another issuer's".into());
        }
        if !rules.algorithms.contains(&token.algorithm) {
            let algorithm = token.algorithm.as_str();
            return Err(format!("the ID token is signed by {algorithm}, which is not among `algorithms`"));
        }
        if !is_for(&token.claims, client) {
            return Err("the ID token is for another client".into());
        }
        claims::check_times(&token.claims, rules, now).map_err(refused)?;
        let said = token.claims.get("nonce").and_then(Value::as_str);
        if nonce.is_some_and(|nonce| said != Some(nonce)) {
            return Err("the ID token belongs to another sign-in: its nonce is wrong".into());
        }
        let current = keys_for(store, &token, || Ok(())).await.map_err(refused)?;
        let (kid, missing_kid) = (token.kid.as_deref(), rules.allow_missing_kid);
        let signer = current.keys.signer(kid, token.algorithm, missing_kid, token.signed, token.signature);
        signer.map(drop).ok_or_else(|| "the ID token's signature is wrong".to_owned())
    }
}

/// Whether the audience is this client: alone, or as the party that the token was issued to.
fn is_for(claims: &Value, client: &str) -> bool {
    let party = claims.get("azp");
    match claims.get("aud") {
        Some(Value::String(one)) => one == client,
        Some(Value::Array(several)) if several.len() == 1 => several[0] == client,
        Some(Value::Array(several)) => {
            several.iter().any(|name| name == client) && party.is_some_and(|party| party == client)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_token_is_for_one_client() {
        for (claims, ours) in [
            (json!({ "aud": "web" }), true),
            (json!({ "aud": ["web"] }), true),
            (json!({ "aud": ["web", "api"], "azp": "web" }), true),
            (json!({ "aud": ["web", "api"] }), false),
            (json!({ "aud": ["web", "api"], "azp": "api" }), false),
            (json!({ "aud": "api", "azp": "web" }), false),
            (json!({}), false),
        ] {
            assert_eq!(is_for(&claims, "web"), ours, "{claims}");
        }
    }
}

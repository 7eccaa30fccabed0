//! A provider in the test: discovery, keys, token endpoint and revocation, each at an origin of its own.

use super::*;
use crate::identity::mint::{KeyKind, SigningKey};
use crate::identity::{Algorithm, Fetch};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use http::header::AUTHORIZATION;
use serde_json::{Value, json};
use std::sync::Mutex;

pub const ISSUER: &str = "https://login.example.com/tenant";
const SECONDS: u64 = NOW.millis() / 1000;

/// How a client must show its secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Secret {
    None,
    Basic,
    Post,
}

pub struct FakeProvider {
    pub key: SigningKey,
    pub state: Mutex<State>,
    pub secret: Secret,
    /// Merged into the discovery document.
    pub document: Value,
    pub rotates: bool,
    pub gives_refresh_tokens: bool,
    /// Whether the access token is a JWT for the gateway.
    pub has_jwt: bool,
    /// Merged into the claims of ID tokens, then of access tokens.
    pub claims: (Value, Value),
    /// Merged into the answer of the token endpoint.
    pub answer: Value,
}

#[derive(Default)]
pub struct State {
    codes: Vec<(String, String, String)>,
    /// Refresh tokens in force.
    refresh: Vec<String>,
    issued: u32,
    /// Paths that were asked for.
    pub asked: Vec<String>,
    pub is_down: bool,
}

fn merge(into: &mut Value, more: &Value) {
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(into.as_object_mut().unwrap().remove(name)),
            value => into[name] = value.clone(),
        }
    }
}

impl FakeProvider {
    pub fn new() -> Self {
        Self {
            key: SigningKey::generate(KeyKind::P256).unwrap(),
            state: Mutex::default(),
            secret: Secret::None,
            document: json!({}),
            rotates: true,
            gives_refresh_tokens: true,
            has_jwt: true,
            claims: (json!({}), json!({})),
            answer: json!({}),
        }
    }

    /// What the provider sends the browser back with, from the address that it was sent to.
    pub fn answer(&self, address: &str) -> String {
        assert!(address.contains("/authorize?p=1&"), "{address}");
        assert_eq!(parameter(address, "response_type"), "code");
        assert_eq!(parameter(address, "code_challenge_method"), "S256");
        let mut state = self.state.lock().unwrap();
        let code = format!("code+{}/", state.codes.len());
        state.codes.push((code.clone(), parameter(address, "code_challenge"), parameter(address, "nonce")));
        form::pairs([
            ("code", code.as_str()),
            ("state", &parameter(address, "state")),
            ("session_state", "x"),
        ])
    }

    pub fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().asked.iter().filter(|asked| *asked == path).count()
    }

    pub fn fetch(self: &Arc<Self>) -> Fetch {
        let provider = self.clone();
        Arc::new(move |request| {
            let answer = provider.serve(&request);
            Box::pin(async move {
                // Long enough for others to ask at the same time.
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer
            })
        })
    }

    fn serve(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, String> {
        let address = request.uri().to_string();
        self.state.lock().unwrap().asked.push(request.uri().path().to_owned());
        if self.state.lock().unwrap().is_down {
            return Err("connection refused".into());
        }
        let (status, body) = match address.as_str() {
            "https://login.example.com/tenant/.well-known/openid-configuration" => {
                let mut document = json!({
                    "issuer": ISSUER, "jwks_uri": "https://keys.example.net/keys",
                    "authorization_endpoint": "https://auth.example.net/authorize?p=1",
                    "token_endpoint": "https://token.example.org/token",
                    "end_session_endpoint": "https://auth.example.net/logout",
                    "revocation_endpoint": "https://token.example.org/revoke",
                });
                merge(&mut document, &self.document);
                (200, document)
            }
            "https://keys.example.net/keys" => (200, json!({ "keys": [self.key.jwk()] })),
            "https://token.example.org/token" => self.tokens(request),
            "https://token.example.org/revoke" => {
                let form = std::str::from_utf8(request.body()).unwrap();
                let token = form::value(form, "token").unwrap().unwrap();
                self.state.lock().unwrap().refresh.retain(|known| *known != token);
                (200, Value::Null)
            }
            other => panic!("nobody asks for {other}"),
        };
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        Ok(Response::builder().status(status).body(body).unwrap())
    }

    fn tokens(&self, request: &Request<Bytes>) -> (u16, Value) {
        let form = std::str::from_utf8(request.body()).unwrap();
        let value = |name: &str| form::value(form, name).unwrap().unwrap_or_default();
        let basic = format!("Basic {}", STANDARD.encode("web%20app:s3cr%3At%2F%2B%C3%A4"));
        let by_basic = request.headers().get(AUTHORIZATION).is_some_and(|sent| *sent == basic);
        let by_post = value("client_secret") == "s3cr:t/+ä" && value("client_id") == "web app";
        let shown = match self.secret {
            Secret::None => value("client_id") == "web app" && !form.contains("client_secret"),
            Secret::Basic => by_basic && !form.contains("client_"),
            Secret::Post => by_post && !request.headers().contains_key(AUTHORIZATION),
        };
        if !shown {
            return (401, json!({ "error": "invalid_client" }));
        }
        let mut state = self.state.lock().unwrap();
        let nonce = match value("grant_type").as_str() {
            "authorization_code" => {
                let code = value("code");
                let Some(at) = state.codes.iter().position(|(known, ..)| *known == code) else {
                    return (400, json!({ "error": "invalid_grant", "error_description": "no such code" }));
                };
                let (_, challenge, nonce) = state.codes[at].clone();
                state.codes[at].0 = "used".into();
                let verifier = value("code_verifier");
                let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
                if URL_SAFE_NO_PAD.encode(digest) != challenge {
                    return (400, json!({ "error": "invalid_grant", "error_description": "PKCE" }));
                }
                assert_eq!(value("redirect_uri"), format!("{HOME}{CALLBACK}"));
                Some(nonce)
            }
            "refresh_token" => {
                let token = value("refresh_token");
                if !state.refresh.contains(&token) {
                    // Used twice: taken for stolen.
                    state.refresh.clear();
                    return (400, json!({ "error": "invalid_grant" }));
                }
                if self.rotates {
                    state.refresh.retain(|known| *known != token);
                }
                None
            }
            other => panic!("{other}"),
        };
        state.issued += 1;
        (200, self.issue(&mut state, nonce))
    }

    fn issue(&self, state: &mut State, nonce: Option<String>) -> Value {
        let number = state.issued;
        let base = json!({
            "iss": ISSUER, "sub": "ann", "groups": ["guards"], "iat": SECONDS, "exp": SECONDS + 3600, "n": number,
        });
        let mut id = base.clone();
        merge(&mut id, &json!({ "aud": "web app", "nonce": nonce }));
        merge(&mut id, &self.claims.0);
        let mut access = base;
        merge(&mut access, &json!({ "aud": "kvs-edge" }));
        merge(&mut access, &self.claims.1);
        let sign = |claims: &Value| self.key.sign(Algorithm::ES256, claims).unwrap();
        let mut answer = json!({
            "token_type": "Bearer", "expires_in": 3600, "id_token": sign(&id),
            "access_token": if self.has_jwt { sign(&access) } else { format!("opaque-{number}") },
        });
        let rotated = self.rotates || state.refresh.is_empty();
        if self.gives_refresh_tokens && rotated {
            let refresh = format!("refresh-{number}");
            state.refresh.push(refresh.clone());
            answer["refresh_token"] = refresh.into();
        }
        merge(&mut answer, &self.answer);
        answer
    }
}

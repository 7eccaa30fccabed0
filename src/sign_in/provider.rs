//! One identity provider: where its endpoints are, and what its token endpoint gives.

use super::form;
use super::problem::Problem;
use super::session::TokenText;
use crate::base::percent;
use crate::identity::{Identity, IssuerConfig, SignInEndpoints};
use crate::kvs::strict;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Request, StatusCode, Uri};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long endpoints are used before they are read again.
const READ_AGAIN: Duration = Duration::from_secs(3600);
/// How long a provider that did not answer is not asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// One identity provider that people sign in with.
pub(super) struct Provider {
    pub config: IssuerConfig,
    known: Mutex<Known>,
    /// The provider refused `Authorization: Basic` and took the secret in the form.
    takes_post_only: AtomicBool,
}

/// What was read of the endpoints.
#[derive(Default)]
struct Known {
    endpoints: Option<Arc<SignInEndpoints>>,
    read: Option<Instant>,
    failed: Option<Instant>,
}

/// What a token endpoint gave (RFC 6749 5.1, OpenID Connect Core 1.0 3.1.3.3); absent ones are empty.
pub(super) struct Tokens {
    pub access: TokenText,
    pub id: TokenText,
    pub refresh: TokenText,
}

impl Provider {
    pub fn new(config: IssuerConfig) -> Self {
        Self { config, known: Mutex::default(), takes_post_only: AtomicBool::new(false) }
    }

    fn client_id(&self) -> &str {
        self.config.client_id.as_deref().unwrap_or_default()
    }

    /// The endpoints; those that were known last while they cannot be read again. Callers wait for one read.
    pub async fn endpoints(&self, identity: &Identity) -> Result<Arc<SignInEndpoints>, Problem> {
        let mut known = self.known.lock().await;
        let within = |at: Option<Instant>, time| at.is_some_and(|at| at.elapsed() < time);
        if !within(known.read, READ_AGAIN) && !within(known.failed, PAUSE) {
            match identity.sign_in_endpoints(&self.config).await {
                Ok(endpoints) => {
                    let (endpoints, read) = (Some(Arc::new(endpoints)), Some(Instant::now()));
                    *known = Known { endpoints, read, failed: None };
                }
                Err(problem) => {
                    let issuer = self.config.name();
                    tracing::warn!(issuer, "cannot read where people sign in: {problem}");
                    known.failed = Some(Instant::now());
                }
            }
        }
        known.endpoints.clone().ok_or(Problem::Provider)
    }

    /// Whether people sign in at the origin that the issuer is named by.
    pub fn is_at_home(&self, endpoints: &SignInEndpoints) -> bool {
        let here = self.config.name().parse::<Uri>().ok();
        let origin = |url: &Uri| (url.scheme().cloned(), url.authority().cloned());
        here.is_some_and(|here| origin(&here) == origin(&endpoints.authorization))
    }

    /// The address where somebody signs in.
    pub fn authorization(&self, endpoints: &SignInEndpoints, more: &[(&str, &str)]) -> String {
        let scope = self.config.scopes.join(" ");
        let fixed = [("response_type", "code"), ("client_id", self.client_id()), ("scope", &scope)];
        let extra = self.config.extra.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // What this sign-in must have replaces what all have.
        let extra = extra.filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
        let all = fixed.into_iter().chain(extra).chain(more.iter().copied());
        form::with_query(&endpoints.authorization.to_string(), &form::pairs(all))
    }

    /// Where somebody signs out, and comes back to `home`. Cognito has words of its own for that.
    pub fn end_session(&self, endpoints: &SignInEndpoints, hint: &str, home: &str) -> Option<String> {
        /// Above this the address would be too long for some servers.
        const LONGEST_HINT: usize = 4096;
        let address = endpoints.end_session.as_ref()?;
        let mut query = vec![("client_id", self.client_id()), ("post_logout_redirect_uri", home)];
        if self.config.kind == crate::identity::IssuerKind::Cognito {
            query = vec![("client_id", self.client_id()), ("logout_uri", home)];
        } else if !hint.is_empty() && hint.len() <= LONGEST_HINT {
            query.push(("id_token_hint", hint));
        }
        Some(form::with_query(&address.to_string(), &form::pairs(query)))
    }

    /// Asks the token endpoint.
    pub async fn tokens(&self, identity: &Identity, request: &[(&str, &str)]) -> Result<Tokens, Problem> {
        let endpoints = self.endpoints(identity).await?;
        let answer = self.ask(identity, &endpoints, &endpoints.token, request).await?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_bearer = text("token_type").is_empty() || text("token_type").eq_ignore_ascii_case("bearer");
        if !is_bearer {
            self.log("its tokens are not bearer tokens");
            return Err(Problem::Token);
        }
        let token = |name: &str| Zeroizing::new(text(name).to_owned());
        Ok(Tokens { access: token("access_token"), id: token("id_token"), refresh: token("refresh_token") })
    }

    /// Gives a refresh token back (RFC 7009), as far as that works.
    pub async fn revoke(&self, identity: &Identity, endpoints: &SignInEndpoints, refresh: &str) {
        let Some(address) = &endpoints.revocation else { return };
        let request = [("token", refresh), ("token_type_hint", "refresh_token")];
        if let Err(problem) = self.ask(identity, endpoints, address, &request).await {
            self.log(&format!("a refresh token was not revoked: {problem}"));
        }
    }

    /// Sends a form, with the client's secret in each way that the provider may want it.
    async fn ask(
        &self,
        identity: &Identity,
        endpoints: &SignInEndpoints,
        address: &Uri,
        request: &[(&str, &str)],
    ) -> Result<Map<String, Value>, Problem> {
        let mut refused = Problem::Provider;
        for is_post in self.ways(endpoints) {
            let sent = self.request(address, request, is_post).await;
            let answer = match sent {
                Ok(sent) => identity.send_to(&self.config, sent).await,
                Err(problem) => Err(problem),
            };
            let answer = answer.map_err(|problem| {
                self.log(&problem);
                Problem::Provider
            })?;
            let status = answer.status();
            // The answer to a revocation is empty.
            let members = match answer.body().trim_ascii() {
                b"" => Map::new(),
                body => strict::object(body).unwrap_or_default(),
            };
            let error = members.get("error").and_then(Value::as_str).map(str::to_owned);
            if status == StatusCode::OK && error.is_none() {
                self.takes_post_only.store(is_post, Ordering::Relaxed);
                return Ok(members);
            }
            let word = error.unwrap_or_default();
            let why = members.get("error_description").and_then(Value::as_str).unwrap_or_default();
            let why: String = why.chars().take(200).collect();
            self.log(&format!("{address} answered {status} {word:?} {why:?}"));
            refused = if status.is_server_error() { Problem::Provider } else { Problem::refused(&word) };
            if word != "invalid_client" && status != StatusCode::UNAUTHORIZED {
                break;
            }
        }
        Err(refused)
    }

    /// Whether the secret goes into the form, for each attempt. What the document says comes first; but many
    /// providers name both and take, of this client, one.
    fn ways(&self, endpoints: &SignInEndpoints) -> Vec<bool> {
        if self.config.client_secret.is_none() {
            return vec![true];
        }
        let post_first =
            self.takes_post_only.load(Ordering::Relaxed) || (endpoints.takes_post && !endpoints.takes_basic);
        vec![post_first, !post_first]
    }

    async fn request(
        &self,
        address: &Uri,
        pairs: &[(&str, &str)],
        is_post: bool,
    ) -> Result<Request<Bytes>, String> {
        let secret = match self.config.client_secret.clone() {
            None => None,
            // Read anew each time: what is mounted there is renewed.
            Some(source) => {
                let read = tokio::task::spawn_blocking(move || source.read()).await;
                let secret =
                    read.map_err(|e| e.to_string())?.map_err(|why| format!("client_secret: {why}"))?;
                let text =
                    std::str::from_utf8(secret.expose()).map_err(|_| "client_secret: it is not text")?;
                Some(Zeroizing::new(text.to_owned()))
            }
        };
        let mut form: Vec<(&str, &str)> = pairs.to_vec();
        let mut request = Request::new(Bytes::new());
        match &secret {
            Some(secret) if !is_post => {
                // RFC 6749 2.3.1: both are encoded as in a form, then joined.
                let both = format!("{}:{}", percent::encode(self.client_id()), percent::encode(secret));
                let header = format!("Basic {}", STANDARD.encode(Zeroizing::new(both).as_bytes()));
                let header = HeaderValue::from_str(&header);
                let mut header = header.map_err(|_| "client_secret: it holds what no header can")?;
                header.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            _ => form.push(("client_id", self.client_id())),
        }
        if let Some(secret) = secret.as_ref().filter(|_| is_post) {
            form.push(("client_secret", secret.as_str()));
        }
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = address.clone();
        let urlencoded = HeaderValue::from_static("application/x-www-form-urlencoded");
        request.headers_mut().insert(CONTENT_TYPE, urlencoded);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = form::pairs(form).into();
        Ok(request)
    }

    pub fn log(&self, problem: &str) {
        let issuer = self.config.name();
        tracing::warn!(issuer, "signing in: {problem}");
    }
}

//! People sign in to the console with their company's identity provider: authorization code with PKCE.
//!
//! The gateway is the client (RFC 6749, OpenID Connect Core 1.0): it sends the browser to the provider,
//! receives the code, gets the tokens with its secret, checks the ID token, and keeps the tokens in sealed
//! cookies. The page never has a token. At each request the token in the cookie is judged like any other
//! bearer token, so this part decides on nobody's access.
//!
//! Four steps, one for each path of the gateway: [`SignIn::begin`], [`SignIn::arrive`], [`SignIn::renew`] and
//! [`SignIn::end`].

mod attempt;
mod cookies;
mod fields;
mod form;
mod memory;
mod problem;
mod provider;
mod return_place;
mod session;
#[cfg(test)]
mod tests;

pub use cookies::Carried;
pub use problem::Problem;
pub use session::Session;

use crate::identity::{self, Identity, IssuerConfig};
use crate::kvs::Timestamp;
use crate::playback::Keys;
use crate::setting::Mistake;
use attempt::Attempt;
use cookies::Cookies;
use http::header::{HOST, HeaderValue, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Uri};
use memory::Memory;
use provider::{Provider, Tokens};
use return_place::ReturnPlace;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// Where the provider sends people back to, behind the public address of the gateway.
pub const CALLBACK: &str = "/console/sign-in/callback";
/// The path where a sign-in begins.
pub const BEGIN: &str = "/console/sign-in";
/// How many requests to providers are under way at once, and how long others wait.
const MOST_REQUESTS: usize = 64;
const WAIT: Duration = Duration::from_secs(5);
/// How long signing out waits for the provider to take the refresh token back.
const REVOKE: Duration = Duration::from_secs(3);

/// Signs people in, with every issuer that has a `client_id`.
pub struct SignIn {
    identity: Arc<Identity>,
    providers: Vec<Arc<Provider>>,
    cookies: Cookies,
    public_url: Arc<str>,
    origin: String,
    authority: String,
    memory: Arc<Memory>,
    requests: Arc<Semaphore>,
}

/// Where the browser goes next, and what it keeps.
pub struct Redirect {
    /// The value of `Location`.
    pub to: HeaderValue,
    /// Values of `Set-Cookie`.
    pub cookies: Vec<HeaderValue>,
}

/// Adds what is wrong with settings of signing in that belong to several sections.
pub fn check(issuers: &[IssuerConfig], public_url: &str, mistakes: &mut Vec<Mistake>) {
    let Ok(url) = public_url.parse::<Uri>() else { return };
    let is_safe = url.scheme_str() == Some("https") || identity::is_loopback(&url);
    if !is_safe && issuers.iter().any(|issuer| issuer.client_id.is_some()) {
        let how = "people sign in (client_id of an [[issuer]]) over https:// only, or on this machine: write \
                   https://…";
        mistakes.push(Mistake::at("server.public_url", how));
    }
}

impl SignIn {
    /// Signs in with those of these issuers that have a `client_id`. What `previous` remembers is kept.
    #[must_use]
    pub fn new(
        issuers: &[IssuerConfig],
        identity: Arc<Identity>,
        keys: Arc<Keys>,
        public_url: &str,
        previous: Option<&Self>,
    ) -> Self {
        let clients = issuers.iter().filter(|issuer| issuer.client_id.is_some());
        let url = public_url.parse::<Uri>().unwrap_or_default();
        let authority = url.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        Self {
            identity,
            providers: clients.cloned().map(Provider::new).map(Arc::new).collect(),
            cookies: Cookies::new(keys, &url),
            public_url: public_url.into(),
            origin: format!("{}://{authority}", url.scheme_str().unwrap_or_default()),
            authority,
            memory: previous.map_or_else(Arc::default, |previous| previous.memory.clone()),
            requests: previous.map_or_else(
                || Arc::new(Semaphore::new(MOST_REQUESTS)),
                |previous| previous.requests.clone(),
            ),
        }
    }

    /// What a request carries of a session.
    #[must_use]
    pub fn carried(&self, headers: &HeaderMap) -> Carried {
        if self.providers.is_empty() { Carried::Nothing } else { self.cookies.carried(headers) }
    }

    /// Whether a request that changes something comes from our own page. A browser adds cookies to requests
    /// that pages of the same site make it send, too.
    #[must_use]
    pub fn is_own(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key("sec-fetch-site") {
            return identity::is_from_own_page(headers);
        }
        let mut origins = headers.get_all(ORIGIN).iter();
        origins.next().is_some_and(|origin| origin == self.origin.as_str()) && origins.next().is_none()
    }

    /// The first step: sends the browser to the provider. The query has `issuer`, a place in the console to
    /// `return` to, and `quiet` if the provider shall show nothing.
    pub async fn begin(&self, parts: &Parts, now: Timestamp) -> Redirect {
        let query = parts.uri.query().unwrap_or_default();
        // Cookies belong to a host, so everything happens at the one that the provider sends people back to.
        // Behind a proxy that changes the host the request looks the same again: once is enough.
        if !query.contains("here=1")
            && host(parts).is_some_and(|host| !host.eq_ignore_ascii_case(&self.authority))
        {
            let query = format!("{query}{}here=1", if query.is_empty() { "" } else { "&" });
            return self.redirect(&format!("{BEGIN}?{query}"), Vec::new());
        }
        let value = |name| form::value(query, name).ok().flatten();
        let back = ReturnPlace::of(&value("return").unwrap_or_default());
        let is_quiet = value("quiet").is_some();
        match self.departure(value("issuer").as_deref(), back.clone(), is_quiet, &parts.headers, now).await {
            Ok(redirect) => redirect,
            Err(problem) => self.failed(&problem, back.as_str(), Vec::new()),
        }
    }

    async fn departure(
        &self,
        issuer: Option<&str>,
        back: ReturnPlace,
        is_quiet: bool,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Redirect, Problem> {
        let provider = match issuer {
            Some(name) => self.provider(name),
            None => self.providers.first(),
        };
        let provider = provider.ok_or(Problem::Issuer)?;
        let endpoints = provider.endpoints(&self.identity).await?;
        // The page may frame the issuer's own origin only. Browsers keep cookies of others out of frames.
        if is_quiet && !provider.is_at_home(&endpoints) {
            return Err(Problem::refused("login_required"));
        }
        let attempt = Attempt::new(provider.config.name(), back, is_quiet, now);
        let (challenge, redirect_uri) = (attempt.challenge(), self.redirect_uri());
        let mut more = vec![
            ("redirect_uri", redirect_uri.as_str()),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        if is_quiet {
            more.push(("prompt", "none"));
        }
        let to = provider.authorization(&endpoints, &more);
        let to = HeaderValue::from_str(&to).map_err(|_| Problem::Provider)?;
        let mut attempts = self.cookies.attempts(headers, now);
        attempts.add(attempt);
        Ok(Redirect { to, cookies: self.cookies.keep_attempts(&attempts).into_iter().collect() })
    }

    /// The second step: the provider has sent the browser back. Makes a session of its answer.
    pub async fn arrive(&self, parts: &Parts, now: Timestamp) -> Redirect {
        let query = parts.uri.query().unwrap_or_default();
        let mut attempts = self.cookies.attempts(&parts.headers, now);
        let state = form::value(query, "state").ok().flatten();
        let attempt = state.and_then(|state| attempts.take(&state));
        let attempt = attempt.filter(|attempt| self.memory.is_first(&attempt.state));
        let Some(attempt) = attempt else { return self.failed(&Problem::State, "", Vec::new()) };
        // Whatever comes of it, this sign-in is over.
        let mut cookies: Vec<HeaderValue> = self.cookies.keep_attempts(&attempts).into_iter().collect();
        let back = if attempt.is_quiet { "" } else { attempt.back.as_str() };
        let session = self.session(&attempt, query, now).await;
        match session.and_then(|session| self.cookies.keep_session(&session, &parts.headers)) {
            Ok(session) => {
                cookies.extend(session);
                let quiet = if attempt.is_quiet { "?signed_in=quiet" } else { "" };
                self.redirect(&format!("/{quiet}{back}"), cookies)
            }
            Err(problem) => self.failed(&problem, back, cookies),
        }
    }

    async fn session(&self, attempt: &Attempt, query: &str, now: Timestamp) -> Result<Session, Problem> {
        let provider = self.provider(&attempt.issuer).ok_or(Problem::Issuer)?.clone();
        let value = |name| form::value(query, name).map_err(|_| Problem::State);
        // RFC 9207: the answer of one provider is not to be taken to another.
        let endpoints = provider.endpoints(&self.identity).await?;
        match value("iss")? {
            Some(iss) if !provider.config.is_called(&iss) => return Err(Problem::MixUp),
            None if endpoints.names_itself => return Err(Problem::MixUp),
            _ => {}
        }
        if let Some(error) = value("error")? {
            let why: String = value("error_description")?.unwrap_or_default().chars().take(200).collect();
            provider.log(&format!("the provider refused: {error:?} {why:?}"));
            return Err(Problem::refused(&error));
        }
        let code = Zeroizing::new(value("code")?.ok_or(Problem::State)?);
        let _turn = self.turn().await?;
        let redirect_uri = self.redirect_uri();
        let request = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", &redirect_uri),
            ("code_verifier", &attempt.verifier),
        ];
        let tokens = provider.tokens(&self.identity, &request).await?;
        let session = session_of(&self.identity, &provider, tokens, Some(&attempt.nonce), now).await?;
        tracing::info!(issuer = session.issuer, user_sub = session.subject.as_str(), "signed in");
        Ok(session)
    }

    /// The third step, as often as needed: new tokens, for the refresh token of the session that a request
    /// carries. Gives values of `Set-Cookie`.
    ///
    /// # Errors
    /// There is no such session, or the provider gives none.
    pub async fn renew(&self, headers: &HeaderMap, now: Timestamp) -> Result<Vec<HeaderValue>, Problem> {
        let Carried::Session(session) = self.carried(headers) else { return Err(Problem::NotRenewable) };
        let provider = self.provider(&session.issuer).ok_or(Problem::Issuer)?;
        if !session.is_renewable() {
            return Err(Problem::NotRenewable);
        }
        let work = || {
            let (identity, provider, session) = (self.identity.clone(), provider.clone(), session.clone());
            let requests = self.requests.clone();
            async move {
                let _turn = turn(&requests).await?;
                renewed(&identity, &provider, &session, now).await
            }
        };
        let renewed = self.memory.renew(&session, work).await?;
        self.cookies.keep_session(&renewed, headers)
    }

    /// The last step: takes the session away, here and, as far as that works, at the provider. Gives where
    /// the browser signs out there, if anywhere, and values of `Set-Cookie`.
    pub async fn end(&self, headers: &HeaderMap) -> (Option<String>, Vec<HeaderValue>) {
        let carried = self.carried(headers);
        let cookies = self.cookies.clear_session(headers);
        let Some(session) = carried.session() else { return (None, cookies) };
        let Some(provider) = self.provider(&session.issuer) else { return (None, cookies) };
        tracing::info!(issuer = session.issuer, user_sub = session.subject.as_str(), "signed out");
        let Ok(endpoints) = provider.endpoints(&self.identity).await else { return (None, cookies) };
        if session.is_renewable() {
            let revoke = provider.revoke(&self.identity, &endpoints, &session.refresh);
            let _ = timeout(REVOKE, revoke).await;
        }
        let home = format!("{}/", self.public_url);
        (provider.end_session(&endpoints, session.id_token_hint(), &home), cookies)
    }

    fn provider(&self, name: &str) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.config.name() == name)
    }

    fn redirect_uri(&self) -> String {
        format!("{}{CALLBACK}", self.public_url)
    }

    async fn turn(&self) -> Result<impl Drop + use<>, Problem> {
        turn(&self.requests).await
    }

    /// To a path of ours.
    fn redirect(&self, path: &str, cookies: Vec<HeaderValue>) -> Redirect {
        let to = HeaderValue::from_str(&format!("{}{path}", self.public_url));
        Redirect { to: to.unwrap_or(HeaderValue::from_static("/")), cookies }
    }

    /// To the page, which has words for the problem.
    fn failed(&self, problem: &Problem, back: &str, cookies: Vec<HeaderValue>) -> Redirect {
        tracing::info!(problem = problem.word(), "nobody was signed in: {problem}");
        self.redirect(&format!("/?sign_in_problem={}{back}", problem.word()), cookies)
    }
}

async fn turn(requests: &Arc<Semaphore>) -> Result<tokio::sync::OwnedSemaphorePermit, Problem> {
    match timeout(WAIT, requests.clone().acquire_owned()).await {
        Ok(Ok(turn)) => Ok(turn),
        _ => Err(Problem::Busy),
    }
}

async fn renewed(
    identity: &Identity,
    provider: &Provider,
    session: &Session,
    now: Timestamp,
) -> Result<Session, Problem> {
    let request = [("grant_type", "refresh_token"), ("refresh_token", session.refresh.as_str())];
    let tokens = provider.tokens(identity, &request).await?;
    let mut renewed = session_of(identity, provider, tokens, None, now).await?;
    if renewed.subject != session.subject {
        provider.log("a refresh token gave tokens of somebody else");
        return Err(Problem::Token);
    }
    // What a provider does not give again stays in force (RFC 6749 6, OpenID Connect Core 1.0 12.2).
    if renewed.refresh.is_empty() {
        renewed.refresh = session.refresh.clone();
    }
    if renewed.id_token.is_empty() {
        renewed.id_token = session.id_token.clone();
    }
    Ok(renewed)
}

/// Makes a session of tokens. Providers differ in which of their tokens is meant for the gateway: the first
/// that is accepted is.
async fn session_of(
    identity: &Identity,
    provider: &Provider,
    tokens: Tokens,
    nonce: Option<&str>,
    now: Timestamp,
) -> Result<Session, Problem> {
    let config = &provider.config;
    if !tokens.id.is_empty() {
        let checked = identity.verify_id_token(config, &tokens.id, nonce, now).await;
        checked.map_err(|problem| {
            provider.log(&problem);
            Problem::Token
        })?;
    } else if nonce.is_some() {
        provider.log("there is no ID token");
        return Err(Problem::Token);
    }
    for (token, is_id) in [(&tokens.access, false), (&tokens.id, true)] {
        if token.is_empty() {
            continue;
        }
        let which = if is_id { "ID token" } else { "access token" };
        match identity.verify_sent(identity::Token::of_sign_in(token), now).await {
            Ok((caller, _)) if *caller.issuer == *config.name() => {
                return Ok(Session {
                    issuer: config.name().to_owned(),
                    subject: caller.subject.to_string(),
                    bearer: token.clone(),
                    id_token: if is_id { Zeroizing::default() } else { tokens.id.clone() },
                    refresh: tokens.refresh,
                });
            }
            Ok((caller, _)) => provider.log(&format!("its {which} is of issuer {}", caller.issuer)),
            // Some providers' access tokens are no JWTs, or for another audience.
            Err(problem) => {
                tracing::info!(issuer = config.name(), "its {which} does not count here: {problem}")
            }
        }
    }
    provider.log("none of its tokens is accepted here; the lines above say why");
    Err(Problem::Token)
}

/// The host that a request was sent to.
fn host(parts: &Parts) -> Option<&str> {
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    authority.or_else(|| parts.headers.get(HOST)?.to_str().ok())
}

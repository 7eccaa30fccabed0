//! Finds out who the caller is: verifies the token, or opens the capability.

use super::audit::Audit;
use super::authenticated::Authenticated;
use super::error::Error;
use super::route::Route;
use crate::accounting::Record;
use crate::caller::Caller;
use crate::identity::{self, Credential, Identity, TokenPlaces};
use crate::playback::{self, Bind, Binding, Keys, OpenedCapabilities};
use crate::policy::Policy;
use crate::sign_in::{Carried, SignIn};
use http::header;
use http::request::Parts;
use std::sync::Arc;
use std::time::Duration;

/// Verifies tokens and opens capabilities.
pub(super) struct Authenticator {
    pub(super) identity: Arc<Identity>,
    pub(super) sources: TokenPlaces,
    /// Opens the cookies of people who signed in here.
    pub(super) sign_in: Arc<SignIn>,
    pub(super) keys: Arc<Keys>,
    pub(super) opened: OpenedCapabilities,
    /// `playback.bind`.
    pub(super) bind: Bind,
    pub(super) policy: Arc<Policy>,
    pub(super) audit: Audit,
}

/// The cookie that ties capabilities to a browser (`playback.bind = "cookie"`).
pub(super) const BINDING_COOKIE: &str = "kvs_edge_player";

/// What to do about a session that does not open.
const BROKEN_HINT: &str = "your sign-in cannot be read, or the gateway's key was changed; sign in again";
/// How long a playback URL of an anonymous caller may last, in place of the end of a token.
const ANONYMOUS_FOR: Duration = Duration::from_secs(12 * 3600);

impl Authenticator {
    /// Finds out who the caller of a route is.
    ///
    /// # Errors
    /// There is no credential, there are several and no order, or it is not good.
    pub(super) async fn authenticate(
        &self,
        route: &Route<'_>,
        parts: &Parts,
        record: &mut Record,
    ) -> Result<Authenticated, Error> {
        let authenticated = match route {
            Route::Playback { capability, .. } | Route::Link { capability, .. } => {
                self.open(capability, parts, record)?
            }
            Route::Api(_) | Route::Page(_) | Route::Console(_) | Route::SignIn(_) => {
                self.verify(parts, record).await?
            }
        };
        record.step("authenticate");
        record.caller = Some(authenticated.caller().clone());
        Ok(authenticated)
    }

    /// Verifies the token that decides on a request.
    async fn verify(&self, parts: &Parts, record: &Record) -> Result<Authenticated, Error> {
        let now = record.at;
        let carried = self.sign_in.carried(&parts.headers);
        let credential = self.sources.credential(&parts.method, &parts.headers, carried.bearer());
        let credential = match (credential, &carried) {
            // Whoever signed in and carries what does not open is not nobody.
            (Ok(Credential::Anonymous) | Err(identity::Error::Missing { .. }), Carried::Broken) => {
                return Err(identity::Error::Missing { hint: BROKEN_HINT }.into());
            }
            (credential, _) => credential?,
        };
        match credential {
            Credential::Token(token) => {
                let (caller, key) = self.identity.verify_sent(token, now).await?;
                Ok(Authenticated::Token(caller, key))
            }
            Credential::Anonymous => {
                let caller = Caller::anonymous(record.client, now.plus(ANONYMOUS_FOR));
                Ok(Authenticated::Anonymous(Arc::new(caller)))
            }
        }
    }

    /// Opens the capability in a path. It decides alone: tokens beside it, which clients carry along from the
    /// address that led here and which proxies add, are not looked at.
    fn open(&self, capability: &str, parts: &Parts, record: &mut Record) -> Result<Authenticated, Error> {
        let opened = self.opened.open(&self.keys, capability, record.at).map_err(Error::Capability)?;
        let trusted = match opened.caller.is_anonymous() {
            true => self.sources.allow_anonymous(),
            false => self.identity.trusts(&opened.caller.issuer, opened.key),
        };
        if !trusted {
            self.audit.capability_refused(&opened, self.policy.version(), record);
            return Err(Error::Capability(playback::Error::Withdrawn));
        }
        let holds = |bind: &Binding| bind.holds(record.client, cookie(parts, BINDING_COOKIE));
        if !self.bind.is_met_by(opened.bind.as_ref()) || !opened.bind.as_ref().is_none_or(holds) {
            self.audit.capability_refused(&opened, self.policy.version(), record);
            return Err(Error::Unbound);
        }
        if opened.policies.as_ref().is_some_and(|version| version != self.policy.version()) {
            self.audit.capability_refused(&opened, self.policy.version(), record);
            return Err(Error::Capability(playback::Error::Outdated));
        }
        Ok(Authenticated::Capability(opened))
    }
}

/// The value of one cookie, if the request has exactly one of that name.
pub(super) fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    let mut found = parts
        .headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(key, _)| *key == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

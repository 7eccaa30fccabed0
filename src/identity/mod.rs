//! Who is asking: finds the one token of a request and verifies it.
//!
//! `Sources::credential` finds it, `Identity::verify` makes a `Caller` of it. Verifying goes straight down: take the
//! token apart (`token`), pick the issuer by its unverified `iss`, allow the algorithm, find the key (`keys`, kept
//! current by `jwks`), check the signature, check the claims (`claims`), remember (`remembered`). Nothing of a token is
//! believed before its signature, except to refuse it. What the caller may do is policy's question.

mod algorithm;
mod claim_map;
mod claims;
mod config;
mod error;
mod jwks;
mod key_place;
mod keys;
mod metrics;
pub mod mint;
mod remembered;
mod source;
mod token;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod reloads;
#[cfg(test)]
mod rotation;

pub use algorithm::Algorithm;
pub use claim_map::{Claim, ClaimMap, Kind};
pub use config::{Config, IssuerConfig};
pub use error::{Error, Reason};
pub use jwks::Fetch;
pub use key_place::Jwks;
pub use metrics::Metrics;
pub use source::{Credential, Place, Sources, Token};

use crate::caller::Caller;
use crate::kvs::Timestamp;
use crate::setting::Mistake;
use jwks::{Current, KeyStore};
pub(crate) use keys::KeySet;
use remembered::{Known, Remembered};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use token::Unverified;
use tokio::task::JoinSet;

/// Verifies tokens of the configured issuers. Dropping it ends its tasks.
pub struct Identity {
    issuers: Vec<Arc<KeyStore>>,
    remembered: Remembered,
    limit: usize,
    generation: Arc<AtomicU64>,
    fetch: Fetch,
    metrics: Metrics,
    tasks: JoinSet<()>,
    _watchers: Vec<notify::RecommendedWatcher>,
}

/// How long the start waits for keys that come over the network; `problems` tells about the rest.
const FIRST_KEYS: Duration = Duration::from_secs(3);

impl Identity {
    /// Reads every secret and key file, and starts reading key documents over the network; waits for those for at most
    /// 3 s, since an issuer that is down must not keep the others' callers out.
    ///
    /// # Errors
    /// A secret or a key file that cannot be used.
    pub async fn start(
        issuers: &[IssuerConfig],
        config: &Config,
        fetch: Fetch,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let identity = Self::read(issuers, config, fetch, metrics, None)?;
        identity.in_force();
        Ok(identity.keep_current().await)
    }

    /// Only reads every secret and key file: for a look at settings that asks nobody.
    ///
    /// # Errors
    /// As `start`.
    pub fn look(
        issuers: &[IssuerConfig],
        config: &Config,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let fetch: Fetch = Arc::new(|_| Box::pin(async { Err("nobody is asked".to_owned()) }));
        Self::read(issuers, config, fetch, metrics, None).map(Arc::new)
    }

    /// As `start`, with new settings. Issuers whose keys come from the same place keep them, so that a reload leaves no
    /// gap; remembered tokens are forgotten.
    ///
    /// # Errors
    /// As `start`; this one stays in force then.
    pub async fn restart(
        &self,
        issuers: &[IssuerConfig],
        config: &Config,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let (fetch, metrics) = (self.fetch.clone(), self.metrics.clone());
        Ok(Self::read(issuers, config, fetch, metrics, Some(self))?.keep_current().await)
    }

    /// What is on this machine.
    fn read(
        issuers: &[IssuerConfig],
        config: &Config,
        fetch: Fetch,
        metrics: Metrics,
        previous: Option<&Self>,
    ) -> Result<Self, Vec<Mistake>> {
        let generation = previous.map_or_else(Arc::default, |p| p.generation.clone());
        let (mut stores, mut mistakes, mut watchers) = (Vec::new(), Vec::new(), Vec::new());
        for (index, issuer) in issuers.iter().enumerate() {
            let store = KeyStore::new(issuer.clone(), generation.clone(), metrics.issuer(&issuer.issuer));
            let same = |old: &&Arc<KeyStore>| old.config().issuer == issuer.issuer;
            if let Some(old) = previous.and_then(|p| p.issuers.iter().find(same)) {
                store.inherit(old);
            }
            let store = Arc::new(store);
            match local_keys(&store) {
                Ok(watcher) => watchers.extend(watcher),
                Err((key, problem)) => {
                    mistakes.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
                }
            }
            stores.push(store);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        Ok(Self {
            issuers: stores,
            remembered: Remembered::new(),
            limit: config.max_token.as_usize(),
            generation,
            fetch,
            metrics,
            tasks: JoinSet::new(),
            _watchers: watchers,
        })
    }

    /// Starts what keeps the keys current, and waits a while for those that are not here yet.
    async fn keep_current(mut self) -> Arc<Self> {
        for store in self.issuers.iter().filter(|store| store.is_read()) {
            self.tasks.spawn(store.clone().keep_current(self.fetch.clone()));
        }
        let first = async {
            for store in self.issuers.iter().filter(|store| store.usable().is_err()) {
                store.first_read().await;
            }
        };
        let _ = tokio::time::timeout(FIRST_KEYS, first).await;
        Arc::new(self)
    }

    /// These settings are the ones in force, again or from now on: their issuers have series and no others.
    pub fn in_force(&self) {
        let read = self.issuers.iter().filter(|store| store.is_read());
        self.metrics.keep_only(&read.map(|store| store.config().issuer.as_str()).collect::<Vec<_>>());
    }

    /// The caller that a token speaks for, as of `now`. A token that was verified before costs a digest and a look-up.
    ///
    /// # Errors
    /// `TooLarge`, `Refused` with the rule that the token breaks, or `KeysUnavailable`.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, Error> {
        if token.len() > self.limit {
            return Err(Error::TooLarge { bytes: token.len(), limit: self.limit });
        }
        let digest = Remembered::digest(token);
        let known = match self.remembered.get(&digest) {
            Some(known) if self.holds(&known)? => known,
            // In a box: a token that is known should not carry the room that reading keys takes.
            _ => {
                let known = Arc::new(Box::pin(self.examine(token, now)).await?);
                self.remembered.insert(digest, known.clone());
                known
            }
        };
        known.window.admit(now)?;
        Ok(known.caller.clone())
    }

    /// Whether what was verified still counts: under these settings, with the keys of today.
    fn holds(&self, known: &Known) -> Result<bool, Error> {
        let ours = self.issuers.iter().any(|issuer| Arc::ptr_eq(issuer, &known.issuer));
        Ok(ours && known.issuer.generation().map_err(unavailable(&known.issuer))? == known.generation)
    }

    /// Every rule, for a token that was not seen before.
    async fn examine(&self, token: &str, now: Timestamp) -> Result<Known, Error> {
        let token = Unverified::parse(token)?;
        let issuer = self.issuer_of(&token)?;
        let rules = self.issuers[issuer].config();
        if !rules.algorithms.contains(&token.algorithm) {
            return Err(Error::refused(Reason::Algorithm, token.algorithm.as_str()));
        }
        let mut current = self.keys_for(issuer, &token, now).await?;
        let kid = token.kid.as_deref();
        let signed = |current: &Current| {
            let missing_kid = rules.allow_missing_kid;
            current.keys.verify(kid, token.algorithm, missing_kid, token.signed, &token.signature)
        };
        let mut good = signed(&current);
        if !good && kid.is_none() && self.issuers[issuer].is_read() {
            // Nothing names the key, so a wrong signature is all that tells of a new one.
            claims::check(&token, rules, now)?;
            self.issuers[issuer].look_again().await;
            current = usable(&self.issuers[issuer])?;
            good = signed(&current);
        }
        if !good {
            return Err(Error::refused(Reason::Signature, ""));
        }
        let window = claims::check(&token, rules, now)?;
        let caller = Arc::new(claims::caller(&token.claims, rules)?);
        let keep = claims::remaining(window, now);
        let issuer = self.issuers[issuer].clone();
        Ok(Known { caller, window, issuer, generation: current.generation, keep })
    }

    fn issuer_of(&self, token: &Unverified<'_>) -> Result<usize, Error> {
        let Some(name) = token.issuer() else {
            return Err(Error::refused(Reason::Issuer, "no `iss`, or not text"));
        };
        let found = self.issuers.iter().position(|store| store.config().issuer == name);
        found.ok_or_else(|| Error::refused(Reason::Issuer, error::quoted(name)))
    }

    /// Keys with one that fits the token. If none does, the issuer may have a new one; but a token that would be
    /// refused anyway is no reason to ask.
    async fn keys_for(
        &self,
        issuer: usize,
        token: &Unverified<'_>,
        now: Timestamp,
    ) -> Result<Arc<Current>, Error> {
        let store = &self.issuers[issuer];
        let rules = store.config();
        let kid = token.kid.as_deref();
        let fits = |current: &Arc<Current>| current.keys.has(kid, token.algorithm, rules.allow_missing_kid);
        if let Some(current) = store.usable().ok().filter(fits) {
            return Ok(current);
        }
        claims::check(token, rules, now)?;
        if store.is_read() && (kid.is_some() || rules.allow_missing_kid || store.usable().is_err()) {
            // Twice, since a read under way may have begun before the key was published.
            for _ in 0..2 {
                store.look_again().await;
                if let Some(current) = store.usable().ok().filter(fits) {
                    return Ok(current);
                }
            }
        }
        usable(store)?;
        let detail = kid.map_or_else(|| "no `kid`".to_owned(), |kid| format!("`kid` {}", error::quoted(kid)));
        Err(Error::refused(Reason::Key, detail))
    }

    /// Why not every issuer's tokens can be verified now, for `/readyz`; empty if they can.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let problem = |store: &Arc<KeyStore>| {
            let why = store.usable().err()?;
            Some(format!("the keys of issuer {} are not available: {why}", store.config().issuer))
        };
        self.issuers.iter().filter_map(problem).collect()
    }

    /// Grows whenever an issuer's keys change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

fn usable(store: &KeyStore) -> Result<Arc<Current>, Error> {
    store.usable().map_err(unavailable(store))
}

fn unavailable(store: &KeyStore) -> impl FnOnce(String) -> Error {
    |detail| Error::KeysUnavailable { issuer: store.config().issuer.clone(), detail }
}

/// Reads what is on this machine: a secret, or a key file, which is watched from now on. Errors name the key of the
/// settings.
fn local_keys(store: &Arc<KeyStore>) -> Result<Option<notify::RecommendedWatcher>, (&'static str, String)> {
    let config = store.config();
    if let Some(source) = &config.secret {
        let secret = source.read().map_err(|problem| ("secret", problem))?;
        let keys = KeySet::from_secret(&secret, &config.algorithms).map_err(|problem| ("secret", problem))?;
        store.set(keys, None);
    }
    let Some(Jwks::File(path)) = &config.jwks else { return Ok(None) };
    store.read_file(path).map_err(|problem| ("jwks", problem))?;
    // Without a watcher (no inotify left), the file is still read every `refresh`.
    let watcher = store.watch(path);
    if let Err(problem) = &watcher {
        tracing::warn!("cannot watch {}: {problem}; reading it every {}", path.display(), config.refresh);
    }
    Ok(watcher.ok())
}

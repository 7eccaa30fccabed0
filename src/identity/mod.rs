//! Who is asking: finds the one token of a request and verifies it.
//!
//! `TokenPlaces::token` finds it, `Identity::verify` makes a `Caller` of it. Verifying is a
//! straight line:
//! take the token apart (`token`), pick the issuer by its unverified `iss` (or signer, or trust domain), by
//! where the token was, and by its audience, check that the algorithm is allowed, find the key (`keys`, kept
//! current by `jwks`), check the signature, check the claims (`claims`), make the caller (`claimed_caller`),
//! keep the result (`verified_tokens`). Before the signature is checked, a token can only be refused. What
//! the caller may do is decided by policy.

mod algorithm;
mod claim_map;
mod claim_report;
mod claimed_caller;
mod claims;
mod config;
mod discovery;
mod error;
mod issuer_checks;
mod issuer_choice;
mod issuer_config;
mod issuer_kind;
mod issuer_warnings;
mod jwks;
mod jwks_source;
mod key_document;
mod keys;
mod metrics;
pub mod mint;
mod one_or_many;
mod pem_keys;
mod place;
mod place_kind;
mod provider;
mod required_claims;
mod token;
mod token_places;
mod verified_tokens;

pub use algorithm::Algorithm;
pub use claim_map::{Claim, ClaimMap, ClaimType};
pub use claim_report::ClaimLine;
pub use config::Config;
pub use discovery::SignInEndpoints;
pub use error::{Error, Reason};
pub use issuer_config::IssuerConfig;
pub use issuer_kind::IssuerKind;
pub use issuer_warnings::warnings;
pub use jwks_source::{JwksSource, is_loopback};
pub use key_document::{Fetch, TrustedRoots};
pub use metrics::Metrics;
pub use one_or_many::OneOrMany;
pub use place::AcceptedPlace;
pub use place_kind::PlaceKind;
pub use required_claims::RequiredClaims;
pub use token_places::{Credential, Token, TokenPlace, TokenPlaces, is_from_own_page};

use crate::base::digest::Digest;
use crate::base::file_watch::FileWatch;
use crate::caller::{Caller, SigningKey};
use crate::kvs::Timestamp;
use crate::setting::{Mistake, SecretSource};
use claim_report::NotedClaims;
use claimed_caller::{Claimed, claimed};
use issuer_choice::apart;
use jwks::{Current, KeyStore};
pub(crate) use keys::KeySet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use token::Unverified;
use tokio::task::JoinSet;
use verified_tokens::{VerifiedToken, VerifiedTokens};

/// Verifies tokens of the configured issuers. Dropping it ends its tasks.
pub struct Identity {
    issuers: Vec<Arc<KeyStore>>,
    /// Whether tokens of some issuer count in certain places only.
    places_matter: bool,
    verified: VerifiedTokens,
    noted: NotedClaims,
    limit: usize,
    generation: Arc<AtomicU64>,
    fetch: Fetch,
    metrics: Metrics,
    tasks: JoinSet<()>,
}

/// How long the start waits for keys that come over the network. `problems` names the issuers whose keys are
/// missing.
const FIRST_KEYS: Duration = Duration::from_secs(3);

impl Identity {
    /// Reads every secret and key file, and starts reading key documents over the network. Waits for those
    /// for at most 3 s, since an issuer that is down must not keep out the callers of the others.
    ///
    /// # Errors
    /// A secret or a key file that cannot be used.
    pub async fn start(
        issuers: &[IssuerConfig],
        config: &Config,
        fetch: Fetch,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let (identity, watches) = Self::read(issuers, config, fetch, metrics, None)?;
        identity.in_force();
        Ok(identity.keep_current(watches).await)
    }

    /// Only reads every secret and key file, without a request over the network: for a check of the settings.
    ///
    /// # Errors
    /// As `start`.
    pub fn look(
        issuers: &[IssuerConfig],
        config: &Config,
        metrics: Metrics,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let fetch: Fetch = Arc::new(|_| Box::pin(async { Err("no key document is fetched".to_owned()) }));
        Self::read(issuers, config, fetch, metrics, None).map(|(identity, _)| Arc::new(identity))
    }

    /// As `start`, with new settings. Issuers whose keys come from the same place keep them, so that a reload
    /// leaves no gap. Tokens that were verified before are verified again.
    ///
    /// # Errors
    /// As `start`. This `Identity` stays in force then.
    pub async fn restart(
        &self,
        issuers: &[IssuerConfig],
        config: &Config,
    ) -> Result<Arc<Self>, Vec<Mistake>> {
        let (fetch, metrics) = (self.fetch.clone(), self.metrics.clone());
        let (identity, watches) = Self::read(issuers, config, fetch, metrics, Some(self))?;
        Ok(identity.keep_current(watches).await)
    }

    /// Reads what is on this machine.
    fn read(
        issuers: &[IssuerConfig],
        config: &Config,
        fetch: Fetch,
        metrics: Metrics,
        previous: Option<&Self>,
    ) -> Result<(Self, Watches), Vec<Mistake>> {
        let generation = previous.map_or_else(Arc::default, |p| p.generation.clone());
        let mut issuers = issuers.to_vec();
        IssuerConfig::complete(&mut issuers);
        let (mut stores, mut mistakes, mut watches) = (Vec::new(), Vec::new(), Vec::new());
        for (index, issuer) in issuers.iter().enumerate() {
            let aged = !issuer.kind.has_signer();
            let store =
                KeyStore::new(issuer.clone(), generation.clone(), metrics.issuer(issuer.name(), aged));
            let same = |old: &&Arc<KeyStore>| old.config().has_keys_of(issuer);
            if let Some(old) = previous.and_then(|p| p.issuers.iter().find(same)) {
                store.inherit(old);
            } else if store.is_read_by_kid() {
                store.set(KeySet::from_public_keys(&[], &[]), None);
            }
            let store = Arc::new(store);
            match local_keys(&store) {
                Ok(watch) => watches.push(watch),
                Err((key, problem)) => {
                    mistakes.push(Mistake::at(format!("issuer[{index}].{key}"), problem));
                }
            }
            stores.push(store);
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let identity = Self {
            places_matter: stores.iter().any(|store| !store.config().places.is_empty()),
            issuers: stores,
            verified: VerifiedTokens::new(),
            noted: NotedClaims::default(),
            limit: config.max_token.as_usize(),
            generation,
            fetch,
            metrics,
            tasks: JoinSet::new(),
        };
        Ok((identity, watches))
    }

    /// Starts the tasks that keep the keys current, and waits a while for keys that have not been read yet.
    async fn keep_current(mut self, watches: Watches) -> Arc<Self> {
        for (store, watch) in self.issuers.iter().zip(watches).filter(|(store, _)| store.is_read()) {
            self.tasks.spawn(store.clone().keep_current(self.fetch.clone(), watch));
        }
        let first = async {
            for store in self.issuers.iter().filter(|store| store.usable().is_err()) {
                store.first_read().await;
            }
        };
        let _ = tokio::time::timeout(FIRST_KEYS, first).await;
        Arc::new(self)
    }

    /// Marks these settings as the ones in force: only their issuers have metric series.
    pub fn in_force(&self) {
        let read = self.issuers.iter().filter(|store| store.is_read());
        self.metrics.keep_only(&read.map(|store| store.config().name()).collect::<Vec<_>>());
    }

    /// The caller that a token speaks for, as of `now`, wherever it may have been in a request. A token that
    /// was verified before costs a digest and a look-up.
    ///
    /// # Errors
    /// `TooLarge`, `Refused` with the rule that the token breaks, or `KeysUnavailable`.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Caller>, Error> {
        let digest = self.verified.digest(token.as_bytes());
        let known = match self.known(&digest, None)? {
            Some(known) => known,
            None => self.learn(token, None, digest, now).await?,
        };
        known.admit(now)
    }

    /// As [`Identity::verify`], of the token of a request. Whether its bytes can be a token there is looked
    /// at only if they were not verified before.
    ///
    /// # Errors
    /// As [`Identity::verify`] and [`Token::text`].
    pub async fn verify_sent(
        &self,
        token: Token<'_>,
        now: Timestamp,
    ) -> Result<(Arc<Caller>, SigningKey), Error> {
        let digest = self.verified.digest(token.bytes());
        let place = self.places_matter.then(|| AcceptedPlace::from(token.place()));
        let known = match self.known(&digest, place.as_ref())? {
            Some(known) => known,
            None => self.learn(token.text()?, place, digest, now).await?,
        };
        Ok((known.admit(now)?, known.key))
    }

    /// Whether what was made with a token of this issuer, signed by this key, still counts: both are still
    /// trusted. While an issuer's keys cannot be had, nothing says that one of them is gone.
    #[must_use]
    pub fn trusts(&self, issuer: &str, key: Option<SigningKey>) -> bool {
        let mut stores = self.issuers.iter().filter(|store| store.config().name() == issuer).peekable();
        // Keys that are read one by one are not all here, so that none can be said to be gone.
        let holds = |store: &Arc<KeyStore>, key| {
            store.is_read_by_kid() || store.usable().map_or(true, |current| current.keys.holds(key))
        };
        match key {
            None => stores.peek().is_some(),
            Some(key) => stores.any(|store| holds(store, key)),
        }
    }

    /// A token that was verified before and still counts.
    fn known(
        &self,
        digest: &Digest,
        place: Option<&AcceptedPlace>,
    ) -> Result<Option<Arc<VerifiedToken>>, Error> {
        match self.verified.get(digest) {
            Some(known) if known.counts_at(place) && self.holds(&known)? => Ok(Some(known)),
            _ => Ok(None),
        }
    }

    /// Verifies a token and remembers that it was.
    async fn learn(
        &self,
        token: &str,
        place: Option<AcceptedPlace>,
        digest: Digest,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, Error> {
        if token.len() > self.limit {
            return Err(Error::TooLarge { bytes: token.len(), limit: self.limit });
        }
        let somewhere = place.is_some() || !self.places_matter;
        // In a box, so that the future of a look-up has no room for reading keys.
        let known = Arc::new(Box::pin(self.examine(token, place, now)).await?);
        // What counts in some place only must not be remembered as good everywhere.
        if somewhere {
            self.verified.insert(digest, known.clone());
        }
        Ok(known)
    }

    /// Whether a verified token still counts: under these settings, with the current keys.
    fn holds(&self, known: &VerifiedToken) -> Result<bool, Error> {
        let ours = self.issuers.iter().any(|issuer| Arc::ptr_eq(issuer, &known.issuer));
        Ok(ours && known.issuer.generation().map_err(unavailable(&known.issuer))? == known.generation)
    }

    /// Applies every rule, for a token that was not verified before.
    async fn examine(
        &self,
        token: &str,
        place: Option<AcceptedPlace>,
        now: Timestamp,
    ) -> Result<VerifiedToken, Error> {
        let (token, store) = apart(&self.issuers, token, place.as_ref())?;
        let rules = store.config();
        if !rules.algorithms.contains(&token.algorithm) {
            return Err(Error::refused(Reason::Algorithm, token.algorithm.as_str()));
        }
        let current = keys_for(store, &token, || claims::check(&token, rules, now).map(drop));
        let mut current = current.await?;
        let kid = token.kid.as_deref();
        let signed = |current: &Current| {
            let missing_kid = rules.allow_missing_kid;
            current.keys.signer(kid, token.algorithm, missing_kid, token.signed, token.signature)
        };
        let mut signer = signed(&current);
        if signer.is_none() && kid.is_none() && store.is_read() {
            // The token names no key, so a wrong signature is the only sign of a new one.
            claims::check(&token, rules, now)?;
            store.read_again(None).await;
            current = usable(store)?;
            signer = signed(&current);
        }
        let Some(key) = signer else { return Err(Error::refused(Reason::Signature, "")) };
        let window = claims::check(&token, rules, now)?;
        let Claimed { caller, left_out } = claimed(&token.claims, rules)?;
        self.noted.tell(rules.name(), &caller, &left_out);
        let (caller, issuer) = (Arc::new(caller), store.clone());
        Ok(VerifiedToken { caller, key, window, place, issuer, generation: current.generation })
    }

    /// What becomes of each claim of a token, for explaining; whether the token is good is not looked at.
    ///
    /// # Errors
    /// It cannot be taken apart, or is of no issuer.
    pub fn report(&self, token: &str) -> Result<Vec<ClaimLine>, Error> {
        let (token, store) = apart(&self.issuers, token, None)?;
        Ok(store.config().report(&token.claims))
    }

    /// Why kvs-edge cannot serve because of its issuers: none of them has keys, or one that is required has
    /// none. What else is wrong with them is among the `problems`.
    #[must_use]
    pub fn unready(&self) -> Vec<String> {
        let problem = |store: &Arc<KeyStore>| problem(store).filter(|_| store.config().required);
        if self.issuers.iter().all(|store| store.usable().is_err()) {
            return self.problems();
        }
        self.issuers.iter().filter_map(problem).collect()
    }

    /// Brings the metrics of keys up to date.
    pub fn show_metrics(&self) {
        let read = || self.issuers.iter().filter(|store| store.is_read());
        for store in read() {
            // Several entries of one issuer share the series: it is good if all are.
            let name = store.config().name();
            let usable = read().filter(|other| other.config().name() == name).all(|s| s.usable().is_ok());
            self.metrics.show_available(name, usable);
        }
    }

    /// The issuers whose tokens cannot be verified now and why.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        self.issuers.iter().filter_map(|store| problem(store)).collect()
    }

    /// A number that grows whenever an issuer's keys change.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// Keys with one that fits the token. If none does, the issuer may have a new one, and its keys are read
/// again. A token that would be refused anyway, which `check` tells, causes no read.
async fn keys_for(
    store: &KeyStore,
    token: &Unverified<'_>,
    check: impl FnOnce() -> Result<(), Error>,
) -> Result<Arc<Current>, Error> {
    let rules = store.config();
    let kid = token.kid.as_deref();
    let fits = |current: &Arc<Current>| current.keys.has(kid, token.algorithm, rules.allow_missing_kid);
    if let Some(current) = store.usable().ok().filter(fits) {
        return Ok(current);
    }
    check()?;
    if store.is_read() && (kid.is_some() || rules.allow_missing_kid || store.usable().is_err()) {
        // Twice, since a read in progress may have begun before the key was published.
        for _ in 0..2 {
            store.read_again(kid).await;
            if let Some(current) = store.usable().ok().filter(fits) {
                return Ok(current);
            }
        }
    }
    usable(store)?;
    if !store.is_unknown(kid) {
        return Err(unavailable(store)("the key of this token has not been read yet".into()));
    }
    let detail = kid.map_or_else(|| "no `kid`".to_owned(), |kid| format!("`kid` {}", error::quoted(kid)));
    Err(Error::refused(Reason::Key, detail))
}

fn problem(store: &KeyStore) -> Option<String> {
    let why = store.usable().err()?;
    Some(format!("the keys of issuer {} are not available: {why}", store.config().name()))
}

fn usable(store: &KeyStore) -> Result<Arc<Current>, Error> {
    store.usable().map_err(unavailable(store))
}

fn unavailable(store: &KeyStore) -> impl FnOnce(String) -> Error {
    |detail| Error::KeysUnavailable { issuer: store.config().name().to_owned(), detail }
}

/// One per issuer, in their order; `None` without a key file.
type Watches = Vec<Option<FileWatch>>;

/// Reads what is on this machine: a secret, or a key file, which is watched from now on. Errors name the key
/// of the settings.
fn local_keys(store: &KeyStore) -> Result<Option<FileWatch>, (&'static str, String)> {
    let config = store.config();
    if let Some(source) = &config.secret {
        let secret = source.read().map_err(|problem| ("secret", problem))?;
        let keys = KeySet::from_secret(&secret, &config.algorithms).map_err(|problem| ("secret", problem))?;
        store.set(keys, None);
    }
    let files = [("ca", &config.ca), ("bearer", &config.bearer), ("client_secret", &config.client_secret)];
    for (key, source) in files {
        source.as_ref().map(SecretSource::read).transpose().map_err(|problem| (key, problem))?;
    }
    let Some(JwksSource::File(path)) = &config.jwks else { return Ok(None) };
    // Watched before it is read, so that no change is missed in between.
    let watched = path.clone();
    let watch = FileWatch::new(move || vec![watched.clone()]);
    store.read_file(path).map_err(|problem| ("jwks", problem))?;
    Ok(Some(watch))
}

#[cfg(test)]
mod tests;

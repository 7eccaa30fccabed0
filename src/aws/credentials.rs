//! AWS credentials that are ready when a request needs them: obtained once for all requests, renewed before
//! they expire, and renewed at once when AWS says that they have expired.
//!
//! AWS's default chain does not cache (five requests would run a credential process five times), so the
//! caching is here. During the last five minutes the old set still signs while a new one is fetched in the
//! background. When fetching fails, the old set signs until its real end. A failed chain is tried again at
//! most every two seconds, because off EC2 each attempt can take seconds.

use super::transport::{SmithyConnector, Transport};
use crate::base::clock;
use crate::base::single_flight::SingleFlight;
use arc_swap::ArcSwapOption;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Where one set of credentials comes from.
#[derive(Clone, Default)]
pub struct CredentialsSource {
    /// The region whose STS is called.
    pub region: String,
    /// A profile of the shared files, instead of the default one.
    pub profile: Option<String>,
    /// Access key and secret key, instead of the default chain.
    pub keys: Option<(String, String)>,
    /// A role to assume with them.
    pub role: Option<Role>,
    /// Another address of STS.
    pub sts_endpoint: Option<String>,
}

/// A role to assume.
#[derive(Clone, Debug)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may demand.
    pub external_id: Option<String>,
    /// The name that CloudTrail shows.
    pub session_name: String,
}

/// No credentials, and why. Never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no AWS credentials: {0}")]
pub struct Error(pub String);

/// What is report_expiry whenever a new set is there: the instant at which it ends, if it does.
pub type ReportExpiry = Box<dyn Fn(Option<SystemTime>) + Send + Sync>;

/// How long before their end credentials are renewed.
const AHEAD: Duration = Duration::from_secs(300);
/// How long one attempt may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a failure is returned before the chain is tried again.
const COOLING: Duration = Duration::from_secs(2);
/// A set younger than this is not thrown away because AWS refused it: it has just been made.
const YOUNG: Duration = Duration::from_secs(10);

/// AWS's default chain, or what `source` names instead. Nothing is fetched yet.
pub async fn provider(
    source: &CredentialsSource,
    transport: Transport,
) -> Result<SharedCredentialsProvider, Error> {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(SmithyConnector::new(transport))
        .region(Region::new(source.region.clone()));
    if let Some(profile) = &source.profile {
        loader = loader.profile_name(profile);
    }
    if let Some((id, secret)) = &source.keys {
        loader = loader.credentials_provider(Credentials::from_keys(id, secret, None));
    }
    let mut config = loader.load().await;
    if let Some(endpoint) = &source.sts_endpoint {
        config = config.to_builder().endpoint_url(endpoint).build();
    }
    let base = config.credentials_provider().ok_or_else(|| Error("the default chain is empty".into()))?;
    let Some(role) = &source.role else { return Ok(base) };
    let mut assumed = aws_config::sts::AssumeRoleProvider::builder(&role.arn)
        .session_name(&role.session_name)
        .region(Region::new(source.region.clone()))
        .configure(&config);
    if let Some(id) = &role.external_id {
        assumed = assumed.external_id(id);
    }
    Ok(SharedCredentialsProvider::new(assumed.build_from_provider(base).await))
}

/// A set of credentials kept fresh.
pub struct CachedCredentials {
    provider: SharedCredentialsProvider,
    current: ArcSwapOption<CurrentSet>,
    failure: ArcSwapOption<(Instant, Error)>,
    asking: SingleFlight<(), Result<Arc<Credentials>, Error>>,
    report_expiry: ReportExpiry,
}

struct CurrentSet {
    keys: Arc<Credentials>,
    since: Instant,
}

/// What a set's end means now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Freshness {
    Fresh,
    /// Still good, to be renewed.
    Ageing,
    Ended,
}

fn freshness(end: Option<SystemTime>, now: SystemTime) -> Freshness {
    match end.map(|end| end.duration_since(now)) {
        None => Freshness::Fresh,
        Some(Ok(left)) if left > AHEAD => Freshness::Fresh,
        Some(Ok(left)) if !left.is_zero() => Freshness::Ageing,
        Some(_) => Freshness::Ended,
    }
}

impl CachedCredentials {
    /// Wraps a provider.
    #[must_use]
    pub fn new(provider: SharedCredentialsProvider, report_expiry: ReportExpiry) -> Arc<Self> {
        Arc::new(Self {
            provider,
            current: ArcSwapOption::empty(),
            failure: ArcSwapOption::empty(),
            asking: SingleFlight::default(),
            report_expiry,
        })
    }

    /// A set that is good now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn get(self: &Arc<Self>) -> Result<Arc<Credentials>, Error> {
        match self.good() {
            Some((keys, Freshness::Fresh)) => Ok(keys),
            Some((keys, _)) => {
                if self.cooling().is_none() {
                    drop(self.asking.start((), || Arc::clone(self).ask()));
                }
                Ok(keys)
            }
            None => self.obtain(None).await,
        }
    }

    /// A set other than `refused`, which AWS said has run out, unless that one was made only just now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn renewed(self: &Arc<Self>, refused: &Credentials) -> Result<Arc<Credentials>, Error> {
        self.obtain(Some(refused)).await
    }

    /// Why there are no credentials at the moment; `None` while there are.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.good().is_some() {
            return None;
        }
        let failure = self.failure.load_full();
        Some(failure.map_or_else(|| "not obtained yet".to_owned(), |failure| failure.1.0.clone()))
    }

    fn good(&self) -> Option<(Arc<Credentials>, Freshness)> {
        let kept = self.current.load_full()?;
        match freshness(kept.keys.expiry(), clock::now()) {
            Freshness::Ended => None,
            freshness => Some((kept.keys.clone(), freshness)),
        }
    }

    async fn obtain(self: &Arc<Self>, refused: Option<&Credentials>) -> Result<Arc<Credentials>, Error> {
        if let Some(keys) = self.settled(refused) {
            return Ok(keys);
        }
        if let Some(error) = self.cooling() {
            return Err(error);
        }
        // Runs to its end even if this caller leaves: the new set serves later requests.
        let asked = self.asking.start((), || Arc::clone(self).ask()).result().await;
        asked.unwrap_or_else(|_| Err(Error("the attempt to obtain them failed".into())))
    }

    /// The current set, if it differs from the refused one, or is so new that it is not the reason for the
    /// refusal.
    fn settled(&self, refused: Option<&Credentials>) -> Option<Arc<Credentials>> {
        let (keys, freshness) = self.good()?;
        match refused {
            None => (freshness != Freshness::Ended).then_some(keys),
            Some(old) if old.access_key_id() != keys.access_key_id() => Some(keys),
            Some(old) if old.session_token() != keys.session_token() => Some(keys),
            Some(_) => (self.current.load_full()?.since.elapsed() < YOUNG).then_some(keys),
        }
    }

    fn cooling(&self) -> Option<Error> {
        let failure = self.failure.load_full()?;
        (failure.0.elapsed() < COOLING).then(|| failure.1.clone())
    }

    async fn ask(self: Arc<Self>) -> Result<Arc<Credentials>, Error> {
        let got = match tokio::time::timeout(PATIENCE, self.provider.provide_credentials()).await {
            Ok(Ok(keys)) if freshness(keys.expiry(), clock::now()) == Freshness::Ended => {
                Err(Error("what the source gave has already expired".into()))
            }
            Ok(Ok(keys)) => Ok(keys),
            Ok(Err(error)) => Err(Error(chain(&error))),
            Err(_) => Err(Error(format!("the source did not answer within {PATIENCE:?}"))),
        };
        match got {
            Ok(keys) => {
                (self.report_expiry)(keys.expiry());
                let keys = Arc::new(keys);
                self.current.store(Some(Arc::new(CurrentSet { keys: keys.clone(), since: Instant::now() })));
                self.failure.store(None);
                Ok(keys)
            }
            Err(error) => {
                tracing::warn!(%error, kept = self.good().is_some(), "AWS credentials could not be obtained");
                self.failure.store(Some(Arc::new((Instant::now(), error.clone()))));
                Err(error)
            }
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "tests/credentials.rs"]
mod tests;

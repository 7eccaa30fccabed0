//! An `[[aws]]` entry at work: its hosts, its credentials, its clock; and which entry serves a stream.

use super::account::EntryConfig;
use super::error::Error;
use super::metrics::Metrics;
use super::origin::{Guard, Origin};
use super::retry::SKEW;
use crate::aws::credentials::{self, CachedCredentials, CredentialsSource, Role};
use crate::aws::sign::Signer;
use crate::aws::{Transport, hosts};
use crate::kvs::{StreamArn, StreamRef};
use crate::setting::{Mistake, SecretSource};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// How often credentials are checked, and how often while there are none.
const LOOK: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// One account and region.
pub(super) struct AwsEntry {
    pub(super) index: usize,
    pub(super) name: Arc<str>,
    pub(super) config: EntryConfig,
    pub(super) control: Origin,
    pub(super) guard: Guard,
    pub(super) credentials: Arc<CachedCredentials>,
    pub(super) signer: Signer,
    /// The region, shared with whatever is located here.
    pub(super) region: Arc<str>,
    /// The account: as configured, or as KVS has shown it in an ARN.
    account: OnceLock<Arc<str>>,
    /// Seconds by which KVS's clock is ahead of ours.
    ahead: AtomicI64,
}

impl AwsEntry {
    pub(super) async fn new(
        index: usize,
        config: &EntryConfig,
        transport: Transport,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, Mistake> {
        let at = |key: &str, problem: &str| Mistake::at(format!("aws[{index}].{key}"), problem);
        let endpoint = match config.endpoint_url.as_deref().map(Origin::parse) {
            Some(None) => {
                return Err(at("endpoint_url", "must be http://host[:port] or https://host[:port]"));
            }
            Some(some) => some,
            None => None,
        };
        let control = match &endpoint {
            Some(origin) => origin.clone(),
            None => hosts::control(&config.region, config.fips, config.dual_stack)
                .ok()
                .and_then(|host| Origin::https(&host))
                .ok_or_else(|| at("region", "must be a region's name, such as eu-west-1"))?,
        };
        let source = CredentialsSource {
            region: config.region.clone(),
            profile: config.profile.clone(),
            keys: keys(config).map_err(|(key, problem)| at(key, &problem))?,
            role: config.role_arn.clone().map(|arn| Role {
                arn,
                external_id: config.external_id.clone(),
                session_name: config.session_name.clone().unwrap_or_else(|| "kvs-edge".to_owned()),
            }),
            sts_endpoint: config.sts_endpoint_url.clone(),
        };
        let provider = credentials::provider(&source, transport)
            .await
            .map_err(|error| at("profile", &error.to_string()))?;
        Ok(Arc::new(Self {
            index,
            name: config.name.as_str().into(),
            control,
            guard: Guard::new(&config.region, endpoint),
            credentials: CachedCredentials::new(provider, metrics.expiry(&config.name)),
            signer: Signer::new(&config.region, "kinesisvideo"),
            region: config.region.as_str().into(),
            account: config
                .known_account()
                .map(|account| OnceLock::from(Arc::from(account)))
                .unwrap_or_default(),
            ahead: AtomicI64::new(0),
            config: config.clone(),
        }))
    }

    /// The account, as far as it is known.
    pub(super) fn account(&self) -> Option<&Arc<str>> {
        self.account.get()
    }

    /// KVS has shown an ARN of this entry's account.
    pub(super) fn learn(&self, arn: &StreamArn) {
        if arn.region() == self.config.region {
            self.learn_account(arn.account());
        }
    }

    fn learn_account(&self, account: &str) {
        let _ = self.account.get_or_init(|| account.into());
    }

    /// Keeps credentials fresh whether or not there are requests: without them this process is not ready,
    /// and gets no requests that would fetch them. Never ends by itself.
    pub(super) async fn keep_credentials(self: Arc<Self>) {
        loop {
            let pause = match self.credentials.get().await {
                Ok(keys) => {
                    keys.account_id().inspect(|account| self.learn_account(account.as_str()));
                    LOOK
                }
                Err(_) => LOOK_AGAIN,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The time to sign with while our clock shows `now`.
    pub(super) fn time(&self, now: SystemTime) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { now - by } else { now + by }
    }

    /// KVS refused a signature because of its time, and shows `kvs_time` while our clock shows `now`. If
    /// the two agree, our clock has been put right and there is no offset any more.
    pub(super) fn set_clock(&self, kvs_time: SystemTime, now: SystemTime) {
        let seconds = |apart: Duration| i64::try_from(apart.as_secs()).unwrap_or(0);
        let ahead_seconds = match kvs_time.duration_since(now) {
            Ok(ahead) => seconds(ahead),
            Err(behind) => -seconds(behind.duration()),
        };
        if ahead_seconds.unsigned_abs() < SKEW.as_secs() {
            tracing::info!(aws = %self.name, "our clock agrees with KVS's again; signing with ours");
            self.ahead.store(0, Ordering::Relaxed);
        } else {
            let message = "our clock differs from KVS's; signing with KVS's";
            tracing::warn!(aws = %self.name, ahead_seconds, "{message}");
            self.ahead.store(ahead_seconds, Ordering::Relaxed);
        }
    }

    /// How well this entry fits a stream: not at all, by region and account only, or by a glob too.
    fn fit(&self, stream: &StreamRef) -> Option<bool> {
        self.config.fit(stream, self.account().map(|account| &**account))
    }
}

type Unreadable = (&'static str, String);

fn keys(config: &EntryConfig) -> Result<Option<(String, String)>, Unreadable> {
    let read = |key: &'static str, source: &SecretSource| {
        let secret = source.read().map_err(|problem| (key, problem))?;
        String::from_utf8(secret.expose().to_vec()).map_err(|_| (key, "is not text".to_owned()))
    };
    match (&config.access_key_id, &config.secret_access_key) {
        (Some(id), Some(secret)) => {
            Ok(Some((read("access_key_id", id)?, read("secret_access_key", secret)?)))
        }
        _ => Ok(None),
    }
}

/// Finds the entry that serves a stream. With an ARN an entry that names the stream by a glob goes before
/// one that takes every ARN of its account, and a known account before an unknown one.
///
/// # Errors
/// [`Error::NotServed`], with what would help.
pub(super) fn locate<'a>(
    entries: &'a [Arc<AwsEntry>],
    stream: &StreamRef,
) -> Result<&'a Arc<AwsEntry>, Error> {
    entries
        .iter()
        .filter_map(|entry| Some((entry.fit(stream)?, entry.account().is_some(), entry)))
        .max_by_key(|(named, known, entry)| (*named, *known, std::cmp::Reverse(entry.index)))
        .map(|(_, _, entry)| entry)
        .ok_or_else(|| {
            Error::NotServed(match stream {
                StreamRef::Name(name) => format!("stream {name} is not served here"),
                StreamRef::Arn(arn) => format!(
                    "stream {} of account {} in {} is not served here",
                    arn.name(),
                    arn.account(),
                    arn.region()
                ),
            })
        })
}

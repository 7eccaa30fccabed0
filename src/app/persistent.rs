//! What outlives a reload: metrics, connections, cached media, KVS's endpoints and credentials, shared
//! sessions.
//!
//! The calls to KVS, and the sessions opened through them, are built anew only when the settings of
//! `[[aws]]`, `[upstream]` or `[sessions]` change, or the keys in files that they name. The audit log is
//! opened anew only when its settings change. New ones are prepared beside those in force, and replace them
//! only when the whole reload has succeeded ([`Persistent::adopt`]).

use super::fleet::token_source;
use super::state_metrics::StateMetrics;
use crate::archive::prewarm::Warming;
use crate::base::room::Room;
use crate::config::Config;
use crate::fleet::s3::S3;
use crate::gateway::Audit;
use crate::net::client::{Client, Limits, Options};
use crate::sessions::Sessions;
use crate::setting::{Mistake, SecretSource};
use crate::telemetry::audit;
use crate::telemetry::metrics::{Registries, StreamLabels};
use crate::telemetry::spans::{self, Tracer};
use crate::{accounting, archive, cache, fleet, identity, net, sessions, upstream};
use std::sync::{Arc, Mutex, PoisonError};

/// The parts that outlive a reload.
pub struct Persistent {
    /// Every metric family.
    pub registries: Registries,
    /// The gateway's metrics.
    pub gateway: accounting::Metrics,
    /// The metrics of key sets.
    pub identity: identity::Metrics,
    /// The listener's metrics.
    pub listener: net::listener::Metrics,
    /// Media bytes.
    pub cache: cache::Cache,
    /// What all replicas share.
    pub store: Option<fleet::Store>,
    /// What other replicas were ordered to purge.
    pub purge_log: Option<fleet::PurgeLog>,
    /// Fragments that are being fetched into it.
    pub batches: archive::Batches,
    /// What is remembered of packaged footage.
    pub packaging: archive::Packaging,
    /// Playlists, presentations and the like, which can be made again.
    pub room: Room,
    /// Prefetches that operators started.
    pub warming: Warming,
    /// The rates that callers use.
    pub callers: accounting::rates::Callers,
    /// Spans of requests.
    pub tracer: Option<Arc<Tracer>>,
    /// What works of the parts that a gateway can do without.
    pub(super) state_metrics: StateMetrics,
    upstream_metrics: upstream::Metrics,
    session_metrics: sessions::Metrics,
    calls: Mutex<Option<Calls>>,
    audit: Mutex<Option<(AuditSettings, Audit)>>,
    watch: Arc<audit::Viewings>,
}

/// `[log] audit` and `audit_claims`.
type AuditSettings = (audit::Config, Vec<String>);

/// What a generation of the gateway needs that may outlive it: reused from the one before, or made anew.
pub struct Prepared {
    /// Calls to KVS and shared sessions.
    pub calls: Calls,
    /// The audit log.
    pub audit: Audit,
    audit_settings: AuditSettings,
}

/// The way to KVS and what was opened through it.
#[derive(Clone)]
pub struct Calls {
    /// Calls to KVS.
    pub upstream: upstream::Upstream,
    /// Shared sessions.
    pub sessions: Sessions,
    made_of: Arc<MadeOf>,
}

/// The settings that the calls are built from.
#[derive(PartialEq)]
struct MadeOf {
    aws: Vec<upstream::EntryConfig>,
    /// Of the entries' keys and the certificates, whose files can be replaced under their names.
    secrets: Vec<Option<[u8; 32]>>,
    upstream: upstream::Config,
    sessions: sessions::Config,
    live_window: u16,
}

impl MadeOf {
    fn read(config: &Config) -> Self {
        let keys = config.aws.iter().flat_map(|entry| [&entry.access_key_id, &entry.secret_access_key]);
        Self {
            aws: config.aws.clone(),
            secrets: keys.flatten().chain(&config.upstream.ca).map(SecretSource::fingerprint).collect(),
            upstream: config.upstream.clone(),
            sessions: config.sessions.clone(),
            live_window: config.playback.live_window,
        }
    }
}

impl Persistent {
    /// Builds them all.
    ///
    /// # Errors
    /// A metric is registered twice, the cache cannot be opened, or what `[cache.shared]` names cannot be
    /// read.
    pub async fn new(config: &Config) -> anyhow::Result<Self> {
        let registries = Registries::new()?;
        let fleet = fleet::Metrics::register(registries.own())?;
        let bucket = bucket(config, &fleet).await?;
        let token = token_source(config);
        let store = config.cache.shared.as_ref().map(|shared| fleet::Store::open(shared, token, fleet));
        let store = store.transpose().map_err(|mistakes| {
            let lines = mistakes.iter().map(|mistake| mistake.problem.as_str());
            anyhow::anyhow!("cache.shared: {}", lines.collect::<Vec<_>>().join("; "))
        })?;
        let labels = StreamLabels::new(config.metrics.max_streams);
        let registry = registries.own();
        let gateway = accounting::Metrics::register(registry, labels.clone())?;
        let room = Room::default();
        let cache_metrics = cache::Metrics::register(registry)?;
        let cache = match store.clone() {
            Some(store) => cache::Cache::open_shared(&config.cache, cache_metrics, store, bucket)?,
            None => cache::Cache::open(&config.cache, cache_metrics)?,
        };
        Ok(Self {
            listener: net::listener::Metrics::register(registry, &gateway.rejected())?,
            gateway,
            identity: identity::Metrics::register(registry)?,
            purge_log: store.clone().map(fleet::PurgeLog::new),
            store,
            batches: archive::Batches::default(),
            packaging: archive::Packaging::new(
                archive::Metrics::register(registry)?,
                room.clone(),
                cache.clone(),
                config.cache.memory.0,
            ),
            cache,
            room,
            warming: Warming::default(),
            callers: accounting::rates::Callers::default(),
            tracer: Tracer::start(&config.trace, collector()?, registry)?,
            upstream_metrics: upstream::Metrics::register(registry, labels.clone())?,
            session_metrics: sessions::Metrics::register(registry, move |name| {
                labels.label(name).to_string()
            })?,
            state_metrics: StateMetrics::register(registries.own())?,
            calls: Mutex::new(None),
            audit: Mutex::new(None),
            watch: Arc::new(audit::Viewings::new()),
            registries,
        })
    }

    /// Prepares the audit log and the calls for these settings. Nothing is in force before [`Self::adopt`].
    /// `offline`: no credentials are fetched.
    ///
    /// # Errors
    /// The audit log cannot be opened, or an `[[aws]]` entry cannot be used.
    pub async fn prepare(&self, config: &Config, offline: bool) -> Result<Prepared, Vec<Mistake>> {
        let audit_settings = (config.log.audit.clone(), config.log.audit_claims.clone());
        let calls = self.calls(config, offline).await?;
        // Last, because it makes the file: a refused reload leaves none behind.
        let audit = self
            .audit(&audit_settings)
            .map_err(|problem| vec![Mistake::at("log.audit", problem.to_string())])?;
        Ok(Prepared { calls, audit, audit_settings })
    }

    /// Puts what was prepared into force: the next generation reuses it. What replicas share is sealed with
    /// these secrets from now on.
    pub fn adopt(&self, prepared: Prepared, sealing: &[fleet::SealingSecret]) {
        if let Some(store) = &self.store {
            store.seal_with(sealing);
        }
        let Prepared { calls, audit, audit_settings } = prepared;
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) = Some(calls);
        *self.audit.lock().unwrap_or_else(PoisonError::into_inner) = Some((audit_settings, audit));
    }

    /// The calls for these settings: those in force, if nothing about them changed.
    async fn calls(&self, config: &Config, offline: bool) -> Result<Calls, Vec<Mistake>> {
        let made_of = MadeOf::read(config);
        let current = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(calls) = &current
            && *calls.made_of == made_of
        {
            return Ok(calls.clone());
        }
        let metrics = self.upstream_metrics.clone();
        let upstream = match offline {
            false => {
                upstream::Upstream::start(&config.aws, &config.upstream, self.store.clone(), metrics).await?
            }
            true => upstream::Upstream::look(&config.aws, &config.upstream, metrics).await?,
        };
        if let Some(calls) = &current {
            // The new pool reads what the old one saves.
            calls.sessions.save().await;
        }
        let (cache, metrics) = (self.cache.clone(), self.session_metrics.clone());
        let (settings, room) = (config.sessions.clone(), self.room.clone());
        let sessions = Sessions::new(
            upstream.clone(),
            cache,
            &config.cache,
            settings,
            metrics,
            room,
            self.store.clone(),
        );
        Ok(Calls { upstream, sessions, made_of: Arc::new(made_of) })
    }

    /// The audit log for these settings: the one in force, if they did not change.
    fn audit(&self, settings: &AuditSettings) -> std::io::Result<Audit> {
        let current = self.audit.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((made_of, audit)) = current
            && made_of == *settings
        {
            return Ok(audit);
        }
        Ok(Audit { sink: Arc::new(audit::Sink::open(&settings.0, &settings.1)?), watch: self.watch.clone() })
    }
}

/// The client that key sets are fetched with. It allows plain HTTP; each issuer's settings decide whether its
/// key set may use it.
///
/// # Errors
/// TLS cannot be set up.
pub fn key_client() -> Result<Client, net::client::Error> {
    Client::new(Options { allow_http: true, ..Options::default() })
}

/// The bucket that replicas share, if there is one.
async fn bucket(config: &Config, metrics: &fleet::Metrics) -> anyhow::Result<Option<S3>> {
    let Some(settings) = config.cache.shared.as_ref().and_then(|shared| shared.s3.as_ref()) else {
        return Ok(None);
    };
    let options = Options { allow_http: true, ..Options::default() };
    let client = match &config.upstream.ca {
        Some(ca) => {
            let pem = ca.read().map_err(|problem| anyhow::anyhow!("upstream.ca: {problem}"))?;
            Client::trusting_also(options, pem.expose())?
        }
        None => Client::new(options)?,
    };
    let opened = S3::open(settings, "cache.shared.s3", &client, metrics.clone()).await;
    opened.map(Some).map_err(|mistake| anyhow::anyhow!("cache.shared.s3: {}", mistake.problem))
}

/// As [`key_client`], trusting these certificates alone.
///
/// # Errors
/// TLS cannot be set up.
pub fn key_client_trusting(roots: rustls::RootCertStore) -> Result<Client, net::client::Error> {
    Client::with_roots(Options { allow_http: true, ..Options::default() }, roots)
}

/// Sends spans to their collector. The exporter calls it from a thread of its own, and the client needs the
/// runtime.
fn collector() -> Result<spans::Post, net::client::Error> {
    let client = key_client()?;
    let runtime = tokio::runtime::Handle::try_current().ok();
    Ok(Arc::new(move |request| {
        let (client, runtime) = (client.clone(), runtime.clone());
        Box::pin(async move {
            let runtime = runtime.ok_or("there is no runtime")?;
            let sending =
                runtime.spawn(async move { client.fetch(request, 1 << 20, &Limits::default()).await });
            let answer = sending.await.map_err(|error| error.to_string())?;
            answer.map_err(|error| error.to_string())
        })
    }))
}

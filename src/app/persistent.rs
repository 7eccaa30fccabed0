//! What outlives a reload: counters, connections, cached media, KVS's endpoints and credentials, shared sessions.
//!
//! A reload that threw these away would be a restart with another name. Only when the settings of `[[aws]]` or
//! `[upstream]` change, or keys in files that they name, are the calls to KVS, and the sessions opened through them, built anew.

use crate::config::Config;
use crate::gateway::metrics::StreamLabel;
use crate::gateway::{self, KvsOrigin, Witness};
use crate::net::client::{Client, Limits, Options};
use crate::sessions::Sessions;
use crate::setting::{Mistake, SecretSource};
use crate::telemetry::audit;
use crate::telemetry::metrics::{Registries, StreamLabels};
use crate::telemetry::spans::{self, Tracer};
use crate::{cache, identity, net, sessions, upstream};
use std::sync::{Arc, Mutex, PoisonError};

/// The lasting parts.
pub struct Persistent {
    /// Every metric family.
    pub registries: Registries,
    /// The gateway's own numbers.
    pub gateway: gateway::Metrics,
    /// Key sets' numbers.
    pub identity: identity::Metrics,
    /// The listener's numbers.
    pub listener: net::listener::Metrics,
    /// Media bytes.
    pub cache: cache::Cache,
    /// Fragments on their way into it.
    pub batches: gateway::Batches,
    /// What is fetched ahead of its viewers.
    pub warming: gateway::Warming,
    /// What callers took.
    pub callers: gateway::Callers,
    /// Spans of requests.
    pub tracer: Option<Arc<Tracer>>,
    upstream_metrics: upstream::Metrics,
    session_metrics: sessions::Metrics,
    calls: Mutex<Option<Calls>>,
    audit: Mutex<Option<(audit::Config, Witness)>>,
    watch: Arc<audit::Watch>,
}

/// The way to KVS and what was opened through it.
#[derive(Clone)]
pub struct Calls {
    /// Calls to KVS.
    pub upstream: upstream::Upstream,
    /// Shared sessions.
    pub sessions: Arc<Sessions<KvsOrigin>>,
    made_of: Arc<MadeOf>,
}

/// What makes other calls necessary when it changes.
#[derive(PartialEq)]
struct MadeOf {
    aws: Vec<upstream::EntryConfig>,
    /// Of the entries' keys, which may be replaced under the same name.
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
            secrets: keys.flatten().map(SecretSource::fingerprint).collect(),
            upstream: config.upstream.clone(),
            sessions: config.sessions.clone(),
            live_window: config.playback.live_window,
        }
    }
}

impl Persistent {
    /// Builds what lasts.
    ///
    /// # Errors
    /// A metric is registered twice, or the cache cannot be opened.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let registries = Registries::new()?;
        let labels = Arc::new(StreamLabels::new(config.metrics.max_streams));
        let label: StreamLabel = Arc::new(move |name| labels.label(name));
        let registry = registries.own();
        let gateway = gateway::Metrics::register(registry, label.clone())?;
        Ok(Self {
            listener: net::listener::Metrics::register(registry, &gateway.rejected())?,
            gateway,
            identity: identity::Metrics::register(registry)?,
            cache: cache::Cache::open(&config.cache, cache::Metrics::register(registry)?)?,
            batches: gateway::Batches::default(),
            warming: gateway::Warming::default(),
            callers: gateway::Callers::default(),
            tracer: Tracer::start(&config.trace, collector()?, registry)?,
            upstream_metrics: upstream::Metrics::register(registry, label.clone())?,
            session_metrics: sessions::Metrics::register(registry, move |name| label(name).to_string())?,
            calls: Mutex::new(None),
            audit: Mutex::new(None),
            watch: Arc::new(audit::Watch::new()),
            registries,
        })
    }

    /// The calls for these settings: the ones there are, if nothing about them changed. `asks`: credentials are fetched
    /// ahead.
    ///
    /// # Errors
    /// An entry cannot be used.
    pub async fn calls(&self, config: &Config, asks: bool) -> Result<Calls, Vec<Mistake>> {
        let made_of = MadeOf::read(config);
        if let Some(calls) = self.current()
            && *calls.made_of == made_of
        {
            return Ok(calls);
        }
        if let Some(calls) = self.current() {
            // Those that follow read it.
            calls.sessions.save().await;
        }
        let metrics = self.upstream_metrics.clone();
        let upstream = match asks {
            true => upstream::Upstream::start(&config.aws, &config.upstream, metrics).await?,
            false => upstream::Upstream::look(&config.aws, &config.upstream, metrics).await?,
        };
        let origin = KvsOrigin::new(upstream.clone(), self.cache.clone(), &config.cache);
        let sessions = Arc::new(Sessions::new(origin, config.sessions.clone(), self.session_metrics.clone()));
        let calls = Calls { upstream, sessions, made_of: Arc::new(made_of) };
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner) = Some(calls.clone());
        Ok(calls)
    }

    fn current(&self) -> Option<Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The audit log for these settings: the one there is, if they did not change.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn witness(&self, config: &audit::Config) -> std::io::Result<Witness> {
        let mut current = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, witness)) = &*current
            && made_of == config
        {
            return Ok(witness.clone());
        }
        let witness = Witness { sink: Arc::new(audit::Sink::open(config)?), watch: self.watch.clone() };
        *current = Some((config.clone(), witness.clone()));
        Ok(witness)
    }
}

/// The client that key sets are fetched with. Plain HTTP is allowed here; each issuer's settings decide whether it is
/// for them.
///
/// # Errors
/// TLS cannot be set up.
pub fn key_client() -> Result<Client, net::client::Error> {
    Client::new(Options { allow_http: true, ..Options::default() })
}

/// How spans reach their collector. The exporter waits on a thread of its own; our client works in the runtime.
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

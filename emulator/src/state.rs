//! The state of one emulator: accounts, streams, sessions, quotas, the fault plan and the counters.
//!
//! No lock is held across an await. A stream is replaced as a whole, so that a request works with one
//! version of it.

use super::answer::KvsError;
use super::clock::Millis;
use super::config::{Account, Config};
use super::counters::Counters;
use super::endpoint::Endpoint;
use super::faults::FaultPlan;
use super::lock::lock;
use super::quota::{Connections, MEDIA_POINTS, METADATA_POINTS, Quotas};
use super::session::Session;
use super::signature::SigningKey;
use super::stream::{Stream, Tenant};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// How long expired sessions are kept, so that their tokens are answered as expired and not as unknown.
const REMEMBER_MILLIS: Millis = 3_600_000;

/// Shared by all requests of one emulator.
pub(super) struct EmulatorState {
    pub(super) config: Config,
    accounts: Vec<Account>,
    streams: Mutex<BTreeMap<(Tenant, String), Arc<Stream>>>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    issued: Mutex<HashMap<String, SigningKey>>,
    quotas: Mutex<Quotas>,
    plan: Mutex<FaultPlan>,
    counters: Mutex<Counters>,
    pub(super) endpoint: Endpoint,
    pub(super) connections: Connections,
}

impl EmulatorState {
    /// The state at start: every camera has recorded for as long as the configuration says.
    pub(super) fn new(config: Config, now: Millis) -> Self {
        let main = Account {
            account: config.account.clone(),
            region: Some(config.region.clone()),
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
            streams: config.streams.clone(),
        };
        let accounts: Vec<Account> = std::iter::once(main).chain(config.accounts.clone()).collect();
        // Aligned to the hour, so that an emulator that restarts within the hour has streams of the same
        // ARN.
        let hours_ago = || (now / 3_600_000).saturating_sub(config.history_hours) * 3_600_000;
        let first_recorded = config.created.unwrap_or_else(hours_ago);
        let mut streams = BTreeMap::new();
        for entry in &accounts {
            let tenant = (entry.account.clone(), entry.region(&config));
            for (place, name) in entry.streams.iter().enumerate() {
                let mut stream = Stream::new(name, &tenant.0, &tenant.1, first_recorded, place);
                stream.archive.producer = config.producers.get(name).copied().unwrap_or_default();
                stream.archive.retention_hours = config.retention_hours;
                stream.archive.jitter = config.jitter_millis;
                streams.insert((tenant.clone(), name.clone()), Arc::new(stream));
            }
        }
        Self {
            config,
            accounts,
            streams: Mutex::new(streams),
            sessions: Mutex::default(),
            issued: Mutex::default(),
            quotas: Mutex::default(),
            plan: Mutex::default(),
            counters: Mutex::default(),
            endpoint: Endpoint::default(),
            connections: Connections::default(),
        }
    }

    pub(super) fn counters(&self) -> MutexGuard<'_, Counters> {
        lock(&self.counters)
    }

    pub(super) fn plan(&self) -> MutexGuard<'_, FaultPlan> {
        lock(&self.plan)
    }

    /// The keys with this access key ID: permanent keys of an account, or temporary keys.
    pub(super) fn key(&self, id: &str) -> Option<SigningKey> {
        let entry = self.accounts.iter().find(|entry| entry.access_key == id);
        let own = entry.map(|entry| SigningKey {
            secret: entry.secret_key.clone(),
            token: None,
            expires: None,
            account: entry.account.clone(),
        });
        own.or_else(|| lock(&self.issued).get(id).cloned())
    }

    /// Adds temporary keys.
    pub(super) fn issue(&self, id: String, key: SigningKey) {
        lock(&self.issued).insert(id, key);
    }

    /// Lets all temporary keys expire.
    pub(super) fn expire_keys(&self) {
        lock(&self.issued).values_mut().for_each(|key| key.expires = Some(0));
    }

    /// Whether some account has streams in this region.
    pub(super) fn serves(&self, region: &str) -> bool {
        self.accounts.iter().any(|entry| entry.region(&self.config) == region)
    }

    /// Whether the account exists.
    pub(super) fn has_account(&self, account: &str) -> bool {
        self.accounts.iter().any(|entry| entry.account == account)
    }

    /// A stream by name.
    pub(super) fn stream(&self, tenant: &Tenant, name: &str) -> Result<Arc<Stream>, KvsError> {
        lock(&self.streams).get(&(tenant.clone(), name.to_owned())).cloned().ok_or_else(KvsError::no_stream)
    }

    /// All streams of a tenant, by name.
    pub(super) fn streams(&self, tenant: &Tenant) -> Vec<Arc<Stream>> {
        let streams = lock(&self.streams);
        streams.iter().filter(|((owner, _), _)| owner == tenant).map(|(_, stream)| stream.clone()).collect()
    }

    /// The streams of this name in all accounts.
    pub(super) fn named(&self, name: &str) -> Vec<Arc<Stream>> {
        lock(&self.streams).values().filter(|stream| stream.name == name).cloned().collect()
    }

    /// Adds a stream, or replaces its previous version.
    pub(super) fn put(&self, stream: Stream) {
        let key = ((stream.account.clone(), stream.region.clone()), stream.name.clone());
        lock(&self.streams).insert(key, Arc::new(stream));
    }

    /// A new stream of the main account whose camera begins to record at `now`. It is not yet added.
    pub(super) fn create(&self, name: &str, now: Millis) -> Arc<Stream> {
        let (account, region) = (&self.config.account, &self.config.region);
        let mut stream = Stream::new(name, account, region, now, 0);
        stream.archive.producer = self.config.producers.get(name).copied().unwrap_or_default();
        stream.archive.retention_hours = self.config.retention_hours;
        Arc::new(stream)
    }

    /// Deletes the streams of this name in all accounts.
    pub(super) fn delete(&self, name: &str) {
        lock(&self.streams).retain(|(_, known), _| known != name);
    }

    /// Adds a session and drops those that expired long ago.
    pub(super) fn open(&self, session: Session, now: Millis) {
        let mut sessions = lock(&self.sessions);
        let mut quotas = lock(&self.quotas);
        sessions.retain(|token, old| {
            let keep = old.expires + REMEMBER_MILLIS > now;
            if !keep {
                quotas.forget(token);
            }
            keep
        });
        sessions.insert(session.token.clone(), Arc::new(session));
    }

    /// A session by its token, whether expired or not.
    pub(super) fn session(&self, token: &str) -> Option<Arc<Session>> {
        lock(&self.sessions).get(token).cloned()
    }

    /// Lets the sessions of a stream expire, or all.
    pub(super) fn expire_sessions(&self, stream: Option<&str>) {
        for session in lock(&self.sessions).values_mut() {
            if stream.is_none_or(|name| name == session.stream) {
                *session = Arc::new(Session { expires: 0, ..(**session).clone() });
            }
        }
    }

    /// Takes from a quota bucket. False if it holds too little; always true if quotas are off.
    pub(super) fn take(&self, bucket: &str, rate: f64, amount: f64) -> bool {
        let rate = rate * self.config.quota_scale;
        !self.config.quotas || lock(&self.quotas).take(bucket, rate, amount, Instant::now())
    }

    /// Charges the two point buckets of a stream, up to the first that has too little (docs/KVS.md 6).
    pub(super) fn charge_points(
        &self,
        stream: &Stream,
        metadata: usize,
        media: usize,
    ) -> Result<(), KvsError> {
        for (kind, rate, points) in [("metadata", METADATA_POINTS, metadata), ("media", MEDIA_POINTS, media)]
        {
            let bucket = format!("points/{kind}/{}/{}", stream.account, stream.name);
            if points > 0 && !self.take(&bucket, rate, points as f64) {
                return Err(KvsError::limit(format!(
                    "Limit exceeded on fragment {kind} quota points for resource '{}'",
                    stream.name
                )));
            }
        }
        Ok(())
    }
}

//! Where an issuer's keys come from, and how they stay current: a file, an address, OIDC discovery, or one
//! address for each key.
//!
//! One task per issuer does all the reading, so two reads never overlap. It reads every `refresh`, at least
//! twice within `stale_max`, sooner after a failure, when the watched file changes, and when a token names a
//! key that is not known. The last could be used to flood the issuer, so it happens at most once per
//! `COOLDOWN`, which begins before the read. Requests that come meanwhile wait for a read in progress, or are
//! refused at once. Good keys stay until other good keys have been read: a failing, empty, oversized or
//! garbled answer changes nothing but the age (`docs/THREATS.md`, "JWT").

use super::discovery;
use super::issuer_config::IssuerConfig;
use super::jwks_source::JwksSource;
use super::key_document::{Fetch, KeyAccess};
use super::keys::{KeySet, LONGEST};
use super::metrics::{IssuerMetrics, Read};
use super::pem_keys::{self, PemKeys};
use crate::base::file_watch::FileWatch;
use arc_swap::ArcSwapOption;
use http::header::{ETAG, HeaderValue};
use http::{StatusCode, Uri};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Between two reads that unknown keys cause. The promise is 15 s as the issuer's server sees it; the rest is
/// for the time that a request travels.
pub(super) const COOLDOWN: Duration = Duration::from_millis(15_500);
/// How long a request waits for a read in progress.
const WAIT: Duration = Duration::from_secs(5);
/// How many requests wait at once, so that a server that hangs does not collect them without bound.
const MOST_WAITING: usize = 1000;
/// After a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Why there are no keys at first.
const NONE: &str = "none were read yet";

/// The keys of one issuer, kept current by `keep_current`.
pub(super) struct KeyStore {
    config: IssuerConfig,
    current: ArcSwapOption<Current>,
    state: Mutex<ReadState>,
    wake: Notify,
    reads: watch::Sender<u64>,
    generation: Arc<AtomicU64>,
    metrics: IssuerMetrics,
}

/// Keys that were good when they were read.
pub(super) struct Current {
    pub keys: Arc<KeySet>,
    /// Another number means other keys.
    pub generation: u64,
    read: Instant,
    tag: Option<Tag>,
}

/// A document's entity tag, which holds for its own address only.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tag {
    url: Uri,
    etag: HeaderValue,
}

#[derive(Default)]
struct ReadState {
    reading: bool,
    /// A read was requested and has not begun.
    requested: bool,
    /// A key was unknown during the cooldown: read again when it ends.
    missed: bool,
    /// When an unknown key last caused a read.
    forced: Option<Instant>,
    /// Why the last read failed, if it did.
    problem: Option<String>,
    /// Reads that failed since one succeeded.
    failures: u32,
    /// Where discovery said last that the keys are.
    jwks_uri: Option<Uri>,
    /// Keys that are published one by one.
    pems: PemKeys,
}

impl KeyStore {
    pub fn new(config: IssuerConfig, generation: Arc<AtomicU64>, metrics: IssuerMetrics) -> Self {
        Self {
            config,
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
            wake: Notify::new(),
            reads: watch::Sender::new(0),
            generation,
            metrics,
        }
    }

    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// Whether its keys are read from somewhere, and can therefore change and grow old.
    pub fn is_read(&self) -> bool {
        self.config.secret.is_none()
    }

    /// Whether each key is read alone, when a token names it. Until then there is none, which is no fault.
    pub fn is_read_by_kid(&self) -> bool {
        self.config.kind.has_signer()
    }

    /// The keys.
    ///
    /// # Errors
    /// Says why there are none, or that they are too old to be trusted.
    pub fn usable(&self) -> Result<Arc<Current>, String> {
        let current = self.current.load_full().ok_or_else(|| self.because(NONE))?;
        self.check_age(&current)?;
        Ok(current)
    }

    /// The generation of the keys that `usable` would give.
    ///
    /// # Errors
    /// As `usable`.
    pub fn generation(&self) -> Result<u64, String> {
        let current = self.current.load();
        let current = current.as_ref().ok_or_else(|| self.because(NONE))?;
        self.check_age(current)?;
        Ok(current.generation)
    }

    fn check_age(&self, current: &Current) -> Result<(), String> {
        // Keys that are read one by one are dropped one by one.
        if self.is_read() && !self.is_read_by_kid() {
            let age = current.read.elapsed();
            if age > self.config.stale_max.0 {
                return Err(self.because(&format!("they were last read {} s ago", age.as_secs())));
            }
        }
        Ok(())
    }

    fn because(&self, what: &str) -> String {
        match &self.state().problem {
            Some(problem) => format!("{what} ({problem})"),
            None => what.to_owned(),
        }
    }

    /// For a token that names an unknown key: waits for a read in progress, or causes one if the cooldown
    /// allows.
    pub async fn read_again(&self, kid: Option<&str>) {
        if self.is_read_by_kid() && !kid.is_some_and(|kid| self.state().pems.want(kid)) {
            return;
        }
        if self.reads.receiver_count() > MOST_WAITING {
            return;
        }
        let mut reads = self.reads.subscribe();
        {
            let mut state = self.state();
            let cool = state.forced.is_some_and(|at| at.elapsed() < COOLDOWN);
            if !state.reading && !state.requested {
                if cool {
                    if !std::mem::replace(&mut state.missed, true) {
                        self.wake.notify_one();
                    }
                    return;
                }
                state.forced = Some(Instant::now());
                state.requested = true;
                self.wake.notify_one();
            }
        }
        let _ = timeout(WAIT, reads.changed()).await;
    }

    /// Whether it is sure that there is no key of this name. Without a list that is so only if the issuer's
    /// server said it.
    pub fn is_unknown(&self, kid: Option<&str>) -> bool {
        !self.is_read_by_kid() || !kid.is_some_and(|kid| self.state().pems.want(kid))
    }

    /// Waits for the first read, good or bad.
    pub async fn first_read(&self) {
        let mut reads = self.reads.subscribe();
        let _ = timeout(WAIT, reads.wait_for(|count| *count > 0)).await;
    }

    /// Takes over the keys of a store that reads them from the same place, with their age and the state of
    /// reading them. Other rules for tokens do not make the keys less trustworthy.
    pub fn inherit(&self, other: &Self) {
        if !self.config.has_keys_of(&other.config) {
            return;
        }
        self.current.store(other.current.load_full());
        let (mut ours, theirs) = (self.state(), other.state());
        ours.forced = theirs.forced;
        // A read that the other store has not finished.
        ours.missed = theirs.missed || theirs.requested || theirs.reading;
        ours.problem.clone_from(&theirs.problem);
        ours.failures = theirs.failures;
        ours.jwks_uri.clone_from(&theirs.jwks_uri);
        ours.pems.inherit(&theirs.pems);
    }

    /// Puts keys in place.
    pub fn set(&self, keys: KeySet, tag: Option<Tag>) -> Read {
        let (keys, generation, outcome) = match self.current.load_full() {
            Some(old) if old.keys.same_as(&keys) => (old.keys.clone(), old.generation, Read::Unchanged),
            _ => (Arc::new(keys), self.generation.fetch_add(1, Ordering::AcqRel) + 1, Read::Changed),
        };
        self.keep(Current { keys, generation, read: Instant::now(), tag });
        outcome
    }

    fn keep(&self, current: Current) {
        self.metrics.read_at(current.read);
        self.current.store(Some(Arc::new(current)));
    }

    /// Reads the file's keys at once; for the start, when a bad file is a mistake in the settings.
    pub fn read_file(&self, path: &Path) -> Result<(), String> {
        let keys = parse_file(path, &self.config)?;
        self.set(keys, None);
        let mut state = self.state();
        (state.problem, state.failures) = (None, 0);
        Ok(())
    }

    /// Reads again and again, for ever; at once when the watched file changes.
    pub async fn keep_current(self: Arc<Self>, fetch: Fetch, mut file: Option<FileWatch>) {
        let mut due = self.first_due();
        loop {
            self.wait_until(due, &mut file).await;
            let result = self.read(&fetch).await;
            due = Instant::now() + self.finish(result);
        }
    }

    /// When to read first. Inherited keys are read when the other store would have read them; at once if
    /// there are none, or if the last read failed, since the new settings may correct that.
    fn first_due(&self) -> Instant {
        match self.current.load_full() {
            Some(current) if self.state().problem.is_none() => current.read + self.period(),
            _ => Instant::now(),
        }
    }

    /// Between two successful reads: early enough that one may fail before the keys are too old.
    fn period(&self) -> Duration {
        self.config.refresh.0.min(self.config.stale_max.0 / 2)
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.period(),
            n => (BACKOFF.0 * 2_u32.pow((n - 1).min(10))).min(BACKOFF.1).min(self.period()),
        }
    }

    async fn wait_until(&self, due: Instant, file: &mut Option<FileWatch>) {
        while let Some(until) = self.begin_or_wait(due) {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.wake.notified() => {}
                // Not a forced read, so that the cooldown does not matter.
                () = changed(file) => self.state().requested = true,
            }
        }
    }

    /// Begins a read that is due, requested, or left over from a key that was missed during the cooldown.
    /// Otherwise returns until when to wait.
    fn begin_or_wait(&self, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let cool_until = state.forced.map_or(now, |at| at + COOLDOWN);
        let owed = state.missed && cool_until <= now;
        if owed {
            state.forced = Some(now);
        }
        if owed || state.requested || due <= now {
            (state.requested, state.missed, state.reading) = (false, false, true);
            return None;
        }
        Some(if state.missed { due.min(cool_until) } else { due })
    }

    /// Records the result of a read and wakes the requests that wait for it. Returns the pause before the
    /// next read.
    fn finish(&self, result: Result<Read, String>) -> Duration {
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(_) => Read::Failed,
        };
        self.metrics.count(outcome);
        let failures = {
            let mut state = self.state();
            state.reading = false;
            match (&result, &state.problem) {
                (Err(problem), Some(old)) if problem == old => {}
                (Err(problem), _) => {
                    tracing::warn!(issuer = self.config.name(), "cannot read the issuer's keys: {problem}");
                }
                (Ok(Read::Changed), _) => {
                    tracing::info!(issuer = self.config.name(), "the issuer's keys changed")
                }
                (Ok(_), Some(_)) => {
                    tracing::info!(issuer = self.config.name(), "the issuer's keys can be read again")
                }
                (Ok(_), None) => {}
            }
            state.failures = if result.is_ok() { 0 } else { state.failures.saturating_add(1) };
            state.problem = result.err();
            state.failures
        };
        self.reads.send_modify(|count| *count += 1);
        self.pause(failures)
    }

    async fn read(&self, fetch: &Fetch) -> Result<Read, String> {
        if let Some(JwksSource::File(path)) = &self.config.jwks {
            let (path, config) = (path.clone(), self.config.clone());
            let keys = tokio::task::spawn_blocking(move || parse_file(&path, &config))
                .await
                .map_err(|e| e.to_string())??;
            return Ok(self.set(keys, None));
        }
        let access = KeyAccess::of(&self.config).await?;
        match (&self.config.key_url, &self.config.jwks) {
            (Some(JwksSource::Url(base)), _) if self.is_read_by_kid() => {
                self.read_pems(fetch, &access, base).await
            }
            (_, Some(JwksSource::Url(url))) => self.read_url(fetch, &access, url).await,
            _ => {
                let url = self.discover(fetch, &access).await?;
                self.read_url(fetch, &access, &url).await
            }
        }
    }

    async fn read_url(&self, fetch: &Fetch, access: &KeyAccess, url: &Uri) -> Result<Read, String> {
        let old = self.current.load_full();
        let known = old.as_ref().and_then(|old| old.tag.as_ref()).filter(|tag| tag.url == *url);
        let response = access.get(fetch, url, known.map(|tag| tag.etag.clone())).await?;
        match (response.status(), &old) {
            (StatusCode::OK, _) => {
                let etag = response.headers().get(ETAG).cloned();
                let keys = parse(response.body(), &self.config).map_err(|why| format!("{url}: {why}"))?;
                Ok(self.set(keys, etag.map(|etag| Tag { url: url.clone(), etag })))
            }
            (StatusCode::NOT_MODIFIED, Some(old)) if known.is_some() => {
                let (keys, generation, tag) = (old.keys.clone(), old.generation, old.tag.clone());
                self.keep(Current { keys, generation, read: Instant::now(), tag });
                Ok(Read::Unchanged)
            }
            (status, _) => Err(format!("{url} answered {status}")),
        }
    }

    /// Reads the keys that are known, again, and those that tokens have named meanwhile.
    async fn read_pems(&self, fetch: &Fetch, access: &KeyAccess, base: &Uri) -> Result<Read, String> {
        let kids = self.state().pems.take_names(self.period());
        let mut problem = None;
        for kid in kids {
            let url = format!("{}/{kid}", base.to_string().trim_end_matches('/'));
            let url: Uri = url.parse().map_err(|_| format!("{url} is not a valid URL"))?;
            let response = access.get(fetch, &url, None).await;
            let read = response.and_then(|response| match response.status() {
                StatusCode::OK => {
                    pem_keys::read_pem(response.body()).map(Some).map_err(|why| format!("{url}: {why}"))
                }
                // S3, where some of these keys are, forbids what it does not have.
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => Ok(None),
                status => Err(format!("{url} answered {status}")),
            });
            let pems = &mut self.state().pems;
            match read {
                Ok(Some(jwk)) => pems.keep(kid, jwk),
                Ok(None) => pems.miss(kid),
                Err(why) => problem = Some(why),
            }
        }
        let keys = {
            let mut state = self.state();
            let usable = state.pems.usable(self.config.stale_max.0);
            state.missed |= state.pems.is_waited_for();
            KeySet::from_public_keys(&usable, &self.config.algorithms)
        };
        let outcome = self.set(keys, None);
        problem.map_or(Ok(outcome), Err)
    }

    /// Where the keys are. Discovery runs before each read, since an issuer may move its keys and leave the
    /// old ones in place. While it fails, the last known address is used.
    async fn discover(&self, fetch: &Fetch, access: &KeyAccess) -> Result<Uri, String> {
        let address = discovery::address(&self.config)?;
        let problem = match access.get(fetch, &address, None).await {
            Ok(response) if response.status() == StatusCode::OK => {
                match discovery::jwks_uri(response.body(), &address, &self.config) {
                    Ok(url) => {
                        self.state().jwks_uri = Some(url.clone());
                        return Ok(url);
                    }
                    Err(problem) => problem,
                }
            }
            Ok(response) => format!("{address} answered {}", response.status()),
            Err(problem) => problem,
        };
        let known = self.state().jwks_uri.clone();
        if known.is_some() {
            let issuer = self.config.name();
            tracing::warn!(issuer, "reading the keys where they were last: {problem}");
        }
        known.ok_or(problem)
    }

    fn state(&self) -> MutexGuard<'_, ReadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the file has changed; never without a file.
async fn changed(file: &mut Option<FileWatch>) {
    match file {
        Some(file) => file.changed().await,
        None => std::future::pending().await,
    }
}

fn parse_file(path: &Path, config: &IssuerConfig) -> Result<KeySet, String> {
    use std::io::Read as _;
    let problem = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(problem)?;
    let mut document = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut document).map_err(problem)?;
    parse(&document, config).map_err(|why| format!("{}: {why}", path.display()))
}

fn parse(document: &[u8], config: &IssuerConfig) -> Result<KeySet, String> {
    KeySet::from_jwks(document, &config.algorithms, config.kind.key_use())
}

//! Where an issuer's keys come from, and how they stay current: a file, an address, or OIDC discovery.
//!
//! One task per issuer does all the reading, so two reads never overlap. It reads every `refresh`, sooner after a
//! failure, when the watched file changes, and when a token names a key that is not known. The last is how a stranger
//! could make us hammer the issuer, so it happens at most once per `COOLDOWN`, claimed before the read; whoever comes
//! meanwhile waits for a read under way, or is refused at once. Keys that were good stay until other good ones are
//! here: a failing, empty, oversized or garbled answer changes nothing but the age (`HARDENING.md` "JWT").

use super::config::IssuerConfig;
use super::key_place::Jwks;
use super::keys::{KeySet, LONGEST};
use super::metrics::{IssuerMetrics, Read};
use crate::kvs::strict;
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, Response, StatusCode, Uri};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Fetches one document. It follows no redirects and reads no body beyond 1 MiB; an error is a sentence for the log.
pub type Fetch = Arc<
    dyn Fn(Request<Bytes>) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, String>> + Send>>
        + Send
        + Sync,
>;

/// Between two reads that unknown keys cause. The promise is 15 s as the issuer's server sees it; the rest is for the
/// way there.
pub(super) const COOLDOWN: Duration = Duration::from_millis(15_500);
/// How long a request waits for a read under way.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many requests wait at once; a server that hangs must not gather a crowd here.
const MOST_WAITING: usize = 1000;
/// How long one document may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// After a failure: at first, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Why there is nothing to verify with, at first.
const NONE: &str = "none were read yet";
/// Writing a file, or replacing a folder of them, is several events; this is how long they may take.
const SETTLE: Duration = Duration::from_millis(200);

/// The keys of one issuer, kept current by `keep_current`.
pub(super) struct KeyStore {
    config: IssuerConfig,
    current: ArcSwapOption<Current>,
    state: Mutex<State>,
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
    etag: Option<HeaderValue>,
}

#[derive(Default)]
struct State {
    reading: bool,
    /// Somebody asked for a read now.
    asked: bool,
    /// A key was unknown during the cooldown: read again when it ends.
    missed: bool,
    forced: Option<Instant>,
    problem: Option<String>,
    jwks_uri: Option<Uri>,
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

    /// The keys, unless there are none or they are too old to be trusted.
    pub fn usable(&self) -> Result<Arc<Current>, String> {
        let current = self.current.load_full().ok_or_else(|| self.because(NONE))?;
        self.check_age(&current)?;
        Ok(current)
    }

    /// Which keys `usable` would give, by their number.
    pub fn generation(&self) -> Result<u64, String> {
        let current = self.current.load();
        let current = current.as_ref().ok_or_else(|| self.because(NONE))?;
        self.check_age(current)?;
        Ok(current.generation)
    }

    fn check_age(&self, current: &Current) -> Result<(), String> {
        if self.is_read() {
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

    /// A token names a key that is not here: waits for a read under way, or causes one if the cooldown allows.
    pub async fn look_again(&self) {
        if self.reads.receiver_count() > MOST_WAITING {
            return;
        }
        let mut reads = self.reads.subscribe();
        {
            let mut state = self.state();
            let cool = state.forced.is_some_and(|at| at.elapsed() < COOLDOWN);
            if !state.reading && !state.asked {
                if cool {
                    if !std::mem::replace(&mut state.missed, true) {
                        self.wake.notify_one();
                    }
                    return;
                }
                state.forced = Some(Instant::now());
                state.asked = true;
                self.wake.notify_one();
            }
        }
        let _ = timeout(PATIENCE, reads.changed()).await;
    }

    /// Waits for the first read, good or bad.
    pub async fn first_read(&self) {
        let mut reads = self.reads.subscribe();
        let _ = timeout(PATIENCE, reads.wait_for(|count| *count > 0)).await;
    }

    /// Takes keys over from a store with the same settings.
    pub fn inherit(&self, other: &Self) {
        if self.config == other.config {
            self.current.store(other.current.load_full());
            self.state().jwks_uri.clone_from(&other.state().jwks_uri);
        }
    }

    /// Puts keys in place.
    pub fn set(&self, keys: KeySet, etag: Option<HeaderValue>) -> Read {
        let (keys, generation, outcome) = match self.current.load_full() {
            Some(old) if old.keys.same_as(&keys) => (old.keys.clone(), old.generation, Read::Unchanged),
            _ => (Arc::new(keys), self.generation.fetch_add(1, Ordering::AcqRel) + 1, Read::Changed),
        };
        self.keep(Current { keys, generation, read: Instant::now(), etag });
        outcome
    }

    fn keep(&self, current: Current) {
        self.metrics.read_at(current.read);
        self.current.store(Some(Arc::new(current)));
    }

    /// The file's keys, read at once; for the start, when a bad file is a mistake in the settings.
    pub fn read_file(&self, path: &Path) -> Result<(), String> {
        let keys = parse_file(path, &self.config)?;
        self.set(keys, None);
        Ok(())
    }

    /// Reads again and again, for ever.
    pub async fn keep_current(self: Arc<Self>, fetch: Fetch) {
        // Keys that came from elsewhere are as good as a first read.
        let mut failures = 0;
        let mut due = if self.current.load().is_some() {
            Instant::now() + self.config.refresh.0
        } else {
            Instant::now()
        };
        loop {
            self.wait_until(due).await;
            let result = self.read(&fetch).await;
            failures = if result.is_ok() { 0 } else { failures + 1 };
            due = Instant::now() + self.pause(failures);
            self.finish(result);
        }
    }

    fn pause(&self, failures: u32) -> Duration {
        match failures {
            0 => self.config.refresh.0,
            n => (BACKOFF.0 * 2_u32.pow((n - 1).min(10))).min(BACKOFF.1).min(self.config.refresh.0),
        }
    }

    async fn wait_until(&self, due: Instant) {
        while let Some(until) = self.begin_or_wait(due) {
            tokio::select! {
                () = sleep_until(until) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Begins a read that is due, asked for, or owed to a key that was missed during the cooldown; else tells until
    /// when to wait.
    fn begin_or_wait(&self, due: Instant) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let cool_until = state.forced.map_or(now, |at| at + COOLDOWN);
        let owed = state.missed && cool_until <= now;
        if owed {
            state.forced = Some(now);
        }
        if owed || state.asked || due <= now {
            (state.asked, state.missed, state.reading) = (false, false, true);
            return None;
        }
        Some(if state.missed { due.min(cool_until) } else { due })
    }

    fn finish(&self, result: Result<Read, String>) {
        let outcome = match &result {
            Ok(outcome) => *outcome,
            Err(_) => Read::Failed,
        };
        self.metrics.count(outcome);
        {
            let mut state = self.state();
            state.reading = false;
            match (&result, &state.problem) {
                (Err(problem), Some(old)) if problem == old => {}
                (Err(problem), _) => {
                    tracing::warn!(issuer = self.config.issuer, "cannot read the issuer's keys: {problem}");
                }
                (Ok(Read::Changed), _) => {
                    tracing::info!(issuer = self.config.issuer, "the issuer's keys changed")
                }
                (Ok(_), Some(_)) => {
                    tracing::info!(issuer = self.config.issuer, "the issuer's keys can be read again")
                }
                (Ok(_), None) => {}
            }
            state.problem = result.err();
        }
        self.reads.send_modify(|count| *count += 1);
    }

    async fn read(&self, fetch: &Fetch) -> Result<Read, String> {
        match &self.config.jwks {
            Some(Jwks::File(path)) => {
                let (path, config) = (path.clone(), self.config.clone());
                let keys = tokio::task::spawn_blocking(move || parse_file(&path, &config))
                    .await
                    .map_err(|e| e.to_string())??;
                Ok(self.set(keys, None))
            }
            Some(Jwks::Url(url)) => self.read_url(fetch, url).await,
            None => {
                let known = self.state().jwks_uri.clone();
                let url = match known {
                    Some(url) => url,
                    None => self.discover(fetch).await?,
                };
                let result = self.read_url(fetch, &url).await;
                // If the keys moved, the next read asks where to.
                self.state().jwks_uri = result.is_ok().then_some(url);
                result
            }
        }
    }

    async fn read_url(&self, fetch: &Fetch, url: &Uri) -> Result<Read, String> {
        let old = self.current.load_full();
        let etag = old.as_ref().and_then(|old| old.etag.clone());
        let response = get(fetch, url, etag).await?;
        match (response.status(), old) {
            (StatusCode::OK, _) => {
                let etag = response.headers().get(ETAG).cloned();
                let keys = KeySet::from_jwks(response.body(), &self.config.algorithms)
                    .map_err(|why| format!("{url}: {why}"))?;
                Ok(self.set(keys, etag))
            }
            (StatusCode::NOT_MODIFIED, Some(old)) if old.etag.is_some() => {
                let (keys, generation, etag) = (old.keys.clone(), old.generation, old.etag.clone());
                self.keep(Current { keys, generation, read: Instant::now(), etag });
                Ok(Read::Unchanged)
            }
            (status, _) => Err(format!("{url} answered {status}")),
        }
    }

    /// OpenID Connect Discovery 1.0, section 4: the document must name the very issuer that was asked.
    async fn discover(&self, fetch: &Fetch) -> Result<Uri, String> {
        let issuer = &self.config.issuer;
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let address: Uri = address.parse().map_err(|_| format!("{address} is not a valid URL"))?;
        let response = get(fetch, &address, None).await?;
        if response.status() != StatusCode::OK {
            return Err(format!("{address} answered {}", response.status()));
        }
        let document = match strict::object(response.body()) {
            Ok(document) if response.body().len() <= LONGEST => document,
            _ => return Err(format!("{address} is no discovery document")),
        };
        let text = |name: &str| document.get(name).and_then(serde_json::Value::as_str);
        if text("issuer") != Some(issuer) {
            return Err(format!("{address} is about another issuer"));
        }
        let url = text("jwks_uri").and_then(|url| match Jwks::parse(url) {
            Ok(Jwks::Url(url)) => Some(url),
            _ => None,
        });
        let url = url.ok_or_else(|| format!("{address} names no usable jwks_uri"))?;
        self.config.may_fetch(&url).map_err(|why| format!("jwks_uri {url}: {why}"))?;
        Ok(url)
    }

    /// Reads the file anew when its folder changes. Dropping the watcher ends it.
    pub fn watch(self: &Arc<Self>, path: &Path) -> Result<notify::RecommendedWatcher, String> {
        use notify::{EventKind, RecursiveMode, Watcher};
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (store, runtime) = (Arc::downgrade(self), tokio::runtime::Handle::current());
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own reading is an event too.
            if event.is_ok_and(|e| !matches!(e.kind, EventKind::Access(_)))
                && let Some(store) = store.upgrade()
            {
                runtime.spawn(store.changed());
            }
        })
        .map_err(|e| e.to_string())?;
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(|e| e.to_string())?;
        Ok(watcher)
    }

    /// The folder changed: not a forced read, so the cooldown does not matter.
    async fn changed(self: Arc<Self>) {
        tokio::time::sleep(SETTLE).await;
        self.state().asked = true;
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse_file(path: &Path, config: &IssuerConfig) -> Result<KeySet, String> {
    use std::io::Read as _;
    let problem = |e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let file = std::fs::File::open(path).map_err(problem)?;
    let mut document = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut document).map_err(problem)?;
    KeySet::from_jwks(&document, &config.algorithms).map_err(|why| format!("{}: {why}", path.display()))
}

async fn get(fetch: &Fetch, url: &Uri, etag: Option<HeaderValue>) -> Result<Response<Bytes>, String> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.clone();
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(etag) = etag {
        request.headers_mut().insert(IF_NONE_MATCH, etag);
    }
    match timeout(DEADLINE, fetch(request)).await {
        Ok(answer) => answer.map_err(|why| format!("{url}: {why}")),
        Err(_) => Err(format!("{url} did not answer within {} s", DEADLINE.as_secs())),
    }
}
